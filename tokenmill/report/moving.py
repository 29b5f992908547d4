"""Which filter a new threshold is for, which verdicts are left aside to find it, and the command that applies it.

What the answer counts and what the command does must be the same: the filter that is moved is left aside, and all of
its other limits are switched off; every other filter stays as it is, unless it is named (`--without`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.classifiers.bins import ScoreBins
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.classifiers.published import Published
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.plan import verdict_column
from tokenmill.core.stage import Annotate, Barrier

_LIMITS = ("min_score", "max_score", "thresholds")


@dataclass(frozen=True)
class Moving:
    """The filter that is moved (`label`, "" for none), and what else is left aside."""

    published: Published
    score: str
    label: str
    without: tuple[str, ...]
    """Filters whose verdicts do not count, with the one that is moved."""
    notes: tuple[str, ...]
    """What must be known of it, in words."""
    can_apply: bool
    """Whether settings of `refilter` do just this."""

    def command(self, threshold: float, per: str = "") -> tuple[str, ...]:
        """The command that applies the threshold, word by word; empty where there is none. FILE: of those by `per`."""
        if not self.can_apply:
            return ()
        configs = _configs(self.published)
        settings = list(_moved(configs[self.label], self.score, threshold, per))
        found = [(self.label, name, value) for name, value in settings]
        for label in self.without:
            if label != self.label:
                found += [(label, name, value) for name, value in _off(configs[label])]
        words = ["tokenmill", "refilter", self.published.location, "--output", "NEW"]
        return (*words, *(word for label, name, value in found for word in ("--set", f"{label}.{name}={value}")))


def moving(published: Published, score: str, per: str = "", without: Sequence[str] = ()) -> Moving:
    """The filter that a threshold of `score` is for; ConfigError where `without` names what has no verdict there."""
    _check_without(published, without)
    alone, mixed = made_from(published, score)
    deciders = {label: one for name in alone for label, one in published.deciders(name).items()}
    deciders = {label: deciders[label] for label, _ in published.stages if label in deciders}
    columns = published.columns
    order = {one: (one in without, _rank(config), config["column"] != score) for one, config in deciders.items()}
    ranked = sorted((one for one in deciders if verdict_column(one) in columns), key=order.__getitem__)
    label = ranked[0] if ranked else ""
    aside = tuple(dict.fromkeys((*ranked[:1], *without)))
    stages = dict(published.stages)
    fixed = [one for one in aside if not isinstance(stages.get(one), ScoreFilter)]
    notes = [*_notes(published, score, deciders, aside), *_staying(published, score, [*alone, *mixed], aside)]
    if label and fixed:
        notes.append(f"{', '.join(fixed)}: no ScoreFilter, so there is no command that applies this; set it by hand")
    if label and not fixed and (after := _barriers_after(published, label)):
        notes.append(f"{', '.join(after)}: done again on what the threshold keeps, so refilter may keep another number")
    usable = bool(label) and not fixed and (not per or per in columns)
    return Moving(published, score, label, aside, tuple(notes), usable)


def made_from(published: Published, score: str) -> tuple[set[str], set[str]]:
    """(columns that follow from the score alone, itself too; those that are made from it and from other columns)."""
    alone, mixed = {score}, set[str]()
    for _, stage in published.stages:
        if not (isinstance(stage, Annotate) and stage.derived):
            continue
        reads, added = set(stage.reads), set(stage.columns_added()) - {score}
        if isinstance(stage, ScoreBins):  # each of its columns has one of its own
            alone |= {f"{name}_bin" for name in reads & alone}
            mixed |= {f"{name}_bin" for name in reads & mixed}
        elif reads and reads <= alone:
            alone |= added
        elif reads & (alone | mixed):
            mixed |= added
    return alone, mixed - alone


def _check_without(published: Published, without: Collection[str]) -> None:
    known = [label for label, _ in published.stages if verdict_column(label) in published.columns]
    for label in without:
        if label not in known:
            raise ConfigError(
                f"--without {label}: the run has no verdict of it",
                where=published.location,
                why=did_you_mean(label, known) if known else "only a run in annotate mode stores verdicts",
                fix="name a filter of an annotated run that was not enforced",
            )


def _configs(published: Published) -> dict[str, Mapping[str, Any]]:
    return {entry["stage"]: entry.get("config") or {} for entry in published.run["stages"]}


def _limits(config: Mapping[str, Any]) -> bool:
    return any(config.get(name) is not None for name in _LIMITS)


def _rank(config: Mapping[str, Any]) -> int:
    """0: has a least score; 1: limits nothing, so it waits for a threshold; 2: has a largest score only."""
    if config.get("min_score") is not None or config.get("thresholds") is not None:
        return 0
    return 2 if _limits(config) or "min_score" not in config else 1


def _notes(
    published: Published, score: str, deciders: Mapping[str, Mapping[str, Any]], aside: Collection[str]
) -> Iterator[str]:
    columns = published.columns
    for one, config in deciders.items():
        by = config["column"]
        if verdict_column(one) not in columns and _limits(config):
            yield f"{one} has dropped pages by {by} before: shares are of what it has left"
        elif one in aside and by != score:
            yield f"{one} decides by {by}, which follows from {score}: its verdict is left aside"
    if not deciders and published.run["mode"] == "annotate":
        yield f"the recipe has no filter on {score}: put ScoreFilter(column={score!r}) in it"


def _staying(published: Published, score: str, columns: Collection[str], aside: Collection[str]) -> list[str]:
    """Notes on filters on the score, or on columns made from it, whose verdicts count."""
    return [
        f"{label} limits {name}{'' if name == score else f' (made from {score})'} and stays as it is;"
        f" --without {label} leaves it aside"
        for name in sorted(columns)
        for label, config in published.deciders(name).items()
        if label not in aside and _limits(config) and verdict_column(label) in published.columns
    ]


def _barriers_after(published: Published, label: str) -> list[str]:
    labels = [one for one, _ in published.stages]
    later = published.stages[labels.index(label) + 1 :]
    return [one for one, stage in later if isinstance(stage, Barrier) and stage.drops]


def _moved(config: Mapping[str, Any], score: str, threshold: float, per: str) -> Iterator[tuple[str, str]]:
    """Settings with which a ScoreFilter keeps a score from the threshold on, and has no other limit."""
    if config["column"] != score:
        yield "column", _text(score)
    yield "min_score", repr(threshold)
    if per:
        yield "per", _text(per)
        yield "thresholds", "FILE"
    else:
        yield from ((name, value) for name, value in _off(config) if name in ("per", "thresholds"))
    if config.get("max_score") is not None:
        yield "max_score", "null"
    if config.get("keep_null"):
        yield "keep_null", "false"


def _off(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings with which a ScoreFilter limits nothing."""
    yield from ((name, "null") for name in _LIMITS if config.get(name) is not None)
    if config.get("per"):
        yield "per", ""


def _text(value: str) -> str:
    """A string as `--set` reads it back: in quotes where it would be JSON."""
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)
