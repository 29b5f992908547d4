"""Compiled parts of clustering: equal runs of sorted keys, and sets of documents that are connected.

The sets are one array in which every document points to one with a smaller number (Galler and Fischer 1964, with path
halving). Because the smaller number always wins, the result does not depend on the order of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.text.compiled import entry, inner


@inner
def _find(parent: Any, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _make_union(digest: str) -> Callable[..., Any]:
    def union(parent: Any, pairs: Any) -> None:
        """Connect the two documents of every row of `pairs` (n, 2)."""
        assert digest
        for row in range(len(pairs)):
            a, b = _find(parent, pairs[row, 0]), _find(parent, pairs[row, 1])
            if a < b:
                parent[b] = a
            elif b < a:
                parent[a] = b

    return union


def _make_flatten(digest: str) -> Callable[..., Any]:
    def flatten(parent: Any, several: Any) -> None:
        """Let every document point to the smallest of its set; `several` (n,) becomes 1 in sets of more than one."""
        assert digest
        for node in range(len(parent)):
            # all smaller ones point to the smallest of their set already
            root = parent[parent[node]]
            parent[node] = root
            if root != node:
                several[node] = 1
                several[root] = 1

    return flatten


def _make_runs(digest: str) -> Callable[..., Any]:
    def runs(keys: Any, numbers: Any, pairs: Any) -> int:
        """For every run of equal sorted keys: the pair of its smallest number with each other one.

        pairs: (n, 2), filled from the start, in order of the keys and then of the numbers. Gives how many there are.
        """
        assert digest
        found = 0
        start = 0
        while start < len(keys):
            stop = start + 1
            while stop < len(keys) and keys[stop] == keys[start]:
                stop += 1
            if stop - start > 1:
                run = np.sort(numbers[start:stop])
                for place in range(1, len(run)):
                    pairs[found, 0] = run[0]
                    pairs[found, 1] = run[place]
                    found += 1
            start = stop
        return found

    return runs


union = entry(_make_union)
flatten = entry(_make_flatten)
runs = entry(_make_runs)
