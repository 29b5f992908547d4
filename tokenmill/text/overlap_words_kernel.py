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
_NEW_LINE, _TAB, _RETURN, _PAGE, _SPACE, _LESS, _MORE, _AND, _ESCAPE, _SLASH, _SEMICOLON, _NUMBER = map(
    ord, "\n\t\r\f <>&\\/;#"
)
_PREFIXES = tuple(map(ord, " \t>#|*/"))
"""What lines may begin with: indentation, quotes of mail, comments, tables, lists."""
_ENTITY = 8
"""Characters between & and ; at most."""
_IN_WORDS = tuple(sum(ord(char) << 8 * place for place, char in enumerate(name)) for name in ("#39", "#x27", "apos"))
"""Entities that are apostrophes, as little-endian numbers."""
_IN_WORDS_TOO = tuple(
    sum(ord(char) << 8 * place for place, char in enumerate(name)) for name in ("#8217", "#8216", "rsquo", "lsquo")
)


@inner
def _joins(data: Any, i: int, stop: int, folds: Any) -> Any:
    """Where the word goes on behind a hyphen, perhaps on the next line; -1 where it does not.

    That line may be indented, and begin with one of `_PREFIXES`.
    """
    breaks = 0
    while i < stop:
        size = _line_break(data, i, stop)
        if size:
            breaks += 1
        elif breaks == 0 and _breaks_soon(data, i, stop):
            size = 1
        elif breaks:
            size = 1 if data[U(i)] in _PREFIXES else _wide_space(data, i, stop)
        if not size:
            break
        i += size
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
        if _line_break(data, k, stop):
            return True
        if data[U(k)] != _SPACE and data[U(k)] != _TAB:
            return False
    return False


@inner
def _line_break(data: Any, i: int, stop: int) -> int:
    """Bytes of a line break at `i`, of any system; 0 where there is none."""
    byte = data[U(i)]
    if byte == _RETURN:
        for k in range(i + 1, min(i + 3, stop)):
            if data[U(k)] == _NEW_LINE:
                return k + 1 - i
            if data[U(k)] != _RETURN:
                break
        return 1
    if byte == _NEW_LINE or byte == _PAGE:
        return 1
    if byte == 0xE2 and i + 2 < stop and data[U(i + 1)] == 0x80 and (data[U(i + 2)] | 1) == 0xA9:
        return 3  # U+2028, U+2029
    return 0


@inner
def _wide_space(data: Any, i: int, stop: int) -> int:
    """Bytes of a no-break or an ideographic space at `i`, with which pages indent; 0 where there is none."""
    if data[U(i)] == 0xC2 and i + 1 < stop and data[U(i + 1)] == 0xA0:
        return 2
    if data[U(i)] == 0xE3 and i + 2 < stop and data[U(i + 1)] == 0x80 and data[U(i + 2)] == 0x80:
        return 3
    return 0


@inner
def _markup(data: Any, i: int, stop: int) -> Any:
    """Bytes of what stands for a blank or a mark at `i`, and whether it is an apostrophe; 0 where there is nothing.

    A line break of HTML, an entity, or an escaped line break: text that was not decoded has words in them that
    nobody wrote.
    """
    byte = data[U(i)]
    if byte == _ESCAPE:
        follows = data[U(i + 1)] if i + 1 < stop else 0
        return (2 if follows == 110 or follows == 114 or follows == 116 else 0), False  # n, r, t
    if byte == _LESS:
        if i + 3 >= stop or (data[U(i + 1)] | 32) != 98 or (data[U(i + 2)] | 32) != 114:  # b, r
            return 0, False
        for k in range(i + 3, min(i + 6, stop)):
            if data[U(k)] == _MORE:
                return k + 1 - i, False
            if data[U(k)] != _SPACE and data[U(k)] != _SLASH:
                return 0, False
        return 0, False
    name = np.int64(0)
    for k in range(i + 1, min(i + 2 + _ENTITY, stop)):
        byte = data[U(k)]
        if byte == _SEMICOLON:
            return (k + 1 - i if k > i + 2 else 0), name in _IN_WORDS or name in _IN_WORDS_TOO
        letter = (byte | 32) >= 97 and (byte | 32) <= 122
        if not letter and not (byte >= 48 and byte <= 57) and not (byte == _NUMBER and k == i + 1):
            return 0, False
        name |= np.int64(byte) << (8 * (k - i - 1))
    return 0, False


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
            if byte == _AND or byte == _LESS or byte == _ESCAPE:
                size, apostrophe = _markup(data, i, stop)
                ends = not apostrophe
                size = max(size, 1)
            elif folded == _HYPHEN and inside:
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
