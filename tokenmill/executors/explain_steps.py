"""Steps of an explanation: from the outcomes of a replay, or from what a run has stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenmill.core.measuring import StageRules
from tokenmill.core.plan import Plan, verdict_column
from tokenmill.core.signals import known_signals
from tokenmill.core.stage import Annotate, Barrier, Filter, Rewrite, Sink, Source, Stage
from tokenmill.executors.explain_read import Skip
from tokenmill.executors.explanation import Duplicate, RuleNumber, Step, Verdict
from tokenmill.executors.replay import Outcome

_KINDS = {
    Source: "source", Filter: "filter", Rewrite: "rewrite", Annotate: "annotate", Barrier: "barrier", Sink: "sink"
}  # fmt: skip
NOT_COMPARED = "compares the documents of a whole run: not decided here"
NO_PART = "took no part: a filter before it had dropped the document"
NEVER_CAME = "the document never came here in the run"


def kind_of(stage: Stage) -> str:
    """source, filter, rewrite, annotate, barrier or sink."""
    return next((name for kind, name in _KINDS.items() if isinstance(stage, kind)), "stage")


def steps_of(
    plan: Plan, outcomes: Iterable[Outcome], skip: Skip | None, seen: Mapping[str, Duplicate], text: str | None = None
) -> list[Step]:
    """One step per stage.

    skip: what the source has said instead of giving a document. seen: by deduplication. text: that the source gave.
    """
    pairs = list(zip(plan.pipeline.labels, plan.pipeline.stages, strict=True))
    steps: list[Step] = []
    told = {outcome.label: outcome for outcome in outcomes}
    gone = skip is not None
    for label, stage in pairs:
        step = Step(label, kind_of(stage), "pass", inserted=label in plan.inserted)
        steps.append(step)
        if isinstance(stage, Source):
            if skip is not None:
                step.outcome, step.reason, step.detail = "drop", skip.reason, skip.detail
            continue
        if isinstance(stage, Sink):
            step.outcome = "not_reached" if gone else "pass"
            continue
        outcome = told.get(label)
        step.would = gone
        if outcome is None:
            step.outcome = "not_reached"
            gone = True
            continue
        _fill(step, outcome, text)
        text = outcome.text if outcome.text is not None else text
        if isinstance(stage, Barrier):
            _fill_barrier(step, stage, seen.get(label))
        gone = gone or step.outcome in ("drop", "quarantine")
    return steps


def _fill(step: Step, outcome: Outcome, text: str | None) -> None:
    for name in ("outcome", "reason", "signal", "value", "threshold", "detail", "columns", "seconds"):
        setattr(step, name, getattr(outcome, name))
    step.html = outcome.chars.get("html")
    step.before, step.after = (text, outcome.text) if outcome.text is not None else (None, None)
    step.rules = rule_numbers(outcome.rules, outcome.reason if outcome.outcome == "drop" else "")


def _fill_barrier(step: Step, stage: Barrier, duplicate: Duplicate | None) -> None:
    step.duplicate = duplicate
    if step.outcome == "unknown":
        step.note = NEVER_CAME if step.would else NOT_COMPARED
    elif step.would:
        step.outcome, step.note = "unknown", NO_PART
    if duplicate is not None and duplicate.least is not None and duplicate.rule != "exact":
        step.rules = (similarity_rule(duplicate, step.reason),)


def similarity_rule(duplicate: Duplicate, reason: str) -> RuleNumber:
    """The comparison of a document that went; of one that stayed, the most similar one that it was compared with."""
    score = duplicate.score
    if duplicate.keep:
        score = max((one["score"] for one in duplicate.compared), default=None)
    meaning = f"{duplicate.measure} with " + ("the most similar other document" if duplicate.keep else "what was kept")
    return RuleNumber(
        reason=reason or "duplicate",
        signal=duplicate.measure,
        comparison=">=",
        threshold=duplicate.least,
        value=score,
        holds=not duplicate.keep,
        meaning=meaning,
        unit="share",
        decided=bool(reason),
    )


def rule_numbers(rules: Sequence[Mapping[str, Any]], reason: str) -> tuple[RuleNumber, ...]:
    """Rules with the meaning of their signals; the first that holds is the one that decided, if the filter dropped."""
    signals = known_signals()
    found = []
    decided = False
    for rule in rules:
        first = bool(reason) and not decided and rule["holds"]
        decided = decided or first
        signal = signals.get(rule["signal"])
        meaning, unit = (signal.meaning, signal.unit) if signal is not None else ("", "")
        found.append(RuleNumber(**rule, meaning=meaning, unit=unit, decided=first))
    return tuple(found)


def verdict_of(steps: Sequence[Step], *, compared: bool, annotated: Sequence[str] = ()) -> Verdict:
    """What the steps come to: the first that drops.

    compared: a deduplication that cannot tell makes it unknown. annotated: stages that only annotate, and so are heard
    only where no other ends the document.
    """
    for step in steps:
        if step.outcome in ("drop", "quarantine") and (step.stage not in annotated or step.outcome == "quarantine"):
            return _verdict(step)
    for step in steps:
        if step.outcome == "drop":
            return _verdict(step)
        if step.outcome == "unknown" and compared:
            return Verdict("unknown", step.stage, "not_compared")
    return Verdict("kept")


def _verdict(step: Step) -> Verdict:
    outcome = "dropped" if step.outcome == "drop" else "quarantined"
    return Verdict(outcome, step.stage, step.reason, step.signal, step.value, step.threshold, step.detail)


def stored_steps(
    plan: Plan, row: Mapping[str, Any], recorded: Verdict, seen: Mapping[str, Duplicate], *, annotated: bool
) -> list[Step]:
    """One step per stage from what the run has stored: verdicts, and numbers where their columns are published.

    row: all that is stored of the document. annotated: filters have left their verdicts in it.
    """
    measured = {label: about for phase in plan.phases for label, about in phase.rules.items()}
    stages = plan.pipeline.stages
    steps: list[Step] = []
    gone = False
    for place, (label, stage) in enumerate(zip(plan.pipeline.labels, stages, strict=True)):
        step = Step(label, kind_of(stage), "pass", would=gone, inserted=label in plan.inserted)
        steps.append(step)
        column = verdict_column(label)
        if annotated and column in row:
            if row[column] is not None:
                step.outcome, step.reason = "drop", row[column]
        elif label == recorded.stage:
            step.outcome = "quarantine" if recorded.outcome == "quarantined" else "drop"
            for name in ("reason", "signal", "value", "threshold", "detail"):
                setattr(step, name, getattr(recorded, name))
        elif gone and not annotated:
            step.outcome = "not_reached"
        if isinstance(stage, Sink) and recorded.outcome != "kept":
            step.outcome = "not_reached"
        if isinstance(stage, Filter):
            later = {name for one in stages[place + 1 :] for name in one.columns_added()}
            known = {name: value for name, value in row.items() if name not in later}
            step.rules = _stored_numbers(stage, measured.get(label, StageRules()), known, step)
        if isinstance(stage, Barrier):
            _fill_barrier(step, stage, seen.get(label))
        gone = gone or step.outcome in ("drop", "quarantine")
    return steps


def bare_steps(
    labels: Sequence[str],
    row: Mapping[str, Any],
    recorded: Verdict,
    seen: Mapping[str, Duplicate],
    *,
    annotated: bool,
) -> list[Step]:
    """As `stored_steps`, where the stages themselves cannot be had: verdicts, and the number that decided."""
    steps: list[Step] = []
    gone = False
    for label in labels:
        step = Step(label, "stage", "pass", would=gone, duplicate=seen.get(label))
        steps.append(step)
        reason = row.get(verdict_column(label)) if annotated else None
        if reason is not None:
            step.outcome, step.reason = "drop", reason
        elif label == recorded.stage:
            step.outcome = "quarantine" if recorded.outcome == "quarantined" else "drop"
            step.reason, step.detail = recorded.reason, recorded.detail
            step.signal, step.value, step.threshold = recorded.signal, recorded.value, recorded.threshold
            step.rules = _one_number(step)
        elif gone and not annotated:
            step.outcome = "not_reached"
        gone = gone or step.outcome in ("drop", "quarantine")
    return steps


def _one_number(step: Step) -> tuple[RuleNumber, ...]:
    """The number that decided, as `dropped/` has it."""
    if step.value is None or step.threshold is None:
        return ()
    comparison = "<" if step.value < step.threshold else ">"
    told = {"reason": step.reason, "signal": step.signal, "comparison": comparison, "value": step.value}
    return rule_numbers([{**told, "threshold": step.threshold, "by": "", "key": None, "holds": True}], step.reason)


def _stored_numbers(stage: Filter, about: StageRules, row: Mapping[str, Any], step: Step) -> tuple[RuleNumber, ...]:
    """Rules whose signals are stored; the one that decided also where only `dropped/` has its number."""
    found = []
    for rule in stage.rules():
        column = about.measured.get(rule.signal, rule.signal)
        value, key = row.get(column), row.get(rule.by) if rule.by else None
        if step.outcome == "drop" and rule.reason == step.reason and step.value is not None:
            value = step.value
        if not rule.active or value is None:
            continue
        told = {"reason": rule.reason, "signal": rule.signal, "comparison": rule.comparison, "value": value}
        told |= {"threshold": rule.threshold_for(key), "by": rule.by, "key": key, "holds": rule.drops(value, key)}
        found.append(told)
    if not found:
        return _one_number(step)
    return rule_numbers(found, step.reason if step.outcome == "drop" else "")
