"""Kernel of `tokenmill.filters.c4.C4Lines`: lines removed as C4 does, and what was met meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.core.segment import CHARACTERS
from tokenmill.text.compiled import entry, inner
from tokenmill.text.lines_kernel import line_phrases
from tokenmill.text.tables import BREAK, DECIMAL, SENTENCE_END, SENTENCE_END_BIT, SPACE, SPACE_BIT
from tokenmill.text.tokens_kernel import decode, look_up, tokens_between
from tokenmill.text.words_kernel import count_sentences, cut_characters, line_sentences, word_unit

CITATIONS, TERMINAL, JAVASCRIPT, POLICIES = 1, 2, 4, 8
"""Bits of the rules that are on."""

_NEWLINE, _RETURN, _DOT, _OPEN, _CLOSE, _CURLY = map(ord, "\n\r.[]{")
_EDIT = np.array([ord(char) for char in "edit]"], np.int32)
_NEEDED = np.array([ord(char) for char in "citation needed]"], np.int32)


@inner
def _literal(t: Any, i: int, e: int, literal: Any) -> bool:
    if i + len(literal) > e:
        return False
    for k in range(len(literal)):
        if t[i + k] != literal[k]:
            return False
    return True


@inner
def _citation(t: Any, f: Any, i: int, e: int) -> int:
    """Length of the citation mark that begins at t[i], 0 if none does."""
    j = i + 1
    while j < e and f[j] & DECIMAL:
        j += 1
    if j < e and t[j] == _CLOSE:
        return j + 1 - i
    if _literal(t, i + 1, e, _EDIT):
        return 1 + len(_EDIT)
    return 1 + len(_NEEDED) if _literal(t, i + 1, e, _NEEDED) else 0


@inner
def _words(t: Any, f: Any, s: int, e: int) -> tuple[int, bool, bool, int]:
    """Pieces between white space of a line, whether it has a square and a curly bracket, its sentence-ending marks."""
    count = marks = 0
    square = curly = 0
    before = np.uint32(SPACE)
    for i in range(s, e):
        flag = f[i]
        count += (before & ~flag) >> SPACE_BIT & 1
        marks += flag >> SENTENCE_END_BIT & 1
        square += t[i] == _OPEN
        curly += t[i] == _CURLY
        before = flag
    return count, square > 0, curly > 0, marks


@inner
def _longest(f: Any, s: int, e: int) -> int:
    """Length of the longest piece between white space."""
    longest = length = 0
    for i in range(s, e):
        length = 0 if f[i] & SPACE else length + 1
        longest = max(longest, length)
    return longest


@inner
def _ends_well(t: Any, s: int, e: int) -> bool:
    """Whether a line ends in a mark that ends sentences, and not in three dots."""
    if e == s:
        return False
    last = t[e - 1]
    if not (last == 46 or last == 63 or last == 33 or last == 34 or last == 39):
        return False
    return not (last == _DOT and e - s >= 3 and t[e - 2] == _DOT and t[e - 3] == _DOT)


@inner
def _clean(t: Any, f: Any, s: int, e: int, out: Any, out_f: Any) -> int:
    """Copy a line to the beginning of `out` without citation marks; its length there."""
    at = 0
    i = s
    while i < e:
        if t[i] == _OPEN:
            length = _citation(t, f, i, e)
            if length:
                i += length
                continue
        out[at] = t[i]
        out_f[at] = f[i]
        at += 1
        i += 1
    return at


@inner
def _count_line(t: Any, f: Any, s: int, e: int, unit: int, starts: Any, ends: Any, lexicon: Any) -> int:
    """Sentences of the line t[s:e]."""
    if unit != CHARACTERS:
        return line_sentences(t, f, s, e, starts, ends, lexicon)
    cut_starts = np.empty(e - s + 1, np.int32)
    cut_ends = np.empty(e - s + 1, np.int32)
    tokens = tokens_between(t, f, s, e, starts, ends, 0, lexicon)
    tokens = cut_characters(f, starts, ends, 0, tokens, cut_starts, cut_ends, 0)
    return count_sentences(t, f, cut_starts, cut_ends, 0, tokens)


@inner
def _stays(t: Any, f: Any, s: int, e: int, curly: bool, bits: int, phrases: Any, row: Any) -> bool:
    """Whether the words of the line t[s:e] let it stay; counts what it has into `row`."""
    lorem, script, policy = line_phrases(t, f, s, e, phrases)
    row[1] += lorem > 0
    if script and bits & JAVASCRIPT:
        return False
    if curly:
        row[2] += 1
        row[3] |= row[1] == 0
    return not (policy and bits & POLICIES)


@inner
def _scan(
    t: Any,
    f: Any,
    n: int,
    bits: int,
    max_length: int,
    min_words: int,
    phrases: Any,
    lexicon: Any,
    line: Any,
    line_f: Any,
    starts: Any,
    ends: Any,
    out: Any,
    row: Any,
) -> int:
    """The lines that stay into `out`, joined by newlines; their length. Counts into `row` (see `C4Lines.adds`)."""
    unit = word_unit(f, n)
    at = kept = 0
    start = 0
    while start < n:
        end = start
        while end < n and f[end] & BREAK == 0:
            end += 1
        s, e = start, end
        start = end + (2 if end + 1 < n and t[end] == _RETURN and t[end + 1] == _NEWLINE else 1)
        while s < e and f[s] & SPACE:
            s += 1
        while e > s and f[e - 1] & SPACE:
            e -= 1
        count, bracket, curly, marks = _words(t, f, s, e)
        if 0 <= max_length < e - s and _longest(f, s, e) > max_length:
            continue
        cited = bracket and bits & CITATIONS != 0
        if cited:
            e = _clean(t, f, s, e, line, line_f)
            s = 0
            if bits & TERMINAL and not _ends_well(line, s, e):
                continue
        elif bits & TERMINAL and not _ends_well(t, s, e):
            continue
        if count < min_words:
            continue
        if not (
            _stays(line, line_f, s, e, curly, bits, phrases, row)
            if cited
            else _stays(t, f, s, e, curly, bits, phrases, row)
        ):
            continue
        if kept:
            out[at] = _NEWLINE
            at += 1
        kept += 1
        if cited:
            row[0] += _count_line(line, line_f, s, e, unit, starts, ends, lexicon)
            for i in range(e - s):
                out[at + i] = line[s + i]
        else:
            if unit != CHARACTERS and (marks == 0 or (marks == 1 and f[e - 1] & SENTENCE_END)):
                row[0] += count > 0  # nothing follows the one mark
            else:
                row[0] += _count_line(t, f, s, e, unit, starts, ends, lexicon)
            for i in range(e - s):
                out[at + i] = t[s + i]
        at += e - s
    return at


@inner
def _is_space(code: int, tables: Any) -> bool:
    return tables.flags[tables.pages[code >> 8], code & 255] & SPACE != 0


@inner
def _encode(t: Any, s: int, e: int, data: Any, at: int) -> int:
    """Code points t[s:e] as UTF-8 into data[at:]; where it ends."""
    plain = np.int32(0)
    for i in range(s, e):
        plain |= t[i]
    if plain < 0x80:
        for i in range(s, e):
            data[at + i - s] = t[i]
        return at + e - s
    for i in range(s, e):
        c = t[i]
        if c < 0x80:
            data[at] = c
            at += 1
        elif c < 0x800:
            data[at] = 0xC0 | c >> 6
            data[at + 1] = 0x80 | c & 0x3F
            at += 2
        elif c < 0x10000:
            data[at] = 0xE0 | c >> 12
            data[at + 1] = 0x80 | c >> 6 & 0x3F
            data[at + 2] = 0x80 | c & 0x3F
            at += 3
        else:
            data[at] = 0xF0 | c >> 18
            data[at + 1] = 0x80 | c >> 12 & 0x3F
            data[at + 2] = 0x80 | c >> 6 & 0x3F
            data[at + 3] = 0x80 | c & 0x3F
            at += 4
    return at


def _make(digest: str) -> Callable[..., Any]:
    def lines_batch(data: Any, offsets: Any, bits: int, max_length: int, min_words: int, tables: Any) -> Any:
        """UTF-8 of the texts that are left, where each begins in it, and four counts per text.

        max_length: longest word of a line that stays; -1 for any.
        """
        assert digest
        count = len(offsets) - 1
        counts = np.zeros((count, 4), np.int64)
        places = np.zeros(count + 1, np.int64)
        longest = 0
        for i in range(count):
            longest = max(longest, offsets[i + 1] - offsets[i])
        t = np.empty(longest, np.int32)
        f = np.empty(longest, np.uint32)
        out = np.empty(longest + 2, np.int32)
        line = np.empty(longest + 2, np.int32)
        line_f = np.empty(longest + 2, np.uint32)
        starts = np.empty(longest + 2, np.int32)
        ends = np.empty(longest + 2, np.int32)
        phrases, lexicon = tables.phrases, tables.lexicon
        written = np.empty(offsets[count] - offsets[0] + 16, np.uint8)
        at = 0
        for i in range(count):
            n = decode(data, offsets[i], offsets[i + 1], t)
            look_up(t, n, tables.pages, tables.flags, f)
            stop = _scan(
                t,
                f,
                n,
                bits,
                max_length,
                min_words,
                phrases,
                lexicon,
                line,
                line_f,
                starts,
                ends,
                out,
                counts[i],
            )
            first = 0
            while first < stop and _is_space(out[first], tables):
                first += 1
            while stop > first and _is_space(out[stop - 1], tables):
                stop -= 1
            if at + 4 * (stop - first) > len(written):  # bytes that were no UTF-8 have become longer
                more = np.empty(2 * len(written) + 4 * (stop - first), np.uint8)
                more[:at] = written[:at]
                written = more
            at = _encode(out, first, stop, written, at)
            places[i + 1] = at
        return written[:at], places, counts

    return lines_batch


lines_batch = entry(_make)
