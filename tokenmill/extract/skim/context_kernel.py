"""Kernels: the context of a page, in linear passes over its blocks, its elements upwards and its elements downwards."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tokenmill.extract.skim import scan_tables as t
from tokenmill.extract.skim.sections_kernel import BODY, COMMENT, KINDS
from tokenmill.extract.skim.stats_kernel import (
    ENDS,
    LINKED,
    WEIGHT,
    count_block,
)
from tokenmill.text.compiled import inner, lean

# Columns of the table of elements, int32: sums over the element and everything below it, then what it inherits.
(S_WEIGHT, S_LINKED, S_PARA, S_PROSE, S_BLOCKS, S_CHILDREN, S_FIRST, S_LAST, E_UP, E_DEPTH, E_SELF, E_SUM, E_LEAST,
 E_MOST, S_ENDS, E_TAG, E_COMMENT, E_SECTION, E_BODY) = range(19)  # fmt: skip
E_COLUMNS = 19
"""S_FIRST and S_LAST are the first block and the last element below; E_UP the nearest ancestor with more text; E_SELF
to E_MOST the learned weights of class and id names: own, sum, least and greatest over the ancestors; E_COMMENT and
E_BODY the steps from the nearest element around it that is called a comment or an article's body (1: itself, 0: none),
E_SECTION the outermost comment."""

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
