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
    return True


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
        inside.append(stops and (new or ends(place) is False))
    return {
        "repetition_line": pa.array(repeated, pa.float64()),
        "compression": pa.array(compression, pa.float64()),
        "truncated_end": pa.array(inside, pa.bool_()),
    }


def _per_text(texts: Texts, measure: Callable[[str], T]) -> Callable[[int], T]:
    """`measure` of a distinct text by its place, once each."""
    return cache(lambda place: measure(texts.distinct[place]))
