"""What there is to say about one document: every stage's decision with its numbers (made by `explain`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
"""Of `Explanation.to_json`; raised when a key changes its meaning."""


@dataclass(frozen=True)
class RuleNumber:
    """One rule and the document's number. The document is dropped where `value comparison threshold` holds.

    by, key: the column that selects the threshold, and its value. meaning, unit: of the signal.
    """

    reason: str
    signal: str
    comparison: str
    threshold: Any
    value: Any
    holds: bool
    by: str = ""
    key: Any = None
    meaning: str = ""
    unit: str = ""
    decided: bool = False
    """Whether this rule is the recorded reason: the first of its filter that holds."""

    @property
    def margin(self) -> float | None:
        """How far the value is from the threshold, in its unit: positive where it passes, negative where it is dropped
        (0 where it is the threshold itself). None where there is no distance: null, text, a list, equality."""
        if not (_is_number(self.value) and _is_number(self.threshold)):
            return None
        if self.comparison in ("<", "<="):
            return float(self.value - self.threshold)
        if self.comparison in (">", ">="):
            return float(self.threshold - self.value)
        return None

    @property
    def margin_share(self) -> float | None:
        """The margin as a share of the threshold; None where that is 0."""
        margin = self.margin
        return None if margin is None or not self.threshold else margin / abs(self.threshold)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "margin": self.margin, "margin_share": self.margin_share}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


@dataclass(frozen=True)
class Duplicate:
    """What a deduplication has found of the document. `score` is the similarity with the representative.

    rule: why it is where it is (exact, jaccard, containment, unverified, representative, unique). least: the similarity
    that was asked for. compared: what it was compared with: {doc_id, score, accepted}, the most similar first.
    text: of the representative, as far as it is stored.
    """

    cluster_id: str
    cluster_size: int
    representative_id: str
    keep: bool
    rule: str
    score: float | None = None
    measure: str = ""
    least: float | None = None
    same: str = "text"
    """What exact copies have in common."""
    representative_url: str = ""
    representative_date: str = ""
    compared: Sequence[Mapping[str, Any]] = ()
    text: str | None = None
    text_from: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of the document: kept, dropped (stage, reason) or quarantined (stage, cause as `reason`)."""

    outcome: str
    stage: str = ""
    reason: str = ""
    signal: str = ""
    value: float | None = None
    threshold: float | None = None
    detail: str = ""

    def same_as(self, other: Verdict) -> bool:
        """Whether both say the same of the document; numbers may differ in their last digits."""
        return (self.outcome, self.stage, self.reason) == (other.outcome, other.stage, other.reason)

    def __str__(self) -> str:
        return self.outcome if not self.stage else f"{self.outcome} by {self.stage}: {self.reason}"


@dataclass
class Step:
    """One stage. outcome: `pass`, `drop`, `quarantine`, `unknown` (nobody can tell), `not_reached`.

    would: the document had been dropped before, so this is what the stage would have said. before, after: the text,
    where the stage has changed it (None before it existed). html: characters of the page after the stage.
    """

    stage: str
    kind: str
    outcome: str
    would: bool = False
    reason: str = ""
    signal: str = ""
    value: float | None = None
    threshold: float | None = None
    detail: str = ""
    rules: Sequence[RuleNumber] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    before: str | None = None
    after: str | None = None
    html: int | None = None
    inserted: bool = False
    seconds: float = 0.0
    duplicate: Duplicate | None = None
    note: str = ""

    @property
    def changed(self) -> bool:
        return self.after is not None and self.after != self.before

    def to_json(self, *, full: bool) -> dict[str, Any]:
        """Plain values. full: with the texts; else their lengths in characters."""
        told = {name: value for name, value in vars(self).items() if name not in ("rules", "duplicate")}
        told["rules"] = [rule.to_json() for rule in self.rules]
        told["duplicate"] = None if self.duplicate is None else _duplicate_json(self.duplicate, full=full)
        for name in ("before", "after"):
            text = told[name]
            told[f"{name}_chars"] = None if text is None else len(text)
            if not full:
                del told[name]
        return told


def _duplicate_json(duplicate: Duplicate, *, full: bool) -> dict[str, Any]:
    told = asdict(duplicate)
    if not full:
        del told["text"]
    return told


@dataclass
class Explanation:
    """One document of a run, or one page. source: `replay` where its stages were run again, `stored` where only what
    the run has stored is told.

    recorded: what the run says; None without a run. replayed: what the stages say now; None without a replay.
    differences: what is not as it was when the run was made (settings, versions, lists, code, the archive).
    captures: all documents of the run that the query means, this one first. notes: in words, what else to know.
    """

    query: str
    recipe: str
    source: str
    run: str = ""
    mode: str = ""
    doc_id: str = ""
    id: str = ""
    url: str = ""
    date: str = ""
    file_path: str = ""
    warc_offset: int | None = None
    archive: str = ""
    recorded: Verdict | None = None
    replayed: Verdict | None = None
    steps: list[Step] = field(default_factory=list)
    text: str | None = None
    text_agrees: bool | None = None
    """Whether a kept document's text is the published one; None where there is nothing to compare."""
    what_if: bool = False
    """Replayed with another recipe or other settings than the run's: then `replayed` is what these would say."""
    differences: list[str] = field(default_factory=list)
    captures: list[Mapping[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool | None:
        """Whether the replay says what the run has recorded; None where there are not both."""
        if self.recorded is None or self.replayed is None or self.what_if:
            return None
        return self.recorded.same_as(self.replayed) and self.text_agrees is not False

    @property
    def verdict(self) -> Verdict | None:
        """What the run has recorded, else what the stages say."""
        return self.recorded or self.replayed

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Plain values of a stable structure (docs/explain.md). full: with all texts."""
        told: dict[str, Any] = {"format": FORMAT, "agrees": self.agrees}
        told |= {name: value for name, value in vars(self).items() if name not in ("steps", "text")}
        for name in ("recorded", "replayed"):
            told[name] = None if told[name] is None else asdict(told[name])
        told["steps"] = [step.to_json(full=full) for step in self.steps]
        told["text_chars"] = None if self.text is None else len(self.text)
        if full:
            told["text"] = self.text
        cleaned: dict[str, Any] = _finite(told)
        return cleaned


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
