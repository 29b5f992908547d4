"""Words near a number that tell what it is."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import takewhile

_WORD = re.compile(r"[^\W\d_]+|[\u260e\u2706\u2121\U0001f4de\U0001f4f1]")
_JOINED = re.compile(r"\w")
_LONGEST = 14


class Labels:
    """Where a text has words with one of the stems.

    Asked for places from front to back, it looks at every character once, however many numbers there are. A stem
    stands at the beginning of a word; in scripts without spaces, anywhere. `exact` words are whole words,
    and `marked` ones are letters before a colon ("p:").
    """

    def __init__(
        self, text: str, stems: Collection[str], exact: Collection[str] = (), marked: Collection[str] = ()
    ) -> None:
        self._text = text
        self._stems = frozenset(stems)
        self._unspaced = [stem for stem in stems if _is_unspaced(stem)]
        self._lengths = sorted({len(stem) for stem in stems})
        self._exact = frozenset(exact)
        self._marked = frozenset(marked)
        self._done = 0
        self._last = -1

    def last(self, start: int, end: int) -> int:
        """Where the last such word in text[start:end] ends; -1 if there is none. `end` never decreases."""
        for match in _WORD.finditer(self._text, max(self._done, start), end):
            if self._names(match.group().lower(), *match.span()):
                self._last = match.end()
        self._done = max(self._done, end)
        return self._last if self._last > start else -1

    def _names(self, word: str, start: int, end: int) -> bool:
        if word in self._exact:
            return True
        if word in self._marked:
            return self._text[end : end + 1] == ":" and not _JOINED.match(self._text, max(0, start - 1), start)
        if _is_unspaced(word):
            return any(stem in word for stem in self._unspaced)
        return any(word[:length] in self._stems for length in takewhile(len(word).__ge__, self._lengths))


def _is_unspaced(word: str) -> bool:
    return word >= "\u0e00"


def word_before(text: str, start: int, gap: str, fillers: Collection[str] = ()) -> str:
    """The word in lower case that ends before `start`, with at most three characters of `gap` between.

    One word of `fillers` is passed over ("version number 3").
    """
    for _ in range(2):
        stop = start
        while stop > max(0, start - 3) and text[stop - 1] in gap:
            stop -= 1
        start = stop
        while start > max(0, stop - _LONGEST) and text[start - 1].isalpha():
            start -= 1
        if text[start:stop].lower() not in fillers:
            break
    return text[start:stop].lower()
