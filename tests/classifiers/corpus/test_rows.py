"""Documents of runs, tables and plain text."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.classifiers.corpus.support import jsonl
from tests.classifiers.published_runs import page, published
from tokenmill.classifiers.corpus.rows import PLAIN, Columns, is_run, read_batches, read_rows, read_source, texts_at
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.core.errors import ConfigError
from tokenmill.io.filesystem import list_inputs

TALK = {
    "id": 7,
    "conversations": [{"from": "human", "value": "Why is the sea salty?"}, {"from": "gpt", "value": "Rivers."}],
}


def texts(location: Path | str, columns: Columns = PLAIN) -> list[str]:
    return [row.text for row in read_source(str(location), columns)]


def test_one_document_in_every_format(tmp_path: Path) -> None:
    rows = [{"id": "a", "url": "http://e.org/", "text": "one\ntwo"}, {"id": None, "url": None, "text": "three"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "z.jsonl.zst").write_bytes(b"".join(zstandard.compress(line) for line in lines.splitlines(True)))
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "p.jsonl").write_bytes(lines)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (tmp_path / "plain.txt").write_bytes(b"\xef\xbb\xbfone\ntwo")
    found = list(read_source(str(tmp_path)))
    assert Counter(row.text for row in found) == {"one\ntwo": 5, "three": 4}
    assert {row.doc_id for row in found if row.text == "three"} == {
        "g.jsonl.gz#1", "p.jsonl#1", "t.parquet#1", "z.jsonl.zst#1",
    }  # fmt: skip
    assert {(row.doc_id, row.url) for row in found if row.text != "three"} == {
        ("a", "http://e.org/"),
        ("plain.txt#0", ""),
    }
    assert texts(str(tmp_path / "*.gz")) == ["one\ntwo", "three"]


def test_columns_are_joined(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"question": "Why?", "answer": "So."}, {"question": "Who?", "answer": None}])
    assert texts(path, Columns(text=("question", "answer"))) == ["Why?\nSo.", "Who?"]
    pq.write_table(pa.Table.from_pylist([TALK]), tmp_path / "talk.parquet")
    talk = Columns(text=("conversations.value",))
    wanted = ["Why is the sea salty?\nRivers."]
    assert texts(tmp_path / "talk.parquet", talk) == texts(jsonl(tmp_path / "talk.jsonl", [TALK]), talk) == wanted
    assert list(texts_at({"a.b": "whole", "a": {"b": "part"}}, "a.b")) == ["whole"]
    assert list(texts_at({"a": [1, None, {"c": "x"}]}, "a.b")) == []


def test_plain_text_by_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("one\u2028two\n\nthree".encode()))
    left: Counter[str] = Counter()
    found = list(read_source(str(tmp_path), Columns(lines=True, text=("question",)), left))
    assert [(row.text, row.doc_id) for row in found] == [
        ("one\u2028two", "a.txt.gz#0"),
        ("three", "a.txt.gz#2"),
    ]
    assert left == {"no_text": 1}


def test_a_run_without_what_its_filters_have_judged(tmp_path: Path) -> None:
    given = [page(n, n / 10, text=f"page {n}") for n in range(20)]
    out = published(given, tmp_path, ScoreFilter(min_score=1.0), annotate=True)
    assert is_run(str(out))
    assert not is_run(str(tmp_path))
    found = list(read_source(str(out)))
    assert [row.text for row in found] == [f"page {n}" for n in range(10, 20)]
    assert len({row.doc_id for row in found}) == 10
    assert found[0].url.startswith("http://e.org/10?")


def test_rows_that_are_no_documents(tmp_path: Path) -> None:
    lines = ['{"text": "long enough"}', "nothing", "[1]", '{"text": " "}', '{"text": 3}', '{"text": "x"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    left: Counter[str] = Counter()
    found = list(read_source(str(tmp_path), Columns(min_chars=2), left))
    assert [row.text for row in found] == ["long enough"]
    assert left == {"malformed": 2, "no_text": 2, "too_short": 1}


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 30)))
def test_some_rows_alone(numbers: set[int]) -> None:
    rows = [{"text": f"t {n}", "n": n} for n in range(23)]
    lines = [json.dumps(row) for row in rows]
    lines[5] = "no object"
    only = sorted(numbers)
    with TemporaryDirectory() as folder:
        pq.write_table(pa.Table.from_pylist(rows), f"{folder}/a.parquet", row_group_size=4)
        Path(folder, "b.jsonl").write_text("\n".join(lines))
        table, json_lines = list_inputs(folder, (".parquet", ".jsonl"))
        found = list(read_rows(table, ["text"], ["n"], only))
        assert found == [rows[n] for n in only if n < 23]
        assert list(read_rows(table, ["n"])) == [{"n": n} for n in range(23)]
        assert list(read_rows(json_lines, ["text"], (), only)) == [None if n == 5 else rows[n] for n in only if n < 23]
        groups = {n // 4 for n in only if n < 23}
        assert {start // 4 for start, _ in read_batches(table, ["text"], (), only)} == groups


def test_what_cannot_be_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"no column 'text'"):
        texts(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"no column 'text'"):
        texts(jsonl(tmp_path / "b.jsonl", [{"body": "x"}]))
    with pytest.raises(ConfigError, match=r"no column 'name'"):
        texts(tmp_path / "a.parquet", Columns(text=("body",), id="name"))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not")
    (tmp_path / "d.jsonl.gz").write_bytes(b"\x1f\x8b\x08 not")
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"text" * 99)[:-12])
    (tmp_path / "f.jsonl.zst").write_bytes(b"no frame")
    (tmp_path / "g.jsonl.zst").write_bytes(zstandard.compress(b'{"text": "a"}\n' * 9999)[:-5])
    pq.write_table(pa.table({"text": pa.array([b"\xff"]).view(pa.string())}), tmp_path / "h.parquet")
    for name in ("c.parquet", "d.jsonl.gz", "e.txt.gz", "f.jsonl.zst", "g.jsonl.zst", "h.parquet"):
        with pytest.raises(ConfigError, match="cannot read"):
            texts(tmp_path / name)
    with pytest.raises(ConfigError, match="does not exist"):
        texts(tmp_path / "nowhere")
