"""Checks on lines and endings: repeated lines, compression beside the source, outputs that stop inside a sentence."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import pyarrow as pa

from tokenmill.core.segment import UNKNOWN, word_unit
from tokenmill.rephrase.checks.words import Texts
from tokenmill.text.characters import SENTENCE_ENDS

T = TypeVar("T")

LEAST_BYTES = 200
"""Below this zlib's own bytes decide."""
MOST_BYTES = 1 << 15
"""zlib's window."""
_SHORT_SOURCE = 0.64
"""What a short source is taken to have: the mean of 500 bytes of English pages."""
_SHORT_LINE = 6
"""Last lines of fewer words may be a title, a name or a date."""
_CLOSERS = "\"'”’»)]}*_`」』）】›“"
_ENDS = SENTENCE_ENDS | frozenset(":;…。．｡")
_UNPUNCTUATED = re.compile(r"\s*(?:[-*+•·–—|>#]|\d{1,3}[.)]\s|\[?\d+\]|```|https?://)")
"""Lines that end without a mark by custom: items, rows of tables, headings, code, links."""
_FORMULA = re.compile(r"(?:\$|\\\]|\\\)|\\end\{[a-z]{1,20}\*?\}|```|\|)\Z|[^\W_]\s?[=≈<>≤≥]\s?\S{1,40}\Z")
"""Last lines that are formulas, code or tables."""
_UNIT = re.compile(
    r"(?<![\d.,])\d[\d.,]{0,20}\s?(?!(?:and|und|the|der|die|das|les|los|von|bis|for|but|was|had|are|its|per|pro|by|of|in|to|on|at|as|or"
    r"|et|de|le|la|du|en|y|el|al|e|o|a|i)\Z)(?:[^\W\d_]{1,3}|%|‰|°[CFK]?|[€$£¥₹])(?:[/·²³^][^\s]{0,12})?\Z|[²³%‰°€£¥]\Z"
)
"""Amounts: a number, and a unit behind it."""
_LABELLED = re.compile(r"(?:^|[.!?。！？]\s{1,4})[^\W\d_]{1,20}[:：][^.!?。！？]{0,200}\Z")
_FRAGMENT = re.compile(r"[.!?:;。！？…]['\"”’»)*_]{0,4}\s")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def repeated_line_share(output: str, source_lines: Counter[str]) -> float:
    """Share of the output's characters in lines that occurred before, oftener than in the source."""
    lines = lines_of(output)
    total = sum(map(len, lines))
    if not total or len(lines) == len(set(lines)):
        return 0.0
    left: dict[str, int] = {}
    repeated = 0
    for line in lines:
        allowed = left.get(line)
        if allowed is None:
            allowed = max(1, source_lines[line])
        if allowed == 0:
            repeated += len(line)
        left[line] = max(0, allowed - 1)
    return repeated / total


def lines_of(text: str) -> list[str]:
    """Lines without white space at their ends; blank ones left out."""
    return [line for line in map(str.strip, text.splitlines()) if line]


def compressed_share(text: str) -> float | None:
    """Bytes under zlib per byte, of the first MOST_BYTES; None for less than LEAST_BYTES."""
    data = text.encode("utf-8", "replace")[:MOST_BYTES]
    return len(zlib.compress(data, 1)) / len(data) if len(data) >= LEAST_BYTES else None


def ends_inside(text: str) -> bool | None:
    """Whether a text stops inside a sentence; None where its script marks no ends, or its last line is no prose."""
    lines = text.rstrip().rsplit("\n", 1)
    last = lines[-1].strip()
    if not last:
        return None
    bare = last.rstrip(_CLOSERS + " \t\u00a0")
    if bare and bare[-1] in _ENDS:
        return False
    if _UNPUNCTUATED.match(last) or _is_short(last) or word_unit(last) == UNKNOWN:
        return None
    if _FORMULA.search(last[-200:].rstrip("*_ ")) or _UNIT.search(last[-60:].rstrip("*_ )")):
        return None
    return True


def _is_new_ending(text: str) -> bool:
    """Whether a new text may end without a mark: with an answer in key words, an amount, a title or a signature."""
    last = text.rstrip().rsplit("\n", 1)[-1].strip().rstrip(_CLOSERS)
    fragment = _FRAGMENT.split(last[-400:])[-1]
    return (
        _LABELLED.search(last[-300:]) is not None
        or _is_short(fragment)
        or any(char.isdigit() for char in " ".join(fragment.split()[-3:]))
    )


def _is_short(line: str) -> bool:
    words = len(line.split())
    return words < _SHORT_LINE and len(_UNSPACED.findall(line)) < 3 * _SHORT_LINE


def line_checks(outputs: Sequence[str], sources: Texts, created: Sequence[bool]) -> dict[str, pa.Array]:
    """repetition_line, compression and truncated_end.

    created: whether output i is a new text, of which the end of the source says nothing.
    """
    lines = _per_text(sources, lambda text: Counter(lines_of(text)))
    repeated = [repeated_line_share(text, lines(place)) for text, place in zip(outputs, sources.place, strict=True)]
    shares = _per_text(sources, compressed_share)
    ends = _per_text(sources, ends_inside)
    compression: list[float | None] = []
    inside: list[bool | None] = []
    for output, place, new in zip(outputs, sources.place.tolist(), created, strict=True):
        own = compressed_share(output)
        compression.append(None if own is None else own / (shares(place) or _SHORT_SOURCE))
        stops = ends_inside(output)
        inside.append(stops and (not _is_new_ending(output) if new else ends(place) is False))
    return {
        "repetition_line": pa.array(repeated, pa.float64()),
        "compression": pa.array(compression, pa.float64()),
        "truncated_end": pa.array(inside, pa.bool_()),
    }


def _per_text(texts: Texts, measure: Callable[[str], T]) -> Callable[[int], T]:
    """`measure` of a distinct text by its place, once each."""
    return cache(lambda place: measure(texts.distinct[place]))
