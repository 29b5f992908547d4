"""`QuantileSketch`: weighted quantiles of scores over any number of documents, in bounded memory, merged exactly.

A histogram of fixed resolution whose buckets grow with the value (as in HDR histograms and DDSketch, arXiv:1908.10693):
the bucket of a number is the upper part of its bits as a float64, so `2 ** FRACTION_BITS` buckets between any power of
two and the next. Where a bucket begins never depends on the data, and weights are whole numbers (documents, UTF-8
bytes, tokens) in 64 bits. So merging is addition: any order and any grouping of documents and of sketches gives the
same sketch, byte for byte. A t-digest or a KLL sketch is smaller, but its content depends on the order, or on chance.

What is exact: the weight on either side of every bucket's edge. What is not known is where in its bucket a document
lies, so a quantile is told as the bucket that holds it, `2 ** -FRACTION_BITS` = 0.025 % wide relative to the value.
Magnitudes below 2 ** -64 are one bucket around zero; those of 2 ** 64 and more, infinities too, one at either end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FRACTION_BITS = 12
"""Bits of the fraction that tell buckets apart. At most 2 ** (FRACTION_BITS + 8) + 1 buckets can exist, which is 1M
(28 MB with three weights); scores between 0.0001 and 5 use 64,000 at most."""
_SHIFT = 52 - FRACTION_BITS
_EXPONENT_BIAS = 1023
_LEAST = (_EXPONENT_BIAS - 64) << FRACTION_BITS
_LAST = (128 << FRACTION_BITS) + 1
"""Key of the bucket of 2 ** 64 and more."""
_FORMAT = "tokenmill-quantiles-1"

Keys = npt.NDArray[np.int32]
Sums = npt.NDArray[np.int64]


class Bucket(NamedTuple):
    """A bucket: its `key`, the least and the largest float64 in it, the weight in all buckets above it, and its own."""

    key: int
    low: float
    high: float
    above: int
    inside: int


def bucket_keys(values: npt.NDArray[Any]) -> Keys:
    """The bucket of each number: (n,) floats, none NaN -> (n,) int32 that rise with the numbers; 0 is around zero."""
    wide = np.asarray(values, np.float64)
    parts = np.abs(wide).view(np.int64) >> _SHIFT
    magnitudes = np.clip(parts - (_LEAST - 1), 0, _LAST).astype(np.int32)
    keys: Keys = np.where(wide < 0, -magnitudes, magnitudes).astype(np.int32)
    return keys


def bucket_bounds(key: int) -> tuple[float, float]:
    """The least and the largest float64 in a bucket."""
    if key < 0:
        low, high = bucket_bounds(-key)
        return -high, -low
    if key == _LAST:
        return 2.0**64, float("inf")
    edges = np.array([key + _LEAST - 1, key + _LEAST], np.int64) << _SHIFT
    low, beyond = edges.view(np.float64).tolist()
    high = float(np.nextafter(beyond, 0.0))
    return (-high, high) if key == 0 else (low, high)


class QuantileSketch:
    """Weights of documents by bucket of their score. `weights`: what is counted, such as documents, bytes, tokens.

    `keys`: (k,) of the buckets that hold anything, rising; `sums`: (k, len(weights)). Documents without a score (null)
    and with NaN count apart, in `nulls` and `nans`: (len(weights),). Sums must stay below 2 ** 63.
    """

    def __init__(self, weights: Sequence[str] = ("documents",)) -> None:
        self.weights = tuple(weights)
        self.keys: Keys = np.empty(0, np.int32)
        self.sums: Sums = np.empty((0, len(self.weights)), np.int64)
        self.nulls: Sums = np.zeros(len(self.weights), np.int64)
        self.nans: Sums = np.zeros(len(self.weights), np.int64)

    def add(self, values: pa.Array | npt.NDArray[Any], weights: npt.NDArray[Any]) -> None:
        """Count documents. values: (n,) scores, an Arrow array may have nulls.

        weights: (n, len(self.weights)) integers. ValueError where a weight is negative or the shapes differ.
        """
        amounts = np.asarray(weights, np.int64)
        if amounts.shape != (len(values), len(self.weights)):
            raise ValueError(f"weights have the shape {amounts.shape}, not {(len(values), len(self.weights))}")
        if amounts.size and amounts.min() < 0:
            raise ValueError("a weight is negative")
        numbers, valid = as_floats(values)
        nan = valid & np.isnan(numbers)
        self.nulls += amounts[~valid].sum(axis=0)
        self.nans += amounts[nan].sum(axis=0)
        scored = valid & ~nan
        self._add(bucket_keys(numbers[scored]), amounts[scored])

    def merge(self, other: QuantileSketch) -> None:
        """Add what another sketch of the same weights has counted. Exact; the order does not matter."""
        if self.weights != other.weights:
            raise ValueError(f"sketches of {self.weights} and {other.weights} cannot be merged")
        self.nulls += other.nulls
        self.nans += other.nans
        self._add(other.keys, other.sums)

    def _add(self, keys: Keys, sums: Sums) -> None:
        if not len(keys):
            return
        keys, sums = np.concatenate([self.keys, keys]), np.concatenate([self.sums, sums])
        order = np.argsort(keys, kind="stable")
        self.keys, first = np.unique(keys[order], return_index=True)
        self.sums = np.add.reduceat(sums[order], first, axis=0)

    def _of(self, weight: str) -> Sums:
        return self.sums[:, self.weights.index(weight)]

    def total(self, weight: str) -> int:
        """The weight of all documents with a score."""
        return int(self._of(weight).sum())

    def everything(self, weight: str) -> int:
        """The weight of all documents, those without a score too."""
        place = self.weights.index(weight)
        return self.total(weight) + int(self.nulls[place] + self.nans[place])

    def quantile(self, share: float | Fraction, weight: str) -> Bucket | None:
        """The bucket that holds the weighted quantile; None where there is no weight.

        That is the least score x for which the documents with scores <= x have at least `share` of the weight. A
        `Fraction` is exact: 0.55 of 220 is more than 121 in floating point.
        """
        sums = self._of(weight).cumsum()
        if not len(sums) or not sums[-1]:
            return None
        # not a score below the least one that weighs anything
        target = max(math.ceil(Fraction(share) * int(sums[-1])), 1)
        return self._bucket(min(int(np.searchsorted(sums, target)), len(sums) - 1), weight)

    def cut(self, target: float, weight: str) -> Bucket | None:
        """The bucket in which the weight, added up from the highest score, comes to `target`; the lowest if none."""
        sums = self._of(weight)[::-1].cumsum()
        if not len(sums) or not sums[-1]:
            return None
        place = min(int(np.searchsorted(sums, max(target, 1))), len(sums) - 1)
        return self._bucket(len(sums) - 1 - place, weight)

    def above(self, key: int) -> float | None:
        """The least float64 in the next bucket above that holds anything; None where there is none."""
        place = int(np.searchsorted(self.keys, key, side="right"))
        return bucket_bounds(int(self.keys[place]))[0] if place < len(self.keys) else None

    def _bucket(self, place: int, weight: str) -> Bucket:
        sums, key = self._of(weight), int(self.keys[place])
        return Bucket(key, *bucket_bounds(key), int(sums[place + 1 :].sum()), int(sums[place]))

    def to_bytes(self) -> bytes:
        """The sketch as bytes: equal for equal documents and weights, in whatever order they were counted."""
        head = {
            "format": _FORMAT,
            "fraction_bits": FRACTION_BITS,
            "weights": list(self.weights),
            "buckets": len(self.keys),
            "nulls": self.nulls.tolist(),
            "nans": self.nans.tolist(),
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        return b"\n".join((text, self.keys.astype("<i4").tobytes() + self.sums.astype("<i8").tobytes()))

    @classmethod
    def from_bytes(cls, data: bytes) -> QuantileSketch:
        """The sketch that `to_bytes` described; ValueError where the bytes are no such sketch."""
        text, _, body = data.partition(b"\n")
        head = json.loads(text)
        if not isinstance(head, dict) or (head.get("format"), head.get("fraction_bits")) != (_FORMAT, FRACTION_BITS):
            raise ValueError(f"these bytes are no sketch of the format {_FORMAT} with {FRACTION_BITS} bits")
        sketch, count = cls(head["weights"]), int(head["buckets"])
        if len(body) != count * (4 + 8 * len(sketch.weights)):
            raise ValueError("the sketch has been cut")
        sketch.keys = np.frombuffer(body, "<i4", count).astype(np.int32)
        sketch.sums = np.frombuffer(body, "<i8", offset=4 * count).astype(np.int64).reshape(count, len(sketch.weights))
        sketch.nulls, sketch.nans = (np.array(head[name], np.int64) for name in ("nulls", "nans"))
        return sketch


def as_floats(values: pa.Array | npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """(numbers, whether there is one): (n,) float64, NaN where there is none, and (n,) bool. -0.0 becomes 0.0."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        valid = values.is_valid().to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else None
        if valid is None:
            valid = values.is_valid().to_numpy()
        numbers = values.cast(pa.float64(), safe=False).fill_null(float("nan"))
        found = numbers.to_numpy(zero_copy_only=False) if isinstance(numbers, pa.Array) else numbers.to_numpy()
        return found + 0.0, valid.astype(bool)
    found = np.asarray(values, np.float64) + 0.0
    return found, np.ones(len(found), np.bool_)
