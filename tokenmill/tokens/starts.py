"""Where documents begin in shards: looked up from the tables of documents, in bounded memory.

Sequences are read at random places of a set, so what is looked up lies in any shard. Where the starts of all documents
fit into memory (`KEPT_BYTES`), each table is read once; else the row groups that are needed, and the last ones stay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.tokens.tokenset import TokenShard, check_regular

Numbers = npt.NDArray[np.int64]

KEPT_BYTES = 256 << 20
"""Memory for starts, 8 bytes a document: 33 million documents, some 20 billion tokens of the web."""
_START = "token_start"


class _Groups(NamedTuple):
    """The row groups of a table that have rows."""

    numbers: list[int]
    """In the file."""
    rows: Numbers
    """Documents before each, and their count."""
    starts: Numbers
    """Where the first document of each begins, and the tokens of the shard."""


class DocumentStarts:
    """Document starts of some shards. Two threads may ask at once; nothing is locked, for processes may be forked."""

    def __init__(self, shards: Sequence[TokenShard], kept_bytes: int = KEPT_BYTES) -> None:
        self._shards = shards
        self._kept_bytes = kept_bytes
        self._fits = sum(shard.documents_count + 1 for shard in shards) * 8 <= kept_bytes
        self._tables: dict[int, Numbers] = {}
        self._groups: dict[int, _Groups] = {}
        self._chunks: OrderedDict[tuple[int, int], Numbers] = OrderedDict()
        self._largest = 8
        """Bytes of the largest chunk that was read."""

    def whole(self, number: int) -> Numbers:
        """Starts of all documents of a shard, and its tokens; ShardError where the table does not fit its shard.

        Not kept: who asks for all shards one after the other needs each once.
        """
        known = self._tables.get(number)
        return known if known is not None else self._read(number)

    def between(self, number: int, low: int, high: int) -> Numbers:
        """`whole(number)[low:high]`."""
        if self._fits:
            return self._kept(number)[low:high]
        shard, groups = self._shards[number], self._groups_of(number)
        if low >= high:
            return np.zeros(0, np.int64)
        first = int(np.searchsorted(groups.rows, low, side="right")) - 1
        last = int(np.searchsorted(groups.rows, high, side="left"))
        parts = self._chunks_of(number, range(max(first, 0), min(last, len(groups.numbers))))
        before = int(groups.rows[first]) if parts else shard.documents_count
        joined = np.concatenate([*parts, groups.starts[-1:]])
        return joined[low - before : high - before]

    def document_at(self, number: int, position: int) -> int:
        """The last document of a shard that begins at or before a position among its ids."""
        if self._fits:
            return int(np.searchsorted(self._kept(number), position, side="right")) - 1
        groups = self._groups_of(number)
        group = int(np.searchsorted(groups.starts[:-1], position, side="right")) - 1
        (chunk,) = self._chunks_of(number, range(group, group + 1))
        return int(groups.rows[group]) + int(np.searchsorted(chunk, position, side="right")) - 1

    def _kept(self, number: int) -> Numbers:
        known = self._tables.get(number)
        if known is None:
            known = self._tables[number] = self._read(number)
        return known

    def _read(self, number: int) -> Numbers:
        shard = self._shards[number]
        starts = np.append(_numbers(shard.documents([_START]), shard), shard.tokens)
        if len(starts) - 1 != shard.documents_count or starts[0] != 0 or (np.diff(starts) < 0).any():
            raise _unfit(shard, f"its {len(starts) - 1} documents must be {shard.documents_count}")
        return starts

    def _groups_of(self, number: int) -> _Groups:
        """The row groups of a shard's table, from its footer."""
        known = self._groups.get(number)
        if known is None:
            shard = self._shards[number]
            with _opened(shard) as file:
                known = _groups(file, shard)
            if known.rows[-1] != shard.documents_count or known.starts[0] != 0 or (np.diff(known.starts) < 0).any():
                raise _unfit(shard, f"its {known.rows[-1]} documents must be {shard.documents_count}")
            self._groups[number] = known
        return known

    def _chunks_of(self, number: int, groups: range) -> list[Numbers]:
        """Starts of these row groups (places in `_Groups`), read where they are not in memory."""
        kept = {group: self._chunks.get((number, group)) for group in groups}
        found = {group: chunk for group, chunk in kept.items() if chunk is not None}
        missing = [group for group in groups if group not in found]
        if missing:
            shard, about = self._shards[number], self._groups_of(number)
            with _opened(shard) as file:
                for group in missing:
                    chunk = _numbers(file.read_row_group(about.numbers[group], [_START]), shard)
                    ends = np.append(chunk, about.starts[group + 1])
                    if chunk[0] != about.starts[group] or (np.diff(ends) < 0).any():
                        raise _unfit(shard, f"row group {about.numbers[group]} is not in order")
                    found[group] = chunk
        for group in groups:
            self._keep((number, group), found[group])
        return [found[group] for group in groups]

    def _keep(self, key: tuple[int, int], chunk: Numbers) -> None:
        """Keep a chunk, and let go of those that were not asked for longest."""
        self._largest = max(self._largest, chunk.nbytes)
        self._chunks.pop(key, None)
        self._chunks[key] = chunk
        while len(self._chunks) * self._largest > self._kept_bytes and len(self._chunks) > 1:
            self._chunks.popitem(last=False)


def _groups(file: pq.ParquetFile, shard: TokenShard) -> _Groups:
    about = file.metadata
    counts = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    numbers = [number for number, count in enumerate(counts) if count]
    rows = np.cumsum([0, *(counts[number] for number in numbers)], dtype=np.int64)
    column = file.schema_arrow.names.index(_START)
    if not pa.types.is_integer(file.schema_arrow.types[column]):
        raise _unfit(shard, f"its column {_START} has no whole numbers")
    leaf = next(n for n in range(about.num_columns) if about.schema.column(n).path == _START)
    seen = [about.row_group(number).column(leaf).statistics for number in numbers]
    if all(one is not None and one.has_min_max for one in seen):
        firsts = np.array([one.min for one in seen], np.int64)
    else:  # of another writer
        firsts = _numbers(file.read([_START]), shard)[rows[:-1]]
    # where there are no documents, the one boundary is 0
    starts = np.append(firsts, shard.tokens) if numbers else np.array([shard.tokens], np.int64)
    return _Groups(numbers, rows, starts)


def _numbers(table: pa.Table, shard: TokenShard) -> Numbers:
    try:
        column = table.column(0).cast(pa.int64())
    except (pa.ArrowException, IndexError) as error:
        raise _unfit(shard, str(error)) from error
    if column.null_count:
        raise _unfit(shard, f"its column {_START} has nulls")
    numbers: Numbers = column.to_numpy()
    return numbers


@contextmanager
def _opened(shard: TokenShard) -> Iterator[pq.ParquetFile]:
    try:
        check_regular(shard.documents_path)
        with pq.ParquetFile(shard.documents_path) as file:
            yield file
    except (OSError, pa.ArrowException, ValueError, KeyError, IndexError, StopIteration) as error:
        raise ShardError(
            f"{shard.documents_path} cannot be read", why=str(error), fix="copy the set again, or tokenize again"
        ) from error


def _unfit(shard: TokenShard, why: str) -> ShardError:
    return ShardError(
        f"{shard.documents_path} does not fit its shard",
        why=f"{why}, and documents follow each other from 0 on",
        fix="copy the set again, or tokenize again",
    )
