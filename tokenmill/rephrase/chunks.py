"""Documents into passages: paragraphs as far as they fit, then lines, sentences, words, characters. Nothing is lost.

A text is cut only where it must be: a stretch that is larger than the budget is cut at the coarsest boundaries that it
has, its parts likewise, and neighbours are joined again up to the budget. So a line of a megabyte becomes many passages
instead of none. A passage is exactly text[start:end]; what lies between passages is white space, or `Skipped` with a
reason. A piece that is too short to be asked about shares the tokens of its neighbour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenmill.core.segment import WHOLE
from tokenmill.rephrase.counting import Counter, Sizes
from tokenmill.rephrase.request import Passage
from tokenmill.rephrase.style import Style
from tokenmill.text.characters import SENTENCE_ENDS

TOO_SHORT = "too_short"

PARAGRAPHS, LINES, SENTENCES, WORDS, CHARACTERS = range(5)
"""Levels of boundaries, the coarsest first."""
Span = tuple[int, int]

_BREAK = re.compile(r"\n[^\S\n]{0,200}(?=\n)")
_SPACE = re.compile(r"(?<=\S)(?=\s)")
_ENDS = "".join(sorted(re.escape(end) for end in SENTENCE_ENDS))
_CLOSERS = "'\"”’»)\\]}」』）】〉》›"
_WIDE_ENDS = "。．！？｡"
_SENTENCE = re.compile(
    rf"[{_ENDS}][{_CLOSERS}]{{0,4}}(?=\s)|[{_WIDE_ENDS}][{_CLOSERS}]{{0,4}}(?=[^\s{_WIDE_ENDS}{_CLOSERS}])"
)
"""Where a sentence may end: before white space, in Chinese and Japanese also without."""
_TRIED = 4
"""Boundaries of a level that are tried where a stretch is cut in two."""
_CLUSTER_WINDOW = 256
"""Characters in which the boundary of a cluster of characters is looked for."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Characters [start, end) that nobody is asked about, and why."""

    start: int
    end: int
    reason: str


def passages_of(doc_id: str, text: str, style: Style, counter: Counter) -> tuple[list[Passage], list[Skipped]]:
    """The passages of a document for a style, in order, and the stretches that are too short to be asked about."""
    whole = _stripped(text, 0, len(text))
    if whole[0] == whole[1]:
        return [], []
    cutter = _Cutter(text, counter.sizes(text), counter, style.input_tokens)
    found: list[Passage] = []
    skipped: list[Skipped] = []
    for start, end in cutter.cut(whole, style.min_tokens):
        if cutter.is_short((start, end), style.min_tokens):
            skipped.append(Skipped(start, end, TOO_SHORT))
        else:
            found.append(Passage(doc_id, len(found), start, end, text[start:end], cutter.tokens(start, end)))
    return found, skipped


def halves(passage: Passage, counter: Counter) -> list[Passage]:
    """The passage as two of about equal size, with its number; empty where it cannot be cut. For full contexts."""
    text = passage.text
    cutter = _Cutter(text, counter.sizes(text), counter, passage.tokens)
    cut = next(cutter.cuts(0, len(text)), None) if len(text) > 1 else None
    if cut is None:
        return []
    spans = [_stripped(text, *span) for span in ((0, cut), (cut, len(text)))]
    if any(start == end for start, end in spans):
        return []
    return [
        Passage(
            passage.doc_id,
            passage.number,
            passage.start + start,
            passage.start + end,
            text[start:end],
            counter.count(text[start:end]),
        )
        for start, end in spans
    ]


