"""Kernels: the two stages of the block model, from a page's arrays to the probability of every block.

Trees have at most 16 leaves and are evaluated without a branch: a block begins with one bit per leaf; every node whose
test
fails takes away the leaves of its left side; the lowest bit left is the leaf (QuickScorer, Lucchese et al., SIGIR
2015). All nodes are tested for 64 blocks at once, which compilers turn into vector instructions; a tree costs about 3
ns a
block. Leaves are whole numbers of 1/4096, so a sum does not depend on its order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tokenmill.extract.skim.context_kernel import (
    E_COLUMNS,
    E_COMMENT,
    E_SECTION,
    E_UP,
    FACTS,
    P_WEIGHT,
    S_BLOCKS,
    S_FIRST,
    S_LAST,
    S_WEIGHT,
    Page,
    context,
    log8,
    share,
)
from tokenmill.extract.skim.features_kernel import FEATURES, kind_of, landmark_of, write
from tokenmill.extract.skim.stats_kernel import COLUMNS, LAST, LINKED, MATH, WEIGHT
from tokenmill.text.compiled import entry, inner, lean

AT_ONCE = 64
NODES, LEAVES = 15, 16
SPREAD = 0x09AF
"""De Bruijn sequence: times a power of two, its upper 4 of 16 bits tell the exponents apart."""
STEPS, STEP_SHIFT = 2048, 5
"""Size of the table from sums to probabilities; 2^5 units of 1/4096 a step, so that it covers -8 to 8."""
LIKELY = 128
"""A block counts as main content in the features of the second stage from this probability on (in 255ths)."""
LONG = 40


class Trees(NamedTuple):
    """One stage: feature and threshold of every node, the leaves that a failed test leaves, and the leaves' values."""

    feature: Any
    """uint8 [trees * NODES]."""
    threshold: Any
    """uint8 [trees * NODES]: goes left up to this value; 255 where a tree has fewer nodes."""
    mask: Any
    """uint16 [trees * NODES]: leaves that remain when the block goes right."""
    leaf: Any
    """int16 [trees * LEAVES], in 1/4096; the value of leaf k stands at ((1 << k) * SPREAD >> 12) % 16."""


