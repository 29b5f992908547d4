"""Compiled part of `assemble`: where blocks stand, and how they are laid out: items, rows, grids, headings, code."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.extract.skim.scan_tables import CELL, DL, HEADING, IN_PRE, ITEM, LIST, QUOTE, TABLE, TAGS
from tokenmill.text.compiled import lean

LI, OL, _TR, _TD, _TH, _H1, _H6, _TABLE, _QUOTE, _PRE, _LISTING, _XMP = (
    TAGS.index(name)
    for name in ("li", "ol", "tr", "td", "th", "h1", "h6", "table", "blockquote", "pre", "listing", "xmp")
)
_PLACED = ITEM | CELL | HEADING | IN_PRE | QUOTE | TABLE | LIST | DL
ITEM_AT, CELL_AT, ROW_AT, TABLE_AT, PRE_AT, LEVEL, QUOTES, COLUMN, WIDTH, SHAPE = range(10)
PLACES = 10
"""Columns of the places: item, cell, row, table, preformatted element (elements, -1: none), level of heading,
quotes around, column in the table and columns of it, and how the block is laid out."""
ALONE, IN_ROW, IN_GRID = range(3)
_CELL_BYTES = 500
"""A cell with more text stands in a table that makes a layout."""
_MOST_COLUMNS, MOST_QUOTES = 64, 4


@lean
def _locate(tags: Any, parents: Any, element: Any, place: Any) -> None:
    """Fill the place of a block within an element: one walk to the root."""
    place[:] = -1
    place[LEVEL] = place[QUOTES] = place[COLUMN] = place[SHAPE] = 0
    e: Any = element
    while e > 0:
        tag = tags[e]
        if tag == LI:
            if place[ITEM_AT] < 0:
                place[ITEM_AT] = e
        elif tag == _TD or tag == _TH:
            if place[CELL_AT] < 0:
                place[CELL_AT] = e
        elif tag == _TR:
            if place[ROW_AT] < 0 and place[CELL_AT] >= 0:
                place[ROW_AT] = e
        elif tag == _TABLE:
            if place[TABLE_AT] < 0:
                place[TABLE_AT] = e
        elif tag == _PRE or tag == _LISTING or tag == _XMP:
            if place[PRE_AT] < 0:
                place[PRE_AT] = e
        elif _H1 <= tag <= _H6:
            if place[LEVEL] == 0:
                place[LEVEL] = tag - _H1 + 1
        elif tag == _QUOTE:
            place[QUOTES] = min(MOST_QUOTES, place[QUOTES] + 1)
        e = np.int64(parents[e])


@lean
def find_rows(blocks: Any, places: Any) -> None:
    """Blocks that are cells of a row: one block in each cell, short, no heading, no item of its own, no code."""
    n = len(blocks)
    j = 0
    while j < n:
        row = places[j, ROW_AT]
        k = j
        fits = row >= 0
        while k < n and places[k, ROW_AT] == row:
            fits = fits and places[k, PRE_AT] < 0 and places[k, LEVEL] == 0 and places[k, ITEM_AT] < places[k, CELL_AT]
            fits = fits and blocks[k, 1] - blocks[k, 0] <= _CELL_BYTES
            fits = fits and (k == j or places[k, CELL_AT] != places[k - 1, CELL_AT])
            k += 1
            if row < 0:
                break
        if fits:
            for i in range(j, k):
                places[i, SHAPE] = IN_ROW
        j = k


@lean
def find_grids(tags: Any, parents: Any, places: Any) -> None:
    """Tables for Markdown: two rows or more, one behind the other, with two columns or more."""
    n = len(places)
    j = 0
    while j < n:
        if places[j, SHAPE] != IN_ROW:
            j += 1
            continue
        k, rows, columns = j, 0, 0
        while k < n and places[k, SHAPE] == IN_ROW and places[k, TABLE_AT] == places[j, TABLE_AT]:
            same = k > j and places[k, ROW_AT] == places[k - 1, ROW_AT]
            if not same:
                rows += 1
            column = places[k - 1, COLUMN] if same else -1
            start = places[k - 1, CELL_AT] if same else places[k, ROW_AT]
            for e in range(start + 1, places[k, CELL_AT] + 1):
                if parents[e] == places[k, ROW_AT] and (tags[e] == _TD or tags[e] == _TH):
                    column += 1
            places[k, COLUMN] = column
            columns = max(columns, column + 1)
            k += 1
        if rows > 1 and 1 < columns <= _MOST_COLUMNS:
            for i in range(j, k):
                places[i, SHAPE], places[i, WIDTH] = IN_GRID, columns
        j = k


@lean
def place_all(
    tags: Any, parents: Any, bl_el: Any, bl_start: Any, bl_end: Any, bl_flags: Any, keep: Any, page: Any
) -> None:
    j = 0
    for b in range(len(keep)):
        if keep[b]:
            page.blocks[j, 0], page.blocks[j, 1], page.blocks[j, 2] = bl_start[b], bl_end[b], bl_el[b]
            if j and bl_el[b] == page.blocks[j - 1, 2]:
                for k in range(PLACES):
                    page.places[j, k] = page.places[j - 1, k]
            else:
                _locate(tags, parents, bl_el[b] if bl_flags[b] & _PLACED else 0, page.places[j])
            j += 1
