"""A whole run: freeze the plan, run the phases, seal them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.accounting import StageCount
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.plan import Phase
from tokenmill.executors.base import Executor, ShardProgress, ShardResult
from tokenmill.executors.host import Limits
from tokenmill.executors.runspec import RunSpec, freeze
from tokenmill.executors.worker import ShardTask
from tokenmill.io.runfolder import RunFolder


@dataclass(frozen=True)
class PhaseStart:
    """A phase begins; these shards of it were committed before."""

    committed: Mapping[str, Mapping[str, Any]]


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
        return _execute(spec, folder, executor, limits or Limits(), observer)


def _execute(
    spec: RunSpec, folder: RunFolder, executor: Executor, limits: Limits, observer: Observer | None
) -> RunOutcome:
    outcome = RunOutcome(resumed=freeze(folder, spec))
    for phase in spec.plan.phases:
        committed = settled(folder, phase, spec)
        todo = [i for i, slug in enumerate(spec.slugs) if slug not in committed]
        task = ShardTask(folder.location, phase.index, inline=executor.name == "inline", limits=limits)
        manifests = dict(committed)
        if observer is not None:
            observer(phase, PhaseStart(committed))
        for event in executor.map(task, todo, phase.resources):
            if observer is not None:
                observer(phase, event)
            if isinstance(event, ShardResult):
                slug = spec.slugs[event.index]
                if event.manifest is not None:
                    manifests[slug] = event.manifest
                elif event.error is not None:
                    outcome.failures[slug] = event.error
        _count(outcome, phase, manifests)
        if outcome.failures:
            return outcome
        _seal(folder, phase, spec, manifests)
    return outcome


def settled(folder: RunFolder, phase: Phase, spec: RunSpec) -> dict[str, Mapping[str, Any]]:
    """The committed shards of a phase, with the publishing of their files finished."""
    inputs = {
        slug: {"name": shard.name, "size": shard.size, "etag": shard.etag}
        for slug, shard in zip(spec.slugs, spec.plan.inputs, strict=True)
    }
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


def _seal(folder: RunFolder, phase: Phase, spec: RunSpec, manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """All shards are there: remove what is left of lost attempts, and say so with all digests."""
    folder.remove(f"phases/{phase.directory}/attempts")
    files = {
        file["path"]: {"rows": file["rows"], "bytes": file["bytes"], "sha256": file["sha256"]}
        for slug in spec.slugs
        for file in manifests[slug]["files"]
    }
    content = {"fingerprint": phase.fingerprint, "shards": len(spec.slugs), "files": files}
    folder.write_json(f"phases/{phase.directory}/_SUCCESS.json", content)
