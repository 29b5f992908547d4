"""Texts to measure a model on: reading them from files, and cutting long ones into blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.io.jsonl import open_inflated

BLOCK = 2048
"""Characters of a block, about: long enough to be little disturbed by its neighbours, short enough that 100 kB of text
are a sample to draw from again."""
_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson")
SUFFIXES = (".txt", ".txt.gz", ".txt.zst", ".parquet", *_LINES)
_PLACES = (re.compile(r"(?<=\S)(?= [^\W\d_])"), re.compile(r"(?<=\n)(?=\S)"))
"""Where tokenizers begin a word anyway, so that a cut changes no id: before a space and a letter; else at the beginning
of a line."""


def read_text(location: str | Path, *, text_column: str = "text") -> list[str]:
    """The documents of a file, a folder or a pattern: each `.txt` is one, each row of Parquet or line of JSON another.

    Empty documents are left out. ConfigError where nothing is found, or a file is damaged or no such thing.
    """
    found: list[str] = []
    for shard in list_inputs(str(location), SUFFIXES):
        found.extend(text for text in _documents(shard, text_column) if text)
    if not found:
        raise ConfigError(f"there is no text in {location}", fix="give a .txt, .jsonl or .parquet file that has some")
    return found


def _documents(shard: InputShard, column: str) -> Iterator[str]:
    name = shard.path.partition("?")[0]
    try:
        if name.endswith(".parquet"):
            yield from _of_parquet(shard, column)
        elif name.endswith(_LINES):
            with open_inflated(shard) as stream:
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield _of_line(line, column, number)
        else:
            with open_inflated(shard) as stream:
                yield stream.read().decode()
    except (ValueError, RecursionError, OSError, EOFError, pa.ArrowException) as error:
        raise ConfigError(
            f"{shard.path} cannot be read",
            why=f"{type(error).__name__}: {error}",
            fix=f"give UTF-8 text, or Parquet or JSON Lines with the column {column!r}",
        ) from error


def _of_parquet(shard: InputShard, column: str) -> Iterator[str]:
    with open_input(shard) as stream:
        file = pq.ParquetFile(stream)
        if column not in file.schema_arrow.names:
            raise ValueError(f"it has no column {column!r}, but {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(columns=[column]):
            yield from (text for text in batch.column(0).to_pylist() if text is not None)


def _of_line(line: bytes, column: str, number: int) -> str:
    row: Any = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get(column), str):
        raise ValueError(f"line {number} has no text {column!r}")
    text: str = row[column]
    text.encode()  # a lone surrogate is a ValueError
    return text


def cut_off(documents: Iterable[str], max_bytes: int | None) -> Iterator[str]:
    """The first documents, up to so many bytes of UTF-8; the last of them is cut between two characters."""
    left = max_bytes
    for text in documents:
        if left is None:
            yield text
            continue
        size = len(text.encode())
        if size > left:
            text = text.encode()[:left].decode(errors="ignore")
        left -= size
        if text:
            yield text
        if left <= 0:
            return


def blocks(text: str, size: int = BLOCK) -> Iterator[str]:
    """The text in pieces of about `size` characters (up to 1.5 times that), cut where a tokenizer begins a word."""
    start = 0
    while len(text) - start > size * 3 // 2:
        usual, last = start + size, start + size + size // 4
        places = (pattern.search(text, usual, last) for pattern in _PLACES)
        cut = next((place.start() for place in places if place), usual)
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]
