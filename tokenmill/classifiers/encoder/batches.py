"""Plans of batches: which sequences run together. Pure functions over lengths.

Packing puts whole sequences one behind the other into batches of a fixed number of tokens, so there is one static
shape and the only filler is at the end of a batch. Buckets pad sequences to the nearest of a few widths; every bucket
has a fixed number of rows. In both, the shape in which a sequence is computed does not depend on the other sequences.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Lengths = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Batch:
    """Sequences that run together, in a tensor of `rows` x `width` tokens; packed ones have one row."""

    members: Lengths
    """Numbers of the sequences, in the order in which they stand in the batch, int64."""
    rows: int
    width: int

    @property
    def slots(self) -> int:
        """Tokens that are computed, fillers counted."""
        return self.rows * self.width


def pack(lengths: Lengths, size: int) -> list[Batch]:
    """Batches of `size` tokens, each holding whole sequences: best fit, longest first.

    Every sequence is in one batch. ValueError where one is longer than a batch, or empty.
    """
    _check(lengths, size)
    free: list[tuple[int, int]] = []  # (tokens left, bin), sorted
    bins: list[list[int]] = []
    for number in np.argsort(-lengths, kind="stable"):
        length = int(lengths[number])
        place = bisect_left(free, (length, -1))
        if place < len(free):
            left, which = free.pop(place)
        else:
            left, which = size, len(bins)
            bins.append([])
        bins[which].append(int(number))
        if left > length:
            insort(free, (left - length, which))
    return [Batch(np.array(members, dtype=np.int64), 1, size) for members in bins]


def bucket(lengths: Lengths, widths: Sequence[int], budget: int) -> list[Batch]:
    """Batches of sequences padded to the smallest of `widths` that holds them, `budget` tokens or less in each.

    A width has always the same number of rows, at least one; the last batch of a width is filled up with empty rows.
    ValueError where a sequence is longer than the largest width, or empty.
    """
    ordered = np.array(sorted(set(widths)), dtype=np.int64)
    _check(lengths, int(ordered[-1]))
    which = np.searchsorted(ordered, lengths)
    batches = []
    for place in reversed(range(len(ordered))):
        members = np.flatnonzero(which == place)
        width = int(ordered[place])
        rows = max(1, budget // width)
        members = members[np.argsort(-lengths[members], kind="stable")]
        batches += [Batch(members[start : start + rows], rows, width) for start in range(0, len(members), rows)]
    return batches


def halved(lengths: Lengths, batch: Batch) -> list[Batch]:
    """The batch in two of about half its slots each. ValueError where it has one member only."""
    count = len(batch.members)
    if count < 2:
        raise ValueError("a batch of one sequence cannot be halved")
    if batch.rows > 1:
        rows = -(-batch.rows // 2)
        starts = range(0, count, rows) if count > rows else (0,)
        return [Batch(batch.members[start : start + rows], rows, batch.width) for start in starts]
    ends = np.cumsum(lengths[batch.members])
    cut = min(max(1, int(np.searchsorted(ends, ends[-1] / 2, side="right"))), count - 1)
    parts = (batch.members[:cut], batch.members[cut:])
    return [Batch(part, 1, -(-int(lengths[part].sum()) // 64) * 64) for part in parts]


def useful_share(lengths: Lengths, batches: Sequence[Batch]) -> float:
    """Tokens of the sequences over tokens computed, from 0 to 1; 1 where nothing is computed."""
    slots = sum(batch.slots for batch in batches)
    return sum(int(lengths[batch.members].sum()) for batch in batches) / slots if slots else 1.0


def bucket_widths(longest: int, step: int = 32) -> tuple[int, ...]:
    """Widths of buckets up to `longest` tokens: multiples of `step`, and `longest` itself."""
    return (*range(step, longest, step), longest)


def _check(lengths: Lengths, longest: int) -> None:
    if len(lengths) and (int(lengths.max()) > longest or int(lengths.min()) < 1):
        raise ValueError(f"lengths from {lengths.min()} to {lengths.max()} tokens do not fit into 1 to {longest}")
