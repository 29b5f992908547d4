"""Streams: the documents of one part of a source, one behind the other, epoch after epoch.

Positions are tokens, EOS included, from 0 on without end: epoch e of a stream of U tokens is [e * U, (e + 1) * U). In
epoch 0 documents are in the order of the set; later ones take its shards in other orders.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.source import SourceSet
from tokenmill.tokens.order import document_keys
from tokenmill.tokens.tokenset import TokenShard

CACHE_BYTES = 192 << 20
"""Rows of tables of documents that a process keeps, of all sets: a window ends inside a row group of every stream."""
MAPPED_SHARDS = 4
"""Shards of a set that are mapped at once."""
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """The documents of a shard that begin at [low, high) of the stream's tokens in it."""

    epoch: int
    shard: int
    low: int
    high: int
    start: int
    """Position in the stream of the shard's first token."""


class Stream:
    """Where the shards of a set lie in a stream."""

    def __init__(self, atom: Atom, names: Sequence[str], tokens: Sequence[int], seed: int, documents: int = 0) -> None:
        """names, tokens: of each shard of the set, what it has of this stream, EOS included. documents: of all."""
        self.atom = atom
        self.unique = sum(tokens)
        self.documents = documents
        self._names = list(names)
        self._tokens = np.array(tokens, np.int64)
        self._seed = seed
        self._layout = lru_cache(4)(self._lay_out)

    def tokens_of(self, shard: int) -> int:
        """What a shard has of it."""
        return int(self._tokens[shard])

    def _lay_out(self, epoch: int) -> tuple[npt.NDArray[np.int64], Positions]:
        """(shards in their order, where each ends) in an epoch."""
        order = np.arange(len(self._names))
        if epoch:
            keys = document_keys(self._seed, [f"epoch {epoch} {name}" for name in self._names])
            order = np.argsort(np.array(keys, np.int64), kind="stable")
        return order, np.cumsum(self._tokens[order])

    def stretches(self, low: int, high: int) -> Iterator[Stretch]:
        """What lies at the positions [low, high), in order."""
        epoch = low // self.unique if self.unique else 0
        while low < high and self.unique:
            base = epoch * self.unique
            stop = min(high, base + self.unique)
            order, ends = self._layout(epoch)
            first, last = np.searchsorted(ends, [low - base, stop - base - 1], side="right")
            for place in range(int(first), int(last) + 1):
                shard = int(order[place])
                size = int(self._tokens[shard])
                start = base + int(ends[place]) - size
                if size:
                    yield Stretch(epoch, shard, max(0, low - start), min(size, stop - start), start)
            low, epoch = stop, epoch + 1


@dataclass(frozen=True)
class Documents:
    """Documents of a stretch that lie in one row group."""

    rows: pa.Table
    positions: Positions
    """Of their first tokens in the stream."""
    starts: Positions
    """The same among the ids of the shard."""
    lengths: Positions
    """Tokens with EOS."""
    ids: npt.NDArray[Any]
    """Of the whole shard, mapped."""
    epoch: int


@dataclass(frozen=True)
class _Group:
    """A row group in memory."""

    rows: pa.Table
    numbers: Mapping[str, npt.NDArray[np.int64]]
    starts: Positions
    lengths: Positions


class SetReader:
    """Reads documents of streams from one set, with what phase one has counted as the index."""

    def __init__(self, of_set: SourceSet, counts: Mapping[str, str], cache_bytes: int = CACHE_BYTES) -> None:
        """counts: shard -> the Parquet file with `COUNTS` of it."""
        self._set = of_set
        self._counts = counts
        self._groups: OrderedDict[tuple[int, int], _Group] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._totals = lru_cache(64)(self._read_totals)
        self._ids = lru_cache(MAPPED_SHARDS)(self._map)

    def _map(self, shard: int) -> npt.NDArray[Any]:
        """The ids of a shard. A map that is no longer used gives its memory back, so they are not kept for good."""
        tokens = self._set.tokens
        return TokenShard(tokens.folder, tokens.manifest.shards[shard], tokens.manifest).ids

    def _read_totals(self, shard: int) -> dict[str, Positions]:
        """Stream -> its tokens in each row group of a shard."""
        table = pq.read_table(self._counts[self._set.tokens.shards[shard].name])
        streams = table.column("stream").to_numpy(zero_copy_only=False)
        tokens = table.column("token_total").to_numpy()
        return {atom.name: tokens[streams == atom.name] for atom in self._set.atoms}

    def _group(self, shard: int, group: int) -> _Group:
        if (shard, group) in self._groups:
            self._groups.move_to_end((shard, group))
            return self._groups[shard, group]
        path = self._set.tokens.shards[shard].documents_path
        try:
            rows = pq.ParquetFile(path).read_row_group(group)
        except (OSError, pa.ArrowException) as error:
            raise ShardError(f"{path} cannot be read", why=str(error), fix="copy the set again") from error
        numbers = {
            source: self._set.selector.numbers(rows, source, self._set.eos) for source in self._set.selector.sources
        }
        lengths = rows.column("token_count").to_numpy().astype(np.int64) + self._set.eos
        found = _Group(rows, numbers, rows.column("token_start").to_numpy(), lengths)
        self._groups[shard, group] = found
        while len(self._groups) > 1 and sum(kept.rows.nbytes for kept in self._groups.values()) > self._cache_bytes:
            self._groups.popitem(last=False)
        return found

    def documents(self, atom: Atom, stretch: Stretch) -> Iterator[Documents]:
        """The documents of a stretch of the stream, in order."""
        shard = self._set.tokens.shards[stretch.shard]
        totals = self._totals(stretch.shard)[atom.name]
        ends = np.cumsum(totals)
        number = self._set.selector.atoms[atom.source].index(atom)
        for place in np.flatnonzero((ends > stretch.low) & (ends - totals < stretch.high) & (totals > 0)).tolist():
            group = self._group(stretch.shard, place)
            mine = np.flatnonzero(group.numbers[atom.source] == number)
            lengths = group.lengths[mine]
            have, counted = int(lengths.sum()), int(totals[place])
            if have != counted:
                raise ShardError(
                    f"{shard.documents_path} is not what it was when it was counted",
                    why=f"row group {place} has {have:,} tokens of {atom.name}, not {counted:,}",
                    fix="put the old file back, or begin a new mixture in another --output",
                )
            local = int(ends[place] - totals[place]) + np.cumsum(lengths) - lengths
            inside = (local >= stretch.low) & (local < stretch.high)
            taken = mine[inside]
            if len(taken):
                yield Documents(
                    rows=group.rows.take(pa.array(taken)),
                    positions=local[inside] + stretch.start,
                    starts=group.starts[taken],
                    lengths=lengths[inside],
                    ids=self._ids(stretch.shard),
                    epoch=stretch.epoch,
                )

    def end_of(self, stream: Stream, position: int) -> int:
        """Where the document ends that covers a position of the stream."""
        (stretch,) = stream.stretches(position, position + 1)
        totals = self._totals(stretch.shard)[stream.atom.name]
        ends = np.cumsum(totals)
        place = int(np.searchsorted(ends, stretch.low, side="right"))
        before = int(ends[place] - totals[place])
        whole = Stretch(stretch.epoch, stretch.shard, before, stretch.high, stretch.start)
        last = list(self.documents(stream.atom, whole))[-1]
        return int(last.positions[-1] + last.lengths[-1])
