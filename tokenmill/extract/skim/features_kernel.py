"""Kernels: what the block model sees of a page, as whole numbers from 0 to 255.

Three linear passes make the context of a page (blocks, elements upwards, elements downwards); then the features of one
block after the other are written into the columns of a small buffer that stays in the first-level cache. Training
writes
the same columns into a matrix. Everything is a byte by design (logarithms in steps of an eighth of an octave, shares
in 255ths), so trees compare bytes, and nothing depends on the arithmetic of a machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tokenmill.extract.skim import scan_tables as t
from tokenmill.extract.skim.sections_kernel import BODY, COMMENT, KINDS
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
    count_block,
)
from tokenmill.text.compiled import inner, lean

# Columns of the table of elements, int32: sums over the element and everything below it, then what it inherits.
(S_WEIGHT, S_LINKED, S_PARA, S_PROSE, S_BLOCKS, S_CHILDREN, S_FIRST, S_LAST, E_UP, E_DEPTH, E_SELF, E_SUM, E_LEAST,
E_MOST,
 S_ENDS, E_TAG, E_COMMENT, E_SECTION, E_BODY) = range(19)  # fmt: skip
E_COLUMNS = 19
"""S_FIRST and S_LAST are the first block and the last element below; E_UP the nearest ancestor with more text; E_SELF
to
E_MOST the learned weights of class and id names: own, sum, least and greatest over the ancestors;
E_COMMENT and E_BODY the steps from the
nearest element around it that is called a comment or an article's body (1: itself, 0: none), E_SECTION the outermost
comment."""

PROSE_WEIGHT, PROSE_LINKED = 60, 64
"""A block is prose from this weight on when less than a quarter of it is linked."""
WINDOW = 4
HASHES = 1 << 14
OUTER_DEPTH = 2


class Weights(NamedTuple):
    """What features need of a model."""

    own: Any
    """int8 [HASHES]: weight of a class or id token on the block's own element, in 16ths."""
    path: Any
    """int8 [HASHES]: the same on any ancestor."""
    tags: Any
    """uint8 [256]: rank of each tag by the share of main content among its blocks."""


class Page(NamedTuple):
    """A page's arrays: those of `Scan`, and the context that the passes fill."""

    text: Any
    el_tag: Any
    el_parent: Any
    el_token: Any
    tokens: Any
    bl_el: Any
    bl_inner: Any
    bl_start: Any
    bl_end: Any
    bl_link: Any
    bl_flags: Any
    bl_break: Any
    mk_pos: Any
    mk_kind: Any
    blocks: Any
    """int32 [B, COLUMNS] (stats_kernel)."""
    elements: Any
    """int32 [E, E_COLUMNS]."""
    before: Any
    """int32 [B + 1, 2]: weight of text and of prose before each block."""
    marks: Any
    """uint8 [B, 4]: links, emphasis, images, and blocks since the last heading."""
    facts: Any
    """int64 [FACTS]: of the whole page (P_...)."""


FACTS = 11
(P_WEIGHT, P_LINKED, P_PARA, P_PROSE, P_HALF, P_MOST, P_LONGEST, P_SENTENCES, P_COMMENT, P_OUTSIDE,
 P_BODY) = range(FACTS)  # fmt: skip
"""P_HALF and P_MOST are the deepest elements with 60 and 90 % of the prose; P_COMMENT weight in comment sections,
P_OUTSIDE prose outside of them, P_BODY prose in bodies of articles."""


@lean
def log8(value: Any) -> Any:
    """Logarithm in steps of an eighth of an octave (piecewise linear), 0 for 0 and at most 255."""
    return min((np.float32(value + 1).view(np.int32) >> 20) - 1016, 255)


@lean
def share(part: int, whole: int) -> int:
    """255 * part / whole, at most 255; 0 of nothing."""
    if whole <= 0 or part <= 0:
        return 0
    return min(int(255.0 * part / whole), 255)  # exact: the quotient of numbers below 2^40 is never that near a whole


@lean
def _clipped(value: int) -> int:
    return min(max(value, 0), 255)


@lean
def count_blocks(page: Any) -> None:
    """First pass: every block's text, its marks, and the blocks since a heading."""
    mark, since, marks = 0, 255, len(page.mk_pos)
    total = prose = 0
    page.before[0, 0] = page.before[0, 1] = 0
    for b in range(len(page.bl_el)):
        row = page.blocks[b]
        count_block(page.text, page.bl_start[b], page.bl_end[b], page.bl_link[b], row)
        links = strong = images = 0
        while mark < marks and page.mk_pos[mark] < page.bl_end[b]:
            kind = page.mk_kind[mark]
            links += kind == t.LINK
            strong += kind == t.STRONG or kind == t.EM
            images += kind == t.IMG
            mark += 1
        out = page.marks[b]
        out[0], out[1], out[2] = min(links, 255), min(strong, 255), min(images, 255)
        since = 0 if page.bl_flags[b] & t.HEADING else min(since + 1, 255)
        out[3] = since
        total += row[WEIGHT]
        if is_prose(row):
            prose += row[WEIGHT]
        page.before[b + 1, 0], page.before[b + 1, 1] = total, prose


@lean
def is_prose(row: Any) -> Any:
    return row[WEIGHT] >= PROSE_WEIGHT and row[LINKED] < PROSE_LINKED


