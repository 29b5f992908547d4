"""Scripts of letters, told by Unicode block: how many letters of each script a text has."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

_RANGES = (
    ("Latin", "41-24f 250-2af 1d00-1d25 1d2c-1d5c 1e00-1eff 2c60-2c7f a722-a7ff ab30-ab64 fb00-fb06 ff21-ff5a"),
    ("Greek", "370-3ff 1f00-1fff"),
    ("Cyrillic", "400-52f 1c80-1c8f 2de0-2dff a640-a69f"),
    ("Armenian", "530-58f fb13-fb17"),
    ("Hebrew", "590-5ff fb1d-fb4f"),
    ("Arabic", "600-6ff 750-77f 870-8ff fb50-fdff fe70-feff"),
    ("Syriac", "700-74f 860-86f"),
    ("Thaana", "780-7bf"),
    ("Devanagari", "900-97f a8e0-a8ff"),
    ("Bengali", "980-9ff"),
    ("Gurmukhi", "a00-a7f"),
    ("Gujarati", "a80-aff"),
    ("Oriya", "b00-b7f"),
    ("Tamil", "b80-bff"),
    ("Telugu", "c00-c7f"),
    ("Kannada", "c80-cff"),
    ("Malayalam", "d00-d7f"),
    ("Sinhala", "d80-dff"),
    ("Thai", "e00-e7f"),
    ("Lao", "e80-eff"),
    ("Tibetan", "f00-fff"),
    ("Burmese", "1000-109f a9e0-a9ff aa60-aa7f"),
    ("Georgian", "10a0-10ff 1c90-1cbf 2d00-2d2f"),
    ("Hangul", "1100-11ff 3130-318f a960-a97f ac00-d7ff ffa0-ffdc"),
    ("Ethiopic", "1200-139f 2d80-2ddf ab00-ab2f"),
    ("Cherokee", "13a0-13ff ab70-abbf"),
    ("Khmer", "1780-17ff"),
    ("Mongolian", "1800-18af"),
    ("Kana", "3041-30ff 31f0-31ff ff66-ff9f"),
    ("Han", "3005-3007 3400-4dbf 4e00-9fff f900-faff"),
)
"""Script -> blocks of the basic plane, hexadecimal. Hiragana and Katakana are one: what is written in one may be
written in the other. What is in none of them is OTHER; in the planes beyond, ideographs are Han."""

NAMES = ("", *(name for name, _ in _RANGES), "Other")
"""By number; 0 is no letter."""
_HAN, _OTHER = NAMES.index("Han"), len(NAMES) - 1
_LEAST_SHARE = 0.02
"""Of its letters that a text must have of a script for the script to be its own: a quoted word is not enough."""


@cache
def _table() -> npt.NDArray[np.uint8]:
    """(65536,): number of the script of each code point of the basic plane; 0 where it is no letter."""
    table = np.zeros(1 << 16, np.uint8)
    for number, (_, blocks) in enumerate(_RANGES, start=1):
        for block in blocks.split():
            first, last = (int(part, 16) for part in block.split("-"))
            table[first : last + 1] = number
    for code in range(1 << 16):
        if unicodedata.category(chr(code))[0] != "L":
            table[code] = 0
        elif not table[code]:
            table[code] = _OTHER
    return table


def script_counts(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Letters of every text by script: (n, len(NAMES)); column 0, of what is no letter, is 0."""
    counts = np.zeros((len(texts), len(NAMES)), np.int64)
    table = _table()
    for row, text in enumerate(texts):
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        low = codes < 1 << 16
        found = table[codes if low.all() else codes[low]]
        counts[row] = np.bincount(found, minlength=len(NAMES))
        if len(found) < len(codes):
            _count_beyond(codes[~low], counts[row])
    counts[:, 0] = 0
    return counts


def _count_beyond(codes: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> None:
    """Adds letters of the planes beyond the basic one."""
    ideographs = int(((codes >= 0x20000) & (codes < 0x40000)).sum())
    letters = sum(unicodedata.category(chr(code))[0] == "L" for code in codes.tolist())
    counts[_HAN] += ideographs
    counts[_OTHER] += max(0, letters - ideographs)


def shared_script(
    outputs: npt.NDArray[np.int64], sources: npt.NDArray[np.int64], least: int
) -> npt.NDArray[np.float64]:
    """Share of each output's letters that are of a script of its source; -1 where one has less than `least` letters.

    outputs, sources: `script_counts`, (n, scripts) each, row by row.
    """
    totals, source_totals = outputs.sum(axis=1), sources.sum(axis=1)
    own = sources >= np.maximum(_LEAST_SHARE * source_totals, 1)[:, None]
    shares = (outputs * own).sum(axis=1) / np.maximum(totals, 1)
    short = (totals < least) | (source_totals < least)
    return np.where(short, -1.0, shares)
