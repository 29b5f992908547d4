"""Executing an edit program on its text: guarded, and with the exact difference.

Numbers of lines refer to the text as it was, whatever the operations before have done. Each operation is applied or
refused as a whole, with a reason. The diff says it all: applied to the original it gives the result (`apply_diff`), and
`undo` turns the result into the original again. The guards of ProX (arXiv:2409.17115, appendix) keep the original where
two operations or more are malformed, and drop a document of which 5 % of the words or ten words are left; those on
replacements are ours, since a model that may insert anything can rewrite the page without a trace.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.programs.ops import DropDocument, Keep, Operation, Program, RemoveLines, Replace
from tokenmill.text.pii import find_pii
from tokenmill.text.pii.scan import ascii_image, places

__all__ = ["Edit", "Edited", "Guards", "Refused", "apply_diff", "execute", "number_lines", "undo"]

_LINK = (
    r"(?i)(?:https?|ftp)\s*:\s*//\s*[^\s<>\"']+|\bwww\.[^\s<>\"']+"
    r"|\b[a-z0-9-]+\.(?:[a-z0-9-]+\.)*(?:com|org|net|info|biz|io|co|ru|cn|de|xyz|top|site|online|shop)\b(?:/[^\s<>\"']*)?"
)
"""Addresses, also without a scheme. For RE2: names with a thousand dots cost `re` 1.6 s/MB."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
"""A run of letters and digits; of scripts that are written without spaces, each character."""


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What a program may do to a text."""

    most_malformed: int = 1
    """Malformed operations; with more the text stays as it is (ProX: 2 or more)."""
    least_words_share: float = 0.05
    """Words left, as a share of those before; a document with as many or fewer is dropped (ProX)."""
    least_words: int = 10
    """Words left; a document with as many or fewer is dropped (ProX)."""
    most_replaced: float = 0.1
    """Characters found by replacements, as a share of the text; a replacement that goes beyond is refused."""
    most_growth: float = 1.0
    """Characters that replacements may put in for each one that they take out; those beyond are refused. 0: deletions
    alone."""
    links: bool = False
    """Whether a replacement may bring an address that the line did not have."""
    personal_data: bool = False
    """Whether a replacement may bring personal data or a secret (`tokenmill.text.pii`) that the line did not have."""

    def __post_init__(self) -> None:
        for name in ("most_malformed", "least_words_share", "least_words", "most_replaced", "most_growth"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name}={value!r} of the guards of edit programs", fix="a number of at least 0")
        for name in ("least_words_share", "most_replaced"):
            if getattr(self, name) > 1:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} of the guards of edit programs", fix="a share, 0 to 1"
                )


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters [start, end) of the original, which were `old`, and what stands there now."""

    start: int
    end: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An operation that was not executed."""

    operation: Operation
    why: str
    """no_such_line, lines_gone, not_found, overlap, too_much, grows, link, personal_data, text_kept, dropped."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of a text."""

    text: str
    """As it is now; the original where nothing was applied. Of a dropped document: what the operations left."""
    applied: tuple[Operation, ...]
    refused: tuple[Refused, ...]
    diff: tuple[Edit, ...]
    """Disjoint, in the order of the text."""
    dropped: bool
    reason: str
    """Why it was dropped (by_program, few_words_left), or kept as it was (malformed); "" otherwise."""
    malformed: int = 0

    @property
    def removed_share(self) -> float:
        """Characters taken out and not put back, as a share of the original; 1 for a dropped document."""
        if self.dropped:
            return 1.0
        gone = sum(len(one.old) - len(one.new) for one in self.diff)
        return max(0.0, gone / (len(self.text) + gone)) if self.text or gone else 0.0

    def to_json(self) -> dict[str, Any]:
        """All but the text, as plain values."""
        return {
            "applied": [one.to_json() for one in self.applied],
            "refused": [{**one.operation.to_json(), "why": one.why} for one in self.refused],
            "diff": [asdict(one) for one in self.diff],
            "dropped": self.dropped,
            "reason": self.reason,
            "malformed": self.malformed,
        }


DEFAULT = Guards()


def execute(text: str, program: Program, guards: Guards = DEFAULT) -> Edited:
    """The text after the program. Never raises for what a program says."""
    malformed = len(program.malformed)
    if malformed > guards.most_malformed:
        refused = tuple(Refused(one, "text_kept") for one in program.operations)
        return Edited(text, (), refused, (), False, "malformed", malformed)
    drop = next((one for one in program.operations if isinstance(one, DropDocument)), None)
    if drop is not None:
        others = tuple(Refused(one, "dropped") for one in program.operations if one is not drop)
        return Edited(text, (drop,), others, (), True, "by_program", malformed)
    work = _Work(text, guards)
    for operation in program.operations:
        work.take(operation)
    diff = work.diff()
    result = apply_diff(text, diff)
    dropped = bool(diff) and _few_words(text, result, guards)
    return Edited(
        result, tuple(work.applied), tuple(work.refused), diff, dropped, "few_words_left" if dropped else "", malformed
    )


