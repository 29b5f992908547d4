"""Where documents end in the streams of a mixture, as plans want to know it: from the tables of documents alone.

The step `schedule` of a run knows the same from what its first phase has counted (`SetReader.end_of`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.source import SourceSet
from tokenmill.tokens.mix.stream import Positions, Stream


class TableReader:
    """Ends of the documents of one set."""

    def __init__(self, of_set: SourceSet) -> None:
        self._set = of_set
        self._totals = lru_cache(64)(self._read_totals)

    def end_of(self, stream: Stream, position: int) -> int:
        """Where the document ends that covers a position of the stream."""
        (stretch,) = stream.stretches(position, position + 1)
        if stretch.low == stream.tokens_of(stretch.shard) - 1:
            return position + 1  # the last of a shard: nothing needs to be read
        path = str(self._set.tokens.shards[stretch.shard].documents_path)
        try:
            totals = self._totals(stretch.shard)[stream.atom]
            ends = np.cumsum(totals)
            place = int(np.searchsorted(ends, stretch.low, side="right"))
            if place == len(ends):
                raise ShardError(
                    f"{path} has fewer tokens than its set says",
                    why=f"its documents of {stream.atom.name} end at {int(totals.sum()):,}",
                    fix="copy the set again, or tokenize again",
                )
            file = pq.ParquetFile(path)
            lengths = self._lengths(file.read_row_group(place, columns=self._set.selector.columns), stream.atom)
        except (OSError, pa.ArrowException) as error:
            raise ShardError(
                f"{path} cannot be read", why=str(error), fix="copy the set again, or tokenize again"
            ) from error
        local = int(ends[place] - totals[place]) + np.cumsum(lengths)
        return stretch.start + int(local[np.searchsorted(local, stretch.low, side="right")])

    def _read_totals(self, shard: int) -> dict[Atom, Positions]:
        """Tokens of each stream in each row group of a shard."""
        file = pq.ParquetFile(self._set.tokens.shards[shard].documents_path)
        found: dict[Atom, list[int]] = {atom: [] for atom in self._set.atoms}
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=self._set.selector.columns)
            for atom, (_, tokens) in self._set.counts(table).items():
                found[atom].append(tokens)
        return {atom: np.array(tokens, np.int64) for atom, tokens in found.items()}

    def _lengths(self, table: pa.Table, atom: Atom) -> Positions:
        number = self._set.selector.atoms[atom.source].index(atom)
        mine = self._set.selector.numbers(table, atom.source, self._set.eos) == number
        lengths: Positions = (table.column("token_count").to_numpy() + self._set.eos)[mine].astype(np.int64)
        return lengths
