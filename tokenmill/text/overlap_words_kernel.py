"""Kernel: the folded words of a text, as hashes, and where they lie.

Characters are folded and told apart by `overlap_tables`. Called by other kernels only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import inner
from tokenmill.text.hash_kernel import mixed
from tokenmill.text.normal_kernel import code_of, four
from tokenmill.text.overlap_tables import (
    ASCII_HYPHEN,
    ASCII_SEPARATOR,
    HYPHEN,
    KIND_AT,
    LENGTH_BITS,
    LETTER,
    LONG,
    SEPARATOR,
    SINGLE,
)

U = np.uint64
WORD_SEED, WORD_STEP = 0x9E3779B97F4A7C15, 0x100000001B3
"""A word's hash: FNV-1a over its folded code points, mixed at the end."""
_WORD_SEED, _WORD_STEP = U(WORD_SEED), U(WORD_STEP)
_SEPARATOR, _HYPHEN, _LETTERS_FROM = U(ASCII_SEPARATOR), U(ASCII_HYPHEN), U(ASCII_HYPHEN + 1)
_VALUE = (1 << KIND_AT) - 1
_LENGTH = (1 << LENGTH_BITS) - 1
_NEW_LINE, _TAB, _RETURN, _SPACE, _QUOTED = map(ord, "\n\t\r >")


@inner
def _joins(data: Any, i: int, stop: int, folds: Any) -> Any:
    """Where the word goes on behind a hyphen, perhaps on the next line; -1 where it does not.

    That line may be indented, and quoted with > as in mail.
    """
    breaks = 0
    while i < stop:
        byte = data[U(i)]
        if byte == _NEW_LINE:
            breaks += 1
        elif breaks == 0 and byte <= _SPACE and _breaks_soon(data, i, stop):
            pass
        elif breaks == 0 or (byte != _SPACE and byte != _TAB and byte != _QUOTED):
            break
        i += 1
    if breaks > 1 or i >= stop:
        return -1
    if data[U(i)] < 128:
        return i if folds.ascii[data[U(i)]] >= _LETTERS_FROM else -1
    kind, _, _ = _character(data, i, stop, folds)
    return i if kind == LETTER or kind == LONG else -1


@inner
def _breaks_soon(data: Any, i: int, stop: int) -> bool:
    """Whether only a few blanks are between `i` and the end of the line."""
    for k in range(i, min(i + 4, stop)):
        if data[U(k)] == _NEW_LINE:
            return True
        if data[U(k)] != _SPACE and data[U(k)] != _TAB and data[U(k)] != _RETURN:
            return False
    return False


@inner
def _character(data: Any, i: int, stop: int, folds: Any) -> Any:
    """Kind, value and bytes of the character at `i`."""
    code, size = code_of(four(data, i, stop))
    found = np.int64(folds.entries[folds.pages[code >> 8], code & 255])
    return found >> KIND_AT, found & _VALUE, size


@inner
def cut_words(data: Any, start: int, stop: int, folds: Any, hashes: Any, starts: Any, stops: Any) -> int:
    """Hashes of the folded words of data[start:stop], and where they lie, counted from `start`; how many.

    The arrays have room for (stop - start) // 2 + 2.
    """
    k = 0
    value = _WORD_SEED
    inside = False
    i = start
    while i < stop:
        byte = data[U(i)]
        size, at = 1, i
        if byte < 128:
            folded = folds.ascii[byte]
            if folded >= _LETTERS_FROM:
                if not inside:
                    starts[k] = i - start
                    value = _WORD_SEED
                    inside = True
                value = (value ^ folded) * _WORD_STEP
                i += 1
                continue
            ends = folded == _SEPARATOR
            if folded == _HYPHEN and inside:
                at = _joins(data, i + 1, stop, folds)
                ends = at < 0
        else:
            kind, what, size = _character(data, i, stop, folds)
            ends = kind == SEPARATOR or kind == SINGLE
            if kind == LETTER or kind == LONG:
                if not inside:
                    starts[k] = i - start
                    value = _WORD_SEED
                    inside = True
                value = _with(value, kind, what, folds)
            elif kind == HYPHEN and inside:
                at = _joins(data, i + size, stop, folds)
                ends = at < 0
            if kind == SINGLE:
                if inside:
                    k = _end(hashes, stops, k, value, i - start)
                starts[k] = i - start
                k = _end(hashes, stops, k, (_WORD_SEED ^ U(what)) * _WORD_STEP, i + size - start)
                inside = False
        if ends and inside:
            k = _end(hashes, stops, k, value, i - start)
            inside = False
        i = at if at > i else i + size
    if inside:
        k = _end(hashes, stops, k, value, stop - start)
    return k


@inner
def _with(value: Any, kind: int, what: int, folds: Any) -> Any:
    if kind == LETTER:
        return (value ^ U(what)) * _WORD_STEP
    place = what >> LENGTH_BITS
    for j in range(place, place + (what & _LENGTH)):
        value = (value ^ U(folds.long[j])) * _WORD_STEP
    return value


@inner
def _end(hashes: Any, stops: Any, k: int, value: Any, at: int) -> int:
    hashes[k] = mixed(value)
    stops[k] = at
    return k + 1
