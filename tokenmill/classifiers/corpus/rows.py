"""Documents of anything that holds texts: a finished run, Parquet, JSON Lines, plain text."""

from __future__ import annotations

import bisect
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.classifiers.published import Published
from tokenmill.core.errors import ConfigError, ShardError, did_you_mean
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.io.jsonl import ReadJsonl, open_inflated
from tokenmill.io.runfolder import RunFolder

TEXTS = (".txt", ".txt.gz", ".txt.zst")
"""Endings of plain text."""
JSON = (*ReadJsonl.suffixes, ".json")
SUFFIXES = (".parquet", *JSON, *TEXTS)
_ID = "id"
_ROWS = 256
_LONGEST = 64 << 20
"""Bytes of plain text that are read of one file as one document."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a document stands in a row."""

    text: tuple[str, ...] = ("text",)
    """Columns whose texts are joined by a newline, such as question and answer. `conversations.value`: the field of
    each element of a list, or of a structure."""
    id: str = _ID
    """Column with the identifier; where it is null, or there is no `id`, `<file>#<row>` is used."""
    url: str = "url"
    """Column with the address."""
    lines: bool = False
    """Of plain text: each line is a document; else each file is one."""
    min_chars: int = 1
    """Shorter texts are left out, as are texts of spaces only. Characters."""


PLAIN = Columns()
"""As a run publishes its documents."""


@dataclass(frozen=True, slots=True)
class Row:
    """One document."""

    text: str
    doc_id: str
    url: str
    source: str
    """The location that it was read from."""


def read_source(location: str, columns: Columns = PLAIN, left_out: Counter[str] | None = None) -> Iterator[Row]:
    """All usable documents of a run (without those that its filters have judged), a file, a folder or a pattern.

    left_out: counts rows that are no documents: malformed, no_text, too_short. ConfigError where the location or a
    column is missing, or a file cannot be read.
    """
    skipped: Counter[str] = Counter() if left_out is None else left_out
    for name, number, row in _numbered(location, columns):
        if row is None:
            skipped["malformed"] += 1
            continue
        text = valid_text("\n".join(part for path in columns.text for part in texts_at(row, path)))
        if not text.strip():
            skipped["no_text"] += 1
            continue
        if len(text) < columns.min_chars:
            skipped["too_short"] += 1
            continue
        identifier, url = row.get(columns.id), row.get(columns.url)
        yield Row(
            text,
            f"{name}#{number}" if identifier in (None, "") else valid_text(str(identifier)),
            valid_text(url) if isinstance(url, str) else "",
            location,
        )


def is_run(location: str) -> bool:
    """Whether a location is the folder of a run."""
    file = any(char in location for char in "*?[") or location.endswith(SUFFIXES)
    return not file and RunFolder(location).exists("run.json")


def texts_at(value: Any, path: str) -> Iterator[str]:
    """The strings at a path such as `conversations.value`: of a structure its field, of a list all its elements."""
    if isinstance(value, str):
        if not path and value:
            yield value
    elif isinstance(value, Mapping):
        head, _, rest = path.partition(".")
        if path in value:
            yield from texts_at(value[path], "")
        elif head in value:
            yield from texts_at(value[head], rest)
    elif isinstance(value, Sequence):
        for one in value:
            yield from texts_at(one, path)


def valid_text(text: str) -> str:
    """The text as UTF-8 can hold it: JSON can spell lone surrogates, which become question marks."""
    return text.encode("utf-8", "replace").decode()


def read_rows(
    shard: InputShard, needed: Sequence[str], more: Sequence[str] = (), only: Sequence[int] | None = None
) -> Iterator[dict[str, Any] | None]:
    """The rows of a Parquet or JSON Lines file; None for a line that is no object. Empty lines are no rows.

    needed: columns that must be there; more: others that are read where they are there. Of `a.b` the column is `a`,
    unless one has that name. only: numbers of rows from 0, rising: these alone, as far as the file has them; the other
    row groups are not read, and the other lines not parsed. ConfigError where the file cannot be read.
    """
    with reading(shard):
        if not shard.name.endswith(".parquet"):
            yield from _jsonl(shard, needed, only)
            return
        for start, batch in read_batches(shard, needed, more, only):
            if only is None:
                yield from batch.to_pylist()
            else:
                here = only[bisect.bisect_left(only, start) : bisect.bisect_left(only, start + batch.num_rows)]
                yield from batch.take([number - start for number in here]).to_pylist() if here else ()


