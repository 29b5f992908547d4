"""What the normalisation knows about characters: a table of replacements by code point, and an automaton for ASCII.

Built from Python's own Unicode database, so that the kernel and its readable twin cannot disagree about a character.
About 0.2 s and 1 MB per process.

The steps are those of datatrove 0.10.1 (`utils/text.py`, `simplify_text`): lower case, numbers to "0", punctuation to
spaces, white space collapsed, then NFD without the marks of category Mn. All but numbers can be said per code point.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import chain
from typing import NamedTuple
from unicodedata import category, is_normalized, normalize

import numpy as np
import numpy.typing as npt

from tokenmill.core import segment

PUNCTUATION = frozenset(
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«´»–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～"
) | frozenset(map(chr, chain(range(9), range(11, 32), range(127, 160))))
"""Becomes a space. datatrove's set; its full-width digit one is a number before it is punctuation."""
SEPARATORS = ".,،٫⎖⎗⎘"
"""One of these between digits belongs to the number."""

LETTER, SPACE, DIGIT, NOTHING, SINGLE, LONG, SIGMA = range(7)
"""Kinds of code points: of a word; between words; `Nd`; dropped; a word of its own; of a word, with a replacement of
more than four bytes; Σ, whose lower case depends on what is around it."""
SEPARATOR = 1 << 3
CASED = 1 << 4
IGNORABLE = 1 << 5
"""Flags beside the kind. CASED and IGNORABLE are what Unicode's rule for the final sigma asks."""
KIND = 7
LENGTH_AT, ABOUT_AT = 32, 40
"""An entry: up to four bytes of UTF-8, first byte lowest, then their number (0: the character stays as it is), then
kind and flags. LONG: length, then place in `Normal.long`, instead of the bytes."""
PAGE = 256

STATES = 8
EMPTY, SPACED, WORD, NUMBER, MORE, PENDING, JOINED, FRACTION = range(0, 6 * STATES, 6)
"""States of the automaton, each the number of bits by which a row is shifted to find the next one.

EMPTY, SPACED: between words; the latter has just written the space. WORD: a letter was written. NUMBER: "0" was
written; MORE: a further digit was not. PENDING: the space for a separator behind a whole number was written, and is
taken back by JOINED, when a digit follows; FRACTION: further digits of the fraction were not written.
"""


class Normal(NamedTuple):
    """Arrays that the kernels get. `entries[pages[code >> 8], code & 255]` is the entry of a code point."""

    rows: npt.NDArray[np.uint64]
    """(128,): for an ASCII byte the next state for every state, six bits each."""
    bytes: npt.NDArray[np.uint8]
    """(128,): what an ASCII byte is written as."""
    pages: npt.NDArray[np.int32]
    entries: npt.NDArray[np.uint64]
    long: npt.NDArray[np.uint8]


@cache
def normal_tables() -> Normal:
    """The tables, built on first use."""
    entries, long = _entries()
    seen: dict[bytes, int] = {}
    numbers = [seen.setdefault(page.tobytes(), len(seen)) for page in entries.reshape(-1, PAGE)]
    pages = np.frombuffer(b"".join(seen), np.uint64).reshape(-1, PAGE).copy()
    rows = np.array([_row(chr(code)) for code in range(128)], np.uint64)
    written = bytes(map(_written, map(chr, range(128))))
    return Normal(rows, np.frombuffer(written, np.uint8).copy(), np.array(numbers, np.int32), pages, long)


def _row(char: str) -> int:
    word = 0
    for state in range(0, 6 * STATES, 6):
        if char.isdigit():
            number = {NUMBER: MORE, MORE: MORE, PENDING: JOINED, JOINED: FRACTION, FRACTION: FRACTION}
            after = number.get(state, NUMBER)
        elif char.isalpha():
            after = WORD
        elif state in (EMPTY, SPACED, PENDING):
            after = EMPTY
        else:
            after = PENDING if char in SEPARATORS and state in (NUMBER, MORE) else SPACED
        word |= after << state
    return word


def _written(char: str) -> int:
    return ord("0" if char.isdigit() else char.lower() if char.isalpha() else " ")


def _entries() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """The entry of every code point, and the long replacements."""
    codes = np.arange(0x110000, dtype=np.uint32)
    every = codes.tobytes().decode("utf-32-le", "surrogatepass")
    kinds = np.frombuffer("".join(map(category, every)).encode(), "S2")
    lower = every.replace("İ", "i").replace("Σ", "σ").lower()  # now one character each; İ's dot would be dropped
    letters = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), np.uint32).copy()
    about = np.full(len(codes), LETTER, np.uint8)
    long, places = bytearray(), {}
    assigned = np.flatnonzero(~np.isin(kinds, [b"Cn", b"Co", b"Cs"])).tolist()
    for code in assigned:
        small = lower[code]
        if is_normalized("NFD", small):
            continue
        kept = "".join(part for part in normalize("NFD", small) if category(part) != "Mn")
        if len(kept) == 1:
            letters[code] = ord(kept)
        elif kept:
            about[code] = LONG
            places[code] = len(long) << 8 | len(kept.encode())
            long += kept.encode()
    single = np.zeros(len(codes), bool)
    for found in re.finditer(_UNSPACED, every):
        single[found.start() : found.end()] = True
    about[single & (about == LETTER)] = SINGLE
    about[[code for code in assigned if every[code].isspace() or every[code] in PUNCTUATION]] = SPACE
    about[kinds == b"Nd"] = DIGIT
    about[kinds == b"Mn"] = NOTHING
    about[ord("Σ")] = SIGMA
    about[list(map(ord, SEPARATORS))] |= SEPARATOR
    for code in assigned:
        if kinds[code] != b"Lo" or every[code].islower():
            about[code] |= _cased(every[code])
    entries = about.astype(np.uint64) << np.uint64(ABOUT_AT)
    changed = np.flatnonzero((letters != codes) | (codes == 0xFFFD))  # the latter stands for bytes that are no UTF-8
    entries[changed] |= _utf8(letters[changed])
    entries[list(places)] = np.array(list(places.values()), np.uint64) | np.uint64(LONG << ABOUT_AT)
    return entries, np.frombuffer(bytes(long), np.uint8).copy()


def _cased(char: str) -> int:
    """CASED or IGNORABLE, which Python does not tell but by what it makes of a Σ behind the character."""
    if (char + "Σ").lower()[-1] == "ς":
        return CASED
    return IGNORABLE if ("A" + char + "Σ").lower()[-1] == "ς" else 0


def _utf8(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """UTF-8 of every code point, first byte lowest, and its length at LENGTH_AT."""
    wide = codes.astype(np.uint64)

    def tail(shift: int) -> npt.NDArray[np.uint64]:
        return np.uint64(0x80) | wide >> np.uint64(shift) & np.uint64(0x3F)

    def joined(*parts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        word = np.full(len(codes), len(parts) << LENGTH_AT, np.uint64)
        for place, part in enumerate(parts):
            word |= part << np.uint64(8 * place)
        return word

    two = joined(np.uint64(0xC0) | wide >> np.uint64(6), tail(0))
    three = joined(np.uint64(0xE0) | wide >> np.uint64(12), tail(6), tail(0))
    four = joined(np.uint64(0xF0) | wide >> np.uint64(18), tail(12), tail(6), tail(0))
    return np.select([codes < 0x80, codes < 0x800, codes < 0x10000], [joined(wide), two, three], four)


_UNSPACED = re.compile(f"[{segment.IDEOGRAPHS}{segment.KATAKANA}{segment.DICTIONARY}]+")
