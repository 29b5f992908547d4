"""A whole run: freeze the plan, run the phases, seal them."""

from __future__ import annotations

import re
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from tokenmill.core.accounting import StageCount
from tokenmill.core.errors import ConfigError, FatalError, TokenmillError
from tokenmill.core.phases import Phase
from tokenmill.core.stage import Stepped, SteppedSink
from tokenmill.executors.base import Executor, Job, Jobs, Notice, PhaseEnd, PhaseEvent, PhaseStart, ShardResult
from tokenmill.executors.compile_ahead import compile_ahead
from tokenmill.executors.forget_marks import check_whole
from tokenmill.executors.host import Limits
from tokenmill.executors.local import InlineExecutor, LocalExecutor
from tokenmill.executors.runspec import RUN_JSON, RunSpec, check_same, forget_queries, freeze, input_entry, load_run
from tokenmill.executors.spans import misplaced, move, withdraw
from tokenmill.executors.steps import SUCCESS_JSON, TASKS_JSON, StepWork
from tokenmill.executors.worker import ShardTask
from tokenmill.io.filesystem import absolute_location
from tokenmill.io.runfolder import RunFolder

SMALL_ROWS = 20_000
"""Up to so many documents the steps of a barrier run in the coordinating process (well below a second)."""
LOOKS_AT_ONCE = 32
"""Shards of an object store that are looked at together when a run is resumed."""
_OF_FILE = ("path", "rows", "bytes", "sha256")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp$")
"""What `RunFolder.write_text` writes before it renames."""

Observer = Callable[[Phase, PhaseEvent], None]


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
    read or written.
    """
    try:
        with folder.locked():
            try:
                return _execute(spec, folder, executor, limits or Limits(), observer)
            finally:
                executor.close()
    except BrokenPipeError:
        raise  # an observer's output, not a file of the run
    except OSError as error:
        # shards have errors of their own; this process reads, lists and removes files of the run as well
        raise FatalError(
            f"cannot read or write {error.filename or folder.location}",
            why=str(error),
            fix="look at the disk, then run the same command: it resumes",
        ) from error


def _execute(
    spec: RunSpec, folder: RunFolder, executor: Executor, limits: Limits, observer: Observer | None
) -> RunOutcome:
    if folder.exists(RUN_JSON):
        check_same(folder, folder.read_json(RUN_JSON), spec.to_json())
        check_whole(folder, load_run(folder))
    outcome = RunOutcome(resumed=freeze(folder, spec))
    _sweep(folder, spec)
    if outcome.resumed and observer is not None and not folder.is_local:  # it takes minutes with many shards
        observer(spec.plan.phases[0], Notice(0, "looking at what is committed"))
    _compile(spec, folder, executor, observer)
    for phases in stretches(spec.plan.phases):
        _Stretch(folder, spec, phases, limits, observer or (lambda phase, event: None)).run(executor, outcome)
        if outcome.failures:
            break
    else:
        for phase in spec.plan.phases:
            sink = phase.stages[-1]
            for kind in sink.beside if isinstance(sink, SteppedSink) else ():
                folder.remove(f"phases/{phase.directory}/{kind}")  # as large as the result, and no longer needed
        forget_queries(folder)
    return outcome


def _compile(spec: RunSpec, folder: RunFolder, executor: Executor, observer: Observer | None) -> None:
    """What the workers' set-ups would compile one after the other, each for itself, where that is still to do."""
    if not isinstance(executor, LocalExecutor):  # other machines have caches of their own
        return
    open_ = [phase for phase in spec.plan.phases if not folder.exists(f"phases/{phase.directory}/{SUCCESS_JSON}")]
    stages = [stage for phase in open_ if not phase.step for stage in phase.stages]

    def say(line: str) -> None:
        if observer is not None:
            observer(open_[0], Notice(open_[0].index, line))

    compile_ahead(stages, executor.workers, say)


def _tidied(folder: RunFolder, spec: RunSpec) -> Collection[str]:
    """The kinds of files that were deleted when the run was complete; none while something must be made of them."""
    sink = spec.plan.sink
    if not isinstance(sink, SteppedSink):
        return ()
    for phase in spec.plan.phases:
        sealed = folder.read_json(f"phases/{phase.directory}/{SUCCESS_JSON}")
        if sealed is None:
            return ()
        if phase.step:
            made = (item for entry in sealed["outputs"] for item in entry["files"].items())
            files = (file for kind, file in made if kind not in sink.beside)
            if any(folder.size(file["path"]) != file["bytes"] for file in files):
                return ()
    return sink.beside.keys()


def _sweep(folder: RunFolder, spec: RunSpec) -> None:
    """Remove what a killed coordinator was about to rename: nobody else writes such files while the lock is held."""
    if not folder.is_local:
        return
    for place in ("", "recipe", "phases", *(f"phases/{phase.directory}" for phase in spec.plan.phases)):
        for name in folder.list(place):
            if _TEMPORARY.search(name):
                folder.remove(f"{place}/{name}")