def apply_diff(text: str, diff: Sequence[Edit]) -> str:
    """The original with the edits made. ValueError where the text is not the one that they were made for."""
    made: list[str] = []
    done = 0
    for edit in diff:
        if edit.start < done or text[edit.start : edit.end] != edit.old:
            raise ValueError(f"the text at {edit.start} is not {edit.old[:40]!r}: another text, or edits out of order")
        made += [text[done : edit.start], edit.new]
        done = edit.end
    made.append(text[done:])
    return "".join(made)


def undo(text: str, diff: Sequence[Edit]) -> str:
    """The original of an edited text. ValueError where the text is not the one that the edits gave."""
    moved, reverse = 0, []
    for edit in diff:
        start = edit.start + moved
        reverse.append(Edit(start, start + len(edit.new), edit.new, edit.old))
        moved += len(edit.new) - len(edit.old)
    return apply_diff(text, reverse)


def number_lines(text: str, first: int = 1) -> str:
    """The lines with their numbers, as programs name them: "[001] text". first: the number of the first line."""
    return "\n".join(f"[{number:03d}] {line}" for number, line in enumerate(text.split("\n"), first))


class _Work:
    """Operations on one text, taken in their order."""

    def __init__(self, text: str, guards: Guards) -> None:
        self.text, self.guards = text, guards
        self.lines = text.split("\n")
        self.gone: set[int] = set()
        self.changes: dict[int, list[Edit]] = {}
        """By line: its replacements, with positions within the line."""
        self.found = self.put = 0
        self.applied: list[Operation] = []
        self.refused: list[Refused] = []

    def take(self, operation: Operation) -> None:
        why = ""
        if isinstance(operation, RemoveLines):
            why = self._remove(operation)
        elif isinstance(operation, Replace):
            why = self._replace(operation)
        if why:
            self.refused.append(Refused(operation, why))
        elif not isinstance(operation, Keep):
            self.applied.append(operation)

    def _remove(self, operation: RemoveLines) -> str:
        if operation.last > len(self.lines):
            return "no_such_line"
        lines = range(operation.first, operation.last + 1)
        if any(line in self.gone for line in lines) or any(line in self.changes for line in lines):
            return "overlap"
        self.gone.update(lines)
        return ""

    def _replace(self, operation: Replace) -> str:
        if operation.line > len(self.lines):
            return "no_such_line"
        if operation.line in self.gone:
            return "lines_gone"
        line = self.lines[operation.line - 1]
        edits = [
            Edit(at.start(), at.end(), operation.find, operation.new)
            for at in re.finditer(re.escape(operation.find), line)
        ]
        if not edits:
            return "not_found"
        before = self.changes.get(operation.line, [])
        if any(one.start < other.end and other.start < one.end for one in edits for other in before):
            return "overlap"
        found, put = len(operation.find) * len(edits), len(operation.new) * len(edits)
        if self.found + found > self.guards.most_replaced * len(self.text):
            return "too_much"
        if self.put + put > self.guards.most_growth * (self.found + found):
            return "grows"
        both = sorted([*before, *edits], key=lambda one: one.start)
        if operation.new and (why := self._brings(line, apply_diff(line, both))):
            return why
        self.changes[operation.line] = both
        self.found, self.put = self.found + found, self.put + put
        return ""

    def _brings(self, before: str, after: str) -> str:
        """What the new line has that the old one has not: looked for in lines, for what is put in may be half of it."""
        if not self.guards.personal_data:
            had = Counter(before[span.start : span.end] for span in find_pii(before))
            if Counter(after[span.start : span.end] for span in find_pii(after)) - had:
                return "personal_data"
        if not self.guards.links and _links(after) - _links(before):
            return "link"
        return ""

    def diff(self) -> tuple[Edit, ...]:
        """All edits. Lines go with the newline behind them; where the last line goes, with the one before."""
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        edits: list[Edit] = []
        for first, last in _runs(sorted(self.gone)):
            start, end = starts[first - 1], starts[last]
            if last == len(self.lines):
                start, end = max(start - 1, 0), len(self.text)
            edits.append(Edit(start, end, self.text[start:end], ""))
        for number, changes in self.changes.items():
            base = starts[number - 1]
            edits += (Edit(base + one.start, base + one.end, one.old, one.new) for one in changes)
        return tuple(sorted(edits, key=lambda one: (one.start, one.end)))


def _links(line: str) -> Counter[str]:
    return Counter(line[start:end] for start, end in places(_LINK, ascii_image(line)))


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Neighbouring numbers as (first, last)."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _few_words(before: str, after: str, guards: Guards) -> bool:
    left = len(_WORD.findall(after))
    return left <= guards.least_words or left <= guards.least_words_share * len(_WORD.findall(before))
