"""Compiled part of `assemble`: the text of one block, with what its inline elements ask for.

Emphasis, code, links and images are written in Markdown only, exponents and indices always. A mark is written when
the next character that is no white space follows, so that none stands beside a blank it should not; what is open at
the end of a block is closed there and opens again in the next one, but for links, which are written once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tokenmill.extract.skim.raised_kernel import (
    commas,
    count,
    ends_clause,
    is_abbreviation,
    is_digit,
    is_letter,
)
from tokenmill.extract.skim.scan_tables import CODE_MARK, EM, END, IMG, LINK, STRONG, SUB, SUP
from tokenmill.text.compiled import lean, lean_forced

MARKDOWN, ONE_LINE, CELL_TEXT, VERBATIM, NO_STRONG = 1, 2, 4, 8, 16
"""How a block is written: marks; newlines as blanks; `|` escaped; as it stands; strong left out (headings)."""

(
    W, MARK, LINKED, STRONGS, EMS, CODES, OPENED, SCRIPT, CLOSER, TICKS, FORMULAS, LINE, PREFIX, FORM, LINK_MARK,
    BLOCK_START, BLOCK_END, BLOCK_EL,
) = range(18)  # fmt: skip
"""Places in the state: bytes written, next mark, mark of the link at hand (-1: none), open strong, em and code
elements, how many of them are written, element of the script at hand (-1: none), byte that ends it, backticks around
code, whether the page has formulas where the line began, bytes of the prefix of lines, how the
block is written, mark of the link that is written, range and element of the block."""
STACK_AT, STATE = 18, 22
_SPACE, _NEWLINE, _BACKTICK, _PIPE, _STAR = 32, 10, 96, 124, 42
_LOOK_MARKS, _SCRIPT_BYTES, _CODE_BYTES = 8, 24, 1000
_PLAIN, _BARE, _BRACED, _BRACKETED = range(4)


POS, KIND, ELEMENT, FROM, TO = range(5)
"""Columns of marks: place in the text, kind, element, and the part of the pool that it writes (empty: none)."""


class Inline(NamedTuple):
    """What the text of blocks is made of. Few arrays: handing them on costs, and compiling that costs more."""

    text: Any
    marks: Any
    """int32 [K, 5]: POS, ..."""
    pool: Any
    """uint8: targets of links, images and languages of code, one behind the other."""
    parents: Any
    """int32 [E]."""


@lean_forced
def put(c: int, out: Any, s: Any) -> None:
    out[s[W]] = c
    s[W] += 1


@lean
def put_pool(start: int, end: int, x: Any, out: Any, s: Any) -> None:
    for i in range(start, end):
        put(x.pool[i], out, s)


@lean
def new_line(prefix: Any, out: Any, s: Any) -> None:
    """End the line, blanks at its end left out; at most one blank line (two in preformatted text) stays."""
    while s[W] > s[LINE] and (out[s[W] - 1] == _SPACE or out[s[W] - 1] == 9):
        s[W] -= 1
    w = s[W]
    most = 3 if s[FORM] & VERBATIM else 2
    if w >= most and s[PREFIX] == 0:
        same = True
        for k in range(1, most + 1):
            same = same and out[w - k] == _NEWLINE
        if same:
            return
    put(_NEWLINE, out, s)
    s[LINE] = s[W]
    for k in range(s[PREFIX]):
        put(prefix[k], out, s)


@lean
def write_block(x: Any, how: int, prefix: Any, out: Any, s: Any) -> None:
    """The text of the block whose range and element are in the state, from where the line is."""
    i, end = s[BLOCK_START], s[BLOCK_END]
    s[FORM] = how
    while s[MARK] < len(x.marks) and x.marks[s[MARK], POS] < i:
        _note(x, s[MARK], s)
        s[MARK] += 1
    while True:
        m = s[MARK]
        stop = min(end, np.int64(x.marks[m, POS])) if m < len(x.marks) else end
        if i < stop:
            _run(x, i, stop, how, prefix, out, s)
            i = stop
        if m >= len(x.marks) or x.marks[m, POS] > end or (i == end and not _ends_here(x, m, s)):
            break
        _take(x, m, how, out, s)
        s[MARK] += 1
    _close_to(0, x, out, s)
    if s[SCRIPT] >= 0:
        _end_script(out, s)


@lean
def _ends_here(x: Any, m: int, s: Any) -> Any:
    """Whether a mark at the end of a block belongs to it rather than to the next: ends do, images of its element and
    links around them."""
    if x.marks[m, KIND] & END:
        return True
    if x.marks[m, KIND] == LINK and m + 1 < len(x.marks) and x.marks[m + 1, POS] == x.marks[m, POS]:
        m += 1
    return x.marks[m, KIND] == IMG and _is_within(x, m, s)


@lean
def _is_within(x: Any, m: int, s: Any) -> Any:
    """Whether the element of a mark is within that of the block."""
    e = x.marks[m, ELEMENT]
    while e > s[BLOCK_EL]:
        e = x.parents[e]
    return e == s[BLOCK_EL]


@lean
def _note(x: Any, m: int, s: Any) -> None:
    """Keep count of what is open."""
    kind = x.marks[m, KIND] & ~END
    step = -1 if x.marks[m, KIND] & END else 1
    if kind == STRONG:
        s[STRONGS] = max(0, s[STRONGS] + step)
    elif kind == EM:
        s[EMS] = max(0, s[EMS] + step)
    elif kind == CODE_MARK:
        s[CODES] = max(0, s[CODES] + step)
    elif kind == LINK:
        s[LINKED] = m if step > 0 else -1


@lean
def _take(x: Any, m: int, how: int, out: Any, s: Any) -> None:
    """Write what a mark asks for."""
    kind = x.marks[m, KIND]
    if kind == SUP or kind == SUB:
        style = _PLAIN if how & VERBATIM or s[CODES] or s[SCRIPT] >= 0 else _style(x, m, kind == SUP, s)
        if style != _PLAIN:
            _begin_script(x.marks[m, ELEMENT], style, kind == SUP, out, s)
    elif kind == SUP | END or kind == SUB | END:
        if s[SCRIPT] == x.marks[m, ELEMENT]:
            _end_script(out, s)
    elif kind == IMG:
        if how & MARKDOWN and not how & VERBATIM and _is_within(x, m, s):
            _image(x, m, how, out, s)
    else:
        _note(x, m, s)
        if kind & END and s[OPENED]:
            _close_what_ended(x, out, s)


@lean
def _run(x: Any, i: int, end: int, how: int, prefix: Any, out: Any, s: Any) -> None:
    """Copy text within which no mark stands."""
    text = x.text
    if how & MARKDOWN and not how & VERBATIM:
        while i < end and (text[i] == _SPACE or text[i] == _NEWLINE):
            if text[i] == _NEWLINE and not how & ONE_LINE:
                new_line(prefix, out, s)
            else:
                put(_SPACE, out, s)
            i += 1
        if i < end:
            _open(x, i, how, out, s)
    w = s[W]
    for at in range(i, end):
        c = text[at]
        if c == _NEWLINE or c == _PIPE:
            s[W] = w
            if c == _PIPE:
                if how & CELL_TEXT:
                    put(92, out, s)
                put(c, out, s)
            elif how & ONE_LINE:
                put(_SPACE, out, s)
            else:
                new_line(prefix, out, s)
            w = s[W]
        else:
            out[w] = c
            w += 1
    s[W] = w


@lean
def _open(x: Any, i: int, how: int, out: Any, s: Any) -> None:
    """Write the beginnings of what is open and not written yet; code last, nothing within code or a script."""
    if s[SCRIPT] >= 0 or _is_open(CODE_MARK, s):
        return
    m = s[LINKED]
    if m >= 0 and x.marks[m, TO] > x.marks[m, FROM] and not _is_open(LINK, s):
        put(91, out, s)
        _push(LINK, s)
        s[LINK_MARK] = m
    if s[STRONGS] and not how & NO_STRONG and not _is_open(STRONG, s):
        put(_STAR, out, s)
        put(_STAR, out, s)
        _push(STRONG, s)
    if s[EMS] and not _is_open(EM, s):
        put(_STAR, out, s)
        _push(EM, s)
    if s[CODES]:
        s[TICKS] = _ticks(x, i, s)
        for _ in range(s[TICKS]):
            put(_BACKTICK, out, s)
        if s[TICKS] > 1:
            put(_SPACE, out, s)
        _push(CODE_MARK, s)


@lean
def _ticks(x: Any, i: int, s: Any) -> Any:
    """Backticks around the code at i: two where it holds one."""
    end: Any = min(len(x.text), i + _CODE_BYTES)
    for k in range(s[MARK], min(len(x.marks), s[MARK] + _LOOK_MARKS)):
        if x.marks[k, KIND] == CODE_MARK | END:
            end = min(end, np.int64(x.marks[k, POS]))
            break
    for at in range(i, end):
        if x.text[at] == _BACKTICK:
            return 2
    return 1


@lean_forced
def _push(kind: int, s: Any) -> None:
    s[STACK_AT + s[OPENED]] = kind
    s[OPENED] += 1


@lean_forced
def _is_open(kind: int, s: Any) -> Any:
    for k in range(s[OPENED]):
        if s[STACK_AT + k] == kind:
            return True
    return False


@lean
def _close_what_ended(x: Any, out: Any, s: Any) -> None:
    for k in range(s[OPENED]):
        kind = s[STACK_AT + k]
        if (
            (kind == LINK and s[LINKED] < 0)
            or (kind == STRONG and s[STRONGS] == 0)
            or (kind == EM and s[EMS] == 0)
            or (kind == CODE_MARK and s[CODES] == 0)
        ):
            _close_to(k, x, out, s)
            return


@lean
def _close_to(count: int, x: Any, out: Any, s: Any) -> None:
    """Write the ends of what is written, down to so many; white space at the end comes behind them."""
    if s[OPENED] <= count:
        return
    behind = out[s[W] - 1] == _SPACE
    if behind:
        s[W] -= 1
    while s[OPENED] > count:
        s[OPENED] -= 1
        kind = s[STACK_AT + s[OPENED]]
        if kind == LINK:
            put(93, out, s)
            put(40, out, s)
            m = s[LINK_MARK]
            put_pool(x.marks[m, FROM], x.marks[m, TO], x, out, s)
            x.marks[m, TO] = x.marks[m, FROM]  # written once, however many blocks the link spans
            put(41, out, s)
        elif kind == CODE_MARK:
            if s[TICKS] > 1:
                put(_SPACE, out, s)
            for _ in range(s[TICKS]):
                put(_BACKTICK, out, s)
        else:
            put(_STAR, out, s)
            if kind == STRONG:
                put(_STAR, out, s)
    if behind:
        put(_SPACE, out, s)


@lean
def _image(x: Any, m: int, how: int, out: Any, s: Any) -> None:
    if x.marks[m, TO] > x.marks[m, FROM] and not _is_open(CODE_MARK, s):
        if s[W] > s[LINE] + s[PREFIX] and out[s[W] - 1] != _SPACE:
            put(_SPACE, out, s)
        _open(x, np.int64(x.marks[m, POS]), how, out, s)
        put_pool(x.marks[m, FROM], x.marks[m, TO], x, out, s)


@lean
def _begin_script(element: int, style: int, is_sup: bool, out: Any, s: Any) -> None:
    s[SCRIPT] = element
    s[CLOSER] = 93 if style == _BRACKETED else 125 if style == _BRACED else 0
    if style == _BRACKETED:
        put(91, out, s)
        return
    put(94 if is_sup else 95, out, s)
    if style == _BRACED:
        put(123, out, s)


@lean
def _end_script(out: Any, s: Any) -> None:
    if s[CLOSER]:
        put(s[CLOSER], out, s)
    s[SCRIPT] = -1


@lean
def _style(x: Any, m: int, is_sup: bool, s: Any) -> Any:
    """How a script is written: not at all (ordinals, abbreviations, formulas of chemistry, signs), with `^` or `_`,
    or in brackets (numbers of notes)."""
    end: Any = -1
    start, linked = np.int64(x.marks[m, POS]), s[LINKED] >= 0
    for k in range(m + 1, min(len(x.marks), m + 1 + _LOOK_MARKS)):
        if x.marks[k, ELEMENT] == x.marks[m, ELEMENT]:
            end = np.int64(x.marks[k, POS])
            break
        linked = linked or x.marks[k, KIND] == LINK
    if end <= start or end - start > _SCRIPT_BYTES or end > s[BLOCK_END] or start == s[BLOCK_START]:
        return _PLAIN
    before = x.text[start - 1]
    digits, letters, others, foreign, characters = count(x.text, start, end)
    if foreign or before == _SPACE or before == _NEWLINE:
        return _PLAIN
    style = _BARE if characters == 1 else _BRACED
    joins = is_digit(before) or is_letter(before) or before == 41 or before == 93 or before == 125
    if not is_sup:
        if digits == characters and not is_digit(before) and s[FORMULAS] == 0:
            return _PLAIN  # H2O
        return style if joins or before >= 128 else _PLAIN
    if letters == 0 and digits and others == commas(x.text, start, end):
        if linked or ends_clause(x.text, start):
            return _BRACKETED
    if letters == characters and is_abbreviation(x.text, start, end, before):
        return _PLAIN
    return style if (joins or before >= 128) and (digits or letters) else _PLAIN
