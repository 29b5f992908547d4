"""Texts from files, and their blocks."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.evaluate.support import ids_of
from tokenmill.core.errors import ConfigError
from tokenmill.train.evaluate.texts import blocks, cut_off, read_text

TEXTS = ["First text.\r\nWith two lines.\n", "", "Zweiter, mit Ümlaut \U0001f600\0."]


def test_reading(tmp_path: Path) -> None:
    kept = [text for text in TEXTS if text]
    (tmp_path / "a.txt").write_bytes(TEXTS[0].encode())
    assert read_text(tmp_path / "a.txt") == [TEXTS[0]]
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(TEXTS[2].encode()))
    assert read_text(tmp_path) == kept
    rows = tmp_path / "c.jsonl"
    rows.write_text("\n".join(json.dumps({"text": text, "body": "x"}) for text in TEXTS) + "\n\n")
    assert read_text(rows) == kept
    assert read_text(rows, text_column="body") == ["x"] * 3
    pq.write_table(pa.table({"text": [*TEXTS, None]}), tmp_path / "d.parquet")
    assert read_text(tmp_path / "d.parquet") == kept


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"\xff", "UnicodeDecodeError"),
        ("a.txt", b"", "there is no text"),
        ("a.txt.gz", gzip.compress(b"x" * 99, mtime=0)[:-9], "cannot be read"),
        ("a.jsonl", b'{"text": "a"}\n{"texts": 1}', "line 2 has no text 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}', "surrogates not allowed"),
        ("a.jsonl", b"{", "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_text(tmp_path / name)


def test_a_parquet_file_without_the_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="no column 'text', but body"):
        read_text(tmp_path / "a.parquet")


@given(st.text(), st.integers(1, 40))
def test_blocks_are_the_text(text: str, size: int) -> None:
    found = list(blocks(text, size))
    assert "".join(found) == text
    assert all(0 < len(piece) <= size * 3 / 2 + 1 for piece in found)


def test_blocks_of_prose_keep_its_ids() -> None:
    text = " ".join(
        f"The {word}, one of {number * 37} that they had;\nso it is." for number, word in enumerate("abcde" * 9)
    )
    found = list(blocks(text, 60))
    assert len(found) > 20
    assert [one for piece in found for one in ids_of(piece)] == ids_of(text)


@given(st.lists(st.text(), max_size=5), st.integers(1, 30))
def test_the_first_bytes(texts: list[str], most: int) -> None:
    whole, found = "".join(texts).encode(), "".join(cut_off(texts, most)).encode()
    assert whole.startswith(found)
    assert min(len(whole), most) - 3 <= len(found) <= most
    assert list(cut_off(texts, None)) == texts
