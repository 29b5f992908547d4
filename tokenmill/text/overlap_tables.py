"""What overlap matching knows about characters: how each is folded, and which of them separate words.

Built from Python's own Unicode database on first use, about 0.2 s and 1 MB per process.

A character is folded by compatibility decomposition (NFKD), case folding, and decomposition once more; marks of
category Mn are left out, and so is everything that is neither letter nor number. Composed and decomposed forms,
full-width forms, ligatures and diacritics therefore make no difference. Symbols separate words, even those (™, ℃)
that decompose to letters.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple
from unicodedata import category, normalize

import numpy as np
import numpy.typing as npt

from tokenmill.core import segment

APOSTROPHES = "'`\u00b4\u2018\u2019\u201b\u02bc\u2032\uff07"
"""Dropped, so that quote styles make no difference: don't, don’t and dont are one word."""
HYPHENS = "-\u00ad\u2010\u2011\ufe63\uff0d"
"""Dropped inside a word, and at the end of a line with the line break; else they separate."""

LETTER, SEPARATOR, NOTHING, HYPHEN, SINGLE, LONG = range(6)
"""Kinds of characters. SINGLE: a word of its own (scripts without spaces). LONG: a letter that folds to several."""
KIND_AT, LENGTH_BITS = 29, 5
"""An entry: the kind above this bit; below it the folded code point, or for LONG place << LENGTH_BITS | length."""

ASCII_SEPARATOR, ASCII_NOTHING, ASCII_HYPHEN = range(3)
"""Entries of the table of ASCII that are no folded letter."""
PAGE = 256


class Folding(NamedTuple):
    """Arrays that the kernels get. `entries[pages[code >> 8], code & 255]` is the entry of a code point."""

    ascii: npt.NDArray[np.uint64]
    """(128,)."""
    pages: npt.NDArray[np.int32]
    entries: npt.NDArray[np.uint32]
    long: npt.NDArray[np.uint32]


@cache
def folding() -> Folding:
    """The tables, built on first use."""
    entries, long = _entries()
    seen: dict[bytes, int] = {}
    numbers = [seen.setdefault(page.tobytes(), len(seen)) for page in entries.reshape(-1, PAGE)]
    pages = np.frombuffer(b"".join(seen), np.uint32).reshape(-1, PAGE).copy()
    plain = {SEPARATOR: ASCII_SEPARATOR, NOTHING: ASCII_NOTHING, HYPHEN: ASCII_HYPHEN}
    first = [int(entry) for entry in entries[:128]]
    small = [plain.get(entry >> KIND_AT, entry) for entry in first]
    return Folding(np.array(small, np.uint64), np.array(numbers, np.int32), pages, np.array(long or [0], np.uint32))


def _entries() -> tuple[npt.NDArray[np.uint32], list[int]]:
    """The entry of every code point, and the foldings that are longer than one code point."""
    every = np.arange(0x110000, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    kinds = np.frombuffer("".join(map(category, every)).encode(), "S2")
    codes = np.arange(len(every), dtype=np.uint32)
    of_words = np.isin(kinds, [b"Lu", b"Ll", b"Lt", b"Lm", b"Lo", b"Nd", b"Nl", b"No", b"Mc", b"Me"])
    entries = np.where(of_words, codes, np.uint32(SEPARATOR << KIND_AT)).astype(np.uint32)
    single = np.zeros(len(every), bool)
    for found in re.finditer(_UNSPACED, every):
        single[found.start() : found.end()] = True
    single &= of_words
    long: list[int] = []
    han = (codes >= 0x3400) & (codes < 0xA000) | (codes >= 0x20000) & (codes < 0x2F800) | (codes >= 0x30000)
    for code in np.flatnonzero(of_words & ~han).tolist():
        folded = _folded(every[code])
        if not folded:
            entries[code] = NOTHING << KIND_AT
            single[code] = False
        elif len(folded) == 1 or single[code]:
            entries[code] = ord(folded[0])
        else:
            entries[code] = LONG << KIND_AT | len(long) << LENGTH_BITS | len(folded)
            long += map(ord, folded)
    entries[single] |= np.uint32(SINGLE << KIND_AT)
    entries[np.isin(kinds, [b"Mn", b"Cf"])] = NOTHING << KIND_AT
    entries[list(map(ord, APOSTROPHES))] = NOTHING << KIND_AT
    entries[list(map(ord, HYPHENS))] = HYPHEN << KIND_AT
    return entries, long


def _folded(char: str) -> str:
    whole = normalize("NFKD", normalize("NFKD", char).casefold())
    return "".join(part for part in whole if category(part)[0] in "LN" or category(part) in ("Mc", "Me"))


_UNSPACED = re.compile(f"[{segment.IDEOGRAPHS}{segment.KATAKANA}{segment.DICTIONARY}]+")
