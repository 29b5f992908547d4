"""Signals of the Gopher repetition rules (arXiv:2112.11446, table A1), with datatrove 0.10.1's definitions.

All character shares are shares of the characters of the whole text, white space included. Lines are pieces
between runs of newlines, paragraphs pieces between blank lines.
"""

from __future__ import annotations

from tokenmill.core.doc import Doc
from tokenmill.core.signals import signal
from tokenmill.text.lines import duplicates
from tokenmill.text.repetition import DUPLICATE_SIZES, TOP_SIZES, ngram_characters
from tokenmill.text.words import word_table

_SOURCE = "arXiv:2112.11446 table A1"


def _lines(doc: Doc) -> tuple[int, int]:
    found: tuple[int, int] = doc.cached("repeated_lines", lambda doc: duplicates(doc.lines))
    return found


def _paragraphs(doc: Doc) -> tuple[int, int]:
    found: tuple[int, int] = doc.cached("repeated_paragraphs", lambda doc: duplicates(doc.paragraphs))
    return found


def _of_text(doc: Doc, characters: int) -> float:
    return characters / len(doc.text) if doc.text else 0.0


@signal("repetition_characters", unit="characters", source=_SOURCE)
def characters(doc: Doc) -> int:
    """Characters of the text."""
    return len(doc.text)


@signal("repetition_dup_paragraph_share", unit="share of paragraphs", source=_SOURCE)
def dup_paragraph_share(doc: Doc) -> float:
    """Share of paragraphs that occurred before."""
    return _paragraphs(doc)[0] / len(doc.paragraphs)


@signal("repetition_dup_paragraph_char_share", unit="share of characters", source=_SOURCE)
def dup_paragraph_char_share(doc: Doc) -> float:
    """Share of characters in paragraphs that occurred before."""
    return _of_text(doc, _paragraphs(doc)[1])


@signal("repetition_dup_line_share", unit="share of lines", source=_SOURCE)
def dup_line_share(doc: Doc) -> float:
    """Share of lines that occurred before."""
    return _lines(doc)[0] / len(doc.lines)


@signal("repetition_dup_line_char_share", unit="share of characters", source=_SOURCE)
def dup_line_char_share(doc: Doc) -> float:
    """Share of characters in lines that occurred before."""
    return _of_text(doc, _lines(doc)[1])


def _ngrams(doc: Doc) -> dict[str, int]:
    found: dict[str, int] = doc.cached("repeated_ngrams", lambda doc: ngram_characters(doc.words, word_table(doc)))
    return found


def _register(key: str, meaning: str) -> None:
    def share(doc: Doc) -> float:
        return _of_text(doc, _ngrams(doc)[key])

    share.__doc__ = meaning
    share.__qualname__ = f"{key}_char_share"
    signal(f"repetition_{key}_char_share", unit="share of characters", source=_SOURCE)(share)


# One signal per size: the kernel fills them all in one call.
for _size in TOP_SIZES:
    _register(f"top_{_size}gram", f"Share of characters in the commonest {_size}-gram of words.")
for _size in DUPLICATE_SIZES:
    _register(f"dup_{_size}gram", f"Share of characters in {_size}-grams of words that occurred before.")