@lean
def sum_elements(page: Any) -> None:
    """Second pass: sums of the blocks of every element, handed up from the last element to the first."""
    elements = page.elements
    count = len(page.el_tag)
    for e in range(count):
        row = elements[e]
        for column in range(8):
            row[column] = 0
        row[S_ENDS] = 0
        row[S_FIRST], row[S_LAST] = len(page.bl_el), e
    for b in range(len(page.bl_el) - 1, -1, -1):
        row, own = elements[page.bl_el[b]], page.blocks[b]
        row[S_WEIGHT] += own[WEIGHT]
        row[S_LINKED] += own[WEIGHT] * own[LINKED] // 255
        row[S_BLOCKS] += 1
        row[S_FIRST] = b
        row[S_ENDS] += own[ENDS]
        if page.bl_flags[b] & t.PARA:
            row[S_PARA] += own[WEIGHT]
        if is_prose(own):
            row[S_PROSE] += own[WEIGHT]
    for e in range(count - 1, 0, -1):
        row, up = elements[e], elements[page.el_parent[e]]
        if row[S_LAST] > up[S_LAST]:
            up[S_LAST] = row[S_LAST]
        if row[S_BLOCKS] == 0:
            continue
        up[S_WEIGHT] += row[S_WEIGHT]
        up[S_LINKED] += row[S_LINKED]
        up[S_PARA] += row[S_PARA]
        up[S_PROSE] += row[S_PROSE]
        up[S_BLOCKS] += row[S_BLOCKS]
        up[S_ENDS] += row[S_ENDS]
        up[S_CHILDREN] += 1
        if row[S_FIRST] < up[S_FIRST]:
            up[S_FIRST] = row[S_FIRST]


@lean
def inherit(page: Any, weights: Any) -> None:
    """Third pass: depth, weights of names and the nearest ancestor with more text, from the first element to the
    last."""
    elements = page.elements
    root = elements[0]
    root[E_UP] = root[E_DEPTH] = root[E_SELF] = root[E_SUM] = root[E_LEAST] = root[E_MOST] = 0
    root[E_TAG] = weights.tags[page.el_tag[0]]
    root[E_COMMENT] = root[E_SECTION] = root[E_BODY] = 0
    page.facts[P_COMMENT], page.facts[P_OUTSIDE], page.facts[P_BODY] = 0, root[S_PROSE], 0
    for e in range(1, len(page.el_tag)):
        parent = page.el_parent[e]
        row, up = elements[e], elements[parent]
        own = path = kind = 0
        for k in range(page.el_token[e], page.el_token[e + 1]):
            kind |= KINDS[page.tokens[k]]
            own += weights.own[page.tokens[k]]
            path += weights.path[page.tokens[k]]
        row[E_UP] = parent if up[S_WEIGHT] > row[S_WEIGHT] else up[E_UP]
        row[E_DEPTH] = up[E_DEPTH] + 1
        row[E_TAG] = weights.tags[page.el_tag[e]]
        row[E_SELF] = own
        row[E_SUM] = up[E_SUM] + path
        row[E_LEAST] = min(up[E_LEAST], path)
        row[E_MOST] = max(up[E_MOST], path)
        _inherit_section(page, e, kind)


@lean
def _inherit_section(page: Any, e: int, kind: int) -> None:
    row, up, facts = page.elements[e], page.elements[page.el_parent[e]], page.facts
    if row[E_DEPTH] <= OUTER_DEPTH:  # names of html and body say what a page may have, not where
        kind = 0
    row[E_SECTION] = up[E_SECTION]
    row[E_COMMENT] = up[E_COMMENT] + 1 if up[E_COMMENT] else 0
    row[E_BODY] = up[E_BODY] + 1 if up[E_BODY] else 0
    if kind & COMMENT:
        row[E_COMMENT] = 1
        if up[E_SECTION] == 0:
            row[E_SECTION] = e
            facts[P_COMMENT] += row[S_WEIGHT]
            facts[P_OUTSIDE] -= row[S_PROSE]
    if kind & BODY:
        row[E_BODY] = 1
        if up[E_BODY] == 0:
            facts[P_BODY] += row[S_PROSE]


@lean
def sum_page(page: Any) -> None:
    """The page's facts, of which features of every block are made."""
    root, facts = page.elements[0], page.facts
    facts[P_WEIGHT], facts[P_LINKED] = root[S_WEIGHT], root[S_LINKED]
    facts[P_PARA], facts[P_PROSE] = root[S_PARA], root[S_PROSE]
    half: Any = 0
    most: Any = 0
    longest: Any = 0
    for e in range(len(page.el_tag)):
        prose = np.int64(page.elements[e, S_PROSE])
        if prose * 10 >= facts[P_PROSE] * 6:
            half = e
        if prose * 10 >= facts[P_PROSE] * 9:
            most = e
    for b in range(len(page.bl_el)):
        longest = max(longest, np.int64(page.blocks[b, WEIGHT]))
    facts[P_HALF], facts[P_MOST], facts[P_LONGEST], facts[P_SENTENCES] = half, most, longest, root[S_ENDS]


@inner
def context(page: Any, weights: Any) -> None:
    """All passes before the features of single blocks."""
    count_blocks(page)
    sum_elements(page)
    inherit(page, weights)
    sum_page(page)


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
