"""Samples of two and more classes: no order matters, no text is in two classes, and the books add up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.classifiers.corpus.support import balanced, jsonl, texts
from tokenmill.classifiers.corpus.draw import Source, TrainingSet, draw
from tokenmill.core.errors import ConfigError

GOOD: list[dict[str, Any]] = [{"id": f"g{n}", "text": f"good {n}"} for n in range(40)]
BAD: list[dict[str, Any]] = [{"id": f"b{n}", "text": f"bad {n}"} for n in range(150)]


def both(folder: Path, good: list[dict[str, Any]] = GOOD, bad: list[dict[str, Any]] = BAD, **how: Any) -> TrainingSet:
    sources = [
        Source(label="hq", location=jsonl(folder / "good.jsonl", good)),
        Source(label="cc", location=jsonl(folder / "bad.jsonl.gz", bad)),
    ]
    return draw(sources, **how)


def test_as_many_of_each(tmp_path: Path) -> None:
    found = both(tmp_path)
    assert found.counts() == {"hq": 40, "cc": 40}
    assert set(texts(found, "hq")) == {row["text"] for row in GOOD}
    assert [dict(book.left_out) for book in found.books] == [{}, {"not_drawn": 110}]
    assert all(map(balanced, found.books))
    # mixed, as the order of training matters
    assert 5 < sum(example.label == "hq" for example in found.examples[:40]) < 35
    assert both(tmp_path, balanced=False).counts() == {"hq": 40, "cc": 150}
    assert both(tmp_path, balanced=False, documents=50).counts() == {"hq": 40, "cc": 50}
    small, large, other = (both(tmp_path, documents=n, seed=seed) for n, seed in ((10, 0), (20, 0), (20, 1)))
    assert set(texts(small, "cc")) < set(texts(large, "cc"))
    assert set(texts(other, "cc")) != set(texts(large, "cc"))


def test_every_text_has_the_same_chance(tmp_path: Path) -> None:
    drawn = [text for seed in range(40) for text in texts(both(tmp_path, seed=seed), "cc")]
    times = [drawn.count(row["text"]) for row in BAD]
    assert sum(times) == 40 * 40  # 10.7 each, standard deviation 2.8
    assert 0 < min(times)
    assert max(times) < 25


def test_texts_of_the_positives_are_no_negatives(tmp_path: Path) -> None:
    planted = [{"id": f"c{n}", "text": f"  good\n{n} "} for n in range(0, 40, 2)]  # the same words
    again = [{"id": "twice", "text": "bad 7"}, {"id": "thrice", "text": "bad  7"}]
    found = both(tmp_path, bad=[*planted, *again, *BAD], balanced=False)
    assert found.counts() == {"hq": 40, "cc": 150}
    assert dict(found.books[1].left_out) == {"in_other_class": 20, "same_text": 2}
    assert not {" ".join(text.split()) for text in texts(found, "hq")} & set(texts(found, "cc"))
    (kept,) = [example for example in found.examples if example.text.split() == ["bad", "7"]]
    assert kept.doc_id == "b7"  # the first by name, wherever it stands
    assert all(map(balanced, found.books))


def test_any_number_of_classes_and_sources(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(GOOD[:10]), tmp_path / "one.parquet")
    sources = [
        Source(label="a", location=str(tmp_path / "one.parquet")),
        Source(label="b", location=jsonl(tmp_path / "b.jsonl", BAD[:30])),
        Source(label="a", location=jsonl(tmp_path / "two.jsonl", GOOD[5:40])),
        Source(label="c", location=jsonl(tmp_path / "c.jsonl", [*BAD[20:50], *GOOD[:3]])),
    ]
    found = draw(sources, balanced=False)
    assert found.counts() == {"a": 40, "b": 30, "c": 20}
    assert [dict(book.left_out) for book in found.books] == [
        {}, {}, {"same_text": 5}, {"in_other_class": 13},
    ]  # fmt: skip
    assert all(map(balanced, found.books))
    assert draw(sources).counts() == {"a": 20, "b": 20, "c": 20}


words = st.text(st.sampled_from("ab \n"), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    good=st.lists(words, min_size=1, max_size=12).filter(lambda found: any(map(str.strip, found))),
    bad=st.lists(words, max_size=25),
    limit=st.integers(1, 6),
    cut=st.integers(0, 25),
    chance=st.randoms(use_true_random=False),
)
def test_no_order_and_no_file_matters(
    tmp_path_factory: pytest.TempPathFactory,
    good: list[str],
    bad: list[str],
    limit: int,
    cut: int,
    chance: random.Random,
) -> None:
    rows = [{"id": f"{n}", "text": text} for n, text in enumerate([*bad, "one that is never a positive"])]
    positives = [{"id": f"{n}", "text": text} for n, text in enumerate(good)]

    def found(rows: list[dict[str, str]], cut: int) -> TrainingSet:
        folder = tmp_path_factory.mktemp("set")
        jsonl(folder / "bad" / "x.jsonl", rows[:cut])
        jsonl(folder / "bad" / "a.jsonl.gz", rows[cut:])
        sources = [
            Source(label="hq", location=jsonl(folder / "good.jsonl", positives)),
            Source(label="cc", location=str(folder / "bad")),
        ]
        return draw(sources, documents=limit)

    first = found(rows, 0)
    chance.shuffle(rows)
    chance.shuffle(positives)
    second = found(rows, cut)
    assert [(one.text, one.label, one.doc_id) for one in first.examples] == [
        (one.text, one.label, one.doc_id) for one in second.examples
    ]
    assert [(book.left_out, book.digest) for book in first.books] == [
        (book.left_out, book.digest) for book in second.books
    ]
    assert all(map(balanced, [*first.books, *second.books]))
    assert len({" ".join(one.text.split()) for one in first.examples}) == len(first.examples)
    assert len(set(first.counts().values())) == 1


@pytest.mark.parametrize(
    ("labels", "how", "message"),
    [
        (("hq", "hq"), {}, "two classes"),
        (("hq", "c c"), {}, "cannot be a label"),
        (("hq", ""), {}, "cannot be a label"),
        (("hq", "cc"), {"documents": 0}, "0 documents"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, labels: tuple[str, str], how: dict[str, Any], message: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", GOOD)
    with pytest.raises(ConfigError, match=message):
        draw([Source(label=label, location=path) for label in labels], **how)


def test_a_class_without_texts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no document for the class 'cc'(.|\n)*'in_other_class': 40"):
        both(tmp_path, bad=GOOD)
