"""Held-out documents: a share of all pages by a hash of their ids, so the same pages for every arm.

The hash is uniform and independent of everything else about a page. What an arm is measured on are those of its
held-out documents with the smallest hashes, so a smaller sample is part of every larger one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tokenmill.tokens.order import KEY_BITS, document_keys

SEED = 0x6865_6C64
"""Of the hash; not that of any order of training."""
LARGEST = 8
"""No text takes more than one part in so many of the bytes: one long page is no sample."""

Places = npt.NDArray[np.int64]


def places(ids: Sequence[str]) -> Places:
    """The place of each document on a line from 0 to 2^63 - 1, by its id alone."""
    return np.array(document_keys(SEED, list(ids)), np.int64)


def limit(share: float) -> int:
    """Documents at places below this are held out. share: 0 to 1."""
    return int(share * 2**20) << (KEY_BITS - 20)


class Sample:
    """Texts with the smallest places, as many as it takes to fill `size` bytes of UTF-8; memory is bounded by that."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._largest = max(1, size // LARGEST)
        self._bytes = self._added = 0
        self._kept: list[tuple[int, int, str]] = []
        """Heap of (-place, -number, text): the first is the one to go."""

    def add(self, place: int, text: str) -> None:
        """Offer a text. Of equal places the earlier goes first."""
        self._added += 1
        if self._bytes >= self._size and place >= -self._kept[0][0]:
            return
        text = cut(text, self._largest)
        heapq.heappush(self._kept, (-place, -self._added, text))
        self._bytes += len(text.encode())
        while self._bytes - (last := len(self._kept[0][2].encode())) >= self._size:
            heapq.heappop(self._kept)
            self._bytes -= last

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """(place, text) in order of places; the last one may go beyond the size."""
        for place, _, text in sorted(self._kept, reverse=True):
            yield -place, text

    def texts(self) -> list[str]:
        """The texts in order of places, the last one cut so that they have `size` bytes where there are as many."""
        found, left = [], self._size
        for _, text in self:
            short = cut(text, left)
            found += [short] if short else []
            left -= len(short.encode())
        return found


def cut(text: str, size: int) -> str:
    """The beginning of a text that has at most `size` bytes of UTF-8, in whole characters."""
    data = text.encode()
    return text if len(data) <= size else data[:size].decode("utf-8", "ignore")
