"""Signals of FineWeb's own rules (Penedo et al. 2024, arXiv:2406.17557, section 3.6).

A line is a piece between newlines that is not blank. Definitions follow datatrove 0.10.1.
"""

from __future__ import annotations

from tokenmill.core.doc import Doc
from tokenmill.core.signals import signal
from tokenmill.text.characters import SENTENCE_ENDS
from tokenmill.text.lines import duplicates

_SOURCE = "arXiv:2406.17557 3.6"

SHORT_LINE = 30
"""Most characters of a short line (FineWeb)."""


def _lines(doc: Doc) -> list[str]:
    lines: list[str] = doc.cached(
        "fineweb_lines", lambda doc: [line for line in doc.text.split("\n") if line and not line.isspace()]
    )
    return lines


@signal("fineweb_line_count", unit="lines", source=_SOURCE)
def line_count(doc: Doc) -> int:
    """Lines that are not blank."""
    return len(_lines(doc))


@signal("fineweb_line_punct_share", unit="share of lines", source=_SOURCE)
def line_punct_share(doc: Doc) -> float:
    """Share of lines that end with a sentence-ending mark (quotation marks do not count)."""
    lines = _lines(doc)
    return sum(line[-1] in SENTENCE_ENDS for line in lines) / len(lines) if lines else 0.0


@signal("fineweb_line_punct_share_or_one", unit="share of lines", source=_SOURCE)
def line_punct_share_or_one(doc: Doc) -> float:
    """As fineweb_line_punct_share, but 1 for a text in which no line ends so (poems, code)."""
    return doc.value("fineweb_line_punct_share") or 1.0


@signal("fineweb_short_line_share", unit="share of lines", source=_SOURCE)
def short_line_share(doc: Doc) -> float:
    """Share of lines of at most 30 characters."""
    lines = _lines(doc)
    return sum(len(line) <= SHORT_LINE for line in lines) / len(lines) if lines else 0.0


@signal("fineweb_dup_line_char_share", unit="share of characters", source=_SOURCE)
def dup_line_char_share(doc: Doc) -> float:
    """Characters in lines that occurred before, as a share of the characters without newlines."""
    characters = len(doc.text) - doc.text.count("\n")
    return duplicates(_lines(doc))[1] / characters if characters else 0.0


@signal("fineweb_newline_ratio", unit="newlines per token", source=_SOURCE)
def newline_ratio(doc: Doc) -> float:
    """Newlines per token: high for lists."""
    return doc.text.count("\n") / len(doc.words) if doc.words else 0.0
