"""One task of a step of a barrier or sink: from files to files, with the same commit as a shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from tokenmill import __version__
from tokenmill.core.barrier import ShardData, TaskFiles
from tokenmill.core.errors import ShardError, TokenmillError
from tokenmill.core.phases import Phase, data_phases
from tokenmill.core.stage import Stepped
from tokenmill.executors.runspec import RunSpec
from tokenmill.io.filesystem import absolute_location
from tokenmill.io.runfolder import Attempt, RunFolder, file_digest, flush_to_disk

TASKS_JSON = "tasks.json"
SUCCESS_JSON = "_SUCCESS.json"


class StepWork:
    """The run as the tasks of one step see it: from the seals of earlier phases, never from listings."""

    def __init__(self, folder: RunFolder, spec: RunSpec, phase: Phase) -> None:
        self._folder = folder
        self._spec = spec
        self._phase = phase
        self._seen: dict[str, tuple[TaskFiles, ...]] = {}

    @cached_property
    def shards(self) -> Sequence[ShardData]:
        before = data_phases(self._spec.plan.phases[: self._phase.index])[-1]
        sealed = self._sealed(before)
        found = []
        for slug, entry in zip(self._spec.slugs, sealed["outputs"], strict=True):
            data = entry["files"]["data"]
            beside = {kind: self._folder.path(file["path"]) for kind, file in entry["files"].items() if kind != "data"}
            found.append(ShardData(slug, self._folder.path(data["path"]), data["rows"], beside, entry["facts"]))
        return found

    @property
    def input(self) -> str:
        return absolute_location(self._spec.input_location)

    @property
    def folder(self) -> str:
        return absolute_location(self._folder.location)

    @property
    def fingerprint(self) -> str:
        return self._phase.fingerprint

    def outputs(self, step: str) -> Sequence[TaskFiles]:
        if step not in self._seen:
            label = self._phase.labels[0]
            mine = [p for p in self._spec.plan.phases if p.step == step and p.labels[0] == label]
            self._seen[step] = tuple(outputs_of(self._folder, self._sealed(mine[0])))
        return self._seen[step]

    def _sealed(self, phase: Phase) -> Mapping[str, Any]:
        sealed: Mapping[str, Any] | None = self._folder.read_json(f"phases/{phase.directory}/{SUCCESS_JSON}")
        if sealed is None:
            raise ShardError(f"phase {phase.directory} is not complete", fix="run the same command again")
        return sealed

    def tasks(self) -> list[str]:
        """Names of the tasks of this step."""
        stage = self._phase.stages[0]
        assert isinstance(stage, Stepped)
        names = list(stage.tasks(self._phase.step, self))
        if len(set(names)) != len(names):
            raise TokenmillError(f"two tasks of {self._phase.directory} have one name", why=", ".join(names[:10]))
        return names


def outputs_of(folder: RunFolder, sealed: Mapping[str, Any]) -> list[TaskFiles]:
    """The files of every task or shard of a sealed phase, with absolute paths."""
    return [
        TaskFiles(
            entry["name"],
            {kind: folder.path(file["path"]) for kind, file in entry["files"].items()},
            entry["facts"],
            entry["files"],
        )
        for entry in sealed["outputs"]
    ]


class _Output:
    """Collects what a task writes."""

    def __init__(self, attempt: Attempt, alive: Callable[[], None]) -> None:
        self._attempt = attempt
        self.extensions: dict[str, str] = {}
        self.alive = alive

    def path(self, kind: str, extension: str) -> str:
        self.extensions[kind] = extension
        return self._attempt.path(kind)


def run_task(work: StepWork, phase: Phase, number: int, attempt: Attempt, alive: Callable[[], None]) -> dict[str, Any]:
    """Do a task; returns its manifest, not yet committed."""
    stage = phase.stages[0]
    assert isinstance(stage, Stepped)
    out = _Output(attempt, alive)
    try:
        facts = dict(stage.run_task(phase.step, number, work, out))
    except FileNotFoundError as error:
        raise ShardError(
            f"{error.filename} is gone", why="an earlier step or an index needs it", fix="run what has made it again"
        ) from error
    except pa.ArrowException as error:
        raise ShardError(
            f"task {attempt.slug} of {phase.directory} failed",
            why=f"{type(error).__name__}: {error}",
            fix="run the same command again; if a file is damaged, delete the output and run anew",
        ) from error
    files = []
    for kind, extension in out.extensions.items():
        local = attempt.path(kind)
        flush_to_disk(local)
        with open(local, "rb") as stream:
            size = stream.seek(0, 2)
        place = _place(stage, phase, kind)
        files.append(
            {
                "kind": kind,
                "path": f"{place}/{attempt.slug}{extension}",
                "rows": int(facts.get("rows_of", {}).get(kind, 0)),
                "bytes": size,
                "sha256": file_digest(local),
            }
        )
    return {
        "format": 1,
        "tokenmill": __version__,
        "fingerprint": phase.fingerprint,
        "input": {"name": attempt.slug, "size": 0, "etag": ""},
        "stages": [],
        "files": files,
        "facts": facts,
    }


def _place(stage: Stepped, phase: Phase, kind: str) -> str:
    if kind in stage.published:
        return f"{stage.place.format(label=phase.labels[0])}/{stage.published[kind]}".rstrip("/")
    return f"phases/{phase.directory}/{kind}"
