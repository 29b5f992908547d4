"""Documents that are in two sources of a mixture, within a set and between sets.

Within a set the same row counts. Between sets a document is known by its id and URL together, and where the sets are
large, only a share of all documents is compared: the same in every set, chosen by a hash of the id.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.tokens.mix.source import SourceSet
from tokenmill.tokens.mix.spec import Mixture
from tokenmill.tokens.order import document_keys

SAMPLE = 400_000
"""Documents of all sets together that are compared between sets, about."""
KEY_COLUMNS = ("id", "url")
Pair = tuple[str, str]


@dataclass(frozen=True)
class Overlap:
    """Two sources of a stage that share documents."""

    sources: Pair
    documents: int
    estimated: bool
    """From a sample of documents."""


def pairs_of(mixture: Mixture, names: Collection[str]) -> list[Pair]:
    """Pairs of these sources that some stage takes both of."""
    together: set[Pair] = set()
    for stage in mixture.stages:
        taken = [name for name in mixture.sources if not stage.weights or stage.weights.get(name)]
        together.update(itertools.combinations(taken, 2))
    order = [name for name in mixture.sources if name in names]
    return [pair for pair in itertools.combinations(order, 2) if pair in together]


def sampled_share(mixture: Mixture, sets: Sequence[SourceSet]) -> float:
    """The share of documents that is compared between sets; 0 where there is nothing to compare."""
    of_source = {source: one.key for one in sets for source in one.sources}
    if not any(of_source[a] != of_source[b] for a, b in pairs_of(mixture, of_source)):
        return 0.0
    return min(1.0, SAMPLE / max(1, sum(one.tokens.manifest.documents for one in sets)))


def sampled_keys(
    table: pa.Table, numbers: Mapping[str, npt.NDArray[np.int64]], share: float
) -> dict[str, npt.NDArray[np.int64]]:
    """Source -> keys of its documents in a table that belong to the share that is compared.

    table: with KEY_COLUMNS. numbers: source -> number of each document's stream, -1 where it is in none.
    """
    column = table.column("id").combine_chunks()
    column = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    limit = min(int(share * 2.0**64), 2**64 - 1)
    chosen = np.flatnonzero((tail_hash(column) <= np.uint64(limit)) & np.asarray(column.is_valid()))
    rows = table.select(KEY_COLUMNS).take(pa.array(chosen)).to_pylist()
    keys = np.array(document_keys(0, [f"{row['id']} {row['url']}" for row in rows]), np.int64)
    return {source: keys[number[chosen] >= 0] for source, number in numbers.items()}


def tail_hash(column: pa.StringArray) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of the last 16 bytes of each text: where ids of records differ (the end of a UUID, a row)."""
    offsets = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4).astype(np.int64)
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    padded = np.concatenate([np.zeros(16, np.uint8), data[: offsets[-1]]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 8)
    ends, lengths = offsets[1:] + 16, np.diff(offsets)
    total = lengths.astype(np.uint64)
    for back in (8, 16):
        missing = np.clip(back - lengths, 0, 8).astype(np.uint64)  # bytes of the text before this one
        words = np.ascontiguousarray(windows[ends - back]).view("<u8").reshape(-1).astype(np.uint64)
        shift = np.minimum(missing, np.uint64(7)) * np.uint64(8)
        words = np.where(missing == 8, np.uint64(0), words >> shift << shift)
        total = (total ^ words) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return np.asarray(total * np.uint64(0xD6E8FEB86659FD93), np.uint64)


def overlaps(
    mixture: Mixture,
    sets: Sequence[SourceSet],
    rows: Mapping[Pair, int],
    keys: Mapping[str, npt.NDArray[np.int64]],
    share: float,
) -> list[Overlap]:
    """The pairs of sources that share documents.

    rows: documents of pairs within a set. keys: those of each source that `sampled_keys` found.
    """
    of_source = {source: one.key for one in sets for source in one.sources}
    found = []
    for pair in pairs_of(mixture, of_source):
        if of_source[pair[0]] == of_source[pair[1]]:
            number, estimated = rows.get(pair, 0), False
        else:
            common = len(np.intersect1d(keys[pair[0]], keys[pair[1]]))
            number, estimated = round(common / share) if share else 0, share < 1
        if number:
            found.append(Overlap(pair, number, estimated))
    return found
