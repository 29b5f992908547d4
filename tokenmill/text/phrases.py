"""Phrases typical of machine-written text, found in one linear pass over a text whatever their number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("data") / "phrases.txt"
_APOSTROPHES = r"(?:'|\xE2\x80\x99|\xCA\xBC)"
"""Straight, curly, and the letter: as bytes of UTF-8."""


@cache
def phrases() -> tuple[str, ...]:
    """The phrases in the order of the list; `text/data/phrases.txt` has them with their sources."""
    lines = (line.strip() for line in _FILE.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def found_phrases(text: str) -> Sequence[int]:
    """Places in `phrases()` of those that occur in the text as whole words, ascending."""
    matched = _set().Match(text.encode("utf-8", "replace"))
    return sorted(matched) if matched else ()


def pattern_of(phrase: str) -> str:
    """The regular expression of a phrase over UTF-8 bytes. It needs no look-around, so RE2 and `re` both read it."""
    words = (re.escape(word).replace("'", _APOSTROPHES) for word in phrase.split())
    return r"(?i)" + r"\b" * phrase[0].isalnum() + r"\s+".join(words) + r"\b" * phrase[-1].isalnum()


@cache
def _set() -> Any:
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    # bytes instead of characters: ten times as fast (330 and 35 MB/s on pages of a crawl)
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20  # room for the states of all phrases together
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    for phrase in phrases():
        found.Add(pattern_of(phrase))
    found.Compile()
    return found
