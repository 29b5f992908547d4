"""Kernel: UTF-8 to code points with flags, and their tokens, as `tokenmill.core.segment` defines them.

Every function is compiled; those here are called by other kernels only. `t` are code points, `f` their flags
(`tokenmill.text.tables`), and text[s:e] is t[s:e]. Tokens are written to `starts`, `ends` from index `k` on; the
new `k` is returned. There are never more tokens than characters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import inner
from tokenmill.text.tables import (
    AFTER_DOT,
    ALNUM,
    ALPHA,
    BEFORE_DOT,
    CLOSING,
    DECIMAL,
    DIGIT,
    HASH_BASE,
    INNER,
    KNOWN_LENGTH,
    KNOWN_MARK,
    LOWER,
    OPENING,
    PICTURE,
    SIMPLE_END,
    SPACE,
    STOP_AFTER,
    UPPER_CLASS,
)

_REPLACEMENT = 0xFFFD
_DOT, _COMMA, _HYPHEN, _DOLLAR, _PLUS, _COLON, _SLASH, _AT = map(ord, ".,-$+:/@")
_APOSTROPHE, _TYPOGRAPHIC = map(ord, "'’")
_EN_DASH, _EM_DASH = map(ord, "–—")
_U, _S, _C, _A, _SMALL_S, _SMALL_A, _SMALL_Z = map(ord, "USCAsaz")


@inner
def decode(data: Any, start: int, stop: int, t: Any) -> int:
    """Code points of data[start:stop] (UTF-8) into `t`; their number. Bytes that are no UTF-8 become U+FFFD."""
    n = 0
    i = start
    while i < stop:
        b = np.int32(data[i])
        if b < 0x80:
            t[n] = b
            n += 1
            i += 1
            continue
        need = 0
        code = np.int32(0)
        least = np.int32(0)
        if 0xC2 <= b < 0xE0:
            need, code, least = 1, b & 0x1F, np.int32(0x80)
        elif 0xE0 <= b < 0xF0:
            need, code, least = 2, b & 0x0F, np.int32(0x800)
        elif 0xF0 <= b < 0xF5:
            need, code, least = 3, b & 0x07, np.int32(0x10000)
        good = need > 0 and i + need < stop
        j = 1
        while good and j <= need:
            c = np.int32(data[i + j])
            good = c & 0xC0 == 0x80
            code = code << 6 | c & 0x3F
            j += 1
        if good and code >= least and code <= 0x10FFFF and not 0xD800 <= code < 0xE000:
            t[n] = code
            i += need + 1
        else:
            t[n] = _REPLACEMENT
            i += 1
        n += 1
    return n


@inner
def look_up(t: Any, n: int, pages: Any, flags: Any, f: Any) -> None:
    """Flags of the first `n` code points into `f`."""
    for i in range(n):
        f[i] = flags[pages[t[i] >> 8], t[i] & 255]


@inner
def is_letter(flag: int) -> bool:
    """`[^\\W\\d_]`: alphanumeric and no decimal digit."""
    return flag & ALNUM != 0 and flag & DECIMAL == 0


@inner
def is_ascii_digit(code: int) -> bool:
    return 48 <= code <= 57


@inner
def known_piece(t: Any, s: int, e: int, lexicon: Any) -> int:
    """Place in the lexicon of the abbreviation or contraction that t[s:e] is, -1 if it is none."""
    if e - s > KNOWN_LENGTH:
        return -1
    key = 0
    for i in range(s, e):
        key = key * HASH_BASE + t[i] + 1
    slots = 2 + lexicon[0]
    mask = lexicon[1]
    slot = key & mask
    while lexicon[slots + slot] >= 0:
        place = lexicon[slots + slot]
        if lexicon[place] == key and lexicon[place + 1] == e - s:
            same = True
            for i in range(e - s):
                if lexicon[place + 4 + i] != t[s + i]:
                    same = False
            if same:
                return place
        slot = (slot + 1) & mask
    return -1


@inner
def _opening(t: Any, f: Any, s: int, e: int) -> int:
    """Length of the token that opens t[s:e], 0 if nothing is to be cut off."""
    c = t[s]
    if c == _DOT:
        i = s + 1
        while i < e and t[i] == _DOT:
            i += 1
        return i - s if i - s > 1 else 0
    if c == _U and s + 2 < e and t[s + 1] == _S and t[s + 2] == _DOLLAR:
        return 3
    if (c == _C or c == _A) and s + 1 < e and t[s + 1] == _DOLLAR:
        return 2
    if c == _PLUS:
        return 0 if s + 1 < e and f[s + 1] & DECIMAL else 1
    return 1 if f[s] & OPENING else 0


@inner
def _is_unit(t: Any, s: int, e: int, lexicon: Any) -> bool:
    """Whether t[s:e] is a unit of measurement."""
    if e - s > 4:
        return False
    packed = 0
    for i in range(s, e):
        if t[i] > 0xFFFF:
            return False
        packed = packed << 16 | t[i]
    low, high = 2, 2 + lexicon[0]
    while low < high:
        middle = (low + high) // 2
        if lexicon[middle] < packed:
            low = middle + 1
        else:
            high = middle
    return low < 2 + lexicon[0] and lexicon[low] == packed


@inner
def _closing(t: Any, f: Any, s: int, e: int, lexicon: Any) -> int:
    """Length of the token that closes t[s:e], 0 if nothing is to be cut off."""
    last = t[e - 1]
    if f[e - 1] & CLOSING:
        return 1
    if last == _DOT:
        first = e - 1
        while first > s and t[first - 1] == _DOT:
            first -= 1
        if first < e - 1:
            return e - first
        if e - 2 >= s and f[e - 2] & STOP_AFTER:
            return 1
        return 1 if e - 3 >= s and f[e - 2] & UPPER_CLASS and f[e - 3] & UPPER_CLASS else 0
    if (last == _SMALL_S or last == _S) and e - s > 1 and (t[e - 2] == _APOSTROPHE or t[e - 2] == _TYPOGRAPHIC):
        return 2
    if f[e - 1] & DIGIT:
        return 0
    at = e - 2
    while at >= s and at >= e - 5 and f[at] & DIGIT == 0 and (f[at] & ALPHA or t[at] == _SLASH):
        at -= 1
    if at < s or f[at] & DECIMAL == 0:
        return 0
    return e - at - 1 if _is_unit(t, at + 1, e, lexicon) else 0


@inner
def _host_to_end(t: Any, f: Any, s: int, e: int) -> bool:
    """Whether t[s:e] is a host name, perhaps with port, and a path."""
    last_label = s
    i = s
    while i < e and (f[i] & ALNUM or t[i] == 95 or t[i] == _HYPHEN or t[i] == _DOT):
        if t[i] == _DOT:
            if i == last_label or i - last_label > 63:
                return False
            if f[last_label] & ALNUM == 0 or f[i - 1] & ALNUM == 0:
                return False
            last_label = i + 1
        i += 1
    if last_label == s or i - last_label < 2 or i - last_label > 63:
        return False
    for j in range(last_label, i):
        if t[j] < _SMALL_A or t[j] > _SMALL_Z:
            return False
    if i < e and t[i] == _COLON:
        j = i + 1
        while j < e and f[j] & DECIMAL:
            j += 1
        if j - i - 1 < 2 or j - i - 1 > 5:
            return False
        i = j
    return i == e or t[i] == _SLASH or t[i] == 63 or t[i] == 35


@inner
def _is_address(t: Any, f: Any, s: int, e: int) -> bool:
    """Whether t[s:e] is an address: scheme, user, host, port and path, all but the host optional."""
    if _host_to_end(t, f, s, e):
        return True
    i = s
    while i < e and (f[i] & ALNUM or t[i] == 95 or t[i] == _PLUS or t[i] == _DOT or t[i] == _HYPHEN):
        i += 1
    if i - s >= 2 and i + 2 < e and t[i] == _COLON and t[i + 1] == _SLASH and t[i + 2] == _SLASH:
        if _host_to_end(t, f, i + 3, e):
            return True
    for i in range(s + 1, e):
        if t[i] == _AT and _host_to_end(t, f, i + 1, e):
            return True
    return False


@inner
def _cut_length(t: Any, f: Any, i: int, s: int, e: int) -> int:
    """Length of the token that cuts t[s:e] at `i`, 0 if nothing does."""
    c = t[i]
    if f[i] & INNER == 0:
        return 0
    if c == _DOT:
        j = i + 1
        while j < e and t[j] == _DOT:
            j += 1
        if j - i > 1:
            return j - i
    if f[i] & PICTURE:
        return 1
    inside = i > s and i + 1 < e
    if not inside:
        return 0
    if (
        (c == _PLUS or c == _HYPHEN or c == 42 or c == 94)
        and is_ascii_digit(t[i - 1])
        and (is_ascii_digit(t[i + 1]) or t[i + 1] == _HYPHEN)
    ):
        return 1
    if c == _DOT:
        return 1 if f[i - 1] & BEFORE_DOT and f[i + 1] & AFTER_DOT else 0
    letter_before = is_letter(f[i - 1])
    if c == _COMMA:
        return 1 if letter_before and is_letter(f[i + 1]) else 0
    if not letter_before and not is_ascii_digit(t[i - 1]):
        return 0
    if c == _HYPHEN:
        if i + 3 < e and t[i + 1] == _HYPHEN and t[i + 2] == _HYPHEN and is_letter(f[i + 3]):
            return 3
        if i + 2 < e and t[i + 1] == _HYPHEN and is_letter(f[i + 2]):
            return 2
        return 1 if is_letter(f[i + 1]) else 0
    if c == _EN_DASH or c == 126:
        return 1 if is_letter(f[i + 1]) else 0
    if c == _EM_DASH:
        if is_letter(f[i + 1]):
            return 1
        return 2 if i + 2 < e and t[i + 1] == _EM_DASH and is_letter(f[i + 2]) else 0
    if c == _COLON or c == 60 or c == 62 or c == 61 or c == _SLASH:
        return 1 if is_letter(f[i + 1]) else 0
    return 0


@inner
def _inner_tokens(t: Any, f: Any, s: int, e: int, starts: Any, ends: Any, k: int) -> int:
    """Tokens of what is left when opening and closing marks are off."""
    first_cut = -1
    dotted = False
    for i in range(s, e):
        if first_cut < 0 and f[i] & INNER and _cut_length(t, f, i, s, e):
            first_cut = i
        dotted = dotted or t[i] == _DOT
    if first_cut < 0 or (dotted and _is_address(t, f, s, e)):
        starts[k], ends[k] = s, e
        return k + 1
    done = s
    i = first_cut
    while i < e:
        length = _cut_length(t, f, i, s, e) if f[i] & INNER else 0
        if length == 0:
            i += 1
            continue
        if i > done:
            starts[k], ends[k] = done, i
            k += 1
        starts[k], ends[k] = i, i + length
        k += 1
        i += length
        done = i
    if done < e:
        starts[k], ends[k] = done, e
        k += 1
    return k


@inner
def _ascii(t: Any, s: int, e: int) -> bool:
    every = np.int32(0)
    for i in range(s, e):
        every |= t[i]
    return every < 128


@inner
def split_piece(t: Any, f: Any, s: int, e: int, starts: Any, ends: Any, k: int, lexicon: Any) -> int:
    """Tokens of one piece without white space that is not only letters."""
    before_last = np.uint32(ALPHA | ALNUM | LOWER)
    marks = np.uint32(0)
    for i in range(s, e - 1):
        before_last &= f[i]
        marks |= f[i]
    marks = (marks | f[e - 1]) & KNOWN_MARK  # without one, the piece holds no abbreviation or contraction
    if f[e - 1] & SIMPLE_END and before_last & ALPHA and e - 1 > s:
        # a word and one mark: by far the commonest piece that is not a bare word
        starts[k], ends[k] = s, e - 1
        starts[k + 1], ends[k + 1] = e - 1, e
        return k + 2
    if before_last & ALNUM and f[e - 1] & DIGIT and f[e - 1] & ALNUM:  # a number, or letters with one
        starts[k], ends[k] = s, e
        return k + 1
    known = known_piece(t, s, e, lexicon) if marks else -1
    if known >= 0 and lexicon[known + 2] == e - s:
        starts[k], ends[k] = s, e
        return k + 1
    if t[e - 1] == _DOT and known < 0 and before_last & LOWER and before_last & ALNUM and e - s > 2 and _ascii(t, s, e):
        starts[k], ends[k] = s, e - 1  # the last word of a sentence
        starts[k + 1], ends[k + 1] = e - 1, e
        return k + 2
    begin, end = s, e
    if known < 0:
        while begin < end:
            length = _opening(t, f, begin, end)
            if length == 0:
                break
            known = known_piece(t, begin, end, lexicon) if marks else -1
            if known >= 0:
                break
            starts[k], ends[k] = begin, begin + length
            k += 1
            begin += length
    top = len(starts) - 1  # closing tokens wait at the end of the arrays
    waiting = 0
    while begin < end:
        known = known_piece(t, begin, end, lexicon) if marks else -1
        if known >= 0:
            break
        length = _closing(t, f, begin, end, lexicon)
        if length == 0:
            break
        starts[top - waiting], ends[top - waiting] = end - length, end
        waiting += 1
        end -= length
    if begin < end and known >= 0:
        first = begin + lexicon[known + 2]
        second = begin + lexicon[known + 3]
        starts[k], ends[k] = begin, first
        k += 1
        if second > first:
            starts[k], ends[k] = first, second
            k += 1
        if end > second:
            starts[k], ends[k] = second, end
            k += 1
    elif begin < end:
        k = _inner_tokens(t, f, begin, end, starts, ends, k)
    while waiting > 0:
        waiting -= 1
        starts[k], ends[k] = starts[top - waiting], ends[top - waiting]
        k += 1
    return k


@inner
def tokens_between(t: Any, f: Any, s: int, e: int, starts: Any, ends: Any, k: int, lexicon: Any) -> int:
    """Tokens of t[s:e], cut at white space first."""
    i = s
    while i < e:
        while i < e and f[i] & SPACE:
            i += 1
        if i >= e:
            break
        piece = i
        letters = np.uint32(ALPHA)
        while i < e and f[i] & SPACE == 0:
            letters &= f[i]
            i += 1
        if letters:
            starts[k], ends[k] = piece, i
            k += 1
        else:
            k = split_piece(t, f, piece, i, starts, ends, k, lexicon)
    return k
