"""Signals of the Gopher quality rules (Rae et al. 2021, arXiv:2112.11446, appendix A1).

Definitions follow the implementation with which FineWeb was made (datatrove 0.10.1): tokens include
punctuation marks, "words" are tokens with at least one character that is not punctuation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.doc import Doc
from tokenmill.core.signals import signal
from tokenmill.text.characters import PUNCTUATION
from tokenmill.text.words import word_table

_SOURCE = "arXiv:2112.11446 A1"

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""English words of which running text has at least two (Gopher). The comparison is case-sensitive."""

_IS_WORD, _HAS_LETTER = 1, 2


def _traits(token: str) -> int:
    """Flags of a token that is not letters only."""
    is_word = 0 if PUNCTUATION.issuperset(token) else _IS_WORD
    return is_word | (_HAS_LETTER if any(map(str.isalpha, token)) else 0)


@dataclass(frozen=True, slots=True)
class _Counts:
    tokens: int
    words: int
    word_characters: int
    with_letter: int


def _counts(doc: Doc) -> _Counts:
    counts: _Counts = doc.cached("gopher_counts", _count)
    return counts


def _count(doc: Doc) -> _Counts:
    table = word_table(doc)
    letters = _IS_WORD | _HAS_LETTER
    traits = [letters if token.isalpha() else _traits(token) for token in table.vocabulary]
    flags: npt.NDArray[Any] = np.array(traits, np.int64)
    words = table.counts * (flags & _IS_WORD)
    return _Counts(
        tokens=len(table.ids),
        words=int(words.sum()),
        word_characters=int(words @ table.lengths),
        with_letter=int(table.counts @ (flags >> 1)),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@signal("gopher_word_count", unit="words", source=_SOURCE)
def word_count(doc: Doc) -> int:
    """Tokens with at least one character that is not punctuation."""
    return _counts(doc).words


@signal("gopher_mean_word_length", unit="characters", source=_SOURCE)
def mean_word_length(doc: Doc) -> float:
    """Mean length of the words."""
    counts = _counts(doc)
    return _share(counts.word_characters, counts.words)


@signal("gopher_hash_ratio", unit="hash signs per token", source=_SOURCE)
def hash_ratio(doc: Doc) -> float:
    """Hash signs in the text per token."""
    return _share(doc.text.count("#"), _counts(doc).tokens)


@signal("gopher_ellipsis_ratio", unit="ellipses per token", source=_SOURCE)
def ellipsis_ratio(doc: Doc) -> float:
    """Ellipses (three dots or U+2026) in the text per token."""
    return _share(doc.text.count("...") + doc.text.count("…"), _counts(doc).tokens)


@signal("gopher_bullet_line_share", unit="share of lines", source=_SOURCE)
def bullet_line_share(doc: Doc) -> float:
    """Share of lines that start with a bullet or a hyphen."""
    if "•" not in doc.text and "-" not in doc.text:
        return 0.0
    lines = doc.text.splitlines()
    return _share(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines))


@signal("gopher_ellipsis_line_share", unit="share of lines", source=_SOURCE)
def ellipsis_line_share(doc: Doc) -> float:
    """Share of lines that end with an ellipsis."""
    if "…" not in doc.text and "..." not in doc.text:
        return 0.0
    lines = doc.text.splitlines()
    return _share(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines))


@signal("gopher_alpha_word_share", unit="share of tokens", source=_SOURCE)
def alpha_word_share(doc: Doc) -> float:
    """Share of tokens with at least one letter."""
    counts = _counts(doc)
    return _share(counts.with_letter, counts.tokens)


@signal("gopher_stop_words", unit="distinct words", source=_SOURCE)
def stop_words(doc: Doc) -> int:
    """How many of the, be, to, of, and, that, have, with occur (in lower case)."""
    vocabulary = set(word_table(doc).vocabulary)
    return sum(word in vocabulary for word in STOP_WORDS)
