"""Compiled part of the scanner: text into blocks, character references decoded, white space collapsed.

Room for text: no step writes more than 6/5 of the bytes that it takes, so 5/4 of the page is enough. A reference
gives at most six bytes for five (`&nGt;`; three bytes for `&#0` are the worst of the numbers); `<rt>` and its end
give two for four; a formula gives at most four dollars and two newlines for `<script type=math/tex>`; a `<br>` one
for four; white space put off is one byte that stood in the page. White space that leads a preformatted block is
written behind the end of the text and becomes part of it when a block begins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tokenmill.extract.skim.find_kernel import U, find
from tokenmill.extract.skim.scan_tables import (
    ALNUM,
    ENDS,
    NAME_SLOTS,
    STACK,
    TEXT_STOP,
    WHITE,
)
from tokenmill.extract.skim.tag_kernel import CLASSES, LT, MULTIPLIER, START, STEP
from tokenmill.text.compiled import lean, lean_forced


class Out(NamedTuple):
    """What the kernel writes; few arrays, since every one of them is handed to every function."""

    text: Any
    rows: Any
    """int32 [COLUMNS, .]: the columns of elements, blocks, marks and facts; `scan.Scan` says what they are."""
    tokens: Any
    s: Any
    """int64 [STATE]: the state; first the attributes of the tag at hand, last the stack."""
    names: Any
    """`scan_tables.Tables.names`."""


(
    EL_TAG, EL_PARENT, EL_FLAGS, EL_START, EL_ATTRS, EL_ATTRS_END, EL_TOKEN,
    BL_EL, BL_INNER, BL_START, BL_END, BL_LINK, BL_SRC, BL_SRC_END, BL_FLAGS, BL_BREAK,
    MK_POS, MK_KIND, MK_EL, FC_KIND, FC_START, FC_END,
) = range(22)  # fmt: skip
COLUMNS = 22

(
    W, PENDING, LEADING, OPEN, BLOCKS, ELEMENTS, TOKENS, MARKS, FACTS, DEPTH, SKIPPED, PRE_AT, LINK_AT, LINKED, BREAK,
    TIMES, ONCE_SEEN, TAGS_SEEN, DEEPEST, WIDEST, MOST, PARAS, UNENDED,
) = range(2 * ENDS, 2 * ENDS + 23)  # fmt: skip
"""Places in the state: bytes of text; what stands before the next character (1 space, 2 newline); white space that
leads a preformatted block; whether a block is open; counts; depth; depths at which skipped and preformatted text and a
link began (-1: not); bytes of link text in the block; whether `<br><br>` went before; open paragraphs; bytes that
something without an end took."""
STACK_EL, STACK_CODE, STACK_KIND, STACK_BLOCK = range(2 * ENDS + 23, 2 * ENDS + 27)
"""Number, code, kind and innermost block element of the first of the open elements; FRAME places on, of the next."""
FRAME = 4
STATE = 2 * ENDS + 23 + FRAME * STACK

_NEWLINE, _RETURN, _TAB, _SPACE, _AMPERSAND, _C2 = (np.uint8(c) for c in (10, 13, 9, 32, 38, 0xC2))
_SEMICOLON, _HASH = 59, 35
_NBSP, _SHY = 0xA0, 0xAD
_NBSP_UTF8, _SHY_UTF8 = np.uint64(0xA0C2), np.uint64(0xADC2)
_BYTE, _EIGHT, _ONE = np.uint64(255), np.uint64(8), np.uint64(1)
_NAME_SHIFT = np.uint64(64 - NAME_SLOTS.bit_length() + 1)
_LONGEST_NAME, _LEGACY_NAME = 32, 6
_EQUALS = np.uint64(61)
_CHAR_1252 = np.array(
    [ord(character) for character in bytes(range(0x80, 0xA0)).decode("cp1252", "surrogateescape")], np.int64
)
_CHAR_1252[_CHAR_1252 > 0xDC00] -= 0xDC00  # five bytes stand for no character: they stay controls


@lean
def _open_block(i: int, out: Any) -> None:
    """Begin a block at the character at i of the page."""
    rows, s = out.rows, out.s
    b = U(s[BLOCKS])
    top = FRAME * (min(s[DEPTH], STACK) - 1)
    element = s[STACK_EL + top]
    rows[BL_INNER, b] = element
    rows[BL_EL, b] = s[STACK_BLOCK + top]
    rows[BL_FLAGS, b] = rows[EL_FLAGS, U(element)]
    rows[BL_START, b] = s[W]
    rows[BL_SRC, b] = i
    rows[BL_BREAK, b] = s[BREAK]
    s[W] += s[LEADING]
    s[OPEN] = 1
    s[LINKED] = s[BREAK] = s[PENDING] = s[LEADING] = 0


@lean_forced
def before_text(i: int, out: Any) -> None:
    """What must stand before a character: a new block, or the white space that was put off."""
    s = out.s
    if s[OPEN] == 0:
        _open_block(i, out)
    elif s[PENDING]:
        out.text[U(s[W])] = _NEWLINE if s[PENDING] == 2 else _SPACE
        s[W] += 1
        s[PENDING] = 0


@lean
def _end_block(out: Any) -> None:
    """End the open block, white space at its end left out; marks in that move to its end."""
    rows, s = out.rows, out.s
    w = s[W]
    while CLASSES[out.text[U(w - 1)]] & WHITE:
        w -= 1
    mark = s[MARKS] - 1
    while mark >= 0 and rows[MK_POS, U(mark)] > w:
        rows[MK_POS, U(mark)] = w
        mark -= 1
    rows[BL_END, U(s[BLOCKS])] = w
    rows[BL_LINK, U(s[BLOCKS])] = s[LINKED]
    s[W] = w
    s[BLOCKS] += 1
    s[OPEN] = 0


@lean_forced
def flush(out: Any) -> None:
    """A bound of blocks."""
    s = out.s
    s[PENDING] = s[LEADING] = s[BREAK] = 0
    if s[OPEN]:
        _end_block(out)


@lean_forced
def _white(c: Any, out: Any) -> None:
    """White space within text: kept in preformatted blocks, else put off and collapsed."""
    s = out.s
    if s[PRE_AT] < 0:
        if s[PENDING] == 0:
            s[PENDING] = 1
    elif s[OPEN] == 0 and c == _NEWLINE:
        s[LEADING] = 0
    else:
        out.text[U(s[W] + s[LEADING])] = c if c == _NEWLINE or c == _TAB else _SPACE
        if s[OPEN]:
            s[W] += 1
        else:
            s[LEADING] += 1


@lean
def _reference(page: Any, i: int, out: Any) -> Any:
    """Write what the `&` at i begins; the position behind it."""
    s = out.s
    value, after = _value(page, i, out.names)
    if value == 0:
        value = U(_AMPERSAND)
    if value == _NBSP_UTF8 or (value < 128 and CLASSES[value] & WHITE):
        _white(_SPACE if value == _NBSP_UTF8 else np.uint8(value), out)
    elif value != _SHY_UTF8:
        before_text(i, out)
        start = s[W]
        while value != 0:
            out.text[U(s[W])] = value & _BYTE
            value >>= _EIGHT
            s[W] += 1
        if s[LINK_AT] >= 0:
            s[LINKED] += s[W] - start
    return after


@lean_forced
def _plain_run(page: Any, i: int, out: Any) -> Any:
    """Copy the character at i, the plain ones behind it, and single spaces between them; the position behind."""
    n = len(page)
    text, s = out.text, out.s
    before_text(i, out)
    start = w = s[W]
    spaces = 0
    between = s[PRE_AT] < 0
    text[U(w)] = page[U(i)]
    w += 1
    i += 1
    while i < n:
        c = page[U(i)]
        if CLASSES[c] & TEXT_STOP:
            if c != _SPACE or not between or i + 1 >= n or CLASSES[page[U(i + 1)]] & TEXT_STOP:
                break
            spaces += 1
        text[U(w)] = c
        w += 1
        i += 1
    s[W] = w
    if s[LINK_AT] >= 0:
        s[LINKED] += w - start - spaces
    return i


@lean_forced
def text_run(page: Any, i: int, out: Any) -> Any:
    """Copy text from i up to the next `<`; its position, or the length."""
    n = len(page)
    s = out.s
    if s[SKIPPED] >= 0:
        return find(page, i, LT)
    while i < n:
        c = page[U(i)]
        if CLASSES[c] & TEXT_STOP:
            if c == LT:
                return i
            if CLASSES[c] & WHITE:
                if c == _RETURN and s[PRE_AT] >= 0:  # a line end, alone or with a newline
                    if i + 1 < n and page[U(i + 1)] == _NEWLINE:
                        i += 1
                    c = _NEWLINE
                _white(c, out)
                i += 1
                while s[PRE_AT] < 0 and i < n and CLASSES[page[U(i)]] & WHITE:
                    i += 1
                continue
            if c == _AMPERSAND:
                i = _reference(page, i, out)
                if s[OPEN]:
                    out.rows[BL_SRC_END, U(s[BLOCKS])] = i
                continue
            after = page[U(i + 1)] if i + 1 < n else _SPACE
            if after == _NBSP:
                _white(_SPACE, out)
                i += 2
                continue
            if after == _SHY:
                i += 2
                continue
        i = _plain_run(page, i, out)
        out.rows[BL_SRC_END, U(s[BLOCKS])] = i
    return n


@lean
def angle(i: int, out: Any) -> None:
    """A `<` that begins nothing is a character."""
    s = out.s
    if s[SKIPPED] < 0:
        before_text(i, out)
        out.text[U(s[W])] = LT
        s[W] += 1
        if s[LINK_AT] >= 0:
            s[LINKED] += 1
        out.rows[BL_SRC_END, U(s[BLOCKS])] = i + 1


@lean
def verbatim(page: Any, i: int, end: int, dollars: int, out: Any) -> None:
    """The text from i to the end as it stands, dollars around it; white space around it is left out."""
    s = out.s
    while i < end and CLASSES[page[U(i)]] & WHITE:
        i += 1
    while end > i and CLASSES[page[U(end - 1)]] & WHITE:
        end -= 1
    if i == end:
        return
    if dollars == 2 and s[OPEN]:
        s[PENDING] = 2
    before_text(i, out)
    w = s[W]
    for k in range(end - i + 2 * dollars):
        at = i + k - dollars
        out.text[U(w)] = page[U(at)] if i <= at < end else np.uint8(36)
        w += 1
    s[W] = w
    out.rows[BL_SRC_END, U(s[BLOCKS])] = end
    if dollars == 2:
        s[PENDING] = 2


@lean_forced
def _value(page: Any, i: int, names: Any) -> Any:
    """What the `&` at i begins: the characters as UTF-8 (first byte lowest) and the position behind the reference;
    0 and i + 1 where it is only an ampersand."""
    n = len(page)
    if i + 1 < n and page[U(i + 1)] == _HASH:
        return _number(page, i)
    key = START
    at = i + 1
    stop = min(n, at + _LONGEST_NAME)
    legacy, legacy_end = U(0), i + 1
    while at < stop and CLASSES[page[U(at)]] & ALNUM:
        key = (key ^ U(page[U(at)])) * STEP
        at += 1
        if at - i - 1 <= _LEGACY_NAME:
            value = _named(names, (key ^ _EQUALS) * STEP)
            if value != 0:
                legacy, legacy_end = value, at
    if at < n and page[U(at)] == _SEMICOLON:
        value = _named(names, key)
        if value != 0:
            return value, at + 1
    return legacy, legacy_end


@lean_forced
def _named(names: Any, key: Any) -> Any:
    slot = (key * MULTIPLIER) >> _NAME_SHIFT
    while names[slot, 0] != 0:
        if names[slot, 0] == key:
            return names[slot, 1]
        slot = (slot + _ONE) & U(NAME_SLOTS - 1)
    return U(0)


@lean
def _number(page: Any, i: int) -> Any:
    """A numeric reference: windows-1252 for the C1 controls, U+FFFD for what no character is (WHATWG 13.2.5.80), a
    space for the other controls."""
    n = len(page)
    at = i + 2
    hexadecimal = at < n and (page[U(at)] | 32) == 120
    if hexadecimal:
        at += 1
    start = at
    code: Any = 0
    while at < n:
        c: Any = np.int64(page[U(at)])
        digit: Any = -1
        if 48 <= c <= 57:
            digit = c - 48
        elif hexadecimal and 97 <= (c | 32) <= 102:
            digit = (c | 32) - 87
        if digit < 0:
            break
        code = min(code * (16 if hexadecimal else 10) + digit, 0x110000)
        at += 1
    if at == start:
        return U(0), i + 1
    if at < n and page[U(at)] == _SEMICOLON:
        at += 1
    if 0x80 <= code <= 0x9F:
        code = _CHAR_1252[code - 0x80]
    if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF or code == 0xFFFE or code == 0xFFFF:
        code = 0xFFFD
    if code == 127 or (code < 32 and code != 9 and code != 10):
        code = 32
    return _utf8(code), at


@lean
def _utf8(code: Any) -> Any:
    """The UTF-8 of a character, first byte lowest."""
    if code < 0x80:
        return U(code)
    if code < 0x800:
        return U((0xC0 | code >> 6) | (0x80 | code & 63) << 8)
    if code < 0x10000:
        return U((0xE0 | code >> 12) | (0x80 | code >> 6 & 63) << 8 | (0x80 | code & 63) << 16)
    return U(
        (0xF0 | code >> 18) | (0x80 | code >> 12 & 63) << 8 | (0x80 | code >> 6 & 63) << 16 | (0x80 | code & 63) << 24
    )