def read_batches(
    shard: InputShard, needed: Sequence[str], more: Sequence[str] = (), only: Sequence[int] | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of its first row, batch) of a Parquet file, a few hundred rows at a time; arguments of `read_rows`.

    only: the row groups that hold one of these rows, whole. ConfigError where the file cannot be read.
    """
    with reading(shard), open_input(shard) as stream:
        file = pq.ParquetFile(stream)
        wanted = _wanted(file.schema_arrow.names, needed, more, shard.path)
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            if only is None or bisect.bisect_left(only, start) < bisect.bisect_left(only, end):
                number = start
                for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group], columns=wanted):
                    yield number, batch
                    number += batch.num_rows
            start = end


@contextmanager
def reading(shard: InputShard) -> Iterator[None]:
    """ConfigError for what goes wrong while a file is read."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, ShardError) as error:
        raise ConfigError(
            f"cannot read {shard.name}",
            where=shard.path,
            why=f"{type(error).__name__}: {error}",
            fix="look at the file, or leave it out",
        ) from error


def _numbered(location: str, columns: Columns) -> Iterator[tuple[str, int, dict[str, Any] | None]]:
    """(name of the file, number of the row, row)."""
    needed = [*columns.text, *([columns.id] if columns.id != _ID else [])]
    if is_run(location):
        yield from _published(location, needed, columns)
        return
    for shard in list_inputs(location, SUFFIXES):
        if shard.name.endswith(TEXTS):
            name = columns.text[0]  # plain text has no columns: it is the text, whatever that is called
            yield from ((shard.name, number, {name: text}) for number, text in enumerate(_plain(shard, columns)))
            continue
        for number, row in enumerate(read_rows(shard, needed, (columns.id, columns.url))):
            yield shard.name, number, row


def _published(location: str, needed: Sequence[str], columns: Columns) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Rows of the documents that a run has kept; numbers are those of the documents of all its files."""
    run = Published.open(location)
    number = 0
    for part in run.parts(()):
        wanted = _wanted(sorted(part.names), needed, (columns.id, columns.url), location)
        values = {name: part.column(name).to_pylist() for name in wanted}
        for row in range(part.rows):
            yield "data", number, {name: column[row] for name, column in values.items()}
            number += 1


def _jsonl(shard: InputShard, needed: Sequence[str], only: Sequence[int] | None) -> Iterator[dict[str, Any] | None]:
    """Rows; the first object of a file tells whether the columns are there."""
    checked = False
    with open_inflated(shard) as stream:
        for line in _chosen((line for line in stream if line.strip()), only):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict) and not checked:
                checked = True
                _wanted(sorted(value), needed, (), shard.path)
            yield value if isinstance(value, dict) else None


def _chosen(lines: Iterator[bytes], only: Sequence[int] | None) -> Iterator[bytes]:
    if only is None:
        yield from lines
        return
    numbers = iter(only)
    wanted = next(numbers, None)
    for number, line in enumerate(lines):
        if wanted is None:
            return
        if number == wanted:
            yield line
            wanted = next(numbers, None)


def _plain(shard: InputShard, columns: Columns) -> Iterator[str]:
    with reading(shard), open_inflated(shard) as stream:
        if columns.lines:
            for line in stream:
                yield line.decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r\n")
        else:
            yield stream.read(_LONGEST).decode("utf-8-sig", "replace")


def _wanted(names: Sequence[str], needed: Sequence[str], more: Sequence[str], where: str) -> list[str]:
    """The columns to read. ConfigError where one that is needed is missing."""
    found = []
    for path in needed:
        name = path if path in names else path.partition(".")[0]
        if name not in names:
            raise ConfigError(
                f"there is no column {name!r}",
                where=where,
                why=did_you_mean(name, names),
                fix="name a column that is there, such as --text-column body",
            )
        found.append(name)
    return list(dict.fromkeys([*found, *(name for name in more if name in names)]))
