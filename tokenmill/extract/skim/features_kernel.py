"""Kernels: what the block model sees of a page, as whole numbers from 0 to 255.

`context_kernel` makes the context of a page; then the features of one block after the other are written into the
columns of a small buffer that stays in the first-level cache. Training writes the same columns into a matrix.
Everything is a byte by design (logarithms in steps of an eighth of an octave, shares in 255ths), so trees compare
bytes, and nothing depends on the arithmetic of a machine.
"""

from __future__ import annotations

from typing import Any

from tokenmill.extract.skim import scan_tables as t
from tokenmill.extract.skim.context_kernel import (
    E_BODY,
    E_COMMENT,
    E_DEPTH,
    E_LEAST,
    E_MOST,
    E_SECTION,
    E_SELF,
    E_SUM,
    E_TAG,
    E_UP,
    P_BODY,
    P_COMMENT,
    P_HALF,
    P_LINKED,
    P_LONGEST,
    P_MOST,
    P_OUTSIDE,
    P_PARA,
    P_PROSE,
    P_SENTENCES,
    P_WEIGHT,
    S_BLOCKS,
    S_CHILDREN,
    S_FIRST,
    S_LAST,
    S_LINKED,
    S_PARA,
    S_PROSE,
    S_WEIGHT,
    WINDOW,
    _clipped,
    log8,
    share,
)
from tokenmill.extract.skim.stats_kernel import (
    CODE_SIGNS,
    COMMAS,
    DIGITS,
    ENDS,
    FIRST,
    LAST,
    LETTERS,
    LINES,
    LINKED,
    MATH,
    QUOTES,
    SEPARATORS,
    SIGNS,
    SPACES,
    UPPER,
    WEIGHT,
)
from tokenmill.text.compiled import lean


@lean
def landmark_of(flags: int) -> int:
    """Where in the page's plan: the least likely place of main content first."""
    if flags & t.NAV:
        return 0
    if flags & t.FOOTER:
        return 1
    if flags & t.ASIDE:
        return 2
    if flags & t.HEADER:
        return 3
    if flags & (t.FORM | t.BUTTON):
        return 4
    if flags & t.ARTICLE:
        return 7
    return 6 if flags & t.MAIN else 5


@lean
def kind_of(flags: int) -> int:
    """What a block is: the least likely kinds of main content first."""
    if flags & (t.BUTTON | t.LABEL):
        return 0
    if flags & t.TH:
        return 1
    if flags & t.HEADING:
        return 5
    if flags & (t.IN_PRE | t.CODE):
        return 8
    if flags & t.PARA:
        return 9
    if flags & t.ITEM:
        return 3
    if flags & t.CELL:
        return 2
    if flags & (t.CAPTION | t.FIGURE):
        return 4
    return 7 if flags & t.QUOTE else 6


OWN = 24
"""Features of the block's own text come first."""


@lean
def _write_own(page: Any, b: int, out: Any, i: int) -> None:
    row, marks, flags = page.blocks[b], page.marks[b], page.bl_flags[b]
    weight, signs = row[WEIGHT], row[LETTERS] + row[DIGITS]
    out[0, i] = log8(weight)
    out[1, i] = log8(row[SPACES])
    out[2, i] = row[LINKED]
    out[3, i] = share(row[DIGITS], signs)
    out[4, i] = share(row[UPPER], row[LETTERS])
    out[5, i] = share(row[COMMAS] * 16, weight)
    out[6, i] = min(row[ENDS], 255)
    out[7, i] = share(row[ENDS] * 16, weight)
    out[8, i] = share(row[SEPARATORS] * 4, weight)
    out[9, i] = share(row[CODE_SIGNS] * 4, weight)
    out[10, i] = share(row[QUOTES] * 16, weight)
    out[11, i] = min(row[SIGNS], 255)
    out[12, i] = log8(row[LINES])
    out[13, i] = log8(row[MATH])
    out[14, i] = row[FIRST]
    out[15, i] = row[LAST]
    out[16, i] = marks[0]
    out[17, i] = marks[1]
    out[18, i] = marks[2]
    out[19, i] = marks[3]
    out[20, i] = share(row[LETTERS], row[SPACES] * 16 + 16)
    out[21, i] = landmark_of(flags)
    out[22, i] = kind_of(flags)
    out[23, i] = page.bl_break[b]


CONTEXT = 32


