"""Samples that depend on ids alone: the rows with the lowest hashes, in whatever order and pieces they come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
T = TypeVar("T")


def id_hashes(ids: Sequence[str | None], seed: int) -> Hashes:
    """(n,): a hash of each id under a seed, uniform over 64 bits. None counts as ""."""
    key = seed.to_bytes(16, "big", signed=True)
    raw = b"".join(
        hashlib.blake2b((name or "").encode("utf-8", "replace"), digest_size=8, key=key).digest() for name in ids
    )
    return np.frombuffer(raw, ">u8").astype(np.uint64)


class Lowest(Generic[T]):
    """The values of at most `most` rows with the lowest hashes. Rows of one hash (outputs of one page) come together:
    where they do not all fit, none of them is in.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[int, str, T]] = []
        self.limit = 1 << 64
        """Only rows with lower hashes are in."""
        self.seen = 0

    def add(self, hashes: Hashes, names: Sequence[str], value: Callable[[int], T]) -> None:
        """Offer rows. names: tell rows of one hash apart, and order them; value(i): of row i, asked for only where the
        row may be in.
        """
        self.seen += len(hashes)
        rows = np.flatnonzero(hashes < np.uint64(self.limit)) if self.limit < 1 << 64 else np.arange(len(hashes))
        self._kept += [(int(hashes[row]), names[row], value(row)) for row in rows.tolist()]
        if len(self._kept) > 2 * self._most:
            self._cut()

    def _cut(self) -> None:
        self._kept.sort(key=lambda entry: entry[:2])
        if len(self._kept) > self._most:
            self.limit = self._kept[self._most][0]
            self._kept = [entry for entry in self._kept[: self._most] if entry[0] < self.limit]

    @property
    def values(self) -> list[T]:
        """In the order of their hashes."""
        self._cut()
        return [entry[2] for entry in self._kept]

    @property
    def share(self) -> float:
        """Of the rows seen that are in the sample; 1 where there were none."""
        self._cut()
        return len(self._kept) / self.seen if self.seen else 1.0


def column(table: Any, name: str) -> list[Any]:
    """A column of a table as a list; None for each row where the table lacks it."""
    return table.column(name).to_pylist() if name in table.column_names else [None] * len(table)
