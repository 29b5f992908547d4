"""From sorted runs to shards: documents of many files, in one order, a piece of bounded size at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.tokens.order import KEY_BITS
from tokenmill.tokens.runs import KEY, RUN_START, RunFiles, Slab, read_range

PIECE_BYTES = 32 << 20
"""Ids that are in memory at once; twice that, with their copy in the new order."""
PIECE_DOCUMENTS = 100_000
"""Documents that are in memory at once: each has a row of some 300 bytes."""


@dataclass(frozen=True)
class Piece:
    """Documents in their final order: `ids` with EOS, `lengths` of each document in it, their rows and keys."""

    ids: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    rows: pa.Table
    keys: npt.NDArray[np.int64]


def totals(files: Sequence[RunFiles], eos: bool) -> tuple[int, int]:
    """(tokens, with EOS where there is one; documents) of all."""
    return sum(runs.length(eos) for runs in files), sum(runs.documents for runs in files)


Ranges = Sequence[tuple[RunFiles, int, int]]
"""(runs, low, high): the keys to take of each shard of documents, in this order."""


def shuffled_ranges(files: Sequence[RunFiles], part: int, parts: int) -> Ranges:
    """The keys of part `part` of `parts` equal ones: the same in all shards."""
    low, high = ((number << KEY_BITS) // parts for number in (part, part + 1))
    return [(runs, low, high) for runs in files if runs.documents]


def source_ranges(files: Sequence[RunFiles], part: int, parts: int, eos: bool) -> Ranges:
    """The positions of part `part` of `parts` equal ones, where documents stay in order."""
    total = sum(runs.length(eos) for runs in files)
    low, high = (total * number // parts for number in (part, part + 1))
    if part == parts - 1:
        high = total + 1  # documents without tokens at the very end
    found, before = [], 0
    for runs in files:
        length = runs.length(eos)
        if runs.documents and before + length >= low and before < high:
            found.append((runs, max(0, low - before), high - before))
        before += length
    return found


def pieces(
    ranges_of: Callable[[int, int], Ranges],
    part: int,
    parts: int,
    total: tuple[int, int],
    *,
    dtype: np.dtype,
    eos_id: int | None,
    merged: bool,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[Piece]:
    """The documents of part `part` of `parts`, cut finer so that a piece has about PIECE_BYTES.

    ranges_of(part, parts): the keys of a part. total: tokens and documents of all parts. merged: the documents of a
    piece come from all files at once and are sorted by key; else files follow each other. alive: called between files.
    """
    tokens, documents = total
    fine = max(1, -(-tokens * dtype.itemsize // (parts * PIECE_BYTES)), -(-documents // (parts * PIECE_DOCUMENTS)))
    for number in range(part * fine, (part + 1) * fine):
        slabs: list[Slab] = []
        for runs, low, high in ranges_of(number, parts * fine):
            slabs += read_range(runs, low, high, dtype)
            alive()
        if slabs:
            yield _joined(slabs, eos_id, dtype, merged)


def _joined(slabs: Sequence[Slab], eos_id: int | None, dtype: np.dtype, merged: bool) -> Piece:
    """The slabs as one piece, sorted by key where documents are shuffled; equal keys stay in order of their files."""
    rows = pa.Table.from_batches([slab.rows for slab in slabs])
    counts = rows.column("token_count").to_numpy().astype(np.int64)
    local = np.concatenate([_starts(slab) for slab in slabs])
    owner = np.repeat(np.arange(len(slabs)), [slab.rows.num_rows for slab in slabs])
    keys = rows.column(KEY).to_numpy()
    order = np.argsort(keys, kind="stable") if merged else np.arange(len(counts))
    lengths = counts + (eos_id is not None)
    ids = np.full(int(lengths.sum()), 0 if eos_id is None else eos_id, dtype)
    place = 0
    for index in order.tolist():
        count, start = int(counts[index]), int(local[index])
        ids[place : place + count] = slabs[owner[index]].ids[start : start + count]
        place += int(lengths[index])
    return Piece(ids, lengths[order], rows.take(pa.array(order)).drop_columns([KEY, RUN_START]), keys[order])


def _starts(slab: Slab) -> npt.NDArray[np.int64]:
    starts = slab.rows.column(RUN_START).to_numpy()
    return np.asarray(starts - starts[0], np.int64)