class _Cutter:
    """Cuts one text into stretches of at most `budget` tokens."""

    def __init__(self, text: str, sizes: Sizes, counter: Counter, budget: int) -> None:
        self._text = text
        self._sizes = sizes
        self._counter = counter
        self._budget = budget
        self._counted: dict[Span, int] = {}

    def tokens(self, start: int, end: int) -> int:
        """Tokens of text[start:end]: counted by itself where that was needed, else as a part of the text."""
        found = self._counted.get((start, end))
        return self._sizes.of(start, end) if found is None else found

    def is_short(self, span: Span, least: int) -> bool:
        """Whether a stretch has less than `least` tokens."""
        if self._sizes.of(*span) >= least + _slack(least):
            return False
        return self._count(*span) < least

    def _count(self, start: int, end: int) -> int:
        """Tokens of text[start:end] by itself."""
        found = self._counted.get((start, end))
        if found is None:
            found = self._counted[start, end] = self._counter.count(self._text[start:end])
        return found

    def cut(self, whole: Span, least: int) -> list[Span]:
        """Stretches of at least `least` tokens where the text allows that."""
        spans = self._joined(list(self._pieces(*whole, PARAGRAPHS)))
        return self._without_short(spans, least)

    def _fits(self, start: int, end: int) -> bool:
        """Whether text[start:end] by itself is within the budget."""
        room = self._budget - self._sizes.of(start, end)
        if room < 0:
            return False
        return room > _slack(self._budget) or self._count(start, end) <= self._budget

    def _pieces(self, start: int, end: int, level: int) -> Iterator[Span]:
        """The stretch, or its parts where it is too large, cut at boundaries of this level and finer ones."""
        if self._fits(start, end):
            yield start, end
            return
        if level == CHARACTERS:
            yield from self._by_characters(start, end)
            return
        done = start
        for place in self._boundaries(start, end, level):
            part = _stripped(self._text, done, place)
            done = place
            if part[0] < part[1]:
                yield from self._pieces(*part, level + 1)
        part = _stripped(self._text, done, end)
        if part[0] < part[1]:
            yield from self._pieces(*part, level + 1)

    def _boundaries(self, start: int, end: int, level: int) -> Iterator[int]:
        """Places strictly within (start, end)."""
        if level == SENTENCES:
            yield from sentence_ends(self._text, start, end)
        elif level == LINES:
            place = self._text.find("\n", start, end)
            while place >= 0:
                yield place
                place = self._text.find("\n", place + 1, end)
        else:
            pattern = _BREAK if level == PARAGRAPHS else _SPACE
            for found in pattern.finditer(self._text, start, end):
                if start < found.start() < end:
                    yield found.start()

    def _by_characters(self, start: int, end: int) -> Iterator[Span]:
        """A word that is too large, in stretches that end between characters as readers see them, if any can."""
        while start < end:
            far = min(self._sizes.furthest(start, self._budget), end)
            stop = before_cluster(self._text, start, far) if far < end else end
            while stop - start > 1 and not self._fits(start, stop):
                far = start + max((stop - start) * 3 // 4, 1)
                stop = before_cluster(self._text, start, far)
            yield start, max(stop, start + 1)
            start = max(stop, start + 1)

    def _joined(self, spans: Sequence[Span]) -> list[Span]:
        """Neighbours joined as long as they fit together."""
        found: list[Span] = []
        for start, end in spans:
            if found and self._fits(found[-1][0], end):
                found[-1] = found[-1][0], end
            else:
                found.append((start, end))
        return found

    def _without_short(self, spans: list[Span], least: int) -> list[Span]:
        """Stretches that are too short, put together with a neighbour and cut anew in the middle."""
        place = 0
        while place < len(spans) > 1:
            if self.is_short(spans[place], least):
                first = max(place - 1, 0) if place == len(spans) - 1 else place
                again = self._shared(spans[first][0], spans[first + 1][1], least)
                if again is None and place == first > 0:
                    first -= 1
                    again = self._shared(spans[first][0], spans[first + 1][1], least)
                if again is not None:
                    spans[first : first + 2] = again
            place += 1
        return spans

    def _shared(self, start: int, end: int, least: int) -> list[Span] | None:
        """Two neighbours as one stretch, or as two that are long enough; None where that cannot be."""
        if self._fits(start, end):
            return [(start, end)]
        for cut in self.cuts(start, end):
            parts = [_stripped(self._text, start, cut), _stripped(self._text, cut, end)]
            if all(self._fits(*part) and not self.is_short(part, least) for part in parts):
                return parts
        return None

    def cuts(self, start: int, end: int) -> Iterator[int]:
        """Where to cut a stretch in two: boundaries in its middle half, the coarsest level and the nearest to the
        middle first; then within the word in the middle.
        """
        middle = min(max(self._sizes.middle(start, end), start + 1), end - 1)
        quarter = self._sizes.of(start, end) // 4
        for level in range(CHARACTERS):
            places = [
                place for place in self._boundaries(start, end, level) if self._smaller(start, place, end) >= quarter
            ]
            yield from sorted(places, key=lambda place: abs(place - middle))[:_TRIED]
        for place in (before_cluster(self._text, start, middle), middle):
            if start < place < end:
                yield place

    def _smaller(self, start: int, place: int, end: int) -> int:
        """Tokens of the smaller part."""
        return min(self._sizes.of(start, place), self._sizes.of(place, end))


def _slack(tokens: int) -> int:
    """How much the tokens of a stretch by itself may differ from those that it has as a part of the text."""
    return 8 + tokens // 16


def sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Places in text[start:end] behind a sentence and its closing marks. A full stop behind an abbreviation or an
    initial is none; it may be all the same, which costs a longer stretch, not a loss.
    """
    for found in _SENTENCE.finditer(text, start, end):
        place = found.end()
        if place >= end:
            return
        if text[found.start()] == ".":
            begin = found.start()
            while begin > max(start, found.start() - 12) and not text[begin - 1].isspace():
                begin -= 1
            word = text[begin : found.start() + 1].lstrip("(\"'“‘[")
            if word in WHOLE or (len(word) == 2 and word[0].isupper()):
                continue
        yield place


def before_cluster(text: str, start: int, place: int) -> int:
    """The last boundary in (start, place] between characters as readers see them (UAX #29); else `place`.

    Accents, joined emoji, flags and syllables are not cut apart.
    """
    if place <= start or place >= len(text) or (text[place - 1] < "\u0300" and text[place] < "\u0300"):
        return place - 1 if 0 < place - 1 > start and text[place - 1 : place + 1] == "\r\n" else place
    begin = max(start, place - _CLUSTER_WINDOW)
    last = begin
    for found in _clusters().finditer(text[begin : place + 8]):
        if begin + found.end() > place:
            break
        last = begin + found.end()
    return last if last > start else place


@cache
def _clusters() -> Any:
    """The pattern of a character as readers see it."""
    from regex import compile as pattern_of  # type: ignore[import-untyped]

    return pattern_of(r"\X")


def _stripped(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends; empty where there is nothing else."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return (start + left, start + left + len(piece.strip())) if left < len(piece) else (start, start)
