from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import ReadParquet, WriteParquet, verify_parquet


def read_all(source: Any, path: Path) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
    skipped: list[tuple[str, int]] = []

    def skip(reason: str, **known: Any) -> None:
        skipped.append((reason, known["offset"]))

    shard = InputShard(str(path), path.name, path.stat().st_size, "")
    rows = [row for batch in source.read(shard, skip) for row in batch.to_pylist()]
    return rows, skipped


def test_jsonl_keeps_good_lines_and_counts_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    lines = [
        json.dumps({"text": "one", "id": "x", "url": "u", "language": "en"}),
        "{broken",
        "[1]",
        json.dumps({"text": ""}),
        json.dumps({"url": "no text"}),
        json.dumps({"text": "nul\0 and \ud800 surrogate", "date": 2024}),
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    rows, skipped = read_all(ReadJsonl(), path)
    assert [(row["doc_id"], row["id"], row["text"]) for row in rows] == [
        ("a.jsonl.gz#0", "x", "one"),
        ("a.jsonl.gz#5", "a.jsonl.gz#5", "nul and ? surrogate"),
    ]
    assert rows[1]["date"] == "2024"
    assert skipped == [("malformed", 1), ("malformed", 2), ("empty", 3), ("empty", 4)]


def test_parquet_round_trip_through_sink_and_source(tmp_path: Path) -> None:
    schema = pa.schema([("text", pa.string()), ("id", pa.string()), ("score", pa.float64())])
    path = tmp_path / "a.parquet"
    writer = WriteParquet(row_group_rows=3).open({"data": str(path)}, schema)
    for start in range(0, 10, 2):
        rows = [{"text": f"t{i}", "id": f"i{i}", "score": i / 2} for i in range(start, start + 2)]
        writer.write(pa.RecordBatch.from_pylist(rows, schema=schema))
    writer.close()
    metadata = pq.read_metadata(path)
    assert metadata.num_rows == 10
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert metadata.row_group(0).column(0).has_offset_index
    rows, skipped = read_all(ReadParquet(signals=("score",)), path)
    assert [(row["text"], row["id"], row["score"]) for row in rows] == [(f"t{i}", f"i{i}", i / 2) for i in range(10)]
    assert skipped == []
    assert rows[0]["file_path"] == "a.parquet"


def test_parquet_without_the_text_column_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"content": ["x"]}), path)
    with pytest.raises(ShardError, match="no column 'text'") as caught:
        read_all(ReadParquet(), path)
    assert "read_parquet.text_column" in str(caught.value)
    rows, _ = read_all(ReadParquet(text_column="content"), path)
    assert rows[0]["text"] == "x"


def test_verification_finds_a_short_or_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x", "y"]}), path)
    verify_parquet(str(path), 2)
    with pytest.raises(ShardError, match="holds 2 rows, 3 were written"):
        verify_parquet(str(path), 3)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ShardError, match="cannot be read back"):
        verify_parquet(str(path), 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_any_text_survives_json_parquet_and_duckdb(tmp_path: Path, texts: list[str]) -> None:
    source = tmp_path / "t.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rows, skipped = read_all(ReadJsonl(), source)
    expected = [text.encode("utf-8", "replace").decode().replace("\0", "") for text in texts]
    expected = [text for text in expected if text]
    assert [row["text"] for row in rows] == expected
    assert len(skipped) == len(texts) - len(expected)
    if rows:
        target = tmp_path / f"{uuid.uuid4().hex}.parquet"  # DuckDB caches by path and time of change
        writer = WriteParquet().open({"data": str(target)}, pa.schema([("text", pa.string())]))
        writer.write(pa.RecordBatch.from_pylist([{"text": row["text"]} for row in rows]))
        writer.close()
        found = duckdb.sql(f"select text from read_parquet('{target}')").fetchall()
        assert [row[0] for row in found] == expected


def test_inputs_are_listed_sorted_by_name_and_recursively(tmp_path: Path) -> None:
    for name in ("b.jsonl", "sub/a.jsonl", "a.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    names = [shard.name for shard in list_inputs(str(tmp_path), ReadJsonl.suffixes)]
    assert names == ["a.jsonl", "b.jsonl", "sub/a.jsonl"]
    assert [s.name for s in list_inputs(str(tmp_path / "notes.txt"), ReadJsonl.suffixes)] == ["notes.txt"]
    assert [s.name for s in list_inputs(str(tmp_path / "*.jsonl"), ())] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(("where", "message"), [("none", "does not exist"), ("*.none", "no file matches")])
def test_missing_inputs_are_clear_errors(tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list_inputs(str(tmp_path / where), (".jsonl",))


def test_a_folder_without_inputs_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"of 1 files below it none ends in \.jsonl"):
        list_inputs(str(tmp_path), (".jsonl",))
