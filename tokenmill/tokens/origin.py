"""From any token of a shard back to its document, and from a document to its tokens.

    place = origin("out/tokens/00007.ds", 123_456_789)
    place.row["url"], place.row["warc_offset"], place.position

A lookup reads the footer of one table of documents and one of its row groups, whatever the size of the shard.
`tokens/archive.py` goes on from there to the archived record.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, ShardError, did_you_mean
from tokenmill.tokens.tokenizer import tokenizer_from
from tokenmill.tokens.tokenset import (
    MANIFEST_JSON,
    TOKENIZER_JSON,
    TOKENS_FOLDER,
    TokenSet,
    TokenShard,
    check_regular,
    local_path,
)

SEARCHED = ("id", "url", "doc_id")
"""Columns by which documents are looked for."""
_START, _COUNT = "token_start", "token_count"
_DEPTH = 2
"""Folders above a file that are asked for the manifest of its set."""


@dataclass(frozen=True)
class DocumentPlace:
    """A document in a shard."""

    tokens: TokenSet
    shard: TokenShard
    document: int
    """Its number in the shard, from 0."""
    row: Mapping[str, Any]
    """Its row of the table of documents: doc_id, id, url, dump, file_path, warc_offset, ..., tags."""

    @property
    def token_start(self) -> int:
        """Offset of its first token in the shard."""
        return int(self.row[_START])

    @property
    def token_count(self) -> int:
        """Its tokens without EOS."""
        return int(self.row[_COUNT])


@dataclass(frozen=True)
class Origin(DocumentPlace):
    """Where a token comes from."""

    offset: int
    """Of the token in the shard, in tokens."""
    token: int
    """Its id."""

    @property
    def position(self) -> int:
        """Tokens of the document before it; for EOS all of them."""
        return self.offset - self.token_start

    @property
    def is_eos(self) -> bool:
        """Whether it is the EOS behind the document."""
        return self.position == self.token_count


def origin(shard: str | Path, offset: int) -> Origin:
    """Where the token at an offset (from 0, in tokens, EOS counted) of a shard comes from.

    shard: as in `find_shard`. ConfigError where there is no such shard or offset; ShardError where files are damaged.
    """
    tokens, found = find_shard(shard)
    if not 0 <= offset < found.tokens:
        last = f"offsets go from 0 to {found.tokens - 1:,}" if found.tokens else "it has no tokens"
        raise ConfigError(
            f"shard {found.name} has no token at offset {offset:,}",
            where=str(found.path),
            why=f"{last}; they count tokens, not bytes",
        )
    document, row = _document_at(found, offset)
    eos = 0 if tokens.eos_id is None else 1
    if not row[_START] <= offset < row[_START] + row[_COUNT] + eos:
        raise ShardError(
            f"{found.documents_path.name} has no document for offset {offset:,}",
            why=f"document {document:,} has {row[_COUNT]:,} tokens from {row[_START]:,}",
            fix="copy the set again; `tokenmill tokenize --verify` says what else is damaged",
        )
    return Origin(tokens, found, document, row, offset, int(found.ids[offset]))


def find_shard(shard: str | Path) -> tuple[TokenSet, TokenShard]:
    """The shard that a path means: its file of ids, or the folder of its set and its name ("out/00007").

    ConfigError where there is none, with what could have been meant.
    """
    path = local_path(shard)
    tokens, name = _set_of(path)
    if not name:
        names = [one.name for one in tokens]
        raise ConfigError(
            f"{shard} is a token set, not one of its shards",
            fix=f"give a shard: {path / names[0]}" if names else "it has no shards at all",
        )
    for one in tokens:
        if name in (one.name, one.entry.files["tokens"]["path"]):
            return tokens, one
        if name in [file["path"] for file in one.entry.files.values()]:
            raise ConfigError(f"{path.name} does not hold tokens", fix=f"give {one.path}")
    known = [str(one.entry.files["tokens"]["path"]) for one in tokens]
    raise ConfigError(f"the token set has no shard {name!r}", where=str(tokens.folder), why=did_you_mean(name, known))


def _set_of(path: Path) -> tuple[TokenSet, str]:
    """The set that a path lies in or is, and the rest of the path, "" for the set itself."""
    place = path.absolute()
    for folder in (place, *list(place.parents)[:_DEPTH]):
        for root in (folder / TOKENS_FOLDER, folder):
            if (root / MANIFEST_JSON).is_file():
                return TokenSet.open(root), "" if place == folder else place.relative_to(folder).as_posix()
    raise ConfigError(
        f"{path} is no shard of a token set",
        why=f"there is no {MANIFEST_JSON} beside it, which appears when the last shard is complete"
        if path.exists() or path.parent.is_dir()
        else "there is no such folder",
        fix=f"give a file of ids in the folder {TOKENS_FOLDER}/ of a finished set, or the set and the shard: out/00007",
    )


def _document_at(shard: TokenShard, offset: int) -> tuple[int, dict[str, Any]]:
    """Number and row of the last document that begins at or before an offset."""
    with _table(shard) as file:
        groups = file.num_row_groups
        group = bisect_right(range(groups), offset, key=lambda number: _first_start(file, number)) - 1
        starts = file.read_row_group(max(0, group), [_START]).column(0).to_numpy()
        place = int(np.searchsorted(starts, offset, side="right")) - 1
        if group < 0 or place < 0:
            raise ShardError(
                f"{shard.documents_path.name} has no document for offset {offset:,}",
                why="its first document begins behind it",
                fix="copy the set again",
            )
        return _rows_before(file, group) + place, _row(file, group, place)


def _first_start(file: pq.ParquetFile, group: int) -> int:
    """Where the first document of a row group begins, from the statistics in the footer where it has them."""
    about = file.metadata.row_group(group)
    for number in range(about.num_columns):
        column = about.column(number)
        if column.path_in_schema == _START and column.statistics is not None and column.statistics.has_min_max:
            return int(column.statistics.min)
    return int(file.read_row_group(group, [_START]).column(0)[0].as_py())


def _rows_before(file: pq.ParquetFile, group: int) -> int:
    return sum(file.metadata.row_group(number).num_rows for number in range(group))


def _row(file: pq.ParquetFile, group: int, place: int) -> dict[str, Any]:
    (row,) = file.read_row_group(group).slice(place, 1).to_pylist()
    return dict(row)


@contextmanager
def _table(shard: TokenShard) -> Iterator[pq.ParquetFile]:
    """The open table of documents of a shard; ShardError where it is damaged or gone."""
    try:
        check_regular(shard.documents_path)
        with pq.ParquetFile(shard.documents_path) as file:
            yield file
    except (OSError, pa.ArrowException, KeyError, IndexError) as error:
        raise ShardError(
            f"{shard.documents_path} cannot be read", why=str(error), fix="copy the set again, or tokenize again"
        ) from error


def documents_where(location: str | Path, column: str, value: str) -> Iterator[DocumentPlace]:
    """Every document of a set whose `id`, `url` or `doc_id` is that value, in the order of the set.

    location: a set, or one of its shards as in `find_shard`. All tables are read, of each only that column; a mixture
    may have a document several times. ConfigError for other columns.
    """
    if column not in SEARCHED:
        raise ConfigError(f"documents are not looked for by {column!r}", why=did_you_mean(column, SEARCHED))
    tokens, name = _set_of(local_path(location))
    for shard in [find_shard(location)[1]] if name else tokens:
        with _table(shard) as file:
            before = 0
            for group in range(file.num_row_groups):
                values = file.read_row_group(group, [column]).column(0)
                for place in pc.indices_nonzero(pc.fill_null(pc.equal(values, value), False)).to_pylist():
                    yield DocumentPlace(tokens, shard, before + place, _row(file, group, place))
                before += len(values)


def text_around(place: Origin, tokens: int = 40) -> tuple[str, str, str]:
    """Text before a token, of the token itself, and after it, within its document; up to so many tokens on each side.

    A character of several tokens that is cut by that shows as U+FFFD. ConfigError where the set's tokenizer is gone
    or another one.
    """
    path = place.tokens.folder / TOKENIZER_JSON
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", why=str(error), fix="copy the set again") from error
    if hashlib.sha256(data).hexdigest() != place.tokens.manifest.tokenizer.sha256:
        raise ConfigError(
            f"{path} is not the tokenizer of the set", why="its SHA-256 differs from that of the manifest"
        )
    tokenizer = tokenizer_from(data, str(path))
    first = max(place.token_start, place.offset - tokens)
    behind = min(place.offset + 1 + tokens, place.token_start + place.token_count)
    ids = place.shard.ids

    def decoded(start: int, stop: int) -> str:
        return tokenizer.decode(ids[start:stop].tolist(), skip_special_tokens=False) if start < stop else ""

    def continued(text: str, cut: int, stop: int) -> str:
        # spaces between tokens are seen only where both are decoded together
        longer = decoded(first, stop)
        return longer[len(text) :] if longer.startswith(text) else decoded(cut, stop)

    before = decoded(first, place.offset)
    token = continued(before, place.offset, place.offset + 1)
    after = continued(before + token, place.offset + 1, behind) if behind > place.offset + 1 else ""
    return before, token, after
