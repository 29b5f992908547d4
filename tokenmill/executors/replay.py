"""One document through the stages of a plan, stage by stage, in a watched child process.

Whatever the page does to a library happens in the child: a crash, or more time or memory than a run grants, becomes the
outcome of the stage that was at work, as it becomes quarantine in a run.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.measuring import StageRules
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Plan
from tokenmill.core.stage import Annotate, Barrier, Rewrite, Sink, Source, Stage
from tokenmill.executors.channel import Channel, ChildGone
from tokenmill.executors.framing import pack_batches
from tokenmill.executors.host import KILLED, Limits
from tokenmill.executors.process import (
    OUT_OF_MEMORY,
    Stopwatch,
    child_command,
    child_environment,
    cpu_seconds,
    is_running,
    stop_process,
)

Joined = Callable[[str, Barrier], pa.RecordBatch | None]
"""Gives the document's row of the table of a barrier (its label): one row of the columns `table`, or None."""

TIMEOUT = "timeout"
PATIENCE = 4.0
"""How much longer a document may take when it is tried a second time."""


@dataclass
class Outcome:
    """What became of the document at a stage: pass, drop, quarantine, or unknown (a barrier that has not seen it)."""

    label: str
    outcome: str
    reason: str = ""
    signal: str = ""
    value: float | None = None
    threshold: float | None = None
    detail: str = ""
    rules: Sequence[Mapping[str, Any]] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns that the stage has added or changed."""
    text: str | None = None
    """The text, where the stage has changed it."""
    chars: Mapping[str, int] = field(default_factory=dict)
    """Characters of `text` and `html` after the stage."""
    seconds: float = 0.0
    """CPU seconds."""


class Replayer:
    """Sends documents through the stages between source and sink of a plan. One child, replaced when it dies."""

    def __init__(self, plan: Plan, limits: Limits | None = None) -> None:
        pairs = zip(plan.pipeline.labels, plan.pipeline.stages, strict=True)
        self.stages: list[tuple[str, Stage]] = [(n, s) for n, s in pairs if not isinstance(s, Source | Sink)]
        labels = [label for label, _ in self.stages]
        # not the verdicts: the child drops, and goes on all the same
        measured = {label: about.measured for phase in plan.phases for label, about in phase.rules.items()}
        self._described = {
            "op": "pipeline",
            "labels": labels,
            "pipeline": _described(plan.pipeline, labels),
            "rules": {label: asdict(StageRules(measured.get(label, {}))) for label in labels},
        }
        self._limits = limits or Limits()
        large = any(isinstance(stage, Annotate) and stage.batch_rows for _, stage in self.stages)
        gpus = any(stage.resources.gpus for _, stage in self.stages)
        self._memory = 0 if gpus else self._limits.memory_bytes * (2 if large else 1)
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._watch = _Watch(self._limits)

    def run(self, batch: pa.RecordBatch, joined: Joined) -> list[Outcome]:
        """What becomes of the one document of `batch` at each stage, also behind the first one that drops it.

        Ends where a stage cannot be run: behind a rewrite that gives no text, and behind a failure. TokenmillError
        where a stage cannot be set up, or its author's code breaks the rules.
        """
        found = list(self._attempt(batch, joined))
        if not (found and found[-1].reason in (TIMEOUT, KILLED)):
            return found
        # innocent where the time went into compiling a kernel for the first time, or something else has killed it
        self._watch.patience = PATIENCE
        again = list(self._attempt(batch, joined))
        self._watch.patience = 1.0
        if again[-1].reason in (TIMEOUT, KILLED):
            return found
        slow = any(outcome.seconds > self._limits.document_seconds for outcome in again)
        return list(self._attempt(batch, joined)) if slow else again

    def _attempt(self, batch: pa.RecordBatch, joined: Joined) -> Iterator[Outcome]:
        _, packed = pack_batches(batch)
        self._ask({"op": "load"}, packed, setting_up=True)
        for index, (label, stage) in enumerate(self.stages):
            try:
                self._ask({"op": "prepare", "stage": index}, setting_up=True)
            except _Died as death:
                raise ConfigError(
                    f"{label} cannot be set up", why=f"{death.cause}: {death.detail}", fix="tokenmill doctor"
                ) from None
            body: bytes | memoryview = b""
            if isinstance(stage, Barrier):
                row = joined(label, stage)
                body = b"" if row is None else pack_batches(row)[1]
            try:
                answer = self._ask({"op": "stage", "stage": index}, body)
            except _Died as death:
                yield Outcome(label, "quarantine", death.cause, detail=death.detail)
                return
            told = {name: value for name, value in answer.items() if name != "ok" and value is not None}
            outcome = Outcome(label, **told)
            yield outcome
            if outcome.outcome == "quarantine" or (outcome.outcome == "drop" and isinstance(stage, Rewrite)):
                return

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            stop_process(self._child)
        self._child = self._channel = None

    def _ask(
        self, header: dict[str, Any], body: bytes | memoryview = b"", *, setting_up: bool = False
    ) -> Mapping[str, Any]:
        fresh = self._channel is None
        channel = self._channel or self._started()
        assert self._child is not None
        try:
            if fresh:
                self._watch.begin(self._child, setting_up=True)
                _raise_if_error(channel.request(self._described)[0])
            self._watch.begin(self._child, setting_up=setting_up)
            answer, _ = channel.request(header, body)
        except ChildGone:
            raise self._death() from None
        _raise_if_error(answer)
        return answer

    def _started(self) -> Channel:
        self._child = subprocess.Popen(
            child_command("tokenmill.executors.replay_child", os.getpid(), self._memory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
        )
        self._channel = Channel(self._child, self._watch)
        return self._channel

    def _death(self) -> _Died:
        assert self._child is not None
        if self._watch.verdict:
            self.close()
            return _Died(TIMEOUT, self._watch.verdict)
        try:
            code = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        self.close()
        if code < 0:
            name = signal.Signals(-code).name
            return _Died(f"killed_{name.lower()}", f"the process was killed by {name}")
        if code == OUT_OF_MEMORY:
            return _Died("MemoryError", "more memory than the process may have (--memory-limit)")
        return _Died("process_exit", f"the process ended with exit code {code}")


class _Died(Exception):
    """The child is gone. cause and detail as in `quarantine/`."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.detail = detail


class _Watch:
    """Called while the parent waits: kills a child that takes longer than a document may."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.patience = 1.0
        self.verdict = ""

    def begin(self, child: subprocess.Popen[bytes], *, setting_up: bool) -> None:
        self._child = child
        self._setting_up = setting_up
        self._wall = Stopwatch()
        self._cpu = cpu_seconds(child.pid)
        self.verdict = ""

    def __call__(self) -> None:
        wall, cpu = self._wall.tick(), cpu_seconds(self._child.pid)
        used = wall if cpu is None or self._cpu is None else cpu - self._cpu
        limit = self._limits.setup_seconds if self._setting_up else self._limits.document_seconds * self.patience
        asleep = used < wall / 4 and not is_running(self._child.pid)
        too_much = wall >= limit if self._setting_up else used >= limit or wall >= limit * (1 if asleep else 8)
        if too_much:
            self.verdict = f"over the limit of {limit:g} s"
            self._child.kill()


def _described(pipeline: Pipeline, labels: Sequence[str]) -> dict[str, Any]:
    described = pipeline.to_json()
    described["stages"] = [entry for entry in described["stages"] if entry["stage"] in labels]
    return described


def _raise_if_error(answer: Mapping[str, Any]) -> None:
    if not answer["ok"]:
        raise TokenmillError.from_fields(answer)
