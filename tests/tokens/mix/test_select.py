from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.mix.select import Atom, Selector
from tokenmill.tokens.mix.spec import Mixture, MixtureSource, MixtureStage, Upweight

SCHEMA = pa.schema(
    [
        ("token_count", pa.int64()),
        ("url", pa.string()),
        ("topic", pa.string()),
        ("score", pa.float32()),
        ("stars", pa.int32()),
        ("clean", pa.bool_()),
    ]
)
Rows = list[dict[str, Any]]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "token_count": st.integers(0, 3),
            "url": st.sampled_from(["https://a.example.co.uk/x", "http://b.org:80/", "http://[", "", None]),
            "topic": st.sampled_from(["software", "news", "", None]),
            "score": st.sampled_from([0.0, 2.5, 4.75, None]),
            "stars": st.sampled_from([1, 2, 3, None]),
            "clean": st.sampled_from([True, False, None]),
        }
    ),
    max_size=20,
)


def selector(where: dict[str, Any], *upweights: Upweight) -> Selector:
    stages = [MixtureStage(f"s{n}", 10, {"web": 1.0}, upweight={"web": u}) for n, u in enumerate(upweights)]
    mixture = Mixture(name="m", sources={"web": MixtureSource(tokens="web", where=where)}, stages=stages)
    return Selector(mixture, ["web"], SCHEMA, "the set web")


def table(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@examples(10, 30)
@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"topic": "news"}, lambda row: row["topic"] == "news"),
        ({"topic": ["news", ""]}, lambda row: row["topic"] in ("news", "")),
        ({"score": ">=2.5"}, lambda row: row["score"] is not None and row["score"] >= 2.5),
        ({"score": [">0", "<= 2.5"]}, lambda row: row["score"] is not None and 0 < row["score"] <= 2.5),
        ({"stars": "!=2"}, lambda row: row["stars"] not in (2, None)),
        ({"stars": [1, 3]}, lambda row: row["stars"] in (1, 3)),
        ({"stars": "2"}, lambda row: row["stars"] == 2),
        ({"clean": True}, lambda row: row["clean"] is True),
        ({"domain": "example.co.uk"}, lambda row: row["url"] == "https://a.example.co.uk/x"),
        ({"token_count": ">=2"}, lambda row: row["token_count"] >= 2),
        ({"topic": "news", "stars": "<3"}, lambda row: row["topic"] == "news" and row["stars"] in (1, 2)),
    ],
)
@given(ROWS, st.booleans())
def test_conditions(where: dict[str, Any], holds: Any, rows: Rows, eos: bool) -> None:
    found = selector(where).numbers(table(rows), "web", eos)
    assert (found >= 0).tolist() == [bool(holds(row)) and (eos or row["token_count"] > 0) for row in rows]
    assert set(found.tolist()) <= {0, -1}


@examples(25, 100)
@given(ROWS)
def test_every_document_belongs_to_one_stream_of_its_source(rows: Rows) -> None:
    found = selector({}, Upweight("topic", to={"software": 0.5}), Upweight("stars", times={"1": 2, "3": 3}))
    atoms = found.atoms["web"]
    assert len(atoms) == 2 * 3
    numbers = found.numbers(table(rows), "web", eos=True)
    for row, number in zip(rows, numbers.tolist(), strict=True):
        topic = "software" if row["topic"] == "software" else None
        stars = str(row["stars"]) if row["stars"] in (1, 3) else None
        assert atoms[number] == Atom("web", (("topic", topic), ("stars", stars)))


def test_names_of_streams() -> None:
    assert Atom("web").name == "web"
    assert [a.name for a in selector({}, Upweight("topic", to={"software": 0.5})).atoms["web"]] == [
        "web[topic=software]",
        "web[rest]",
    ]
    assert Atom("web", (("topic", "a"), ("stars", None))).name == "web[topic=a, stars=(rest)]"


def test_booleans_are_values_of_upweights() -> None:
    found = selector({}, Upweight("clean", to={"true": 0.9}))
    rows = [{"token_count": 1, "clean": value} for value in (True, False, None)]
    assert found.numbers(table(rows), "web", eos=True).tolist() == [0, 1, 1]


def test_only_what_decides_is_read() -> None:
    assert selector({}).columns == ["token_count"]
    assert selector({"domain": "b.org", "score": ">1"}, Upweight("topic", to={"a": 1})).columns == [
        "token_count",
        "score",
        "topic",
        "url",
    ]


@pytest.mark.parametrize(
    ("where", "what", "why"),
    [
        ({"topics": "a"}, "no tag 'topics'", "'topic'"),
        ({"stars": 2.5}, "2.5 is no value of the tag stars", "int32"),
        ({"score": ">=high"}, "'high' is no value of the tag score", "float"),
        ({"score": ["2", ">3"]}, "mixes values and comparisons", ""),
        ({"stars": "<x"}, "'x' is no value of the tag stars", "int32"),
    ],
)
def test_conditions_that_cannot_hold(where: dict[str, Any], what: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        selector(where)
    assert what in error.value.what
    assert why in error.value.why
    assert "the set web" in error.value.where


@pytest.mark.parametrize("comparison", [">=10", "<= 10", "<high", ["> 1", "!=3"]])
def test_texts_have_no_order(comparison: Any) -> None:
    with pytest.raises(ConfigError, match="the tag topic holds texts") as error:
        selector({"topic": comparison})
    assert '"9" is above "10"' in error.value.why
    assert "carried as a number" in error.value.fix


def test_texts_are_equal_or_not_and_dates_have_an_order() -> None:
    rows: Rows = [{"token_count": 1, "topic": topic} for topic in ("2024-03-01T00:00:00Z", "2023-12-31", "news", None)]
    assert selector({"topic": "!=news"}).numbers(table(rows), "web", eos=True).tolist() == [0, 0, -1, -1]
    found = selector({"topic": [">=2024-01", "<2024-12-31"]}).numbers(table(rows), "web", eos=True)
    assert found.tolist() == [0, -1, -1, -1]


@pytest.mark.parametrize("wanted", [False, [False, "de"], True])
def test_booleans_are_no_texts(wanted: Any) -> None:
    """YAML reads `lang: [no, de]` as false and "de"."""
    with pytest.raises(ConfigError, match=r"holds texts, and (false|true) is none") as error:
        selector({"topic": wanted})
    assert "quote it" in error.value.fix


def test_values_that_no_document_has() -> None:
    found = selector({"topic": ["news", "xx"], "stars": [1, 7], "clean": True, "score": ">=1"})
    assert found.listed("web") == [
        ("topic", "news"),
        ("topic", "xx"),
        ("stars", "1"),
        ("stars", "7"),
        ("clean", "True"),
    ]
    rows: Rows = [{"token_count": 1, "topic": "news", "stars": 1, "clean": None}]
    assert found.present(table(rows), "web") == {("topic", "news"), ("stars", "1")}


def test_upweights_of_what_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no tag 'topics'"):
        selector({}, Upweight("topics", to={"a": 0.5}))
    with pytest.raises(ConfigError, match="'many' is no value of the tag stars"):
        selector({}, Upweight("stars", to={"many": 0.5}))


def test_no_documents() -> None:
    assert selector({"topic": "a"}).numbers(table([]), "web", eos=True).dtype == np.int64
