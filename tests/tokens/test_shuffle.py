"""Permutations without memory: each number once, and no order is favoured."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.tokens.shuffle import Permutation, mixed, round_keys


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 2**70), st.integers(0, 5))
def test_every_number_once(size: int, seed: int, epoch: int) -> None:
    order = Permutation(size, seed, epoch)
    assert sorted(order(range(size)).tolist()) == list(range(size))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 2**62), st.integers(0, 2**32), st.data())
def test_any_part_of_it_is_the_same(size: int, seed: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, size - 1), max_size=20, unique=True))
    order = Permutation(size, seed)
    found = order(places).tolist()
    assert found == [int(order([place])[0]) for place in places]
    assert len(set(found)) == len(found)
    assert all(0 <= number < size for number in found)


def test_no_order_of_a_few_is_favoured() -> None:
    orders = Counter(tuple(Permutation(4, seed)(range(4)).tolist()) for seed in range(4800))
    assert len(orders) == 24
    assert all(130 < count < 280 for count in orders.values())


def test_neighbours_are_torn_apart() -> None:
    found = Permutation(100_000, 1)(np.arange(100_000))
    assert abs(np.corrcoef(np.arange(100_000), found)[0, 1]) < 0.02
    assert np.count_nonzero(np.abs(np.diff(found)) < 100) < 400  # 200 are expected
    assert np.count_nonzero(found == Permutation(100_000, 2)(np.arange(100_000))) < 10


def test_the_order_never_changes() -> None:
    """Resuming a training run with a later version must find the same order."""
    assert Permutation(10, 0, 0)(range(10)).tolist() == [7, 8, 0, 9, 3, 2, 1, 5, 6, 4]
    assert Permutation(10**10, "seed", 3)([0, 1, 10**10 - 1]).tolist() == [5478393073, 3915807422, 8066968125]


def test_mixing_is_a_bijection() -> None:
    values = np.arange(200_000, dtype=np.uint64)
    assert len(np.unique(mixed(values))) == len(values)
    # the published finaliser of MurmurHash3 of 1
    assert mixed(np.array([1], np.uint64)).tolist() == [0xB456BCFC34C2CB2C]


def test_keys_follow_from_values() -> None:
    assert round_keys(2, 1, 2).tolist() == round_keys(2, 1, 2).tolist()
    assert round_keys(2, 1, 2).tolist() != round_keys(2, 12).tolist()