def stretches(phases: Sequence[Phase]) -> list[list[Phase]]:
    """Phases that are under way together: those of documents with no barrier between them hand on shard by shard."""
    found: list[list[Phase]] = []
    for phase in phases:
        if found and not phase.step and not phase.applies and not found[-1][-1].step:
            found[-1].append(phase)
        else:
            found.append([phase])
    return found


class _Stretch:
    """Neighbouring phases without a barrier: filters on CPUs go on while GPUs score what has passed them."""

    def __init__(
        self, folder: RunFolder, spec: RunSpec, phases: Sequence[Phase], limits: Limits, observer: Observer
    ) -> None:
        self._folder = folder
        self._spec = spec
        self._phases = {phase.index: phase for phase in phases}
        self._observe = observer
        self._limits = limits
        self._names: dict[int, Sequence[str]] = {}
        self._manifests: dict[int, dict[str, Mapping[str, Any]]] = {}
        self._tasks: dict[int, ShardTask] = {}
        self._session = uuid.uuid4().hex
        self._split = any(shard.part is not None for shard in spec.plan.inputs)

    def run(self, executor: Executor, outcome: RunOutcome) -> None:
        """Do what is not committed yet, and seal what is complete. Failures are listed in `outcome`."""
        jobs: Jobs = deque()
        for phase in self._phases.values():
            crew = self._begin(phase, executor)
        for index in range(len(self._names[phase.index])):
            self._go_on(index, min(self._phases), jobs)
        while True:
            for event in crew.map(jobs):
                phase = self._phases[event.phase]
                self._observe(phase, event)
                if isinstance(event, ShardResult):
                    self._take(phase, event, jobs, outcome)
            if outcome.failures or not self._move_spans(jobs):
                break
        for phase in self._phases.values():
            if not phase.step:
                _count(outcome, phase, self._manifests[phase.index])

    def _begin(self, phase: Phase, executor: Executor) -> Executor:
        names = _names(self._folder, self._spec, phase)
        gone = _tidied(self._folder, self._spec) if phase.stages[-1] is self._spec.plan.sink else ()
        committed = settled(self._folder, phase, names, _expected(self._spec, phase, names), gone)
        crew = _crew(self._folder, self._spec, phase, executor)
        location = absolute_location(self._folder.location)
        inline = crew.name == "inline"
        self._tasks[phase.index] = ShardTask(location, phase.index, inline, self._limits, self._session)
        self._names[phase.index] = names
        briefs = self._manifests[phase.index] = {slug: _brief(manifest) for slug, manifest in committed.items()}
        for slug in [slug for slug, brief in briefs.items() if self._stale(phase, slug, brief)]:
            withdraw(self._folder, phase, slug, briefs.pop(slug))
            del committed[slug]
        self._observe(phase, PhaseStart(committed, names))
        stage = phase.stages[0]
        if phase.step and isinstance(stage, Stepped) and len(committed) < len(names):
            told = stage.begins(phase.step, StepWork(self._folder, self._spec, phase))
            if told:
                self._observe(phase, Notice(phase.index, told))
        self._seal_if_complete(phase)
        return crew

    def _go_on(self, index: int, first: int, jobs: Jobs) -> None:
        """Put the first phase from `first` on that has not committed this shard in the queue."""
        for number in range(first, max(self._phases) + 1):
            phase = self._phases[number]
            if self._names[number][index] not in self._manifests[number]:
                jobs.append(Job(self._tasks[number], index, phase.resources))
                return

    def _take(self, phase: Phase, result: ShardResult, jobs: Jobs, outcome: RunOutcome) -> None:
        slug = self._names[phase.index][result.index]
        if result.manifest is None:
            assert result.error is not None
            outcome.failures[slug] = result.error
            return
        if result.manifest["fingerprint"] != phase.fingerprint:
            raise FatalError(
                f"shard {slug} of {phase.directory} was made by another plan",
                why="a worker had read the run before it was changed",
                fix="run the same command again",
            )
        brief = _brief(result.manifest)
        if self._stale(phase, slug, brief):
            withdraw(self._folder, phase, slug, brief)
            self._go_on(result.index, phase.index, jobs)
            return
        self._manifests[phase.index][slug] = brief
        self._seal_if_complete(phase)
        self._go_on(result.index, phase.index + 1, jobs)

    def _stale(self, phase: Phase, slug: str, brief: Mapping[str, Any]) -> bool:
        """Whether a shard was made from what a moved span has taken back: its worker was given up, and lived on."""
        before = self._manifests.get(phase.index - 1, {}).get(slug)
        if not self._split or before is None or not brief["origin"]:
            return False
        return brief["origin"] not in [file["sha256"] for file in before["files"] if file["kind"] == "data"]

    def _seal_if_complete(self, phase: Phase, *, checked: bool = False) -> None:
        """checked: spans are known to join; while they are not, what was made from them is not complete."""
        names, manifests = self._names[phase.index], self._manifests[phase.index]
        if len(manifests) == len(names) and (checked or not (self._split and 0 in self._phases)):
            _seal(self._folder, phase, names, manifests)
            self._observe(phase, PhaseEnd())

    def _move_spans(self, jobs: Jobs) -> bool:
        """Put spans that do not join the one before them in the queue again; False where all do."""
        first = self._phases.get(0)
        if first is None or not self._split:
            return False
        starts = misplaced(self._spec, self._manifests[0])
        if not starts:
            for phase in self._phases.values():
                self._seal_if_complete(phase, checked=True)
            return False
        text = f"{len(starts)} spans began inside a record; they are read again"
        self._observe(first, Notice(0, text, {"spans": sorted(starts)}))
        move(self._folder, self._spec, list(self._phases.values()), starts, self._manifests)
        for number, task in self._tasks.items():
            self._tasks[number] = replace(task, revision=task.revision + 1)
        for index, slug in enumerate(self._names[0]):
            if slug in starts:
                self._go_on(index, 0, jobs)
        return True


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
    return [input_entry(shard) for shard in spec.plan.inputs]


