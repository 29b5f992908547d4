"""Precision and recall of `find_pii` on the labelled set in `tests/data/pii`, by kind.

    python -m tests.text.pii_score            # the table
    python -m tests.text.pii_score --errors   # and every miss and false alarm

A labelled span is found when spans of its kind cover every character of it; a found span is right when at least
80 % of it lies in labelled spans of its kind.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokenmill.text.pii import find_pii
from tokenmill.text.pii.regions import regions_of

DATA = Path(__file__).resolve().parents[1] / "data" / "pii"
NAMES = {"ipv4": "ip", "ipv6": "ip"}


@dataclass(frozen=True)
class Labelled:
    """A text with its spans (start, end, kind), and what is known of its page."""

    id: str
    text: str
    spans: tuple[tuple[int, int, str], ...]
    url: str
    language: str


@dataclass
class Score:
    """What was found of one kind."""

    labelled: int = 0
    recalled: int = 0
    found: int = 0
    right: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.recalled / self.labelled if self.labelled else 1.0


def labelled() -> Iterator[Labelled]:
    """The set. Texts with keys are stored in pieces."""
    for path in sorted(DATA.glob("*.jsonl")):
        with open(path, encoding="utf-8") as stream:
            for row in map(json.loads, stream):
                spans = tuple((start, end, kind) for start, end, kind in row["spans"])
                yield Labelled(row["id"], "".join(row["text"]), spans, row["url"], row["language"])


def score() -> dict[str, Score]:
    """The score of every kind, at level strict."""
    scores: dict[str, Score] = defaultdict(Score)
    for row in labelled():
        found = [
            (span.start, span.end, NAMES.get(span.kind, span.kind))
            for span in find_pii(row.text, regions=regions_of(row.url, row.language))
        ]
        for span in row.spans:
            entry = scores[span[2]]
            entry.labelled += 1
            covered = _covered(span, found)
            entry.recalled += covered == span[1] - span[0]
            if covered < span[1] - span[0]:
                entry.errors.append(f"missed {row.id}: {row.text[span[0] : span[1]]!r} in {row.text[:90]!r}")
        for span in found:
            entry = scores[span[2]]
            entry.found += 1
            right = _covered(span, row.spans) >= 0.8 * (span[1] - span[0])
            entry.right += right
            if not right:
                entry.errors.append(f"wrong {row.id}: {row.text[span[0] : span[1]]!r} in {row.text[:90]!r}")
    return scores


def _covered(span: tuple[int, int, str], others: object) -> int:
    """How many characters of the span lie in other spans of its kind."""
    start, end, kind = span
    assert isinstance(others, list | tuple)
    return sum(max(0, min(end, stop) - max(start, begin)) for begin, stop, other in others if other == kind)


def table(scores: dict[str, Score]) -> str:
    """The scores in Markdown."""
    lines = ["| kind | labelled | precision | recall |", "|---|---|---|---|"]
    for kind, entry in sorted(scores.items()):
        lines.append(f"| {kind} | {entry.labelled} | {entry.precision:.3f} | {entry.recall:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    result = score()
    print(table(result))
    if "--errors" in sys.argv:
        print("\n".join(error for entry in result.values() for error in entry.errors))
