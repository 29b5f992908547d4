"""Sets of 64-bit hashes that stay small: eight bytes an entry, sorted.

Odds that something which is not in a set of n has the hash of an entry: n / 2^64, so 5e-12 for 1e8 links.
"""

from __future__ import annotations

import hashlib
from array import array

import numpy as np
import numpy.typing as npt

_BUFFER = 1 << 16
SIZE = 16
"""Bytes of `text_digest`."""


def text_digest(text: str) -> bytes:
    """BLAKE2b (16 bytes) of the words of a text, one space between them: what a classifier sees of it."""
    return hashlib.blake2b(" ".join(text.split()).encode("utf-8", "replace"), digest_size=SIZE).digest()


def draw_key(digest: bytes, seed: int) -> int:
    """The place of a text in the order in which texts are drawn: 64 bits that depend on the seed and the text alone."""
    return hash64(f"{seed}:".encode() + digest)


def hash64(data: bytes) -> int:
    """BLAKE2b, 8 bytes, as a number."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class HashSet:
    """A growing set of numbers below 2^64, kept as a sorted array (8 bytes each) and a buffer of what is new."""

    def __init__(self) -> None:
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new: set[int] = set()

    def add(self, value: int) -> None:
        """Put a number in."""
        if value not in self:
            self._new.add(value)
            # merging costs a pass over all, so the buffer may grow as the set does; a set has some 60 bytes an entry
            if len(self._new) >= max(_BUFFER, len(self._sorted) >> 5):
                self._merge()

    def __contains__(self, value: int) -> bool:
        if value in self._new:
            return True
        at = int(self._sorted.searchsorted(np.uint64(value)))
        return at < len(self._sorted) and int(self._sorted[at]) == value

    def __len__(self) -> int:
        return len(self._sorted) + len(self._new)

    def _merge(self) -> None:
        new = np.frombuffer(array("Q", self._new), np.uint64)
        merged = np.concatenate([self._sorted, new])
        merged.sort()
        self._sorted = merged
        self._new = set()
