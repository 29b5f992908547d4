"""How large groups are at most, for any number of them, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

CELLS = 1 << 23
"""Cells of the table of counts (64 MB)."""

Codes = npt.NDArray[np.int64]
"""(n,): the place of each document's group in a list of names."""


class GroupCounts:
    """Documents per group, counted by a hash of its name.

    Groups that share a cell are counted together, so a count is never too small: what cannot reach a size is told for
    certain, and what seems to reach it is to be counted on its own. The hash does not depend on the process.
    """

    def __init__(self) -> None:
        self._cells = np.zeros(CELLS, np.int64)

    def add(self, names: Sequence[str | None], codes: Codes) -> None:
        """names: groups, None for documents of no group; codes: (n,) the group of each document."""
        sums = np.bincount(codes, minlength=len(names))
        for name, count in zip(names, sums.tolist(), strict=True):
            if name is not None and count:
                self._cells[_cell(name)] += count

    def may_have(self, name: str, documents: int) -> bool:
        """Whether a group may have so many documents; where it has, always True."""
        return bool(self._cells[_cell(name)] >= documents)

    def at_least(self, documents: int) -> int:
        """How many groups may have so many documents, at least."""
        return int((self._cells >= documents).sum())


def _cell(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % CELLS


def merged(names: Sequence[str | None], codes: Codes, wanted: Callable[[str], bool]) -> tuple[list[str | None], Codes]:
    """The groups that are wanted, then None for the documents of all others: (names, (n,) codes)."""
    kept = [place for place, name in enumerate(names) if name is not None and wanted(name)]
    places = np.full(len(names), len(kept), np.int64)
    places[kept] = np.arange(len(kept))
    return [*(names[place] for place in kept), None], places[codes]
