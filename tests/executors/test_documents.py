"""Which columns documents have, looked up before anything is read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.executors.documents import check_columns, documents_of

WHOLE = {"text": "some text", "uuid": "one"}
BARE = {"text": "some text"}


def check(place: Path, *, text: str = "text", identity: str = "id", named: tuple[str, ...] = ()) -> bool:
    _, inputs, source = documents_of(str(place), (), text_column=text, id_column=identity)
    return check_columns(inputs, source, named=named, where="arm a")


def write(place: Path, kind: str, *rows: Mapping[str, Any]) -> None:
    """A file for each row."""
    for number, row in enumerate(rows):
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist([dict(row)]), place / f"{number}.parquet")
        else:
            (place / f"{number}.jsonl").write_text("no object\n" + json.dumps(row) + "\n")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_column_of_ids_that_was_asked_for_must_be_in_every_file(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind, WHOLE, BARE)
    with pytest.raises(ConfigError, match=rf"1.{kind} has no column 'uuid'[\s\S]*arm a[\s\S]*id_column: NAME"):
        check(tmp_path, identity="uuid", named=("id_column",))
    assert not check(tmp_path, identity="uuid")
    assert not check(tmp_path)
    assert not check(tmp_path / f"0.{kind}")
    assert check(tmp_path / f"0.{kind}", identity="uuid", named=("id_column",))


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_column_of_text_must_be_there(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind, {"body": "some text", "id": "1"}, {"body": "more", "id": "2"})
    with pytest.raises(ConfigError, match=rf"0.{kind} has no column 'text'[\s\S]*body[\s\S]*text_column: NAME"):
        check(tmp_path)
    assert check(tmp_path, text="body")


def test_a_file_of_json_lines_may_have_no_text(tmp_path: Path) -> None:
    """Keys of null are often left out; a Parquet file has a column or not."""
    write(tmp_path, "jsonl", {"id": "1"}, {"id": "2", **BARE})
    assert check(tmp_path)
    write(tmp_path, "parquet", {"id": "1", **BARE}, {"id": "2"})
    with pytest.raises(ConfigError, match=r"1.parquet has no column 'text'"):
        check(Path(f"{tmp_path}/*.parquet"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "parquet", WHOLE, WHOLE)
    (tmp_path / "1.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ConfigError, match=r"1.parquet cannot be read as Parquet[\s\S]*leaves it out"):
        check(tmp_path)
    lines = tmp_path / "lines"
    lines.mkdir()
    (lines / "empty.jsonl").write_text("")
    (lines / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(WHOLE).encode() * 99)[:40])
    assert check(lines)  # nothing is known of them; the run tells what is wrong
