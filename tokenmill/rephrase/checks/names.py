"""Names of a text: capitalised words inside its sentences, in scripts with case and languages that spare capitals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_BEFORE = frozenset(",'’&%")
"""What may stand before the space before a name, beside letters and digits: behind anything else a sentence, an item
or a quotation may begin, and capitals say nothing."""
_BLANKS = frozenset(" \u00a0")
_CALENDAR = frozenset(
    "january february march april may june july august september october november december monday tuesday wednesday "
    "thursday friday saturday sunday i i'm i've i'll i'd mr mrs ms dr st no question answer q a".split()
)
_MOST_CAPITALS = 0.5
"""Share of capitals inside sentences above which they say nothing: titles, shouting."""
NOUNS_IN_CAPITALS = frozenset(("de", "lb", "als", "bar", "nds"))
"""Languages that capitalise nouns: names cannot be told from these."""
_STEM = 4
"""Letters at least in which inflected forms of a name agree; all but three of a longer one."""
_POSSESSIVE = re.compile(r"['’]s$")


@cache
def _run() -> re.Pattern[str]:
    """Words with a capital, one behind the other. `re` has no class of capitals, so that it is spelled out."""
    capitals = [code for code in range(65, 1 << 16) if unicodedata.category(chr(code)) in ("Lu", "Lt")]
    upper = "[" + "".join(map(chr, capitals)) + "]"
    word = rf"{upper}\w*(?:['’-]\w+)*"
    first = rf"{upper}(?<!\w.)\w*(?:['’-]\w+)*"  # the class first, by which `re` scans quickly
    return re.compile(rf"{first}(?:[ \u00a0]{word})*")


@dataclass(frozen=True)
class Names:
    """The names of a text, each the words of one, folded."""

    text: str
    each: tuple[tuple[str, ...], ...]
    measured: bool = True
    """Whether its capitals say anything."""

    def has_part(self, name: Sequence[str]) -> bool:
        """Whether the text has any word of a name, an inflected form of it, or its initials."""
        if any(self._has(word) for word in name):
            return True
        if len(name) == 1 and 2 <= len(name[0]) <= 6:
            return name[0] in self._initials
        return len(name) > 1 and self._has("".join(word[0] for word in name))

    def has_all(self, name: Sequence[str]) -> bool:
        """Whether the text has every word of a name."""
        return all(self._has(word) for word in name)

    def _has(self, word: str) -> bool:
        if word in self._named:
            return True
        stem = word[: max(_STEM, len(word) - 3)]
        at = self._lower.find(stem)
        while at >= 0:
            if not self._lower[at - 1 : at].isalnum():
                end = at + len(stem)
                if len(word) > _STEM or not self._lower[end : end + 1].isalnum():
                    return True
            at = self._lower.find(stem, at + 1)
        return False

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(word for name in self.each for word in name)

    @cached_property
    def _lower(self) -> str:
        return self.text.casefold()

    @cached_property
    def _initials(self) -> str:
        return "".join(word[0] for word in _WORD.findall(self._lower))


def names_of(text: str) -> Names:
    """Runs of capitalised words that do not begin a sentence; the first word of one that does is left out."""
    found: dict[tuple[str, ...], None] = {}
    capitals = 0
    for match in _run().finditer(text):
        start = match.start()
        run = match.group()
        inside = _is_inside(text, start)
        if not inside and " " not in run and "\u00a0" not in run:
            continue
        words = [_folded(word) for word in run.split()[not inside :] if len(word) > 1]
        capitals += len(words)
        name = tuple(word for word in words if word not in _CALENDAR)
        if name:
            found[name] = None
    return Names(text, tuple(found), capitals <= _MOST_CAPITALS * (text.count(" ") + text.count("\n") + 1))


def _is_inside(text: str, start: int) -> bool:
    """Whether a sentence goes on at `start`."""
    if start < 2 or text[start - 1] not in _BLANKS:
        return False
    before = text[start - 2]
    return before.isalnum() or before in _BEFORE


def _folded(word: str) -> str:
    return _POSSESSIVE.sub("", word).casefold() if "'" in word or "’" in word else word.casefold()
