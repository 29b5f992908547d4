"""Batches as the arrays that a model takes: plain numpy, made ahead of the model by another thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tokenmill.classifiers.encoder.batches import Batch
from tokenmill.classifiers.encoder.tokens import TokenRows

Array = np.ndarray[Any, np.dtype[Any]]

BOUNDS = 256
"""Bounds are filled up to a multiple of this on CUDA, so that there are few shapes."""


@dataclass(frozen=True)
class Inputs:
    """A batch's arrays; `rows` x `width` tokens."""

    members: Array
    """Numbers of the sequences, int64."""
    lengths: Array
    """Their tokens, int64."""
    ids: Array
    """[rows, width], int64; the padding token where there is no sequence."""
    positions: Array
    """[rows, width], int64; begins again with every sequence."""
    bounds: Array | None
    """Packed: int32, where each sequence begins and where the last one ends. Padded: None."""
    mask: Array | None
    """Padded: [rows, width], int64, 1 for tokens of a sequence; rows without a sequence see their first filler."""
    places: Array
    """Where in [rows * width] the sequences' tokens are, one sequence behind the other, int64."""


def packed_inputs(rows: TokenRows, batch: Batch, *, filler: int, first_position: int, fill_bounds: bool) -> Inputs:
    """The arrays of sequences one behind the other in one row."""
    lengths = rows.lengths[batch.members]
    used = int(lengths.sum())
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    inside = np.arange(used) - np.repeat(starts[:-1], lengths)
    ids = np.full(batch.width, filler, dtype=np.int64)
    ids[:used] = rows.ids[np.repeat(rows.offsets[batch.members], lengths) + inside]
    positions = np.full(batch.width, first_position, dtype=np.int64)
    positions[:used] += inside
    if fill_bounds:  # sequences without tokens
        missing = -len(starts) % BOUNDS
        starts = np.concatenate([starts, np.full(missing, used, np.int64)])
    return Inputs(
        members=batch.members,
        lengths=lengths,
        ids=ids[None],
        positions=positions[None],
        bounds=starts.astype(np.int32),
        mask=None,
        places=np.arange(used),
    )


def padded_inputs(rows: TokenRows, batch: Batch, *, filler: int, first_position: int) -> Inputs:
    """The arrays of one sequence per row, filled up to the width."""
    lengths = rows.lengths[batch.members]
    mask = np.zeros((batch.rows, batch.width), dtype=bool)
    mask[: len(lengths)] = np.arange(batch.width) < lengths[:, None]
    ids = np.full((batch.rows, batch.width), filler, dtype=np.int64)
    inside = np.broadcast_to(np.arange(batch.width), mask.shape)[mask]
    ids[mask] = rows.ids[np.repeat(rows.offsets[batch.members], lengths) + inside]
    places = np.flatnonzero(mask)
    mask[len(lengths) :, 0] = True  # a row in which nothing is seen would give NaN
    positions = np.broadcast_to(first_position + np.arange(batch.width, dtype=np.int64), mask.shape)
    return Inputs(
        members=batch.members,
        lengths=lengths,
        ids=ids,
        positions=np.ascontiguousarray(positions),
        bounds=None,
        mask=mask.astype(np.int64),
        places=places,
    )
