from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.stream import Stream


@examples(30, 100)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), st.integers(0, 60), st.integers(0, 60))
def test_positions_follow_shard_after_shard_and_epoch_after_epoch(sizes: list[int], low: int, length: int) -> None:
    """Against a list with a row for every position."""
    stream = Stream(Atom("web"), [f"{n:05d}" for n in range(len(sizes))], sizes, seed=3)
    positions = []
    for epoch in range(130):
        for shard in _order(stream, epoch):
            positions += [(epoch, shard, at) for at in range(sizes[shard])]
    found = []
    for stretch in stream.stretches(low, low + length):
        assert stretch.low < stretch.high
        found += [(stretch.epoch, stretch.shard, at) for at in range(stretch.low, stretch.high)]
        assert positions[stretch.start + stretch.low] == (stretch.epoch, stretch.shard, stretch.low)
    assert found == positions[low : low + length]


def _order(stream: Stream, epoch: int) -> list[int]:
    """Shards of an epoch, those without tokens left out."""
    unique = stream.unique
    return [stretch.shard for stretch in stream.stretches(epoch * unique, (epoch + 1) * unique)]


@given(st.integers(2, 30), st.integers(0, 2**70))
def test_every_epoch_has_every_shard_once_in_an_order_of_its_own(count: int, seed: int) -> None:
    stream = Stream(Atom("web"), [str(n) for n in range(count)], [5] * count, seed)
    orders = [_order(stream, epoch) for epoch in range(4)]
    assert orders[0] == list(range(count))
    assert all(sorted(order) == orders[0] for order in orders)
    if count > 12:
        assert len({tuple(order) for order in orders}) == 4


def test_a_stream_without_tokens_has_no_positions() -> None:
    stream = Stream(Atom("web"), ["00000"], [0], seed=0)
    assert stream.unique == 0
    assert list(stream.stretches(0, 10)) == []
