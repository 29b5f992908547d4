"""A rule drops a document when a signal compares with a threshold; rules are data.

From one table of rules come the decision, the recorded reason and margin, the documentation and the report.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "in": lambda value, members: value in members,
    "not in": lambda value, members: value not in members,
}


@dataclass(frozen=True)
class Rule:
    """Drop the document, for `reason`, when `signal comparison threshold` holds.

    signal: a column or a registered signal. comparison: one of < <= > >= == != in, not in.
    threshold: number, string or tuple; None switches the rule off. reason: stable snake_case name.
    by: a column whose value selects the threshold, which is a mapping then: `{"en": 0.12, "de": 0.1}` with
    `by="language"`. The rule does not hold for values that the mapping lacks. note: a column whose value is noted with
    a dropped document, such as what it was found to hold.
    """

    signal: str
    comparison: str
    threshold: Any
    reason: str
    by: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.comparison not in _COMPARISONS:
            raise ValueError(f"comparison {self.comparison!r} is not one of {sorted(_COMPARISONS)}")
        if self.by and self.threshold is not None and not isinstance(self.threshold, Mapping):
            raise ValueError(f"a rule by {self.by!r} needs a mapping of thresholds, not {self.threshold!r}")

    @property
    def active(self) -> bool:
        if self.by and self.threshold is not None:
            return any(value is not None for value in self.threshold.values())
        return self.threshold is not None

    def threshold_for(self, key: Any = None) -> Any:
        """The threshold of a document whose column `by` holds `key`; None where there is none."""
        if not self.by or self.threshold is None:
            return self.threshold
        return self.threshold.get(key)

    def drops(self, value: Any, key: Any = None) -> bool:
        """Whether a document with this value of the signal is dropped; what was not measured (None) is not."""
        threshold = self.threshold_for(key)
        return threshold is not None and value is not None and _COMPARISONS[self.comparison](value, threshold)

    def __str__(self) -> str:
        if self.by and isinstance(self.threshold, Mapping):
            shown = ", ".join(f"{key}: {value}" for key, value in self.threshold.items() if value is not None)
            return f"{self.signal} {self.comparison} {{{shown}}} by {self.by}"
        return f"{self.signal} {self.comparison} {self.threshold}"


@dataclass(frozen=True)
class Drop:
    """Why a document was dropped. `signal`, `value` and `threshold` are empty when no number decided."""

    reason: str
    signal: str = ""
    value: float | None = None
    threshold: float | None = None
    detail: str = ""
    """A note for the list of dropped documents."""

    @classmethod
    def by(cls, rule: Rule, value: Any, key: Any = None, note: Any = None) -> Drop:
        """The record of a rule that held; `key` and `note` are the document's values of these columns of the rule."""

        def number(x: Any) -> float | None:
            return float(x) if isinstance(x, Real) else None

        detail = "" if note is None else str(note)
        return cls(rule.reason, rule.signal, number(value), number(rule.threshold_for(key)), detail)
