"""How two runs differ before any document: recipes, versions, inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN_INPUTS = 20
"""Most names of inputs that are listed."""


@dataclass(frozen=True)
class Changed:
    """Something that is not the same: what it is, and its values; None where one of them has no such thing."""

    what: str
    a: Any
    b: Any


@dataclass
class Settings:
    """What differs between the `run.json` of two runs.

    stages: labels that only one has, with the place where they stand. settings: `stage.field`. digests: models, lists,
    code. versions: of tokenmill and libraries. inputs_a, inputs_b: files that only one has read, at most
    `SHOWN_INPUTS`; inputs: how many each has read, how many only it, how many both with another size.
    """

    stages: list[Changed] = field(default_factory=list)
    settings: list[Changed] = field(default_factory=list)
    options: list[Changed] = field(default_factory=list)
    digests: list[Changed] = field(default_factory=list)
    versions: list[Changed] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    inputs_a: list[str] = field(default_factory=list)
    inputs_b: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether nothing differs that documents depend on."""
        return not (self.stages or self.settings or self.options or self.digests or self.inputs_a or self.inputs_b)


def compare_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Settings:
    """What differs between two `run.json`. Stages that the plan has put in are left out: they follow from the rest."""
    found = Settings()
    stages = [{e["stage"]: e for e in run["stages"] if e["stage"] not in run["inserted"]} for run in (a, b)]
    for label in dict.fromkeys((*stages[0], *stages[1])):
        one, other = stages[0].get(label), stages[1].get(label)
        if one is None or other is None:
            found.stages.append(Changed(label, _place(stages[0], label), _place(stages[1], label)))
            continue
        found.settings += _fields(label, one["config"], other["config"])
        if one["version"] != other["version"]:
            found.settings.append(Changed(f"{label} (version)", one["version"], other["version"]))
    common = [[label for label in labels if label in stages[0] and label in stages[1]] for labels in stages]
    if common[0] != common[1]:
        found.stages.append(Changed("order", ", ".join(common[0]), ", ".join(common[1])))
    told = [
        {"recipe": run["recipe"], "mode": run["mode"], "enforce": run["enforce"], **run["options"]} for run in (a, b)
    ]
    found.options = _fields("", told[0], told[1])
    for label in dict.fromkeys((*a["digests"], *b["digests"])):
        if all(label in labels for labels in stages):
            found.digests += _fields(label, a["digests"].get(label, {}), b["digests"].get(label, {}))
    versions = [{"tokenmill": run.get("tokenmill"), **run.get("versions", {})} for run in (a, b)]
    found.versions = _fields("", versions[0], versions[1])
    _compare_inputs(found, a["input"]["shards"], b["input"]["shards"])
    return found


def _place(stages: Mapping[str, Any], label: str) -> str | None:
    """Where a stage stands; None where it does not."""
    if label not in stages:
        return None
    labels = list(stages)
    place = labels.index(label)
    return f"behind {labels[place - 1]}" if place else "first"


def _fields(label: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Changed]:
    names = dict.fromkeys((*a, *b))
    prefix = f"{label}." if label else ""
    return [Changed(f"{prefix}{name}", a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)]


def _compare_inputs(found: Settings, a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> None:
    sizes = [{shard["name"]: shard["size"] for shard in shards} for shards in (a, b)]
    only = [[name for name in sizes[side] if name not in sizes[1 - side]] for side in (0, 1)]
    both = sizes[0].keys() & sizes[1].keys()
    found.inputs_a, found.inputs_b = (names[:SHOWN_INPUTS] for names in only)
    found.inputs = {
        "a": len(sizes[0]),
        "b": len(sizes[1]),
        "only_a": len(only[0]),
        "only_b": len(only[1]),
        # a refiltered run lists the files that it has read under the names of the archives
        "other_size": sum(sizes[0][name] != sizes[1][name] for name in both),
    }
