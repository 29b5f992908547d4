"""Shuffling without memory: a permutation of any number of things that is computed where it is asked.

A Feistel network over two parts of a number's bits (Luby and Rackoff 1988) is a permutation whatever its round
function does; numbers beyond the end walk on until they are inside (Black and Rogaway 2002, "cycle walking").
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Unsigned = npt.NDArray[np.uint64]

_ROUNDS = 8
_M1, _M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_S = np.uint64(33)


def mixed(values: Unsigned) -> Unsigned:
    """MurmurHash3's finaliser of an array: a bijection in which every bit of the input reaches every bit."""
    values = (values ^ values >> _S) * _M1
    values = (values ^ values >> _S) * _M2
    return values ^ values >> _S


def round_keys(count: int, *of: Any) -> Unsigned:
    """`count` 64-bit keys, at most 8, that follow from plain values; other values give independent keys."""
    digest = hashlib.blake2b(repr(of).encode(), digest_size=8 * count).digest()
    return np.frombuffer(digest, "<u8").astype(np.uint64)


class Permutation:
    """An order of the numbers 0 to size - 1 that needs no memory, from a key of plain values (seed, epoch, ...).

    The same on every machine and with every version of the libraries.
    """

    def __init__(self, size: int, *key: Any) -> None:
        self.size = size
        bits = max(size - 1, 1).bit_length()
        self._low = np.uint64(bits // 2)
        self._low_mask = np.uint64((1 << bits // 2) - 1)
        self._high_mask = np.uint64((1 << bits - bits // 2) - 1)
        self._keys = round_keys(_ROUNDS, "permutation", *key)

    def __call__(self, places: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The numbers at these places, 1-D; places are 0 to size - 1."""
        found = self._once(np.asarray(places, np.uint64).reshape(-1))
        size = np.uint64(self.size)
        outside = np.flatnonzero(found >= size)
        while len(outside):
            found[outside] = self._once(found[outside])
            outside = outside[found[outside] >= size]
        return found.astype(np.int64)

    def _once(self, values: Unsigned) -> Unsigned:
        low, high = values & self._low_mask, values >> self._low
        for number in range(0, _ROUNDS, 2):
            low = low ^ (mixed(high + self._keys[number]) >> np.uint64(32) & self._low_mask)
            high = high ^ (mixed(low + self._keys[number + 1]) >> np.uint64(32) & self._high_mask)
        return high << self._low | low
