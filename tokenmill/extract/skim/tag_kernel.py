"""Compiled part of the scanner: names, attributes, comments, raw text, class tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.extract.skim.find_kernel import U, find
from tokenmill.extract.skim.scan_tables import (
    A_ARIA,
    A_CLASS,
    A_HIDDEN,
    A_ID,
    A_ITEMPROP,
    A_ROLE,
    A_STYLE,
    ENDS,
    GAP,
    HASH_START,
    HASH_STEP,
    HIDDEN,
    KEYS,
    LETTER,
    NAME_END,
    SPREAD,
    TAG_NAME_END,
    WHITE,
    name_code,
    tables,
)
from tokenmill.text.compiled import lean, lean_forced

TABLES = tables()
CLASSES, LOWER = TABLES.classes, TABLES.lower
_ATTRIBUTE_KEYS, _ATTRIBUTE_VALUES = TABLES.attribute_keys, TABLES.attribute_values
_ROLE_KEYS, _ROLE_VALUES = TABLES.role_keys, TABLES.role_values
MULTIPLIER, START, STEP = np.uint64(SPREAD), np.uint64(HASH_START), np.uint64(HASH_STEP)
_KEY_SHIFT = np.uint64(64 - KEYS.bit_length() + 1)
_EIGHT, _ONE = np.uint64(8), np.uint64(1)
LT, GT, _SLASH, _EQUALS, _DASH, _BANG = (np.uint8(ord(c)) for c in "<>/=-!")
TOKEN_BITS, MOST_TOKENS, TOKEN_BYTES = 14, 14, 400
_TOKEN_SHIFT = np.uint64(64 - TOKEN_BITS)
_SCRIPT = np.uint64(name_code(b"script"))
_WORDS = 1 << A_CLASS | 1 << A_ID | 1 << A_ROLE | 1 << A_ITEMPROP
_CONTEXT = 1 << A_ROLE | 1 << A_HIDDEN | 1 << A_ARIA | 1 << A_STYLE


@lean_forced
def is_space(c: Any) -> Any:
    return c == 32 or (9 <= c <= 13)


@lean_forced
def is_letter(c: Any) -> Any:
    return 97 <= (c | 32) <= 122


@lean_forced
def slot_of(keys: Any, key: Any) -> Any:
    """The place of a key in a table of KEYS places, or the free one where it would be."""
    slot = (key * MULTIPLIER) >> _KEY_SHIFT
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + _ONE) & U(KEYS - 1)
    return slot


@lean_forced
def read_name(page: Any, i: int) -> Any:
    """Code (`scan_tables.name_code`, lower case) and end of the name of a tag that starts at i."""
    n = len(page)
    code = U(0)
    stop = min(n, i + 8)
    while i < stop:
        c = page[U(i)]
        if CLASSES[c] & TAG_NAME_END:
            return code, i
        code = (code << _EIGHT) | U(LOWER[c])
        i += 1
    while i < n:
        c = page[U(i)]
        if CLASSES[c] & TAG_NAME_END:
            break
        code = code * STEP + U(LOWER[c])
        i += 1
    return code, i


@lean_forced
def _attribute_name(page: Any, i: int) -> Any:
    """Code and end of the name of an attribute that starts at i; a `=` may begin it."""
    n = len(page)
    code = U(LOWER[page[U(i)]])
    stop = min(n, i + 8)
    i += 1
    while i < stop:
        c = page[U(i)]
        if CLASSES[c] & NAME_END:
            return code, i
        code = (code << _EIGHT) | U(LOWER[c])
        i += 1
    while i < n:
        c = page[U(i)]
        if CLASSES[c] & NAME_END:
            break
        code = code * STEP + U(LOWER[c])
        i += 1
    return code, i


@lean_forced
def read_attributes(page: Any, i: int, values: Any) -> Any:
    """Position of the `>` that ends a tag (the length when there is none), bits of the attributes of interest,
    and how many attributes there are. Starts and, ENDS behind them, ends of values of interest are written to
    `values`; of two of one name the first counts."""
    n = len(page)
    found = count = 0
    while i < n:
        c = page[U(i)]
        if c == GT:
            return i, found, count
        if CLASSES[c] & GAP:
            i += 1
            continue
        count += 1
        code, i = _attribute_name(page, i)
        while i < n and CLASSES[page[U(i)]] & WHITE:
            i += 1
        start = end = i
        if i < n and page[U(i)] == _EQUALS:
            i += 1
            while i < n and CLASSES[page[U(i)]] & WHITE:
                i += 1
            start = end = i
            c = page[U(i)] if i < n else GT
            if c == 34 or c == 39:
                start = i + 1
                end = find(page, start, c)
                i = min(end + 1, n)
            else:
                while i < n and page[U(i)] != GT and not CLASSES[page[U(i)]] & WHITE:
                    i += 1
                end = i
        slot = slot_of(_ATTRIBUTE_KEYS, code)
        if _ATTRIBUTE_KEYS[slot] != 0:
            number = _ATTRIBUTE_VALUES[slot, 0]
            if not found >> number & 1:
                found |= 1 << number
                values[U(number)], values[U(number + ENDS)] = start, end
    return n, found, count


@lean
def behind_comment(page: Any, i: int) -> Any:
    """Position behind the comment whose text starts at i: `-->`, `--!>`, or `>` or `->` at its start; one more than
    the length when it never ends."""
    n = len(page)
    at = i
    while True:
        at = find(page, at, GT)
        if at >= n:
            return n + 1
        text = at - i
        if text == 0 or (page[U(at - 1)] == _DASH and (text == 1 or page[U(at - 2)] == _DASH)):
            return at + 1
        if text >= 3 and page[U(at - 1)] == _BANG and page[U(at - 2)] == _DASH and page[U(at - 3)] == _DASH:
            return at + 1
        at += 1


@lean_forced
def comment_end(page: Any, i: int) -> Any:
    """Position behind the comment whose text starts at i; the length when it never ends."""
    return min(behind_comment(page, i), len(page))


@lean
def begins(page: Any, start: int, end: int, word: Any) -> Any:
    """Whether the range begins with the word (lower-case bytes), whatever the case."""
    if end - start < len(word):
        return False
    for k in range(len(word)):
        if LOWER[page[U(start + k)]] != word[k]:
            return False
    return True


def word_of(word: bytes) -> Any:
    """A word as `begins` takes it."""
    return np.frombuffer(word, np.uint8)


_SCRIPT_WORD = word_of(b"script")


@lean
def raw_end(page: Any, i: int, code: Any) -> Any:
    """Position of the end tag of a raw text element (script, style, ...) whose content starts at i; the length when
    it has none. A script within a comment in a script has its own end tag (WHATWG 13.2.5.26)."""
    n = len(page)
    comment = i  # end of the last comment in a script: searched for once
    while True:
        i = find(page, i, LT)
        if i + 2 >= n:
            return n
        c = page[U(i + 1)]
        if c == _SLASH:
            name, end = read_name(page, i + 2)
            if name == code and end < n:
                return i
        elif c == _BANG and code == _SCRIPT and i >= comment and page[U(i + 2)] == _DASH:
            if i + 3 < n and page[U(i + 3)] == _DASH:
                comment = _escape_end(page, i + 2)
        elif i < comment and _is_script(page, i + 1):  # its end tag is text too, unless the comment ends before
            i = _double_escape_end(page, i + 7, comment)
            continue
        i += 1


@lean
def _escape_end(page: Any, i: int) -> Any:
    """Position of the `>` of the first `-->` whose dashes stand at i or later; the length when there is none."""
    at = find(page, i + 2, GT)
    n = len(page)
    while at < n and not (page[U(at - 1)] == _DASH and page[U(at - 2)] == _DASH):
        at = find(page, at + 1, GT)
    return at


@lean
def _double_escape_end(page: Any, i: int, comment: int) -> Any:
    """Position behind the name of the next `</script` before the end of the comment, or that end."""
    at = find(page, i, LT)
    while at + 2 < comment:
        if page[U(at + 1)] == _SLASH and _is_script(page, at + 2):
            return at + 8
        at = find(page, at + 1, LT)
    return comment


@lean
def _is_script(page: Any, i: int) -> Any:
    n = len(page)
    return i + 6 < n and begins(page, i, n, _SCRIPT_WORD) and CLASSES[page[U(i + 6)]] & TAG_NAME_END != 0


@lean
def value_hash(page: Any, start: int, end: int) -> Any:
    """FNV-1a of a value in lower case, white space around it left out; 0 for one of more than 64 bytes."""
    while start < end and CLASSES[page[U(start)]] & WHITE:
        start += 1
    while end > start and CLASSES[page[U(end - 1)]] & WHITE:
        end -= 1
    found = START
    if end - start > 64:
        return U(0)
    while start < end:
        found = (found ^ U(LOWER[page[U(start)]])) * STEP
        start += 1
    return found


_TRUE, _DISPLAY, _VISIBILITY, _NONE, _HIDDEN = map(word_of, (b"true", b"display", b"visibility", b"none", b"hidden"))


@lean
def _context_of(page: Any, found: Any, values: Any) -> Any:
    flags = 0
    if found >> A_ROLE & 1:
        start, end = values[A_ROLE], values[A_ROLE + ENDS]
        while start < end and CLASSES[page[U(start)]] & WHITE:
            start += 1
        stop = start
        while stop < end and not CLASSES[page[U(stop)]] & WHITE:
            stop += 1
        flags |= _ROLE_VALUES[slot_of(_ROLE_KEYS, value_hash(page, start, stop)), 0]
    if found >> A_HIDDEN & 1 or (found >> A_ARIA & 1 and begins(page, values[A_ARIA], values[A_ARIA + ENDS], _TRUE)):
        flags |= HIDDEN
    if found >> A_STYLE & 1:
        start, end = values[A_STYLE], min(values[A_STYLE + ENDS], values[A_STYLE] + TOKEN_BYTES)
        while start < end:
            c = page[U(start)] | 32
            if c == 100 and begins(page, start, end, _DISPLAY):
                if begins(page, _after_colon(page, start + 7, end), end, _NONE):
                    flags |= HIDDEN
            elif c == 118 and begins(page, start, end, _VISIBILITY):
                if begins(page, _after_colon(page, start + 10, end), end, _HIDDEN):
                    flags |= HIDDEN
            start += 1
    return flags


@lean_forced
def context_of(page: Any, found: Any, values: Any) -> Any:
    """Context flags that the attributes of an element give: role, hidden, aria-hidden, style."""
    return _context_of(page, found, values) if found & _CONTEXT else 0


@lean
def _after_colon(page: Any, i: int, end: int) -> Any:
    while i < end and (CLASSES[page[U(i)]] & WHITE or page[U(i)] == 58):
        i += 1
    return i


@lean_forced
def add_tokens(page: Any, found: Any, values: Any, tokens: Any, count: int) -> Any:
    """Append the tokens of an element's class, id, role and itemprop; how many there are now."""
    if found & _WORDS:
        for number in (A_CLASS, A_ID, A_ROLE, A_ITEMPROP):
            if found >> number & 1:
                start = values[number]
                count = _add_words(page, start, min(values[number + ENDS], start + TOKEN_BYTES), tokens, count)
    return count


@lean
def _add_words(page: Any, i: int, end: int, tokens: Any, count: int) -> Any:
    """Words of one value: split at what is no letter and where lower case turns into upper; and pairs of one name."""
    last = count + MOST_TOKENS
    before = U(0)
    while i < end and count < last:
        c = page[U(i)]
        if not (CLASSES[c] & LETTER or c >= 128):
            if CLASSES[c] & WHITE:
                before = U(0)
            i += 1
            continue
        word = START
        was_lower = False
        while i < end:
            c = page[U(i)]
            if not (CLASSES[c] & LETTER or c >= 128) or (was_lower and 65 <= c <= 90):
                break
            word = (word ^ U(LOWER[c])) * STEP
            was_lower = 97 <= c <= 122
            i += 1
        tokens[U(count)] = (word * MULTIPLIER) >> _TOKEN_SHIFT
        count += 1
        if before != 0 and count < last:
            tokens[U(count)] = (((before << _ONE) ^ word) * MULTIPLIER) >> _TOKEN_SHIFT
            count += 1
        before = word
    return count
