"""Answers about the passages of a document, put together in order. What is missing is counted and decided on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenmill.rephrase.style import Style

MISSING = ("drop_passage", "drop_document", "keep_source")
"""What becomes of a document when a passage has no answer."""
MOST_MISSING = 1 / 3
"""A document that lacks more than this share of its passages is no rewrite of it, but a digest."""
MISSING_PASSAGES = "missing_passages"
JOINED = "\n\n"


@dataclass(frozen=True, slots=True)
class Stitched:
    """One text of the answers about a document's passages."""

    text: str
    """"" where there is a `reason`."""
    missing: int
    """Passages without an answer."""
    passages: int
    reason: str = ""
    """Why the document is rejected; "" where it is not."""
    detail: str = ""

    @property
    def missing_share(self) -> float:
        return self.missing / self.passages if self.passages else 0.0


def stitch(parts: Sequence[str | None], style: Style, sources: Sequence[str] = ()) -> Stitched:
    """The answers in order, with blank lines between. None stands for a passage without one.

    sources: the passages themselves, which `keep_source` puts in place of what is missing. Rejected where nothing is
    there, where more than a third is missing, or where anything is and the style says `drop_document`.
    """
    texts = [part.strip() if part else "" for part in parts]
    missing = sum(not text for text in texts)
    if style.missing == "keep_source" and missing:
        if len(sources) != len(parts):
            raise ValueError(f"{style.name} puts the source in for what is missing, and it was not given")
        texts = [text or source.strip() for text, source in zip(texts, sources, strict=True)]
    most = 0.0 if style.missing == "drop_document" else MOST_MISSING
    if missing and (missing == len(texts) or missing > most * len(texts)):
        detail = f"{missing} of {len(texts)} passages have no answer"
        return Stitched("", missing, len(texts), MISSING_PASSAGES, detail)
    joined = JOINED.join(text for text in texts if text)
    if not joined:
        return Stitched("", missing, len(texts), MISSING_PASSAGES, "there is no passage")
    return Stitched(joined, missing, len(texts))


def published_text(style: Style, source: str, answer: str) -> str:
    """What is published: the answer, or the source with the answer behind it where the style's format says `append`."""
    return f"{source.strip()}{JOINED}{answer}" if style.format.get("append") else answer