@lean
def add_trees(columns: Any, trees: Any, left: Any, sums: Any) -> None:
    """Adds every tree's leaf for AT_ONCE blocks, whose features are columns, to sums int32."""
    for tree in range(len(trees.feature) // NODES):
        for i in range(AT_ONCE):
            left[i] = np.uint16(0xFFFF)
        for node in range(tree * NODES, tree * NODES + NODES):
            feature, threshold, mask = trees.feature[node], trees.threshold[node], trees.mask[node]
            for i in range(AT_ONCE):
                left[i] &= np.uint16(0xFFFF) if columns[feature, i] <= threshold else mask
        for i in range(AT_ONCE):
            lowest = np.uint16(left[i] & np.uint16(np.uint16(0) - left[i]))
            left[i] = np.uint16(lowest * np.uint16(SPREAD)) >> np.uint16(12)
        leaves = trees.leaf[tree * LEAVES : tree * LEAVES + LEAVES]
        for i in range(AT_ONCE):
            sums[i] += leaves[np.uint64(left[i])]


@lean
def _place(total: int) -> int:
    return min(max((total >> STEP_SHIFT) + STEPS // 2, 0), STEPS - 1)


@lean
def _first(page: Any, trees: Any, base: int, bytes_table: Any, columns: Any, left: Any, sums: Any, likely: Any) -> None:
    """First stage: probabilities in 255ths into likely [B]."""
    count = len(page.bl_el)
    for begin in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - begin)
        for i in range(size):
            write(page, begin + i, columns, i)
        for i in range(AT_ONCE):
            sums[i] = base
        add_trees(columns, trees, left, sums)
        for i in range(size):
            likely[begin + i] = bytes_table[_place(sums[i])]


MASS, INSIDE = 0, 1
"""Columns of the second table of elements, int64: weight times probability, and the same where that is LIKELY."""


@lean
def _sum_likely(page: Any, likely: Any, masses: Any, before: Any, ways: Any) -> None:
    """Context of the second stage: masses [E, 2]; before [B + 1, 2] (mass, likely mass); ways [4] (two containers)."""
    count = len(page.bl_el)
    masses[:, :] = 0
    before[0, 0] = before[0, 1] = 0
    for b in range(count):
        mass = np.int64(page.blocks[b, WEIGHT]) * likely[b]
        inside = mass if likely[b] >= LIKELY else 0
        e = page.bl_el[b]
        masses[e, MASS] += mass
        masses[e, INSIDE] += inside
        before[b + 1, 0] = before[b, 0] + mass
        before[b + 1, 1] = before[b, 1] + inside
    for e in range(len(page.el_parent) - 1, 0, -1):
        if page.elements[e, S_BLOCKS]:
            masses[page.el_parent[e], MASS] += masses[e, MASS]
            masses[page.el_parent[e], INSIDE] += masses[e, INSIDE]
    ways[0] = ways[1] = 0
    for e in range(len(page.el_parent)):
        if masses[e, INSIDE] * 10 >= masses[0, INSIDE] * 6:
            ways[0] = e
        if masses[e, INSIDE] * 10 >= masses[0, INSIDE] * 9:
            ways[1] = e


@lean
def _long_neighbours(page: Any, likely: Any, around: Any) -> None:
    """around uint8 [B, 2]: probability of the nearest block of some length before and after each block."""
    count, found = len(page.bl_el), np.uint8(0)
    for b in range(count):
        around[b, 0] = found
        if page.blocks[b, WEIGHT] >= LONG:
            found = likely[b]
    found = np.uint8(0)
    for b in range(count - 1, -1, -1):
        around[b, 1] = found
        if page.blocks[b, WEIGHT] >= LONG:
            found = likely[b]


class Smooth(NamedTuple):
    """What the second stage needs beside the page."""

    likely: Any
    masses: Any
    before: Any
    around: Any
    ways: Any


SECOND = 48


@lean
def write_second(page: Any, smooth: Any, b: int, out: Any, i: int) -> None:
    """The second stage's features of block b into column i of out, uint8 [SECOND, n]."""
    count, e, likely = len(page.bl_el), page.bl_el[b], smooth.likely
    for place in range(7):
        other = b + place - 3
        out[place, i] = likely[other] if 0 <= other < count else 0
    k = 7
    way = e
    for _ in range(4):
        row, mass = page.elements[way], smooth.masses[way]
        out[k, i] = share(mass[MASS], row[S_WEIGHT] * np.int64(255))
        out[k + 1, i] = share(mass[INSIDE], smooth.masses[0, INSIDE])
        out[k + 2, i] = share(mass[INSIDE], row[S_WEIGHT] * np.int64(255))
        way = row[E_UP]
        k += 3
    for place in range(2):
        row = page.elements[smooth.ways[place]]
        last = row[S_FIRST] + row[S_BLOCKS]
        out[k, i] = smooth.ways[place] <= e <= row[S_LAST]
        out[k + 1, i] = _distance(b - row[S_FIRST])
        out[k + 2, i] = _distance(last - 1 - b)
        k += 3
    out[k, i] = share(smooth.before[b, 1], smooth.masses[0, INSIDE])
    out[k + 1, i] = share(smooth.before[b + 1, 1], smooth.masses[0, INSIDE])
    k += 2
    for reach in (2, 8):
        first, last = max(b - reach, 0), min(b + reach + 1, count)
        weight = np.int64(page.before[last, 0] - page.before[first, 0])
        out[k, i] = share(smooth.before[last, 0] - smooth.before[first, 0], weight * 255)
        out[k + 1, i] = share(smooth.before[last, 1] - smooth.before[first, 1], weight * 255)
        k += 2
    out[k, i] = share(smooth.masses[0, MASS], page.facts[P_WEIGHT] * 255)
    out[k + 1, i] = share(smooth.masses[0, INSIDE], page.facts[P_WEIGHT] * 255)
    out[k + 2, i], out[k + 3, i] = smooth.around[b, 0], smooth.around[b, 1]
    _write_own(page, smooth, b, out, i, k + 4)


@lean
def _write_own(page: Any, smooth: Any, b: int, out: Any, i: int, k: int) -> None:
    row, count = page.blocks[b], len(page.bl_el)
    out[k, i] = log8(row[WEIGHT])
    out[k + 1, i] = row[LINKED]
    out[k + 2, i] = row[LAST]
    out[k + 3, i] = kind_of(page.bl_flags[b])
    out[k + 4, i] = landmark_of(page.bl_flags[b])
    out[k + 5, i] = log8(row[MATH])
    out[k + 6, i] = kind_of(page.bl_flags[b + 1]) if b + 1 < count else 10
    out[k + 7, i] = kind_of(page.bl_flags[b - 1]) if b > 0 else 10
    out[k + 8, i] = log8(page.facts[P_WEIGHT])
    out[k + 9, i] = log8(count)
    out[k + 10, i] = page.marks[b, 3]
    row = page.elements[page.bl_el[b]]
    out[k + 11, i] = min(row[E_COMMENT], 255)
    section = page.elements[row[E_SECTION], S_FIRST] if row[E_SECTION] else 0
    out[k + 12, i] = share(smooth.before[section, 1], smooth.masses[0, INSIDE])


@lean
def _distance(blocks: Any) -> Any:
    """128 at 0; more inside, less outside."""
    return 128 + (min(log8(blocks), 127) if blocks >= 0 else -min(log8(-blocks), 127))


@lean
def _second(
    page: Any, smooth: Any, trees: Any, base: int, table: Any, columns: Any, left: Any, sums: Any, out: Any
) -> None:
    count = len(page.bl_el)
    for begin in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - begin)
        for i in range(size):
            write_second(page, smooth, begin + i, columns, i)
        for i in range(AT_ONCE):
            sums[i] = base
        add_trees(columns, trees, left, sums)
        for i in range(size):
            out[begin + i] = table[_place(sums[i])]


@inner
def _page_of(scan: Any) -> Any:
    blocks, elements = len(scan[5]), len(scan[1])
    return Page(
        scan[0], scan[1], scan[2], scan[3], scan[4], scan[5], scan[6], scan[7], scan[8], scan[9], scan[10], scan[11],
        scan[12], scan[13], np.empty((blocks, COLUMNS), np.int32), np.empty((elements, E_COLUMNS), np.int32),
        np.empty((blocks + 1, 2), np.int32), np.empty((blocks, 4), np.uint8), np.empty(FACTS, np.int64),
    )  # fmt: skip


@inner
def _smooth_of(page: Any, likely: Any) -> Any:
    blocks = len(page.bl_el)
    masses, before = np.empty((len(page.el_parent), 2), np.int64), np.empty((blocks + 1, 2), np.int64)
    around, ways = np.empty((blocks, 2), np.uint8), np.empty(2, np.int64)
    _sum_likely(page, likely, masses, before, ways)
    _long_neighbours(page, likely, around)
    return Smooth(likely, masses, before, around, ways)


def _make_judge(digest: str) -> Any:
    def judge(scan: Any, weights: Any, first: Any, second: Any, bases: Any, bytes_table: Any, table: Any) -> Any:
        """Probabilities float32 [B] of both stages, and those of the first alone, uint8 [B].

        scan: the arrays of `features.arrays_of`; bases int64 [2]: what the sums of both stages begin with.
        """
        assert digest  # the sources' digest is part of the cache's key
        page = _page_of(scan)
        count = len(page.bl_el)
        likely, out = np.empty(count, np.uint8), np.empty(count, np.float32)
        if count == 0:
            return out, likely
        context(page, weights)
        columns = np.zeros((max(FEATURES, SECOND), AT_ONCE), np.uint8)
        left, sums = np.empty(AT_ONCE, np.uint16), np.empty(AT_ONCE, np.int32)
        _first(page, first, bases[0], bytes_table, columns, left, sums, likely)
        _second(page, _smooth_of(page, likely), second, bases[1], table, columns, left, sums, out)
        return out, likely

    return judge


def _make_matrix(digest: str) -> Any:
    def matrix(scan: Any, weights: Any) -> Any:
        """The first stage's features, uint8 [B, FEATURES]."""
        assert digest
        page = _page_of(scan)
        count = len(page.bl_el)
        out = np.zeros((FEATURES, count), np.uint8)
        if count:
            context(page, weights)
        for b in range(count):
            write(page, b, out, b)
        return out.T.copy()

    return matrix


def _make_second_matrix(digest: str) -> Any:
    def second_matrix(scan: Any, weights: Any, likely: Any) -> Any:
        """The second stage's features, uint8 [B, SECOND], for probabilities of the first, uint8 [B]."""
        assert digest
        page = _page_of(scan)
        count = len(page.bl_el)
        out = np.zeros((SECOND, count), np.uint8)
        if count:
            context(page, weights)
            smooth = _smooth_of(page, likely)
            for b in range(count):
                write_second(page, smooth, b, out, b)
        return out.T.copy()

    return second_matrix


def _make_likely(digest: str) -> Any:
    def likely_of(features: Any, trees: Any, base: int, bytes_table: Any) -> Any:
        """Probabilities in 255ths, uint8 [n], of rows of features, uint8 [n, features]."""
        assert digest
        count = len(features)
        out = np.empty(count, np.uint8)
        columns = np.zeros((features.shape[1], AT_ONCE), np.uint8)
        left, sums = np.empty(AT_ONCE, np.uint16), np.empty(AT_ONCE, np.int32)
        for begin in range(0, count, AT_ONCE):
            size = min(AT_ONCE, count - begin)
            for i in range(size):
                for column in range(features.shape[1]):
                    columns[column, i] = features[begin + i, column]
            for i in range(AT_ONCE):
                sums[i] = base
            add_trees(columns, trees, left, sums)
            for i in range(size):
                out[begin + i] = bytes_table[_place(sums[i])]
        return out

    return likely_of


judge = entry(_make_judge)
likely_of = entry(_make_likely)
matrix = entry(_make_matrix)
second_matrix = entry(_make_second_matrix)
