"""Kernels: characters and lines of a text.

Each function fills one row of measurements in the order in which `tokenmill.text.signals` lists them. `t` are the
code points of the text, `f` their flags, `n` their number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import inner
from tokenmill.text.repetition import duplicates
from tokenmill.text.tables import (
    ALPHA,
    BREAK,
    BROKEN,
    DICTIONARY,
    DIGIT,
    IDEOGRAPH,
    KATAKANA,
    PUNCT,
    RARE,
    SENTENCE_END,
    SPACE,
    SPACE_BIT,
    SYMBOL,
    UPPER,
    UPPER_BIT,
)

SHORT_LINE = 30
"""Most characters of a short line (FineWeb)."""

_NEWLINE, _RETURN, _DOT, _HYPHEN, _ELLIPSIS, _BULLET = map(ord, "\n\r.-…•")
_OPEN_CURLY, _CLOSE_CURLY = map(ord, "{}")
_KELVIN = 0x212A
"""The only character outside ASCII whose lower case is an ASCII letter (k)."""


@inner
def share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


@inner
def lower(code: int) -> int:
    if 65 <= code <= 90:
        return code + 32
    return 107 if code == _KELVIN else code


@inner
def _is_phrase(t: Any, start: int, low: int, high: int, phrases: Any, number: int) -> bool:
    """Whether a phrase begins at `start` and lies in t[low:high], whatever its case."""
    if start < low:
        return False
    k = 0
    while k < phrases.shape[1] and phrases[number, k]:
        if start + k >= high or lower(t[start + k]) != phrases[number, k]:
            return False
        k += 1
    return True


@inner
def phrase_around(t: Any, i: int, low: int, high: int, phrases: Any) -> int:
    """Number of the phrase in t[low:high] whose rarest letter is t[i], -1 for none.

    Every phrase is looked for from one letter of its own: j, f, v, p, k are 6 % of English letters, first letters
    would be 25 %.
    """
    c = t[i] | 32
    if c == 106:  # j
        return 1 if _is_phrase(t, i, low, high, phrases, 1) else -1
    if c == 118:  # v
        return 3 if _is_phrase(t, i - 3, low, high, phrases, 3) else -1
    if c == 102:  # f
        return 2 if _is_phrase(t, i - 7, low, high, phrases, 2) else -1
    if c == 112:  # p
        return 0 if _is_phrase(t, i - 7, low, high, phrases, 0) else -1
    if c == 107 or t[i] == _KELVIN:
        if _is_phrase(t, i - 3, low, high, phrases, 4):
            return 4
        if _is_phrase(t, i - 8, low, high, phrases, 5):
            return 5
        if _is_phrase(t, i - 10, low, high, phrases, 6):
            return 6
        return 7 if _is_phrase(t, i - 7, low, high, phrases, 7) else -1
    return -1


@inner
def character_statistics(t: Any, f: Any, n: int, n_bytes: int, row: Any) -> None:
    """The family `CHARACTERS`."""
    letters = upper = digits = punctuation = symbols = spaces = ascii_ = broken = curly = unspaced = 0
    for i in range(n):
        flag = f[i]
        ascii_ += t[i] < 128
        curly += t[i] == _OPEN_CURLY or t[i] == _CLOSE_CURLY
        letters += flag & ALPHA != 0
        upper += flag & (ALPHA | UPPER) == ALPHA | UPPER
        digits += flag & DIGIT != 0
        punctuation += flag & PUNCT != 0
        symbols += flag & SYMBOL != 0
        spaces += flag & SPACE != 0
        broken += flag & BROKEN != 0
        unspaced += flag & ALPHA != 0 and flag & (IDEOGRAPH | KATAKANA | DICTIONARY) != 0
    row[0] = n
    row[1] = n_bytes
    row[2] = share(letters, n)
    row[3] = share(upper, letters)
    row[4] = share(digits, n)
    row[5] = share(punctuation, n)
    row[6] = share(symbols, n)
    row[7] = share(spaces, n)
    row[8] = share(n - ascii_, n)
    row[9] = share(broken, n)
    row[10] = share(curly, n)
    row[11] = share(unspaced, letters)
    row[12] = n


@inner
def _lines_by_any_break(t: Any, f: Any, n: int) -> tuple[int, int, int]:
    """Lines as `str.splitlines` cuts them, those that begin with a bullet, those that end with an ellipsis."""
    lines = bullets = ellipses = 0
    start = 0
    while start < n:
        end = start
        while end < n and f[end] & BREAK == 0:
            end += 1
        first, last = start, end - 1
        while first < end and f[first] & SPACE:
            first += 1
        while last >= first and f[last] & SPACE:
            last -= 1
        lines += 1
        if first <= last:
            bullets += t[first] == _BULLET or t[first] == _HYPHEN
            ellipses += t[last] == _ELLIPSIS or (
                last - 2 >= first and t[last] == _DOT and t[last - 1] == _DOT and t[last - 2] == _DOT
            )
        start = end + (2 if end + 1 < n and t[end] == _RETURN and t[end + 1] == _NEWLINE else 1)
    return lines, bullets, ellipses


@inner
def line_phrases(t: Any, f: Any, start: int, end: int, phrases: Any) -> tuple[int, bool, bool]:
    """Times "lorem ipsum" stands in a line, whether "javascript" does, whether a policy phrase does."""
    lorem = 0
    javascript = policy = False
    for i in range(start, end):
        if f[i] & RARE:
            number = phrase_around(t, i, start, end, phrases)
            lorem += number == 0
            javascript = javascript or number == 1
            policy = policy or number > 1
    return lorem, javascript, policy


@inner
def break_statistics(t: Any, f: Any, n: int, row: Any) -> None:
    """Of the family of lines: those that count lines by any line break."""
    count, bullets, ellipses = _lines_by_any_break(t, f, n)
    row[0] = share(bullets, count)
    row[1] = share(ellipses, count)


@inner
def count_newlines(t: Any, n: int) -> int:
    found = 0
    for i in range(n):
        found += t[i] == _NEWLINE
    return found


@inner
def repeat_statistics(t: Any, f: Any, n: int, prefix: Any, powers: Any, row: Any) -> None:
    """Of the family of lines: repeated lines between runs of newlines, and paragraphs."""
    newlines = count_newlines(t, n)
    starts = np.empty(newlines + 1, np.int32)
    ends = np.empty(newlines + 1, np.int32)
    kept = start = 0
    doubled = False
    for i in range(n + 1):
        if i == n or t[i] == _NEWLINE:
            if i == n or i == 0 or t[i - 1] != _NEWLINE:
                starts[kept], ends[kept] = start, i
                kept += 1
            else:
                doubled = True
            start = i + 1
    dup, dup_chars = duplicates(t, starts, ends, kept, prefix, powers)
    row[9] = share(dup, kept)
    row[10] = share(dup_chars, n)
    row[7] = row[8] = 0.0
    row[19] = 1.0
    if doubled:
        kept = _paragraphs(t, f, n, starts, ends)
        dup, dup_chars = duplicates(t, starts, ends, kept, prefix, powers)
        row[7] = share(dup, kept)
        row[8] = share(dup_chars, n)
        row[19] = kept


@inner
def line_statistics(t: Any, f: Any, n: int, prefix: Any, powers: Any, phrases: Any, look: bool, row: Any) -> None:
    """Of the family of lines: lines between newlines that are not blank. look: also for phrases."""
    newlines = count_newlines(t, n)
    starts = np.empty(newlines + 1, np.int32)
    ends = np.empty(newlines + 1, np.int32)
    kept = ended = short = terminal = uppercase = numeric = one_word = 0
    lorem = scripts = policies = total = longest = 0
    start = 0
    while start <= n:
        end = start
        upper = pieces = 0
        any_of = before = np.uint32(SPACE)
        while end < n and t[end] != _NEWLINE:
            flag = f[end]
            pieces += (before & ~flag) >> SPACE_BIT & 1
            upper += flag >> UPPER_BIT & 1
            any_of |= flag
            before = flag
            end += 1
        if pieces:
            starts[kept], ends[kept] = start, end
            kept += 1
            length = end - start
            last = t[end - 1]
            ended += f[end - 1] & SENTENCE_END != 0
            terminal += last == 46 or last == 63 or last == 33 or last == 34 or last == 39
            short += length <= SHORT_LINE
            uppercase += 2 * upper > length
            numeric += any_of & DIGIT != 0 and any_of & ALPHA == 0
            one_word += pieces == 1
            total += length
            longest = max(longest, length)
            if look:
                found, javascript, policy = line_phrases(t, f, start, end, phrases)
                lorem += found
                scripts += javascript
                policies += policy
        start = end + 1
    row[2] = kept
    row[3] = share(ended, kept)
    row[4] = row[3] if ended else 1.0
    row[5] = share(short, kept)
    row[6] = share(duplicates(t, starts, ends, kept, prefix, powers)[1], n - newlines)
    row[11] = share(terminal, kept)
    row[12] = share(uppercase, kept)
    row[13] = share(numeric, kept)
    row[14] = share(one_word, kept)
    if look:
        row[15] = share(scripts, kept)
        row[16] = share(policies, kept)
        row[17] = lorem
    row[18] = share(total, kept)
    row[20] = longest
    row[21] = _addresses(t, n)


@inner
def _addresses(t: Any, n: int) -> int:
    """Times "http://" or "https://" stands in the text."""
    found = 0
    for i in range(4, n - 2):
        if t[i] == 58 and t[i + 1] == 47 and t[i + 2] == 47:
            j = i - 1
            if t[j] == 115:
                j -= 1
            found += j >= 3 and t[j] == 112 and t[j - 1] == 116 and t[j - 2] == 116 and t[j - 3] == 104
    return found


@inner
def _paragraphs(t: Any, f: Any, n: int, starts: Any, ends: Any) -> int:
    """Pieces of the stripped text between runs of two or more newlines; their number, at least one."""
    first, last = 0, n
    while first < n and f[first] & SPACE:
        first += 1
    while last > first and f[last - 1] & SPACE:
        last -= 1
    kept = 0
    start = i = first
    while i < last:
        if t[i] == _NEWLINE and i + 1 < last and t[i + 1] == _NEWLINE:
            starts[kept], ends[kept] = start, i
            kept += 1
            while i < last and t[i] == _NEWLINE:
                i += 1
            start = i
        else:
            i += 1
    starts[kept], ends[kept] = start, last
    return kept + 1
