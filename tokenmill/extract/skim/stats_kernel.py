"""Kernel: what the text of each block is made of, counted in one pass over its bytes.

Bytes are looked up in two tables of eight 8-bit counters each and added; the counters are emptied before one can run
over. Marks of other scripts are two or three bytes long and looked at where their first byte occurs. Letters
are counted rather than words, so that scripts without spaces need no rule of their own: a character of CJK or Hangul
weighs
three letters, every other character one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import lean

COLUMNS = 16
(WEIGHT, LETTERS, UPPER, DIGITS, SPACES, COMMAS, ENDS, SEPARATORS, CODE_SIGNS, QUOTES, SIGNS, LINES, MATH, FIRST, LAST,
 LINKED) = range(COLUMNS)  # fmt: skip
"""Columns of the table of a page's blocks, int32. LINKED is the share of linked bytes, 0 to 255; FIRST and LAST are
kinds of characters (below); the others are counts."""

F_NONE, F_SYMBOL, F_DIGIT, F_LOWER, F_OTHER, F_UPPER, F_QUOTE = range(7)
L_NONE, L_SEPARATOR, L_SYMBOL, L_DIGIT, L_LETTER, L_COMMA, L_COLON, L_CLOSE, L_END = range(9)

_STEP = 80
"""Bytes between two emptyings: a byte adds at most 3 to a counter of 8 bits."""
_DOT, _BACKSLASH, _DOLLAR, _LEAD = 1, 2, 3, 4
_U = np.uint64


def _tables() -> tuple[Any, Any, Any]:
    """First counters, second counters and what needs a closer look, by byte."""
    first, second, special = np.zeros(256, np.uint64), np.zeros(256, np.uint64), np.zeros(256, np.uint8)
    one = [1 << 8 * lane for lane in range(8)]

    def add(characters: str, table: Any, lane: int) -> None:
        for byte in characters.encode("latin-1"):
            table[byte] += np.uint64(one[lane])

    lower, upper = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for byte in range(256):
        weight = 0 if 0x80 <= byte < 0xC0 else 3 if 0xE3 <= byte <= 0xED else 1
        first[byte] += np.uint64(weight)
        if byte >= 0xC0:
            first[byte] += np.uint64(one[LETTERS])
    add(lower + upper, first, LETTERS)
    add(upper, first, UPPER)
    add("0123456789", first, DIGITS)
    add(" ", first, SPACES)
    add(",;:", first, COMMAS)
    add("!?", first, ENDS)
    add("|/>~#*", first, SEPARATORS)
    add("{}[]()=;<>_\\&^", second, CODE_SIGNS - 8)
    add("\"'", second, QUOTES - 8)
    add("@", second, SIGNS - 8)
    add("\n", second, LINES - 8)
    special[ord(".")], special[ord("\\")], special[ord("$")] = _DOT, _BACKSLASH, _DOLLAR
    special[[0xC2, 0xD6, 0xD8, 0xDB, 0xE0, 0xE1, 0xE2, 0xE3, 0xEF]] = _LEAD
    return first, second, special


_FIRST, _SECOND, _SPECIAL = _tables()


@lean
def mark_of(data: Any, i: int, stop: int) -> int:
    """The column that counts the character of two or three bytes at i; WEIGHT where none does."""
    lead = data[i]
    second = data[i + 1] if i + 1 < stop else 0
    third = data[i + 2] if i + 2 < stop else 0
    if lead == 0xC2:
        return SIGNS if second == 0xA9 else SEPARATORS if second == 0xB7 else QUOTES if second in (0xAB, 0xBB) else 0
    if lead == 0xD8:
        return ENDS if second == 0x9F else COMMAS if second in (0x8C, 0x9B) else 0
    if lead == 0xD6:
        return ENDS if second == 0x89 else 0
    if lead == 0xDB:
        return ENDS if second == 0x94 else 0
    if lead == 0xE0:
        return ENDS if second == 0xA5 and third in (0xA4, 0xA5) else 0
    if lead == 0xE1:
        full = (second == 0x8D and third == 0xA2) or (second == 0x81 and third == 0x8B)
        return ENDS if full or (second == 0x9F and third == 0x94) else 0
    if lead == 0xE3 and second == 0x80:
        return COMMAS if third == 0x81 else ENDS if third == 0x82 else QUOTES if 0x8A <= third <= 0x8F else 0
    if lead == 0xEF and second == 0xBC:
        return ENDS if third in (0x81, 0x8E, 0x9F) else COMMAS if third in (0x8C, 0x9A, 0x9B) else 0
    if lead == 0xE2 and second == 0x80:
        return QUOTES if 0x98 <= third <= 0x9F else SEPARATORS if third in (0xA2, 0xA6, 0xB9, 0xBA) else 0
    if lead == 0xE2 and (second == 0x86 or second == 0x96 or second == 0x97):
        return SEPARATORS
    return 0


@lean
def _first_of(data: Any, start: int, stop: int) -> int:
    if start >= stop:
        return F_NONE
    c = data[start]
    if 48 <= c <= 57:
        return F_DIGIT
    if 65 <= c <= 90:
        return F_UPPER
    if 97 <= c <= 122:
        return F_LOWER
    if c == 34 or c == 39 or (c >= 0xC0 and _SPECIAL[c] and mark_of(data, start, stop) == QUOTES):
        return F_QUOTE
    return F_OTHER if c >= 0x80 else F_SYMBOL


@lean
def _last_of(data: Any, start: int, stop: int) -> int:
    """The kind of the last character; of the one before it where that is a quote or a bracket behind a sentence."""
    closed = False
    for _ in range(3):
        at = stop - 1
        while at > start and 0x80 <= data[at] < 0xC0 and stop - at < 4:
            at -= 1
        if at < start:
            return L_CLOSE if closed else L_NONE
        c = data[at]
        column = mark_of(data, at, stop) if c >= 0xC0 and _SPECIAL[c] else 0
        if c == 46 or c == 33 or c == 63 or column == ENDS:
            return L_END
        if c == 34 or c == 39 or c == 41 or c == 93 or column == QUOTES:
            closed = True
            stop = at
            continue
        if closed:
            return L_CLOSE
        if c == 58:
            return L_COLON
        if c == 44 or c == 59 or column == COMMAS:
            return L_COMMA
        if 48 <= c <= 57:
            return L_DIGIT
        if column == SEPARATORS or c == 124 or c == 47 or c == 62:
            return L_SEPARATOR
        return L_LETTER if c >= 0x80 or 65 <= c <= 90 or 97 <= c <= 122 else L_SYMBOL
    return L_CLOSE


@lean
def _closer(data: Any, i: int, stop: int, row: Any) -> None:
    """The byte at i needs a look at the next one: a dot, the beginning of a formula, a mark of another script."""
    kind = _SPECIAL[data[i]]
    after = data[i + 1] if i + 1 < stop else 32
    if kind == _DOT:
        row[ENDS] += np.int32(after == 32 or after == 10 or after == 34 or after == 41)
    elif kind == _LEAD:
        column = mark_of(data, i, stop)
        if column:
            row[column] += np.int32(1)
    elif kind == _DOLLAR:
        row[MATH] += np.int32(1)
    elif after == 40 or after == 91:
        row[MATH] += np.int32(4)
    else:
        row[MATH] += np.int32(97 <= (after | 32) <= 122)


@lean
def _emptied(first: Any, second: Any, row: Any) -> None:
    for lane in range(8):
        row[lane] += np.int32((first >> _U(8 * lane)) & _U(0xFF))
    for lane in range(4):
        row[8 + lane] += np.int32((second >> _U(8 * lane)) & _U(0xFF))


@lean
def count_block(data: Any, start: int, stop: int, linked: int, row: Any) -> None:
    """Fills row [COLUMNS] for the text data[start:stop], of which `linked` bytes without white space are links."""
    for column in range(COLUMNS):
        row[column] = 0
    at = start
    while at < stop:
        end = min(at + _STEP, stop)
        first = second = _U(0)
        for i in range(at, end):
            c = data[i]
            first += _FIRST[c]
            second += _SECOND[c]
            if _SPECIAL[c]:
                _closer(data, i, stop, row)
        _emptied(first, second, row)
        at = end
    row[FIRST] = _first_of(data, start, stop)
    row[LAST] = _last_of(data, start, stop)
    solid = stop - start - row[SPACES] - row[LINES]
    row[LINKED] = min(255 * linked // solid, 255) if solid > 0 else 0
