"""The thresholds of an annotated run that can be moved, and what else drops documents.

Filters whose tables of rules stand on stored columns are decided anew, every rule of them, since a verdict names only
the first that held. Other filters count by their stored verdict. A barrier behind all filters is left out: it is done
again on whatever passes them. One with filters behind it counts by its verdict.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.core.measuring import measured_columns
from tokenmill.core.plan import decides, verdict_column
from tokenmill.core.rule import Rule
from tokenmill.core.signals import is_signal, known_signals
from tokenmill.core.stage import Barrier, Filter
from tokenmill.report.page_data_recipe import Recipe
from tokenmill.report.signals_settings import ORDERED, Movers, movers

NUMBERS = frozenset(
    ("halffloat", "float", "double", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)
MOST_GROUPS = 12
MOST_SLIDERS = 120
"""Thresholds that are shown; of rules with a threshold per language so many languages that this is kept."""


@dataclass(frozen=True)
class Slider:
    """A threshold that can be moved. `column` holds the signal; `label` names the filter.

    value: of the column `by` that chooses this threshold. nulls_fall: a document without the signal is removed whenever
    there is a threshold.
    """

    label: str
    rule: int
    reason: str
    signal: str
    column: str
    comparison: str
    threshold: float | None
    setting: str | None = None
    by: str = ""
    value: str | None = None
    integer: bool = False
    nulls_fall: bool = False
    again: str | None = None
    """The barrier with filters behind it that is done again when this threshold moves; its verdicts stay as they are
    in the counts."""

    @property
    def below(self) -> bool:
        """Whether small values are removed."""
        return self.comparison in ("<", "<=")


@dataclass(frozen=True)
class Table:
    """A filter that is decided anew. rules: all that are on; columns: signal or `by` -> column that holds it.

    fixed: places of rules that no slider moves. follows: places of rules that settings of others switch; they count
    only where no other rule of the filter holds.
    """

    label: str
    rules: Sequence[Rule]
    columns: Mapping[str, str]
    fixed: Collection[int]
    follows: Collection[int]


@dataclass
class Signals:
    """What the page's sliders stand on. stored: filters and barriers that count by their verdict."""

    sliders: list[Slider] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Barriers behind all filters."""
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Columns that are read to decide."""
        names = [slider.column for slider in self.sliders] + [slider.by for slider in self.sliders]
        names += [column for table in self.tables for column in table.columns.values()]
        names += [verdict_column(label) for label in (*self.stored, *(table.label for table in self.tables))]
        return list(dict.fromkeys(name for name in names if name))


def find_signals(run: Mapping[str, Any], recipe: Recipe, groups: Mapping[str, Sequence[str]]) -> Signals:
    """The thresholds of an annotated run. groups: values of columns that choose thresholds, most frequent first."""
    found = Signals()
    if run["mode"] != "annotate":
        found.notes.append(
            "No thresholds to move: a run in mode filter does not store signals. Run with --mode annotate for that."
            if run["mode"] == "filter"
            else "No thresholds to move here: look at the report of the annotated run."
        )
        return found
    if recipe.missing:
        found.notes.append(f"No thresholds to move: the code of {', '.join(recipe.missing)} is not here as it was.")
        return found
    columns = run["columns"]
    pairs = [(label, stage) for label, stage in recipe.stages if stage is not None]
    measured = measured_columns([stage for _, stage in pairs])
    deciding = [i for i, (label, stage) in enumerate(pairs) if decides(stage) and verdict_column(label) in columns]
    filters = [i for i in deciding if isinstance(pairs[i][1], Filter)]
    last = max(filters, default=-1)
    unread = []
    inner: list[tuple[int, str]] = []
    for place in deciding:
        label, stage = pairs[place]
        if isinstance(stage, Barrier):
            if place < last:
                inner.append((place, label))
                found.stored.append(label)
            else:
                found.left_out.append(label)
            continue
        assert isinstance(stage, Filter)
        later = {name for _, one in pairs[place + 1 :] for name in one.columns_added()}
        known = {name: dtype for name, dtype in columns.items() if name not in later}
        read = _Filter(label, stage, measured[place], known, groups)
        if read.readable:
            found.tables.append(read.table())
            found.sliders += read.sliders()
        else:
            found.stored.append(label)
            if stage.rules() and stage.decides_by_rules:
                unread.append(label)
    positions = {label: place for place, (label, _) in enumerate(pairs)}
    found.sliders = _with_barriers(found.sliders, positions, inner)
    found.notes += _notes(found, unread, [label for _, label in inner])
    return found


