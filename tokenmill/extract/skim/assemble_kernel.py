"""Compiled part of `assemble`: where blocks stand (items, rows, headings, code), and the text of a page.

Time is linear: a walk from a block to the root has at most as many steps as the scanner's stack is high, and all else
is passes over blocks, elements, marks and bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tokenmill.extract.skim.inline_kernel import (
    BLOCK_EL,
    BLOCK_END,
    BLOCK_START,
    CELL_TEXT,
    ELEMENT,
    FORM,
    FORMULAS,
    FROM,
    KIND,
    LINKED,
    MARKDOWN,
    NO_STRONG,
    ONE_LINE,
    POS,
    PREFIX,
    SCRIPT,
    STATE,
    TO,
    VERBATIM,
    Inline,
    W,
    new_line,
    put,
    put_pool,
    write_block,
)
from tokenmill.extract.skim.place_kernel import (
    COLUMN,
    IN_GRID,
    IN_ROW,
    ITEM_AT,
    LEVEL,
    LI,
    MOST_QUOTES,
    OL,
    PLACES,
    PRE_AT,
    QUOTES,
    ROW_AT,
    SHAPE,
    TABLE_AT,
    WIDTH,
    find_grids,
    find_rows,
    place_all,
)
from tokenmill.extract.skim.scan_tables import CELL, END, ITEM, LINK, SUB, SUP
from tokenmill.text.compiled import entry, lean

_MOST_INDENT = 24
PREFIX_BYTES = 2 * MOST_QUOTES + _MOST_INDENT + 16
_SPACE, _DASH, _PIPE, _HASH, _QUOTE_MARK, _TICK = 32, 45, 124, 35, 62, 96


class Page(NamedTuple):
    """What the layout of a page is made of; [n] is by kept block."""

    tags: Any
    """uint8 [E]"""
    parents: Any
    """int32 [E]"""
    blocks: Any
    """int64 [n, 3]: range in the text, innermost block element."""
    places: Any
    """int64 [n, PLACES]"""
    indents: Any
    """int32 [E]: where the text of an item begins, 0 before it is written. No rows on pages without items."""
    lists: Any
    """int32 [E, 2]: see `_number`; no rows in plain text."""
    code: Any
    """int32 [n, 3]: preformatted element and the part of the pool that names its language, in Markdown."""


@lean
def _put_bar(out: Any, s: Any) -> None:
    put(_SPACE, out, s)
    put(_PIPE, out, s)
    put(_SPACE, out, s)


@lean
def _number(page: Any, item: int) -> Any:
    """Number of an item of an ordered list; 0 for one of another list. `lists` [E, 2]: the last item (0: none yet)
    and its number."""
    e = np.int64(page.parents[item])
    if e < 0 or page.tags[e] != OL:
        return 0
    lists = page.lists
    for i in range(max(e, np.int64(lists[e, 0])) + 1, item + 1):
        if page.parents[i] == e and page.tags[i] == LI:
            lists[e, 1] += 1
    lists[e, 0] = item
    return max(1, np.int64(lists[e, 1]))


@lean
def _outer_indent(page: Any, item: int) -> Any:
    """Where the text of the nearest item around this one begins; 0 where none is written."""
    e = np.int64(page.parents[item])
    while e > 0:
        if page.tags[e] == LI and page.indents[e] > 0:
            return min(np.int64(page.indents[e]), _MOST_INDENT)
        e = np.int64(page.parents[e])
    return 0


@lean
def _set_prefix(quotes: int, indent: int, prefix: Any, s: Any) -> None:
    at = 0
    for _ in range(quotes):
        prefix[at], prefix[at + 1] = _QUOTE_MARK, _SPACE
        at += 2
    for _ in range(indent):
        prefix[at] = _SPACE
        at += 1
    s[PREFIX] = at


@lean
def _begin_item(page: Any, item: int, quotes: int, markdown: bool, prefix: Any, out: Any, s: Any) -> None:
    """The beginning of the first line of an item, and in Markdown the prefix of those that follow."""
    outer = _outer_indent(page, item)
    for _ in range(outer):
        put(_SPACE, out, s)
    number = _number(page, item) if markdown else 0
    width = 2
    if number:
        power = 1
        while power * 10 <= number:
            power *= 10
            width += 1
        while power:
            put(48 + number // power % 10, out, s)
            power //= 10
        put(46, out, s)
        width += 1
    else:
        put(_DASH, out, s)
    put(_SPACE, out, s)
    page.indents[item] = min(outer + width, _MOST_INDENT)
    if markdown:
        _set_prefix(quotes, np.int64(page.indents[item]), prefix, s)


@lean
def _fence(text: Any, blocks: Any, places: Any, j: int) -> Any:
    """Backticks of the fence around the code that begins at j: more than stand in it."""
    most = 2
    k = j
    while k < len(blocks) and places[k, PRE_AT] == places[j, PRE_AT]:
        run = 0
        for i in range(blocks[k, 0], blocks[k, 1]):
            run = run + 1 if text[i] == _TICK else 0
            most = max(most, run)
        k += 1
    return min(most, 15) + 1


@lean
def _end_of_row(places: Any, j: int, prefix: Any, out: Any, s: Any) -> None:
    """The end of a row of a grid whose last block is j; behind the first row the line that makes it the header."""
    put(_SPACE, out, s)
    put(_PIPE, out, s)
    first = j
    while first > 0 and places[first - 1, SHAPE] == IN_GRID and places[first - 1, ROW_AT] == places[j, ROW_AT]:
        first -= 1
    if first > 0 and places[first - 1, SHAPE] == IN_GRID and places[first - 1, TABLE_AT] == places[j, TABLE_AT]:
        return
    for _ in range(places[j, WIDTH] - places[j, COLUMN] - 1):
        put(_SPACE, out, s)
        put(_PIPE, out, s)
    new_line(prefix, out, s)
    put(_PIPE, out, s)
    for _ in range(places[j, WIDTH]):
        put(_SPACE, out, s)
        for _k in range(3):
            put(_DASH, out, s)
        put(_SPACE, out, s)
        put(_PIPE, out, s)


@lean
def _plain_page(x: Any, page: Any, prefix: Any, out: Any, s: Any) -> None:
    places = page.places
    for j in range(len(places)):
        place = places[j]
        in_row = place[SHAPE] == IN_ROW
        if j and in_row and places[j - 1, SHAPE] == IN_ROW and places[j - 1, ROW_AT] == place[ROW_AT]:
            _put_bar(out, s)
        else:
            if j:
                new_line(prefix, out, s)
            item = place[ITEM_AT]
            if item >= 0 and page.indents[item] == 0:
                _begin_item(page, item, 0, False, prefix, out, s)
        how = ONE_LINE if in_row else VERBATIM if place[PRE_AT] >= 0 else 0
        _write(x, page, j, how, prefix, out, s)


@lean
def _write(x: Any, page: Any, j: int, how: int, prefix: Any, out: Any, s: Any) -> None:
    s[BLOCK_START], s[BLOCK_END], s[BLOCK_EL] = page.blocks[j, 0], page.blocks[j, 1], page.blocks[j, 2]
    write_block(x, how, prefix, out, s)


@lean
def _begin_line(page: Any, j: int, prefix: Any, out: Any, s: Any) -> None:
    """What stands before a block that does not go on with the line before: line ends (a blank line, but for items of
    a list and rows of a table), quotes, indentation, the beginning of an item."""
    place = page.places[j]
    item, quotes = place[ITEM_AT], place[QUOTES]
    starts = item >= 0 and page.indents[item] == 0
    if j:
        before = page.places[j - 1]
        rows = place[SHAPE] == IN_GRID and before[SHAPE] == IN_GRID and place[TABLE_AT] == before[TABLE_AT]
        if not (rows or (starts and before[ITEM_AT] >= 0 and before[PRE_AT] < 0)):
            _set_prefix(min(before[QUOTES], quotes), 0, prefix, s)
            new_line(prefix, out, s)
    _set_prefix(quotes, np.int64(page.indents[item]) if item >= 0 else 0, prefix, s)
    if j:
        new_line(prefix, out, s)
    else:
        for k in range(s[PREFIX]):
            put(prefix[k], out, s)
    if starts:
        _begin_item(page, item, quotes, True, prefix, out, s)


@lean
def _end_fence(ticks: int, prefix: Any, out: Any, s: Any) -> None:
    new_line(prefix, out, s)
    for _ in range(ticks):
        put(_TICK, out, s)


@lean
def _begin_fence(x: Any, page: Any, j: int, prefix: Any, out: Any, s: Any) -> Any:
    """The line before code; how many backticks it has."""
    ticks = _fence(x.text, page.blocks, page.places, j)
    for _ in range(ticks):
        put(_TICK, out, s)
    low, high = 0, len(page.code)  # in the order of elements
    while low < high:
        middle = (low + high) // 2
        if page.code[middle, 0] < page.places[j, PRE_AT]:
            low = middle + 1
        else:
            high = middle
    if low < len(page.code) and page.code[low, 0] == page.places[j, PRE_AT]:
        put_pool(page.code[low, 1], page.code[low, 2], x, out, s)
    s[FORM] = 0
    new_line(prefix, out, s)
    return ticks


@lean
def _markdown_page(x: Any, page: Any, prefix: Any, out: Any, s: Any) -> None:
    places = page.places
    ticks = 0  # of the open fence
    for j in range(len(places)):
        place, before = places[j], places[max(j - 1, 0)]
        grid = place[SHAPE] == IN_GRID
        same_row = j > 0 and place[SHAPE] > 0 and before[SHAPE] == place[SHAPE] and before[ROW_AT] == place[ROW_AT]
        in_code = ticks > 0 and place[PRE_AT] == before[PRE_AT]
        if ticks and not in_code:
            _end_fence(ticks, prefix, out, s)
            ticks = 0
        bars = 0
        if same_row:
            bars = place[COLUMN] - before[COLUMN] if grid else 1
        elif in_code:
            new_line(prefix, out, s)
        else:
            _begin_line(page, j, prefix, out, s)
            if grid:
                put(_PIPE, out, s)
                put(_SPACE, out, s)
                bars = place[COLUMN]
        for _ in range(bars):
            _put_bar(out, s)
        how = MARKDOWN
        if place[PRE_AT] >= 0:
            how |= VERBATIM
            if not in_code:
                ticks = _begin_fence(x, page, j, prefix, out, s)
        elif place[SHAPE]:
            how |= ONE_LINE | (CELL_TEXT if grid else 0)
        elif place[LEVEL]:
            how |= ONE_LINE | NO_STRONG
            for _ in range(place[LEVEL]):
                put(_HASH, out, s)
            put(_SPACE, out, s)
        _write(x, page, j, how, prefix, out, s)
        last = j + 1 == len(places) or places[j + 1, SHAPE] != IN_GRID or places[j + 1, ROW_AT] != place[ROW_AT]
        if grid and last:
            _end_of_row(places, j, prefix, out, s)
    if ticks:
        _end_fence(ticks, prefix, out, s)


@lean
def _room(x: Any, page: Any, markdown: bool) -> Any:
    """Bytes that the text cannot exceed."""
    places = page.places
    room = len(places) * (PREFIX_BYTES + 24) + 4 * len(x.marks) + 64
    for j in range(len(places)):
        start, end = page.blocks[j, 0], page.blocks[j, 1]
        room += end - start
        if markdown:
            if places[j, SHAPE] == IN_GRID:
                room += end - start + 9 * (places[j, WIDTH] + 2)
            room += 5 * PREFIX_BYTES + 64
            for i in range(start, end):
                if x.text[i] == 10:
                    room += PREFIX_BYTES
    if markdown:
        room += 12 * len(x.marks) + len(x.pool)
    return room


@lean
def _marks(mk_pos: Any, mk_kind: Any, mk_el: Any, targets: Any, markdown: bool, out: Any) -> Any:
    """Fill `Inline.marks` with what counts: all marks for Markdown, scripts and links for plain text; how many."""
    count = 0
    for m in range(len(mk_pos)):
        kind = mk_kind[m] & ~END
        if markdown or kind == SUP or kind == SUB or kind == LINK:
            out[count, POS], out[count, KIND], out[count, ELEMENT] = mk_pos[m], mk_kind[m], mk_el[m]
            out[count, FROM] = out[count, TO] = 0
            if markdown:
                out[count, FROM], out[count, TO] = targets[m, 0], targets[m, 1]
            count += 1
    return count


def _assemble_of(digest: str) -> Callable[..., Any]:
    def assemble(
        text: Any, tags: Any, parents: Any, bl_el: Any, bl_start: Any, bl_end: Any, bl_flags: Any, keep: Any,
        mk_pos: Any, mk_kind: Any, mk_el: Any, targets: Any, pool: Any, lists: Any, code: Any, formulas: bool,
        markdown: bool,
    ) -> Any:  # fmt: skip
        """The text of the kept blocks as UTF-8: a buffer, and how much of it counts.

        text to bl_flags, mk_pos to mk_el: as in `Scan`; targets: part of the pool of each mark, [K, 2] (no rows in
        plain text); pool, lists, code: as in `Inline` and `Page`; formulas: whether the page has TeX, which makes
        digits below the line indices.
        """
        digest  # noqa: B018 - part of the cache's key
        count = 0
        needs = np.uint32(0)
        for b in range(len(keep)):
            if keep[b]:
                count += 1
                needs |= bl_flags[b]
        marks = np.empty((len(mk_pos), 5), np.int32)
        marks = marks[: _marks(mk_pos, mk_kind, mk_el, targets, markdown, marks)]
        indents = np.zeros(len(tags) if needs & ITEM else 0, np.int32)
        blocks, places = np.empty((count, 3), np.int64), np.empty((count, PLACES), np.int64)
        page = Page(tags, parents, blocks, places, indents, lists, code)
        place_all(tags, parents, bl_el, bl_start, bl_end, bl_flags, keep, page)
        if needs & CELL:
            find_rows(blocks, places)
            if markdown:
                find_grids(tags, parents, places)
        x = Inline(text, marks, pool, parents)
        out, prefix = np.empty(_room(x, page, markdown), np.uint8), np.empty(PREFIX_BYTES, np.uint8)
        s = np.zeros(STATE, np.int64)
        s[LINKED] = s[SCRIPT] = -1
        s[FORMULAS] = formulas
        if markdown:
            _markdown_page(x, page, prefix, out, s)
        else:
            _plain_page(x, page, prefix, out, s)
        return out, s[W]

    return assemble


assemble = entry(_assemble_of)
