"""What the kernels know about characters: one word of flags per code point, in two levels, and known pieces.

Built from Python's own Unicode database and from the patterns of `tokenmill.core.segment`, so that kernels and
their readable twins cannot disagree about a character. About 0.4 s and 1 MB per process.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import Any, NamedTuple
from unicodedata import category

import numpy as np
import numpy.typing as npt

from tokenmill.core import segment
from tokenmill.text.characters import PUNCTUATION, SENTENCE_ENDS

ALPHA = 1 << 0
ALNUM = 1 << 1
DIGIT = 1 << 2
DECIMAL = 1 << 3
SPACE = 1 << 4
BREAK = 1 << 5
"""Ends a line for `str.splitlines`."""
UPPER = 1 << 6
LOWER = 1 << 7
PUNCT = 1 << 8
"""Unicode category P."""
SYMBOL = 1 << 9
"""Unicode category S."""
MARK = 1 << 10
"""Unicode category M."""
SENTENCE_END = 1 << 11
NO_WORD = 1 << 12
"""In `characters.PUNCTUATION`."""
CLOSING = 1 << 13
OPENING = 1 << 14
STOP_AFTER = 1 << 15
"""A full stop after it is a token of its own."""
UPPER_CLASS = 1 << 16
BEFORE_DOT = 1 << 17
AFTER_DOT = 1 << 18
PICTURE = 1 << 19
INNER = 1 << 20
"""May begin a cut inside a piece."""
SIMPLE_END = 1 << 21
IDEOGRAPH = 1 << 22
KATAKANA = 1 << 23
DICTIONARY = 1 << 24
BROKEN = 1 << 25
"""Control characters, private use, unassigned, and the replacement character."""

KNOWN_MARK = 1 << 26
"""Every abbreviation, smiley and contraction has one of these."""

RARE = 1 << 27
"""The letter of a phrase by which `lines_kernel.phrase_around` finds it."""
SPACE_BIT, UPPER_BIT, SENTENCE_END_BIT = 4, 6, 11
"""Places of these flags."""

PAGE = 256
KNOWN_LENGTH = 12
"""Longest abbreviation or contraction that is looked for. Characters."""
HASH_BASE = 0x2545F4914F6CDD1D
"""Multiplier of all polynomial hashes of code points, modulo 2^64."""

Ints = npt.NDArray[np.int64]


class Tables(NamedTuple):
    """Arrays that every kernel gets. `flags[pages[code >> 8], code & 255]` are the flags of a code point."""

    pages: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint32]
    lexicon: Ints
    """Abbreviations, contractions and units in one array, see `_lexicon`: kernels pass few arguments quickly."""
    phrases: npt.NDArray[np.int32]
    """Phrases in lower case, one per row, filled with zeros."""


PHRASES = (
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
"""What C4 looks for in a line; all from the third on are `policies`. `lines_kernel.phrase_around` knows their order."""


def polynomial(text: str) -> int:
    """The hash of a text as the kernels compute it, as a signed 64-bit number."""
    value = 0
    for char in text:
        value = (value * HASH_BASE + ord(char) + 1) & (2**64 - 1)
    return value - 2**64 if value >= 2**63 else value


def pack(unit: str) -> int:
    """Up to four characters of the basic plane as one number."""
    value = 0
    for char in unit:
        value = value << 16 | ord(char)
    return value - 2**64 if value >= 2**63 else value


@cache
def tables() -> Tables:
    """The tables, built on first use."""
    pages, flags = _levels(_flags())
    longest = max(map(len, PHRASES))
    phrases = np.zeros((len(PHRASES), longest), np.int32)
    for row, phrase in enumerate(PHRASES):
        phrases[row, : len(phrase)] = list(map(ord, phrase))
    return Tables(pages, flags, _lexicon(), phrases)


def _flags() -> npt.NDArray[np.uint32]:
    flags = np.zeros(0x110000, np.uint32)
    categories = {"P": PUNCT, "S": SYMBOL, "M": MARK}
    traits = (
        (str.isalpha, ALPHA),
        (str.isalnum, ALNUM),
        (str.isdigit, DIGIT),
        (str.isdecimal, DECIMAL),
        (str.isspace, SPACE),
        (str.isupper, UPPER),
        (str.islower, LOWER),
    )
    for code in range(0x110000):
        char = chr(code)
        kind = category(char)
        if kind in ("Cn", "Co", "Cs"):
            flags[code] = BROKEN
            continue
        value = categories.get(kind[0], 0)
        if kind == "Lo":  # most of all characters: letters without case
            value |= ALPHA | ALNUM
        else:
            for holds, flag in traits:
                if holds(char):
                    value |= flag
        if kind == "Cc" and not value & SPACE:
            value |= BROKEN
        flags[code] = value
    flags[0xFFFD] |= BROKEN
    for chars, flag in _sets():
        for char in chars:
            flags[ord(char)] |= flag
    for members, flag in _classes():
        for first, last in _ranges(members):
            flags[first : last + 1] |= flag
    return flags


def _sets() -> tuple[tuple[Any, int], ...]:
    return (
        ("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", BREAK),
        (SENTENCE_ENDS, SENTENCE_END),
        (PUNCTUATION, NO_WORD),
        (segment.CLOSING, CLOSING),
        (',;:!?)]"”', SIMPLE_END),
        ("jvfpkJVFPK\u212a", RARE),  # U+212A: the only one outside ASCII whose lower case is an ASCII letter
        (".'’/+:;<", KNOWN_MARK),
    )


def _classes() -> tuple[tuple[str, int], ...]:
    """Inner part of character classes, as the patterns of `segment` have them."""
    quotes, picture = segment.QUOTES, segment.PICTURE
    return (
        (f"§%=—–{quotes}{segment.MARKS}{segment.CURRENCY}{picture}", OPENING),
        (f"0-9{segment.LOWER}%²+-{quotes}{segment.MARKS}", STOP_AFTER),
        (segment.UPPER, UPPER_CLASS),
        (f"{segment.LOWER}{quotes}", BEFORE_DOT),
        (f"{segment.UPPER}{quotes}", AFTER_DOT),
        (f"…{picture}", PICTURE),
        (f"-–—~:<>=/,.+*^…{picture}", INNER),
        (segment.IDEOGRAPHS, IDEOGRAPH),
        (segment.KATAKANA, KATAKANA),
        (segment.DICTIONARY, DICTIONARY),
    )


def _ranges(members: str) -> list[tuple[int, int]]:
    """Code points of a class; a hyphen between two characters of which the first is smaller makes a range."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(members):
        first = last = ord(members[at])
        if at + 2 < len(members) and members[at + 1] == "-" and first < ord(members[at + 2]) and first != ord("+"):
            last = ord(members[at + 2])
            at += 2
        found.append((first, last))
        at += 1
    return found


