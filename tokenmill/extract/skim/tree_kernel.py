"""Compiled part of the scanner: open elements, what ends them, and their rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.extract.skim.find_kernel import U
from tokenmill.extract.skim.scan_tables import (
    BLOCK,
    CELL_GROUP,
    END,
    GROUP_MASK,
    GROUP_SHIFT,
    LAST_TABLE_GROUP,
    MARK_MASK,
    MARK_SHIFT,
    MARKED,
    P_GROUP,
    RUBY_TEXT,
    SCOPE,
    STACK,
    TABLE_SCOPE,
    TAG_SHIFT,
    TITLE_RANK,
)
from tokenmill.extract.skim.tag_kernel import add_tokens
from tokenmill.extract.skim.text_kernel import (
    DEEPEST,
    DEPTH,
    EL_ATTRS,
    EL_ATTRS_END,
    EL_FLAGS,
    EL_PARENT,
    EL_START,
    EL_TAG,
    EL_TOKEN,
    ELEMENTS,
    FRAME,
    LINK_AT,
    MARKS,
    MK_EL,
    MK_KIND,
    MK_POS,
    OPEN,
    PARAS,
    PENDING,
    PRE_AT,
    SKIPPED,
    STACK_BLOCK,
    STACK_CODE,
    STACK_EL,
    STACK_KIND,
    TOKENS,
    W,
    flush,
)
from tokenmill.text.compiled import lean, lean_forced

IMPLIED_LOOK, END_LOOK = 32, 64
_OPENING, _CLOSING = np.uint8(40), np.uint8(41)


@lean_forced
def group_of(kind: Any) -> Any:
    return kind >> GROUP_SHIFT & GROUP_MASK


@lean_forced
def mark(kind: Any, element: int, out: Any) -> None:
    s = out.s
    m = U(s[MARKS])
    out.rows[MK_POS, m] = s[W]
    out.rows[MK_KIND, m] = kind
    out.rows[MK_EL, m] = element
    s[MARKS] += 1


@lean
def end_mark(depth: int, out: Any) -> None:
    """End the mark of the open element at this depth, if it has one that has not ended."""
    s = out.s
    kind = s[STACK_KIND + FRAME * depth]
    if kind & MARKED:
        mark(kind >> MARK_SHIFT & MARK_MASK | END, s[STACK_EL + FRAME * depth], out)
        s[STACK_KIND + FRAME * depth] = kind & ~MARKED


@lean
def close_to(depth: int, out: Any) -> None:
    """Close all open elements from this depth on."""
    s = out.s
    at = min(s[DEPTH], STACK)
    s[DEPTH] = depth
    if depth <= s[LINK_AT]:
        s[LINK_AT] = -1
    while at > depth:
        at -= 1
        kind = s[STACK_KIND + FRAME * at]
        if kind & BLOCK:
            flush(out)
            if group_of(kind) == P_GROUP:
                s[PARAS] -= 1
        elif kind & MARKED:
            end_mark(at, out)
        elif kind & RUBY_TEXT:
            bracket(_CLOSING, out)
    if depth <= s[SKIPPED]:
        s[SKIPPED] = -1
    if depth <= s[PRE_AT]:
        s[PRE_AT] = -1


@lean
def bracket(character: Any, out: Any) -> None:
    """Brackets around the pronunciation of a ruby text; white space before them is left out."""
    s = out.s
    if s[OPEN]:
        s[PENDING] = 0
        out.text[U(s[W])] = character
        s[W] += 1


@lean
def close_implied(group: int, out: Any) -> None:
    """Close the element that a new sibling of this group ends by implication.

    In tables the outermost cell, row or group of rows that cannot hold the new one, up to the table; else the next
    element of the group, not beyond what keeps such elements apart.
    """
    s = out.s
    depth = s[DEPTH]
    if depth > STACK:
        return
    in_table = CELL_GROUP <= group <= LAST_TABLE_GROUP
    lowest = max(1, depth - IMPLIED_LOOK)
    i = depth - 1
    found = depth
    while i >= lowest:
        kind = s[STACK_KIND + FRAME * i]
        other = group_of(kind)
        if kind & TABLE_SCOPE or (kind & SCOPE and group < CELL_GROUP):
            break
        if in_table and CELL_GROUP <= other <= group:
            found = i
        elif other == group:
            found = i
            break
        i -= 1
    if found != depth:
        close_to(found, out)


@lean
def _matching_depth(code: Any, kind: int, out: Any) -> Any:
    """Depth once an end tag has closed the nearest element of its name; a stray one closes nothing.

    No look goes through a table; that of inline elements not through a block, that of blocks not through a cell
    (but for the parts of tables). Headings of all ranks close each other.
    """
    s = out.s
    depth = s[DEPTH]
    in_table = CELL_GROUP <= group_of(kind) <= LAST_TABLE_GROUP or kind & TABLE_SCOPE
    lowest = max(1, depth - END_LOOK)
    i = depth - 1
    crossed = False
    while i >= lowest:
        other = s[STACK_KIND + FRAME * i]
        if s[STACK_CODE + FRAME * i] == np.int64(code) or other & kind & TITLE_RANK:
            if not crossed:
                return i
            if other & MARKED:  # misnested: it holds the blocks open in it, but what it marks has ended
                end_mark(i, out)
                return depth
        if other & TABLE_SCOPE or (not in_table and group_of(other) == CELL_GROUP):
            return depth
        if other & BLOCK and not kind & BLOCK:
            if not kind & MARKED:
                return depth
            crossed = True
        i -= 1
    return depth


@lean_forced
def close_named(code: Any, kind: int, out: Any) -> None:
    """Close what an end tag closes."""
    s = out.s
    depth = s[DEPTH]
    if depth > STACK:
        close_to(depth - 1, out)
    elif s[STACK_CODE + FRAME * (depth - 1)] == np.int64(code) and depth > 1:
        close_to(depth - 1, out)
    else:
        found = _matching_depth(code, kind, out)
        if found != depth:
            close_to(found, out)


@lean_forced
def push_skipped(code: Any, out: Any) -> None:
    """An open element in content that is no text: counted, not in the table."""
    s = out.s
    depth = s[DEPTH]
    s[DEPTH] = depth + 1
    s[DEEPEST] = max(s[DEEPEST], depth)
    if depth < STACK:
        frame = FRAME * depth
        s[STACK_EL + frame] = s[STACK_EL + frame - FRAME]
        s[STACK_CODE + frame] = np.int64(code)
        s[STACK_KIND + frame] = 0
        s[STACK_BLOCK + frame] = s[STACK_BLOCK + frame - FRAME]


@lean
def push(page: Any, i: int, attrs: int, end: int, code: Any, kind: int, flags: int, found: int, out: Any) -> Any:
    """A new element in the table, and on the stack while there is room if it can hold something; its number."""
    rows, s = out.rows, out.s
    e = U(s[ELEMENTS])
    depth = s[DEPTH]
    top = FRAME * (min(depth, STACK) - 1)
    parent = s[STACK_EL + top]
    rows[EL_TAG, e] = kind >> TAG_SHIFT
    rows[EL_PARENT, e] = parent
    rows[EL_FLAGS, e] = rows[EL_FLAGS, U(parent)] | flags
    rows[EL_START, e] = i
    rows[EL_ATTRS, e] = attrs
    rows[EL_ATTRS_END, e] = end
    s[TOKENS] = add_tokens(page, found, s, out.tokens, s[TOKENS])
    s[ELEMENTS] += 1
    rows[EL_TOKEN, U(s[ELEMENTS])] = s[TOKENS]
    if code:
        if depth < STACK:
            frame = FRAME * depth
            s[STACK_EL + frame] = np.int64(e)
            s[STACK_CODE + frame] = np.int64(code)
            s[STACK_KIND + frame] = kind
            s[STACK_BLOCK + frame] = np.int64(e) if kind & BLOCK else s[STACK_BLOCK + top]
            if group_of(kind) == P_GROUP:
                s[PARAS] += 1
        s[DEPTH] = depth + 1
        s[DEEPEST] = max(s[DEEPEST], depth)
    return np.int64(e)
