"""Kernel: best-fit decreasing, which puts pieces into sequences of one length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.text.compiled import entry, inner


@inner
def _first_from(tree: Any, leaves: int, least: int) -> int:
    """The smallest marked number that is `least` or more; -1 if there is none. Inner nodes: whether any leaf is."""
    node = leaves + least
    if tree[node] == 0:
        while node > 1 and (node & 1 == 1 or tree[node + 1] == 0):
            node >>= 1
        if node <= 1:
            return -1
        node += 1
        while node < leaves:
            node = 2 * node + (tree[2 * node] == 0)
    return node - leaves


@inner
def _mark(tree: Any, leaves: int, number: int) -> None:
    node = leaves + number
    while node >= 1 and tree[node] == 0:
        tree[node] = 1
        node >>= 1


@inner
def _unmark(tree: Any, leaves: int, number: int) -> None:
    node = leaves + number
    tree[node] = 0
    while node > 1 and tree[node ^ 1] == 0:
        node >>= 1
        tree[node] = 0


def _make_best_fit(digest: str) -> Callable[..., Any]:
    def best_fit(lengths: Any, room: int, bins: Any) -> int:
        """Put pieces into bins of `room`, each where it leaves the least; the number of bins.

        lengths: (n,) int64, 1 to `room`. bins: (n,) int32, becomes the bin of each piece; they are numbered in the
        order in which they were opened. Of bins with the same room left, the one that was filled last is taken.
        Memory: 4 bytes a piece and 8 a unit of room. O(n log room).
        """
        assert digest
        leaves = 1
        while leaves < room + 1:
            leaves *= 2
        tree = np.zeros(2 * leaves, np.uint8)
        top = np.full(room + 1, -1, np.int32)
        below = np.empty(len(lengths), np.int32)
        opened = 0
        for piece in range(len(lengths)):
            length = lengths[piece]
            left = _first_from(tree, leaves, length)
            if left < 0:
                chosen = opened
                opened += 1
                left = room
            else:
                chosen = top[left]
                top[left] = below[chosen]
                if top[left] < 0:
                    _unmark(tree, leaves, left)
            bins[piece] = chosen
            left -= length
            if left > 0:
                below[chosen] = top[left]
                top[left] = chosen
                _mark(tree, leaves, left)
        return opened

    return best_fit


best_fit = entry(_make_best_fit)