def _with_barriers(
    sliders: Sequence[Slider], positions: Mapping[str, int], inner: Sequence[tuple[int, str]]
) -> list[Slider]:
    """The sliders with the barrier behind them, if one counts by its verdict."""
    return [
        replace(one, again=next((label for place, label in inner if place > positions[one.label]), None))
        for one in sliders
    ]


def _notes(found: Signals, unread: Sequence[str], inner: Sequence[str]) -> list[str]:
    notes = []
    if found.left_out and found.sliders:
        names = ", ".join(found.left_out)
        notes.append(
            f"Counts of moved thresholds are documents that pass the filters and so reach {names}, "
            "which is done again on them."
        )
    for label in inner:
        notes.append(
            f"{label} stands before other filters: documents count by what it decided in this run. For "
            "thresholds of filters before it refilter compares again and may keep a few other documents."
        )
    for label in unread:
        notes.append(f"{label} has no sliders: a signal that it needs is not stored as it was.")
    return notes


@dataclass
class _Filter:
    """One filter of the recipe, its measured signals, and the columns that are stored as they were."""

    label: str
    stage: Filter
    measured: Mapping[str, str]
    columns: Mapping[str, str]
    groups: Mapping[str, Sequence[str]]
    rules: Sequence[Rule] = field(init=False)
    moved: Movers = field(init=False)
    nulls_fall: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.moved = Movers()
        try:
            self.rules = self._rules()
        except Exception:  # thresholds in a file that is gone
            self.rules = ()

    def _rules(self) -> Sequence[Rule]:
        stage = self.stage
        if type(stage) is ScoreFilter and not stage.per and not stage.keep_null:
            # decided by `judge`, for a page without a score is dropped, too, where anything is limited
            self.nulls_fall = True
            self.moved = Movers({0: "min_score", 1: "max_score"})
            return (
                Rule(stage.column, "<", stage.min_score, "low_score"),
                Rule(stage.column, ">", stage.max_score, "high_score"),
            )
        if not stage.decides_by_rules:
            return ()
        self.moved = movers(stage)
        return stage.rules()

    def column(self, name: str) -> str:
        """The column that holds a signal for this filter; "" where there is none."""
        held = self.measured.get(name, "") if is_signal(name) else name
        return held if held in self.columns else ""

    @property
    def readable(self) -> bool:
        """Whether every rule that is on can be decided on stored columns."""
        names = [name for rule in self.rules if rule.active for name in (rule.signal, rule.by) if name]
        return bool(self.rules) and all(self.column(name) for name in names)

    def table(self) -> Table:
        active = [place for place, rule in enumerate(self.rules) if rule.active]
        sliding = {slider.rule for slider in self.sliders()}
        names = [name for place in active for name in (self.rules[place].signal, self.rules[place].by) if name]
        follows = [place for place in active if place in self.moved.follows]
        fixed = [place for place in active if place not in sliding and place not in follows]
        return Table(self.label, self.rules, {name: self.column(name) for name in names}, fixed, follows)

    def sliders(self) -> list[Slider]:
        found = []
        for place, rule in enumerate(self.rules):
            if place in self.moved.follows or rule.comparison not in ORDERED or not self._numeric(rule):
                continue
            if rule.by and rule.threshold is not None:
                found += [self._slider(place, rule, rule.threshold.get(v), v) for v in self._values(rule)]
            elif not rule.by and (rule.threshold is None or _is_number(rule.threshold)):
                if rule.threshold is not None or place in self.moved.setting:
                    found.append(self._slider(place, rule, rule.threshold, None))
        return found

    def _numeric(self, rule: Rule) -> bool:
        column = self.column(rule.signal)
        return bool(column) and self.columns[column] in NUMBERS and (not rule.by or bool(self.column(rule.by)))

    def _values(self, rule: Rule) -> list[str]:
        """Values that have a number for a threshold, the most frequent first."""
        known = [value for value in self.groups.get(rule.by, ()) if _is_number(rule.threshold.get(value))]
        per_rule = sum(bool(one.by) for one in self.rules)
        return known[: max(1, min(MOST_GROUPS, MOST_SLIDERS // (2 * max(1, per_rule))))]

    def _slider(self, place: int, rule: Rule, threshold: Any, value: str | None) -> Slider:
        column = self.column(rule.signal)
        signal = known_signals().get(rule.signal)
        whole = "int" in self.columns[column] or (signal is not None and signal.integer) or place in self.moved.whole
        return Slider(
            label=self.label,
            rule=place,
            reason=rule.reason,
            signal=rule.signal,
            column=column,
            comparison=rule.comparison,
            threshold=None if threshold is None else float(threshold),
            setting=None if rule.by else self.moved.setting.get(place),
            by=self.column(rule.by) if rule.by else "",
            value=value,
            integer=whole,
            nulls_fall=self.nulls_fall,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