@lean
def _write_context(page: Any, b: int, out: Any, i: int) -> None:
    elements, flags, count = page.elements, page.bl_flags[b], len(page.bl_el)
    e, within = page.bl_el[b], page.bl_inner[b]
    row, up = elements[e], elements[max(page.el_parent[e], 0)]
    k = OWN
    out[k, i] = (flags & t.LIST) != 0
    out[k + 1, i] = (flags & t.TABLE) != 0
    out[k + 2, i] = (flags & t.HIDDEN) != 0
    out[k + 3, i] = row[E_TAG]
    out[k + 4, i] = up[E_TAG]
    out[k + 5, i] = elements[within, E_TAG]
    out[k + 6, i] = min(row[E_DEPTH], 255)
    out[k + 7, i] = _clipped(128 + elements[within, E_SELF] // 2) if within != e else 128
    out[k + 8, i] = _clipped(128 + row[E_SELF] // 2)
    out[k + 9, i] = _clipped(128 + up[E_SELF] // 2)
    out[k + 10, i] = _clipped(128 + row[E_SUM] // 4)
    out[k + 11, i] = _clipped(255 + row[E_LEAST])
    out[k + 12, i] = _clipped(row[E_MOST])
    out[k + 13, i] = share(b, count)
    out[k + 14, i] = share(page.before[b, 0], page.facts[P_WEIGHT])
    out[k + 15, i] = share(page.before[b, 1], page.facts[P_PROSE])
    out[k + 16, i] = log8(b)
    out[k + 17, i] = log8(count - b)
    out[k + 18, i] = log8(page.facts[P_WEIGHT])
    out[k + 19, i] = share(page.facts[P_LINKED], page.facts[P_WEIGHT])
    out[k + 20, i] = share(page.facts[P_PARA], page.facts[P_WEIGHT])
    out[k + 21, i] = share(page.facts[P_PROSE], page.facts[P_WEIGHT])
    out[k + 22, i] = log8(count)
    out[k + 23, i] = share(page.blocks[b, WEIGHT], page.facts[P_LONGEST])
    out[k + 24, i] = log8(page.facts[P_SENTENCES])
    out[k + 25, i] = log8(up[S_CHILDREN])
    out[k + 26, i] = min(row[E_COMMENT], 255)
    out[k + 27, i] = log8(page.before[elements[row[E_SECTION], S_FIRST], 1]) if row[E_SECTION] else 0
    out[k + 28, i] = share(page.facts[P_COMMENT], page.facts[P_WEIGHT])
    out[k + 29, i] = log8(page.facts[P_OUTSIDE])
    out[k + 30, i] = min(row[E_BODY], 255)
    out[k + 31, i] = share(page.facts[P_BODY], page.facts[P_PROSE])


LEVELS, PER_LEVEL = 4, 8


@lean
def _write_levels(page: Any, b: int, out: Any, i: int) -> None:
    """The block's element and the three next ancestors that have more text than the one before."""
    e = page.bl_el[b]
    for level in range(LEVELS):
        row = page.elements[e]
        k = OWN + CONTEXT + level * PER_LEVEL
        out[k, i] = share(row[S_WEIGHT], page.facts[P_WEIGHT])
        out[k + 1, i] = share(row[S_LINKED], row[S_WEIGHT])
        out[k + 2, i] = share(row[S_PARA], row[S_WEIGHT])
        out[k + 3, i] = log8(row[S_BLOCKS])
        out[k + 4, i] = log8(row[S_WEIGHT] // max(row[S_BLOCKS], 1))
        out[k + 5, i] = share(row[S_PROSE], page.facts[P_PROSE])
        out[k + 6, i] = share(row[S_PROSE], row[S_WEIGHT])
        out[k + 7, i] = share(b - row[S_FIRST], row[S_BLOCKS])
        e = row[E_UP]


AROUND = 16


@lean
def _write_around(page: Any, b: int, out: Any, i: int) -> None:
    """Neighbours, and whether the block lies in the elements that hold most prose."""
    count, e = len(page.bl_el), page.bl_el[b]
    k = OWN + CONTEXT + LEVELS * PER_LEVEL
    for place in range(4):
        other = b + (place - 2 if place < 2 else place - 1)
        if 0 <= other < count:
            out[k, i] = log8(page.blocks[other, WEIGHT])
            out[k + 1, i] = page.blocks[other, LINKED]
        else:
            out[k, i] = out[k + 1, i] = 0
        k += 2
    out[k, i] = kind_of(page.bl_flags[b - 1]) if b > 0 else 10
    out[k + 1, i] = kind_of(page.bl_flags[b + 1]) if b + 1 < count else 10
    first, last = max(b - WINDOW, 0), min(b + WINDOW + 1, count)
    prose = page.before[last, 1] - page.before[first, 1]
    out[k + 2, i] = log8(prose)
    out[k + 3, i] = share(prose, page.before[last, 0] - page.before[first, 0])
    half, most = page.facts[P_HALF], page.facts[P_MOST]
    out[k + 4, i] = half <= e <= page.elements[half, S_LAST]
    out[k + 5, i] = most <= e <= page.elements[most, S_LAST]
    out[k + 6, i] = min(page.elements[half, E_DEPTH], 255)
    out[k + 7, i] = page.blocks[b - 1, LAST] if b > 0 else 0


FEATURES = OWN + CONTEXT + LEVELS * PER_LEVEL + AROUND


@lean
def write(page: Any, b: int, out: Any, i: int) -> None:
    """The features of block b into column i of out, uint8 [FEATURES, n]."""
    _write_own(page, b, out, i)
    _write_context(page, b, out, i)
    _write_levels(page, b, out, i)
    _write_around(page, b, out, i)
