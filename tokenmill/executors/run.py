"""A whole run: freeze the plan, run the phases, seal them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.accounting import StageCount
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.phases import Phase
from tokenmill.core.stage import Barrier
from tokenmill.executors.base import Executor, ShardProgress, ShardResult
from tokenmill.executors.host import Limits
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.runspec import RunSpec, freeze
from tokenmill.executors.steps import SUCCESS_JSON, TASKS_JSON, StepWork
from tokenmill.executors.worker import ShardTask
from tokenmill.io.runfolder import RunFolder

SMALL_ROWS = 20_000
"""Up to so many documents the steps of a barrier run in the coordinating process (well below a second)."""


@dataclass(frozen=True)
class PhaseStart:
    """A phase begins with these shards or tasks; some of them were committed before."""

    committed: Mapping[str, Mapping[str, Any]]
    names: Sequence[str] = ()


Observer = Callable[[Phase, PhaseStart | ShardResult | ShardProgress], None]


@dataclass
class RunOutcome:
    """What a run came to. `failures` holds the shards that did not succeed after all retries."""

    resumed: bool
    documents: int = 0
    kept: int = 0
    quarantined: int = 0
    failures: dict[str, TokenmillError] = field(default_factory=dict)


def execute(
    spec: RunSpec,
    folder: RunFolder,
    executor: Executor,
    *,
    limits: Limits | None = None,
    observer: Observer | None = None,
) -> RunOutcome:
    """Run everything that has not been committed yet. Failed shards are listed in the outcome.

    ConfigError when the folder holds another run, or one that is under way; FatalError when nothing more can be
    written.
    """
    with folder.locked():
        try:
            return _execute(spec, folder, executor, limits or Limits(), observer)
        finally:
            executor.close()


def _execute(
    spec: RunSpec, folder: RunFolder, executor: Executor, limits: Limits, observer: Observer | None
) -> RunOutcome:
    outcome = RunOutcome(resumed=freeze(folder, spec))
    for phase in spec.plan.phases:
        names = _names(folder, spec, phase)
        committed = settled(folder, phase, names, _expected(spec, phase, names))
        todo = [i for i, name in enumerate(names) if name not in committed]
        crew = _crew(folder, spec, phase, executor)
        task = ShardTask(folder.location, phase.index, inline=crew.name == "inline", limits=limits)
        manifests = dict(committed)
        if observer is not None:
            observer(phase, PhaseStart(committed, names))
        for event in crew.map(task, todo, phase.resources):
            if observer is not None:
                observer(phase, event)
            if isinstance(event, ShardResult):
                slug = names[event.index]
                if event.manifest is not None:
                    manifests[slug] = event.manifest
                elif event.error is not None:
                    outcome.failures[slug] = event.error
        if not phase.step:
            _count(outcome, phase, manifests)
        if outcome.failures:
            return outcome
        _seal(folder, phase, names, manifests)
    return outcome


def _names(folder: RunFolder, spec: RunSpec, phase: Phase) -> Sequence[str]:
    """What a phase does, in order: its shards, or the tasks of a barrier's step, which are frozen once known."""
    if not phase.step:
        return spec.slugs
    place = f"phases/{phase.directory}/{TASKS_JSON}"
    names = StepWork(folder, spec, phase).tasks()
    if folder.read_json(place) != names:
        folder.write_json(place, names)
    return names


def _expected(spec: RunSpec, phase: Phase, names: Sequence[str]) -> list[dict[str, Any]]:
    """What the manifests must say that their shards or tasks were made from."""
    if phase.step:
        return [{"name": name, "size": 0, "etag": ""} for name in names]
    return [{"name": shard.name, "size": shard.size, "etag": shard.etag} for shard in spec.plan.inputs]


def _crew(folder: RunFolder, spec: RunSpec, phase: Phase, executor: Executor) -> Executor:
    """The executor, except for small steps of barriers: starting workers would take longer than the work."""
    barrier = phase.stages[0]
    if phase.step and isinstance(barrier, Barrier) and barrier.size(StepWork(folder, spec, phase)) <= SMALL_ROWS:
        return InlineExecutor(spec)
    return executor


def settled(
    folder: RunFolder, phase: Phase, names: Sequence[str], expected: Sequence[Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """The committed shards or tasks of a phase, with the publishing of their files finished."""
    inputs = dict(zip(names, expected, strict=True))
    found: dict[str, Mapping[str, Any]] = {}
    for slug, manifest in folder.manifests(phase.directory):
        if slug not in inputs:
            continue
        if manifest["input"] != inputs[slug] or manifest["fingerprint"] != phase.fingerprint:
            raise ConfigError(
                f"{folder.location} holds shard {slug} of another run",
                why=f"it was made from {manifest['input']}, the input is now {inputs[slug]}",
                fix="choose another --output, or delete this one whole",
            )
        if folder.settle(phase.directory, slug, manifest):
            found[slug] = manifest
    return found


def _count(outcome: RunOutcome, phase: Phase, manifests: Mapping[str, Mapping[str, Any]]) -> None:
    for manifest in manifests.values():
        counts = [StageCount.from_json(stage) for stage in manifest["stages"]]
        if phase.index == 0:
            outcome.documents += counts[0].out
        outcome.quarantined += sum(count.quarantined.total() for count in counts)
    outcome.kept = sum(manifest["stages"][-1]["out"] for manifest in manifests.values())


def _seal(folder: RunFolder, phase: Phase, names: Sequence[str], manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """All shards are there: remove what is left of lost attempts, and say so with all digests.

    What comes after reads this one file instead of all manifests.
    """
    folder.remove(f"phases/{phase.directory}/attempts")
    outputs = []
    for name in names:
        files = {
            file["kind"]: {key: file[key] for key in ("path", "rows", "bytes", "sha256")}
            for file in manifests[name]["files"]
        }
        outputs.append({"name": name, "files": files, "facts": manifests[name].get("facts", {})})
    content = {"fingerprint": phase.fingerprint, "shards": len(names), "outputs": outputs}
    folder.write_json(f"phases/{phase.directory}/{SUCCESS_JSON}", content)
