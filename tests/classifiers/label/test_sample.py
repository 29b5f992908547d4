"""Samples: the same from any order and any files, and as many from each stratum as asked."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.classifiers.published_runs import page, published
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.classifiers.label.sample import Sample, SampleSettings, allocate, draw
from tokenmill.classifiers.label.source import Input
from tokenmill.core.errors import ConfigError
from tokenmill.io.filesystem import list_inputs

ROWS: list[dict[str, Any]] = [
    {"id": f"id-{n}", "url": f"http://h{n % 7}/", "text": f"text {n}", "score": n % 10 / 2, "kind": "ab"[n % 3 == 0]}
    for n in range(90)
]


def ids(sample: Sample) -> list[str]:
    return [document.id for document in sample.documents]


def test_no_order_and_no_file_matters(tmp_path: Path) -> None:
    rows = list(ROWS)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "one.parquet", row_group_size=7)
    wanted = draw(SampleSettings(input=str(tmp_path / "one.parquet"), documents=20, strata="kind"))
    random.Random(3).shuffle(rows)
    (tmp_path / "many").mkdir()
    pq.write_table(pa.Table.from_pylist(rows[:30]), tmp_path / "many" / "b.parquet")
    with gzip.open(tmp_path / "many" / "a.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows[30:])
    found = draw(SampleSettings(input=str(tmp_path / "many"), documents=20, strata="kind"))
    assert ids(found) == ids(wanted)
    assert found.strata == wanted.strata == {"a": (60, 10), "b": (30, 10)}
    assert {(one.id, one.url, one.text, one.stratum, one.weight) for one in found.documents} == {
        (one.id, one.url, one.text, one.stratum, one.weight) for one in wanted.documents
    }
    assert Counter((one.stratum, one.weight) for one in found.documents) == {("a", 6.0): 10, ("b", 3.0): 10}
    assert ids(draw(SampleSettings(input=str(tmp_path / "many"), documents=20, seed=1))) != ids(wanted)


def test_a_larger_sample_holds_the_smaller_one(write_jsonl: Callable[..., Path]) -> None:
    folder = str(write_jsonl(ROWS))
    small, large = (draw(SampleSettings(input=folder, documents=n, strata="score", edges=(2.0,))) for n in (10, 40))
    assert set(ids(small)) < set(ids(large))
    assert small.strata == {"[-inf, 2)": (36, 5), "[2, inf)": (54, 5)}
    assert len(draw(SampleSettings(input=folder, documents=500)).documents) == 90


def test_the_published_documents_of_a_run(tmp_path: Path) -> None:
    """In annotate mode data/ holds what filters have judged too: no threshold counts it, and no sample has it."""
    given = [page(n, n / 10, text=f"page {n}") for n in range(20)]
    for place, annotate in enumerate((False, True)):
        out = published(given, tmp_path / str(place), ScoreFilter(min_score=1.0), files=2, annotate=annotate)
        found = draw(SampleSettings(input=str(out), documents=100, strata="edu_score", edges=(1.5,)))
        assert {one.text for one in found.documents} == {f"page {n}" for n in range(10, 20)}
        assert found.strata == {"[-inf, 1.5)": (5, 5), "[1.5, inf)": (5, 5)}
        assert found.skipped == ({"filtered": 10} if annotate else {})
        tables = {str(path.relative_to(out / "data")): pq.read_table(path) for path in out.glob("data/**/*.parquet")}
        for one in found.documents:
            name, _, row = one.doc_id.rpartition("#")
            assert tables[name].slice(int(row), 1).select(["id", "url", "text"]).to_pylist() == [
                {"id": one.id, "url": one.url, "text": one.text}
            ]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab")), min_size=1, max_size=60),
    st.integers(1, 12),
    st.integers(0, 3),
)
def test_the_sample_is_that_of_all_distinct_ids(rows: list[tuple[int, str]], documents: int, seed: int) -> None:
    """Against a table of all ids; an id belongs to one stratum here."""
    rows = [(number, "ab"[number % 2]) for number, _ in rows]
    with TemporaryDirectory() as folder:
        table = pa.Table.from_pylist([{"id": str(n), "kind": kind, "text": f"t {n}"} for n, kind in rows])
        pq.write_table(table, f"{folder}/a.parquet", row_group_size=5)
        found = draw(SampleSettings(input=folder, documents=documents, seed=seed, strata="kind"))
    counts = Counter(str(n) for n, _ in rows)
    by_stratum = {kind: {str(n) for n, one in rows if one == kind} for _, kind in rows}
    taken = allocate({kind: len(some) for kind, some in by_stratum.items()}, documents, "equal")
    wanted = {
        name
        for kind, some in by_stratum.items()
        for name in sorted(some, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())[: taken[kind]]
    }
    assert set(ids(found)) == wanted
    assert len(found.documents) == len(wanted)
    if all(len(some) <= documents for some in by_stratum.values()):  # then they are counted, else estimated
        assert found.strata == {kind: (len(by_stratum[kind]), taken[kind]) for kind in sorted(by_stratum)}
        assert found.skipped["same_id"] == counts.total() - len(counts)
    assert sum(size for size, _ in found.strata.values()) + found.skipped["same_id"] == len(rows)


def test_documents_of_a_large_stratum_are_estimated_from_its_candidates(write_jsonl: Callable[..., Path]) -> None:
    rows = [{"id": f"d{n}", "text": "a"} for n in range(1000) for _ in range(3 if n % 2 else 1)]
    random.Random(1).shuffle(rows)
    found = draw(SampleSettings(input=str(write_jsonl(rows)), documents=400))
    assert 900 < found.strata["all"][0] < 1100
    assert found.strata["all"][0] + found.skipped["same_id"] == 2000


def test_an_id_in_two_strata_is_drawn_once(write_jsonl: Callable[..., Path]) -> None:
    folder = write_jsonl([{"id": "x", "kind": kind, "text": kind} for kind in "aab"] + ROWS)
    found = draw(SampleSettings(input=str(folder), documents=100, strata="kind"))
    assert found.skipped == {"same_id": 2}
    assert [one.stratum for one in found.documents if one.id == "x"] == ["a"]


@pytest.mark.ci
def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """Ids of all documents, or the texts of one batch, would be several MB."""
    text = pa.array(["a long text " * 2000])
    table = pa.table(
        {
            "id": [f"id-{n}" for n in range(40_000)],
            "text": pa.DictionaryArray.from_arrays(pa.array([0] * 40_000), pa.array(["short"])),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.concat_arrays([text] * 300)}), tmp_path / "b.parquet")
    draw(SampleSettings(input=str(tmp_path / "b.parquet"), documents=1))  # what is imported late
    tracemalloc.start()
    try:
        found = draw(SampleSettings(input=str(tmp_path), documents=10))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.strata["all"] == (40_300, 10)
    assert peak < 1 << 20


def test_texts_are_read_where_rows_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet", row_group_size=10)
    pq.write_table(pa.Table.from_pylist(ROWS[:10]), tmp_path / "b.parquet")  # the same ids
    real, read = pq.ParquetFile.iter_batches, []

    def noted(self: pq.ParquetFile, *args: Any, **known: Any) -> Any:
        read.extend(known["row_groups"])
        return real(self, *args, **known)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    found = draw(SampleSettings(input=str(tmp_path), documents=2))
    wanted = sorted({int(one.doc_id.partition("#")[2]) // 10 for one in found.documents})
    assert read == [*range(9), 0, *wanted]


def test_an_input_that_changes_while_it_is_read(write_jsonl: Callable[..., Path], monkeypatch: Any) -> None:
    folder = write_jsonl(ROWS)
    real = Input.fetch

    def later(self: Input, *args: Any) -> Any:
        write_jsonl([{**row, "id": f"new-{row['id']}"} for row in ROWS])
        (folder / "a.jsonl").touch()
        return real(dataclasses.replace(self, files=list_inputs(str(folder), (".jsonl",))), *args)

    monkeypatch.setattr(Input, "fetch", later)
    with pytest.raises(ConfigError, match="has changed"):
        draw(SampleSettings(input=str(folder), documents=5))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=4) | st.sampled_from([" \u2003\x1c", "\x85\xa0", "\u200b", ""]), max_size=5))
def test_lengths_are_the_same_in_tables_and_lines(texts: list[str]) -> None:
    rows = [{"text": text} for text in texts]
    found = []
    for suffix in ("jsonl", "parquet"):
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"a.{suffix}"
            if suffix == "parquet":
                pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), path)
            else:
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            try:
                drawn = draw(SampleSettings(input=str(path), documents=9, min_chars=2))
                found.append(sorted(one.text for one in drawn.documents))
            except ConfigError:
                found.append([])
    assert found[0] == found[1] == sorted(text for text in texts if len(text) > 1 and text.strip())


def test_rows_that_cannot_be_labelled(write_jsonl: Callable[..., Path]) -> None:
    rows = [{"text": "fine"}, {"text": " \n "}, {"text": None}, {"id": "x", "text": "one"}, {"id": "x", "text": "two"}]
    folder = write_jsonl([*rows, {"id": "y\ud800", "url": "http://\udfff/", "text": "half a \ud83d pair"}])
    with open(folder / "a.jsonl", "a") as stream:
        stream.write('{"text": \n[1]\n')
    found = draw(SampleSettings(input=str(folder), documents=9))
    assert found.skipped == {"too_short": 2, "same_id": 1, "malformed": 2}
    assert sorted(ids(found)) == ["a.jsonl#0", "x", "y?"]
    assert {one.text for one in found.documents} == {"fine", "one", "half a ? pair"}
    assert all((one.id + one.url + one.text + one.stratum).encode() for one in found.documents)
    assert ids(draw(SampleSettings(input=str(folder), documents=9, min_chars=5))) == ["y?"]


@given(st.dictionaries(st.text(max_size=2), st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 120))
def test_allocation(sizes: dict[str, int], documents: int) -> None:
    total = sum(sizes.values())
    equal, shares = allocate(sizes, documents, "equal"), allocate(sizes, documents, "proportional")
    for taken in (equal, shares):
        assert sum(taken.values()) == min(documents, total)
        assert all(0 <= taken[name] <= size for name, size in sizes.items())
    most = max(equal.values())
    assert all(taken in (sizes[name], most, most - 1) for name, taken in equal.items())
    more = allocate(sizes, documents + 1, "equal")
    assert all(more[name] >= equal[name] for name in sizes)
    guessed = allocate({name: size + (size > documents) * 7 for name, size in sizes.items()}, documents, "equal")
    assert guessed == equal  # sizes beyond the sample's are estimated
    assert all(abs(shares[name] - min(documents, total) * size / total) < 1 for name, size in sizes.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"documents": 0}, "a sample of 0"),
        ({"edges": (1.0,)}, "without a column"),
        ({"strata": "score", "edges": (1.0, 1.0)}, "do not rise"),
        ({"strata": "kind", "edges": (1.0,)}, "is no number"),
        ({"strata": "none"}, "no document has a value in none"),
        ({"text_column": "body"}, "no document to label"),
        ({"allocation": "some"}, "allocation"),
        ({"input": "/nowhere/at/all"}, "does not exist"),
    ],
)
def test_what_is_refused(write_jsonl: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    fields = {"input": str(write_jsonl(ROWS)), "documents": 5, **changes}
    with pytest.raises(ConfigError, match=message):
        draw(SampleSettings(**fields))


def test_columns_that_a_parquet_file_lacks(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"text": "a"}, {"text": "b"}]), tmp_path / "a.parquet")
    source = str(tmp_path / "a.parquet")
    assert sorted(ids(draw(SampleSettings(input=source, documents=5)))) == ["a.parquet#0", "a.parquet#1"]
    for fields in ({"strata": "edu"}, {"id_column": "uid"}, {"text_column": "body"}):
        with pytest.raises(ConfigError, match=f"no column '{next(iter(fields.values()))}'"):
            draw(SampleSettings(input=source, documents=5, **fields))  # type: ignore[arg-type]
    nested = pa.Table.from_pylist([{"text": "a", "a": {"id": "x"}}])
    pq.write_table(nested, tmp_path / "c.parquet")
    with pytest.raises(ConfigError, match=r"no column 'a\.id'"):  # not the id of the document for all that
        draw(SampleSettings(input=str(tmp_path / "c.parquet"), documents=5, id_column="a.id"))
    pq.write_table(pa.table({"text": pa.array([b"\xff"]).view(pa.string())}), tmp_path / "d.parquet")
    with pytest.raises(ConfigError, match="cannot read"):
        draw(SampleSettings(input=str(tmp_path / "d.parquet"), documents=5))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match="cannot read"):
        draw(SampleSettings(input=source, documents=5))


def test_too_many_strata(write_jsonl: Callable[..., Path]) -> None:
    folder = write_jsonl([{"text": "a", "n": n} for n in range(1001)])
    with pytest.raises(ConfigError, match="more than 1000"):
        draw(SampleSettings(input=str(folder), documents=5, strata="n"))