def _levels(flags: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """Equal pages are stored once."""
    pages, numbers = np.unique(flags.reshape(-1, PAGE), axis=0, return_inverse=True)
    return numbers.reshape(-1).astype(np.int32), np.ascontiguousarray(pages)


def _contractions() -> list[str]:
    """Every piece that the pattern of contractions can match."""
    pieces = []
    for stems, endings in ((segment.NOT_STEMS, ("n't",)), (segment.PRONOUN_STEMS, ("'m", "'ll", "'d", "'ve", "'re"))):
        for stem, ending, more in product(stems, endings, ("", "'ve")):
            for first in (stem[0], stem[0].upper()):
                plain = first + stem[1:] + ending + more
                marks = [i for i, char in enumerate(plain) if char == "'"]
                for choice in product("'’", repeat=len(marks)):
                    chars = list(plain)
                    for place, mark in zip(marks, choice, strict=True):
                        chars[place] = mark
                    pieces.append("".join(chars))
    return pieces


def _lexicon() -> Ints:
    """Number of units, mask of the hash table, units, slots (place of a piece or -1), then the pieces.

    A unit is packed (`pack`), units are sorted. A piece is its hash (`polynomial`), its length, the ends of its
    first and of its second token (equal where it has one), and its characters.
    """
    units = sorted(map(pack, _units()))
    pieces = sorted({piece for piece in (*segment.WHOLE, *_contractions()) if len(piece) <= KNOWN_LENGTH})
    size = 1 << 13
    slots = [-1] * size
    rows: list[int] = []
    start = 2 + len(units) + size
    for piece in pieces:
        tokens = segment.known(piece)
        assert tokens is not None
        assert set(piece) & set(".'’/+:;<"), piece
        key = polynomial(piece)
        slot = key & (size - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = start + len(rows)
        first = len(tokens[0])
        second = first + len(tokens[1]) if len(tokens) > 1 else first
        rows += [key, len(piece), first, second, *map(ord, piece)]
    return np.array([len(units), size - 1, *units, *slots, *rows], np.int64)


def _units() -> list[str]:
    """Every unit that the pattern of units can match, found by trying all short strings of its characters."""
    letters = "kcdmµnhaydinftgltbozs/pPrMGTKBUSCA%+$²³" + "".join(
        chr(code) for first, last in _ranges(segment.CURRENCY) for code in range(first, last + 1)
    )
    small = sorted(set("kcdmµnhaydiftglbozs/pPrMGTKBUSCA$"))
    whole = re.compile(segment.UNIT)
    found = {char for char in letters if whole.match("1" + char, 1)}
    for length in (2, 3, 4):
        for chars in product(small, repeat=length) if length < 4 else product("mbarkh/", repeat=4):
            unit = "".join(chars)
            if whole.match("1" + unit, 1):
                found.add(unit)
    return sorted(found)