def _crew(folder: RunFolder, spec: RunSpec, phase: Phase, executor: Executor) -> Executor:
    """The executor, except for small steps: starting workers would take longer than the work."""
    stage = phase.stages[0]
    if phase.step and isinstance(stage, Stepped) and stage.size(StepWork(folder, spec, phase)) <= SMALL_ROWS:
        return InlineExecutor(spec)
    return executor


def settled(
    folder: RunFolder,
    phase: Phase,
    names: Sequence[str],
    expected: Sequence[Mapping[str, Any]],
    gone: Collection[str] = (),
) -> dict[str, Mapping[str, Any]]:
    """The committed shards or tasks of a phase, with the publishing of their files finished.

    gone: kinds of files that are not there any more, and need not be.
    """
    inputs = dict(zip(names, expected, strict=True))
    sealed = folder.exists(f"phases/{phase.directory}/{SUCCESS_JSON}")  # then everything has been published

    def look(slug: str) -> Mapping[str, Any] | None:
        manifest = folder.manifest(phase.directory, slug)
        if manifest is None:
            return None
        if manifest["input"] != inputs[slug] or manifest["fingerprint"] != phase.fingerprint:
            raise ConfigError(
                f"{folder.location} holds shard {slug} of another run",
                why=f"it was made from {manifest['input']}, the input is now {inputs[slug]}",
                fix="choose another --output, or delete this one whole",
            )
        there = {**manifest, "files": [file for file in manifest["files"] if file["kind"] not in gone]}
        published = (sealed and not folder.is_local) or folder.settle(phase.directory, slug, there)
        return manifest if published else None

    listed = (name.removesuffix(".json") for name in folder.list(f"phases/{phase.directory}/manifests"))
    present = [slug for slug in listed if slug in inputs]
    if folder.is_local:
        found = list(map(look, present))
    else:
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:  # each look is a few requests that mostly wait
            found = list(pool.map(look, present))
    return {slug: manifest for slug, manifest in zip(present, found, strict=True) if manifest is not None}


def _brief(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the coordinator still wants of a manifest: of 100,000 shards, a fifth of the memory."""
    counts = [StageCount.from_json(stage) for stage in manifest["stages"]]
    return {
        "files": [{key: file[key] for key in ("kind", *_OF_FILE)} for file in manifest["files"]],
        "facts": manifest.get("facts", {}),
        "covered": manifest.get("covered"),
        "origin": manifest.get("origin"),
        "counts": counts and (counts[0].out, counts[-1].out, sum(count.quarantined.total() for count in counts)),
    }


def _count(outcome: RunOutcome, phase: Phase, manifests: Mapping[str, Mapping[str, Any]]) -> None:
    counts = [manifest["counts"] for manifest in manifests.values()]
    if phase.index == 0:
        outcome.documents += sum(first for first, _, _ in counts)
    outcome.quarantined += sum(quarantined for _, _, quarantined in counts)
    outcome.kept = sum(last for _, last, _ in counts)


def _seal(folder: RunFolder, phase: Phase, names: Sequence[str], manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """All shards are there: remove what is left of lost attempts, and say so with all digests.

    What comes after reads this one file instead of all manifests.
    """
    folder.remove(f"phases/{phase.directory}/attempts")
    outputs = []
    for name in names:
        files = {file["kind"]: {key: file[key] for key in _OF_FILE} for file in manifests[name]["files"]}
        outputs.append({"name": name, "files": files, "facts": manifests[name]["facts"]})
    content = {"fingerprint": phase.fingerprint, "shards": len(names), "outputs": outputs}
    folder.write_json(f"phases/{phase.directory}/{SUCCESS_JSON}", content)
