"""Kernel: a text as its duplicates are compared, in UTF-8, and where its words end.

`normalise` writes words joined by single spaces. Most bytes of most texts are ASCII: they go through an automaton
without branches (`normal_tables.Normal.rows`). Everything else is looked up by code point.

Every function is called by other kernels only. Places are uint64: numba lets signed ones count from the end, at a cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import inner
from tokenmill.text.normal_tables import (
    ABOUT_AT,
    CASED,
    DIGIT,
    EMPTY,
    FRACTION,
    IGNORABLE,
    JOINED,
    KIND,
    LENGTH_AT,
    LONG,
    MORE,
    NOTHING,
    NUMBER,
    PENDING,
    SEPARATOR,
    SIGMA,
    SINGLE,
    SPACE,
    SPACED,
    WORD,
)

U = np.uint64
_REPLACEMENT = 0xFFFD
_STATE = U(63)
_HIGH_BITS = U(0x8080808080808080)
_SPACE_BYTE, _ZERO_BYTE = np.uint8(32), np.uint8(48)
_SPACE_KIND, _DIGIT_KIND, _NOTHING_KIND, _SINGLE_KIND, _LONG_KIND, _SIGMA_KIND, _KIND = map(
    U, (SPACE, DIGIT, NOTHING, SINGLE, LONG, SIGMA, KIND)
)
_SEPARATOR, _CASED, _IGNORABLE = map(U, (SEPARATOR, CASED, IGNORABLE))
_FINAL_SIGMA, _SMALL_SIGMA = U(0x82CF), U(0x83CF)
_EMPTY, _SPACED, _WORD, _NUMBER, _MORE, _PENDING, _FRACTION = map(
    U, (EMPTY, SPACED, WORD, NUMBER, MORE, PENDING, FRACTION)
)


def _moves() -> Any:
    """Per state, in two bits each: 1 + bytes written, 1 + words ended."""
    written = {SPACED: 1, WORD: 1, NUMBER: 1, PENDING: 1, JOINED: -1}
    ended = {SPACED: 1, PENDING: 1, JOINED: -1}
    states = (EMPTY, SPACED, WORD, NUMBER, MORE, PENDING, JOINED, FRACTION)
    return sum((1 + written.get(state, 0) | 1 + ended.get(state, 0) << 2) << state for state in states)


def _after_nothing() -> Any:
    """The row of a character that is dropped: a number ends there, a word goes on."""
    after = {NUMBER: WORD, MORE: WORD, JOINED: WORD, FRACTION: WORD, PENDING: EMPTY}
    return sum(
        after.get(state, state) << state for state in (EMPTY, SPACED, WORD, NUMBER, MORE, PENDING, JOINED, FRACTION)
    )


_MOVES, _AFTER_NOTHING = U(_moves()), U(_after_nothing())


@inner
def room(start: int, stop: int) -> Any:
    """Bytes that `normalise` writes at most for data[start:stop], and 16 that readers of whole blocks want.

    Three for one: bytes that are no UTF-8, Hangul, and signs of three parts. What is not written to takes no memory.
    """
    return 3 * (stop - start) + 16


@inner
def words_room(start: int, stop: int) -> Any:
    """Words that `normalise` finds at most, and one: what is a word of its own has three bytes or more."""
    return (stop - start) // 2 + 2


@inner
def block(data: Any, i: int) -> Any:
    """data[i:i + 8] as one number, first byte lowest."""
    j = U(i)
    low = U(data[j]) | U(data[j + U(1)]) << U(8) | U(data[j + U(2)]) << U(16) | U(data[j + U(3)]) << U(24)
    high = U(data[j + U(4)]) | U(data[j + U(5)]) << U(8) | U(data[j + U(6)]) << U(16) | U(data[j + U(7)]) << U(24)
    return low | high << U(32)


@inner
def four(data: Any, i: int, stop: int) -> Any:
    """data[i:i + 4] as one number, first byte lowest; zeros behind `stop`."""
    j = U(i)
    if i + 4 <= stop:
        return U(data[j]) | U(data[j + U(1)]) << U(8) | U(data[j + U(2)]) << U(16) | U(data[j + U(3)]) << U(24)
    word = U(0)
    for k in range(U(stop - i)):
        word |= U(data[j + k]) << (U(8) * k)
    return word


@inner
def code_of(word: Any) -> Any:
    """The code point with which four bytes begin, and its bytes. A byte that begins no character is U+FFFD."""
    w = np.int64(word)
    lead = w & 0xFF
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        if w & 0xC000 == 0x8000 and lead >= 0xC2:
            return (w & 0x1F) << 6 | w >> 8 & 0x3F, 2
    elif lead < 0xF0:
        code = (w & 0x0F) << 12 | (w >> 8 & 0x3F) << 6 | w >> 16 & 0x3F
        if w & 0xC0C000 == 0x808000 and code >= 0x800 and not 0xD800 <= code < 0xE000:
            return code, 3
    else:
        code = (w & 0x07) << 18 | (w >> 8 & 0x3F) << 12 | (w >> 16 & 0x3F) << 6 | w >> 24 & 0x3F
        if w & 0xC0C0C000 == 0x80808000 and lead < 0xF8 and 0x10000 <= code <= 0x10FFFF:
            return code, 4
    return _REPLACEMENT, 1


@inner
def _entry(pages: Any, entries: Any, code: int) -> Any:
    return entries[pages[U(code >> 8)], U(code & 255)]


@inner
def _about(tables: Any, code: int) -> Any:
    return _entry(tables.pages, tables.entries, code) >> U(ABOUT_AT)


@inner
def _is_final(data: Any, start: int, i: int, stop: int, tables: Any) -> Any:
    """Whether the Σ at `i` ends a word, as `str.lower` has it."""
    at = i
    cased = False
    while at > start and not cased:
        before = at - 1
        while before > start and before > at - 4 and data[before] & 0xC0 == 0x80:
            before -= 1
        code, size = code_of(four(data, before, at))
        about = _about(tables, code if before + size == at else _REPLACEMENT)
        if about & _IGNORABLE == U(0):
            if about & _CASED == U(0):
                return False
            cased = True
        at = before
    at = i + 2
    while cased and at < stop:
        code, size = code_of(four(data, at, stop))
        about = _about(tables, code)
        if about & _IGNORABLE == U(0):
            return about & _CASED == U(0)
        at += size
    return cased


@inner
def _write(entry: Any, out: Any, n: Any) -> Any:
    """What an entry says to out[n:], always four bytes, of which the next ones overwrite what is none of it."""
    out[n] = entry & U(0xFF)
    out[n + U(1)] = entry >> U(8) & U(0xFF)
    out[n + U(2)] = entry >> U(16) & U(0xFF)
    out[n + U(3)] = entry >> U(24) & U(0xFF)
    return n + (entry >> U(LENGTH_AT) & U(7))


@inner
def _write_long(entry: Any, long: Any, out: Any, n: Any) -> Any:
    place = entry >> U(8) & U(0xFFFFFF)
    length = entry & U(0xFF)
    for j in range(length):
        out[n + j] = long[place + j]
    return n + length


@inner
def _between_words(state: Any) -> Any:
    return state == _EMPTY or state == _SPACED or state == _PENDING


@inner
def _ascii_until(data: Any, i: int, stop: int) -> Any:
    """Where the ASCII characters end that begin at `i`."""
    while i + 8 <= stop and block(data, i) & _HIGH_BITS == U(0):
        i += 8
    while i < stop and data[U(i)] < 128:
        i += 1
    return i


@inner
def _step(byte: Any, rows: Any, ascii_bytes: Any, out: Any, ends: Any, state: Any, n: Any, k: Any) -> Any:
    """One ASCII character; what comes to nothing is written, too, and overwritten by the next."""
    state = rows[byte] >> state & _STATE
    moves = _MOVES >> state
    out[n] = ascii_bytes[byte]
    ends[k] = n
    return state, n + (moves & U(3)) - U(1), k + (moves >> U(2) & U(3)) - U(1)


@inner
def _ascii(
    data: Any, start: int, stop: int, rows: Any, ascii_bytes: Any, out: Any, ends: Any, state: Any, n: Any, k: Any
) -> Any:
    for i in range(U(start), U(stop)):
        state, n, k = _step(data[i], rows, ascii_bytes, out, ends, state, n, k)
    return state, n, k


@inner
def normalise(data: Any, start: int, stop: int, tables: Any, out: Any, ends: Any) -> Any:
    """Normalised text of data[start:stop] into `out`, ends of its words into `ends`; bytes and words.

    out: at least `room` bytes. ends: at least `words_room` numbers. A word begins one byte behind the end of the last.
    """
    rows, ascii_bytes, pages, entries, long = tables
    state, n, k = _EMPTY, U(0), U(0)
    i = start
    while i < stop:
        run = _ascii_until(data, i, stop)
        if run > i:
            state, n, k = _ascii(data, i, run, rows, ascii_bytes, out, ends, state, n, k)
            i = run
            continue
        word = four(data, i, stop)
        code, size = code_of(word)
        entry = _entry(pages, entries, code)
        kind = entry >> U(ABOUT_AT) & _KIND
        if entry >> U(LENGTH_AT) & U(7) == U(0) and kind != _LONG_KIND:
            entry |= U(size) << U(LENGTH_AT) | word
        if kind == _SPACE_KIND or kind == _DIGIT_KIND:
            byte = _SPACE_BYTE if kind == _SPACE_KIND else _ZERO_BYTE
            state, n, k = _step(byte, rows, ascii_bytes, out, ends, state, n, k)
        elif kind == _NOTHING_KIND:
            state = _AFTER_NOTHING >> state & _STATE
        elif kind == _SINGLE_KIND:
            if not _between_words(state):
                ends[k] = n
                out[n] = _SPACE_BYTE
                n, k = n + U(1), k + U(1)
            n = _write(entry, out, n)
            ends[k] = n
            out[n] = _SPACE_BYTE
            n, k = n + U(1), k + U(1)
            state = _SPACED
        elif entry >> U(ABOUT_AT) & _SEPARATOR and _joins(data, i + size, stop, state, tables):
            state = _FRACTION
        else:
            if kind == _SIGMA_KIND:
                entry = U(2 << LENGTH_AT) | (_FINAL_SIGMA if _is_final(data, start, i, stop, tables) else _SMALL_SIGMA)
            n = _write_long(entry, long, out, n) if kind == _LONG_KIND else _write(entry, out, n)
            state = _WORD
        i += size
    if not _between_words(state):
        ends[k] = n
        k += U(1)
    elif n:
        n -= U(1)
    return np.int64(n), np.int64(k)


@inner
def _joins(data: Any, i: int, stop: int, state: Any, tables: Any) -> Any:
    """Whether a separator stands between a whole number and the digit at `i`."""
    if i >= stop or (state != _NUMBER and state != _MORE):
        return False
    code, _ = code_of(four(data, i, stop))
    return _about(tables, code) & _KIND == _DIGIT_KIND
