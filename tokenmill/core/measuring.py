"""Where signals are measured: the stages that the plan inserts for it, and the columns that hold them.

A signal describes the text at one point of the pipeline. When a later stage changes the text, what was measured
before no longer holds, and a filter behind it needs a new measurement, under another name of column if the first
one is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tokenmill.core.signals import is_signal, known_signals
from tokenmill.core.stage import Barrier, Filter, Rewrite, Stage, registered_stages


@dataclass(frozen=True)
class StageRules:
    """What the plan knows about signals and verdicts at one stage.

    measured: signal -> column, for every signal of the text as it is there. verdict: the column that gets a
    filter's verdict instead of dropping documents; "" to drop. stored: the column that holds the verdict already.
    before: columns of the verdicts of earlier stages; a document with one of these takes no part in a barrier.
    """

    measured: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""
    stored: str = ""
    before: tuple[str, ...] = ()


def measured_columns(stages: Sequence[Stage]) -> list[dict[str, str]]:
    """For each stage the signals that are valid where it stands, with their columns."""
    valid: dict[str, str] = {}
    found = []
    for stage in stages:
        found.append(dict(valid))
        if changes_text(stage):
            valid.clear()
        measures = stage.measures()
        valid.update(measures)
        held = set(measures.values())
        # a column of an earlier run that a source carries along is as good as measured
        valid.update({name: name for name in stage.columns_added() if is_signal(name) and name not in held})
    return found


def changes_text(stage: Stage) -> bool:
    """Whether what was measured on the text before the stage no longer holds after it."""
    return isinstance(stage, Rewrite | Barrier) and not stage.keeps_text


def signals_needed(stage: Stage, available: Collection[str]) -> list[str]:
    """Signals of a filter's rules that are no columns by themselves."""
    if not isinstance(stage, Filter):
        return []
    known = known_signals()
    names = [rule.signal for rule in stage.rules() if rule.active]
    return [name for name in dict.fromkeys(names) if name in known and name not in available]


def with_measurements(stages: Sequence[Stage], *, everything: bool) -> tuple[list[Stage], list[bool]]:
    """The stages with measurements inserted before filters that need them, and which of them were inserted.

    Filters that see the same text share one measurement. everything: measure also what no rule asks for, the
    first time.
    """
    out: list[Stage] = []
    inserted: list[bool] = []
    measured = False
    taken: set[str] = set()
    columns: set[str] = set()
    for position, stage in enumerate(stages):
        valid = measured_columns([*out, stage])[-1]
        plain = {name for name in columns if not is_signal(name)}
        wanted = [name for name in signals_needed(stage, plain) if name not in valid]
        if wanted:
            wanted = _wanted(stages[position:], valid, plain)
            extra = _unclaimed(stages[position:], wanted, columns) if everything and not measured else []
            measured = True
            again = [name for name in wanted if name in taken]
            first = [name for name in (*wanted, *extra) if name not in taken]
            for new in (*_providers(first, taken), *_providers(again, taken)):
                out.append(new)
                inserted.append(True)
                taken.update(new.columns_added())
        out.append(stage)
        inserted.append(False)
        columns.update(stage.columns_added())
        taken.update(stage.columns_added())
    return out, inserted


def _wanted(stages: Sequence[Stage], valid: Mapping[str, str], plain: Collection[str]) -> list[str]:
    """What all filters up to the next change of the text need."""
    names: dict[str, None] = {}
    for stage in stages:
        if changes_text(stage):
            break
        names.update(dict.fromkeys(name for name in signals_needed(stage, plain) if name not in valid))
    return list(names)


def _unclaimed(stages: Sequence[Stage], wanted: Collection[str], columns: Collection[str]) -> list[str]:
    """Signals that no rule asks for, here or further on: they are measured on the first text."""
    claimed = {name for stage in stages for name in signals_needed(stage, ())}
    adds = {name for stage in stages for name in stage.columns_added()}
    taken = {*claimed, *adds, *wanted}
    return [
        name
        for name, signal in known_signals().items()
        # Signals of the user's own depend on what has been imported: they are measured where rules name them.
        if signal.compute is None and name not in taken and set(columns).issuperset(signal.reads)
    ]


def _providers(names: Sequence[str], taken: Collection[str]) -> list[Stage]:
    """Stages that measure these signals; columns that exist already get another suffix."""
    rest = list(names)
    found: list[Stage] = []
    number = 1
    while any(_suffixed(name, number) in taken for name in rest):
        number += 1
    suffix = _suffixed("", number)
    for _, cls in sorted(registered_stages().items()):
        if not cls.on_demand or not rest:
            continue
        stage = cls.for_signals(rest, suffix)
        if stage is not None:
            measured = stage.measures()
            found.append(stage)
            rest = [name for name in rest if name not in measured]
    return found


def _suffixed(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"
