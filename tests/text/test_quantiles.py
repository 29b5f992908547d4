"""The sketch against exact weighted quantiles, and the promise that no order matters."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.text.quantiles import FRACTION_BITS, QuantileSketch, as_floats, bucket_bounds, bucket_keys

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
scores = st.one_of(finite, st.floats(0, 1), st.floats(-6, 6), st.sampled_from([0.0, -0.0, 1.0, 3.0, 1e-30, -1e30]))
pages = st.lists(st.tuples(st.one_of(scores, st.none(), st.just(float("nan"))), st.integers(0, 1 << 40)), max_size=60)


def sketch(pages: list[tuple[Any, int]]) -> QuantileSketch:
    made = QuantileSketch(("documents", "bytes"))
    weights = np.array([[1, size] for _, size in pages], np.int64).reshape(-1, 2)
    made.add(pa.array([score for score, _ in pages], pa.float64()), weights)
    return made


def exact(pages: list[tuple[float, int]], share: float) -> float:
    """The least score below or at which so much of the weight lies, by definition."""
    target = max(share * sum(size for _, size in pages), 1)
    total = 0
    for score, size in sorted(pages):
        total += size
        if total >= target:
            return score
    raise AssertionError


@given(st.lists(scores, min_size=1, max_size=50))
def test_keys_rise_with_the_numbers_and_bounds_hold_them(values: list[float]) -> None:
    numbers, _ = as_floats(np.array(sorted(values)))
    keys = bucket_keys(numbers)
    assert (np.diff(keys) >= 0).all()
    for value, key in zip(numbers.tolist(), keys.tolist(), strict=True):
        low, high = bucket_bounds(key)
        assert low <= value <= high
        assert bucket_keys(np.array([low, high])).tolist() == [key, key]
        beside = bucket_keys(np.nextafter([low, high], [-np.inf, np.inf])).tolist()
        assert beside == [key - (low > -np.inf), key + (high < np.inf)]
        if 2.0**-64 <= abs(value) < 2.0**64:
            assert high - low <= abs(value) * 2.0**-FRACTION_BITS


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, 1e-300, -1e-20, 1e300, -1e300, np.inf, -np.inf, 2.0**64, 1.0])
def test_the_ends_of_the_scale(value: float) -> None:
    (key,) = bucket_keys(np.array([value])).tolist()
    low, high = bucket_bounds(key)
    assert low <= value <= high
    assert (bucket_keys(np.array([1.0])) > bucket_keys(np.array([np.nextafter(1.0, 0)]))).all()


@examples(40, 100)
@given(pages, st.floats(0, 1))
def test_a_quantile_lies_in_its_bucket(pages: list[tuple[Any, int]], share: float) -> None:
    made = sketch(pages)
    scored = [(score, size) for score, size in pages if score is not None and score == score]
    assert made.nulls.tolist() == [
        sum(score is None for score, _ in pages),
        sum(size for score, size in pages if score is None),
    ]
    assert made.nans[0] == len(pages) - len(scored) - made.nulls[0]
    total = sum(size for _, size in scored)
    assert made.total("bytes") == total
    assert made.total("documents") == len(scored)
    assert made.everything("bytes") == sum(size for _, size in pages)
    found = made.quantile(share, "bytes")
    if not total:
        assert found is None
        return
    assert found is not None
    assert found.low <= exact(scored, share) <= found.high
    assert found.above == sum(size for score, size in scored if score > found.high)
    assert found.inside == sum(size for score, size in scored if found.low <= score <= found.high)
    cut = made.cut(share * total, "bytes")
    assert cut is not None
    assert cut.above < max(share * total, 1)
    assert cut.above + cut.inside >= min(share * total, total)
    following = made.above(cut.key)
    higher = [score for score, _ in scored if score > cut.high]
    assert (following is None) == (not higher)
    assert following is None or cut.high < following <= min(higher)


@examples(40, 100)
@given(pages, st.permutations(range(4)), st.data())
def test_no_order_and_no_grouping_changes_a_byte(
    pages: list[tuple[Any, int]], order: list[int], data: st.DataObject
) -> None:
    whole = sketch(pages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pages)), min_size=3, max_size=3)))
    parts = [sketch(pages[a:b]) for a, b in itertools.pairwise([0, *cuts, len(pages)])]
    left = QuantileSketch(whole.weights)
    for number in order:
        left.merge(parts[number])
    right = QuantileSketch(whole.weights)
    for pair in ((order[2], order[0]), (order[3], order[1])):
        both = QuantileSketch(whole.weights)
        for number in pair:
            both.merge(parts[number])
        right.merge(both)
    backwards = sketch(pages[::-1])
    assert whole.to_bytes() == left.to_bytes() == right.to_bytes() == backwards.to_bytes()
    assert QuantileSketch.from_bytes(whole.to_bytes()).to_bytes() == whole.to_bytes()


def test_float32_and_float64_of_a_score_are_one_number() -> None:
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    assert (bucket_keys(values) == bucket_keys(values.astype(np.float64))).all()
    one, two = QuantileSketch(), QuantileSketch()
    one.add(pa.array(values), np.ones((1000, 1), np.int64))
    two.add(pa.chunked_array([values[:300], values[300:]]), np.ones((1000, 1), np.int64))
    assert one.to_bytes() == two.to_bytes()


def test_sums_beyond_what_float64_holds_are_exact() -> None:
    made = QuantileSketch(("bytes",))
    for _ in range(3):
        made.add(np.array([0.5, 0.25]), np.array([[(1 << 60) + 1], [1]]))
    assert made.total("bytes") == 3 * ((1 << 60) + 2)
    assert len(made.keys) == 2


def test_memory_is_bounded_by_the_range_not_by_the_documents() -> None:
    made, rng = QuantileSketch(), np.random.default_rng(3)
    for _ in range(20):
        made.add(rng.uniform(0, 5, 20_000), np.ones((20_000, 1), np.int64))
    assert made.total("documents") == 400_000
    assert len(made.keys) <= 64_000


def test_wrong_weights_and_foreign_bytes_are_refused() -> None:
    made = QuantileSketch(("bytes",))
    with pytest.raises(ValueError, match="shape"):
        made.add(np.array([1.0]), np.array([1]))
    with pytest.raises(ValueError, match="negative"):
        made.add(np.array([1.0]), np.array([[-1]]))
    with pytest.raises(ValueError, match="cannot be merged"):
        made.merge(QuantileSketch(("tokens",)))
    made.add(np.array([1.0]), np.array([[1]]))
    for data in (b"{}\n", made.to_bytes()[:-1]):
        with pytest.raises(ValueError, match="sketch"):
            QuantileSketch.from_bytes(data)
