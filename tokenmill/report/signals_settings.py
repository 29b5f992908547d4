"""Which setting of a filter moves which of its thresholds: found by making the filter with other values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tokenmill.core.rule import Rule
from tokenmill.core.settings import build_stage
from tokenmill.core.stage import Filter

ORDERED = ("<", "<=", ">", ">=")


@dataclass
class Movers:
    """Of the rules of one filter, by their place: the setting that is the threshold (`setting`).

    whole: those whose setting takes whole numbers only. follows: rules that a setting switches or moves besides the
    one whose threshold it is; they have no slider of their own.
    """

    setting: dict[int, str] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    follows: set[int] = field(default_factory=set)


def movers(stage: Filter) -> Movers:
    """Try every setting of the filter that may hold a number."""
    return _movers(type(stage), json.dumps(stage.config(), sort_keys=True))


@lru_cache(256)
def _movers(cls: type[Filter], settings: str) -> Movers:
    stage = build_stage(cls, json.loads(settings))
    assert isinstance(stage, Filter)
    found = Movers()
    rules = stage.rules()
    config = stage.config()
    owners: dict[int, list[tuple[str, bool]]] = {}
    for name, value in config.items():
        if isinstance(value, bool | str | list | dict):
            continue
        outcome = _probed(stage, config, name, value, rules)
        if outcome is None:
            continue
        direct, others, whole = outcome
        if len(direct) == 1:
            owners.setdefault(direct[0], []).append((name, whole))
            found.follows.update(others)
    for place, names in owners.items():
        if len(names) == 1:
            found.setting[place] = names[0][0]
            if names[0][1]:
                found.whole.add(place)
    found.follows -= set(found.setting)
    return found


def _probed(
    stage: Filter, config: Mapping[str, Any], name: str, value: float | None, rules: Sequence[Rule]
) -> tuple[list[int], set[int], bool] | None:
    """(rules whose threshold is the setting, others that change with it, whether it takes whole numbers only)."""
    base = 0.0 if value is None else float(value)
    whole = _changed(stage, config, name, base + 0.37, rules) is None
    probes = [base + 1, base + 2, base + 5] if whole else [base + 0.37, base + 0.73, base / 2 + 0.19]
    seen: list[dict[int, bool]] = []
    for probe in probes:
        changed = _changed(stage, config, name, int(probe) if whole else probe, rules)
        if changed is not None:
            seen.append(changed)
    if len(seen) < 2:
        return None
    everywhere = set.union(*(set(one) for one in seen))
    direct = sorted(place for place in everywhere if all(one.get(place) for one in seen))
    return direct, everywhere.difference(direct), whole


def _changed(
    stage: Filter, config: Mapping[str, Any], name: str, value: float, rules: Sequence[Rule]
) -> dict[int, bool] | None:
    """Place of each rule that differs with the setting -> whether its threshold is the value; None: not allowed."""
    made = rules_with(stage, config, name, value)
    if made is None or len(made) != len(rules):
        return None
    found = {}
    for place, (before, after) in enumerate(zip(rules, made, strict=True)):
        if before != after:
            same = (before.signal, before.comparison, before.by) == (after.signal, after.comparison, after.by)
            found[place] = same and not after.by and after.threshold is not None and after.threshold == value
    return found


def rules_with(stage: Filter, config: Mapping[str, Any], name: str, value: Any) -> tuple[Rule, ...] | None:
    """The rules of the filter with another value of a setting; None where it takes no such value."""
    try:
        made = build_stage(type(stage), {**config, name: value})
        return made.rules() if isinstance(made, Filter) else None
    except Exception:  # a filter of the user's may check its settings in any way
        return None


def allowed(stage: Filter, name: str, threshold: float | None, edges: Sequence[float], *, whole: bool) -> list[float]:
    """Those edges that the setting may have, and the present threshold; a filter may refuse some (`ConfigError`)."""
    config = stage.config()

    def fits(edge: float) -> bool:
        return edge == threshold or rules_with(stage, config, name, int(edge) if whole else edge) is not None

    if not edges or (fits(edges[0]) and fits(edges[-1])):
        return list(edges)
    return [edge for edge in edges if fits(edge)]
