"""A rule drops a document when a signal compares with a threshold; rules are data.

From one table of rules come the decision, the recorded reason and margin, the documentation and the report.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
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
    """

    signal: str
    comparison: str
    threshold: Any
    reason: str

    def __post_init__(self) -> None:
        if self.comparison not in _COMPARISONS:
            raise ValueError(f"comparison {self.comparison!r} is not one of {sorted(_COMPARISONS)}")

    @property
    def active(self) -> bool:
        return self.threshold is not None

    def drops(self, value: Any) -> bool:
        """Whether a document with this value of the signal is dropped; what was not measured (None) is not."""
        return self.active and value is not None and _COMPARISONS[self.comparison](value, self.threshold)

    def __str__(self) -> str:
        return f"{self.signal} {self.comparison} {self.threshold}"


@dataclass(frozen=True)
class Drop:
    """Why a document was dropped. `signal`, `value` and `threshold` are empty when no number decided."""

    reason: str
    signal: str = ""
    value: float | None = None
    threshold: float | None = None

    @classmethod
    def by(cls, rule: Rule, value: Any) -> Drop:
        def number(x: Any) -> float | None:
            return float(x) if isinstance(x, Real) else None

        return cls(rule.reason, rule.signal, number(value), number(rule.threshold))
