"""Plans of batches: every sequence once, within the budget, with little filler."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.classifiers.encoder.batches import Batch, bucket, bucket_widths, halved, pack, useful_share

LENGTHS = st.lists(st.integers(1, 64), max_size=200).map(lambda found: np.array(found, dtype=np.int64))


def members(batches: list[Batch]) -> list[int]:
    return sorted(int(number) for batch in batches for number in batch.members)


@given(LENGTHS, st.integers(64, 300))
def test_packing_holds_every_sequence_once(lengths: np.ndarray, size: int) -> None:
    batches = pack(lengths, size)
    assert members(batches) == list(range(len(lengths)))
    assert all(lengths[batch.members].sum() <= size == batch.slots for batch in batches)
    # two batches that would fit into one: best fit never leaves them
    loads = sorted(int(lengths[batch.members].sum()) for batch in batches)
    assert len(loads) < 2 or loads[0] + loads[1] > size


@given(LENGTHS, st.integers(1, 8), st.integers(1, 500))
def test_buckets_hold_every_sequence_once(lengths: np.ndarray, step: int, budget: int) -> None:
    batches = bucket(lengths, bucket_widths(64, step * 8), budget)
    assert members(batches) == list(range(len(lengths)))
    assert all(lengths[batch.members].max() <= batch.width for batch in batches)
    assert all(batch.rows == max(1, budget // batch.width) >= len(batch.members) for batch in batches)


@given(LENGTHS.filter(len), st.booleans())
def test_halves_hold_the_same_sequences(lengths: np.ndarray, packed: bool) -> None:
    for batch in pack(lengths, 256) if packed else bucket(lengths, (64,), 640):
        if len(batch.members) < 2:
            with pytest.raises(ValueError, match="one sequence"):
                halved(lengths, batch)
            continue
        parts = halved(lengths, batch)
        assert members(parts) == sorted(batch.members.tolist())
        if packed:
            assert len(parts) == 2
            assert all(lengths[part.members].sum() <= part.width for part in parts)
        else:
            assert all(len(part.members) <= part.rows < batch.rows for part in parts)


def test_little_filler_on_lengths_of_web_pages() -> None:
    random = np.random.default_rng(1)
    lengths = np.clip(random.lognormal(6.0, 1.0, 1000), 3, 512).astype(np.int64)
    assert useful_share(lengths, pack(lengths, 2048)) > 0.98
    assert useful_share(lengths, bucket(lengths, bucket_widths(512), 4096)) > 0.7
    assert useful_share(lengths[:0], []) == 1.0


def test_a_sequence_that_fits_nowhere_is_refused() -> None:
    for lengths in ([65], [0]):
        with pytest.raises(ValueError, match="do not fit"):
            pack(np.array(lengths), 64)
        with pytest.raises(ValueError, match="do not fit"):
            bucket(np.array(lengths), (32, 64), 100)
    assert bucket_widths(100) == (32, 64, 96, 100)
