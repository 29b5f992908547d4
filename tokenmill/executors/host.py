"""Running batches through fused stages: in a watched child process, or in this one for a debugger."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pyarrow as pa

from tokenmill.core.accounting import StageCount
from tokenmill.core.errors import FatalError, ShardError, TokenmillError
from tokenmill.core.phases import Phase
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.stage import Annotate
from tokenmill.executors.chain import Chain, ChainResult
from tokenmill.executors.channel import Channel, ChildGone
from tokenmill.executors.framing import pack_batches, unpack_batches
from tokenmill.executors.heartbeat import COMPILING, IDLE, Heartbeat, Position
from tokenmill.executors.process import (
    OUT_OF_MEMORY,
    Stopwatch,
    child_command,
    child_environment,
    cpu_seconds,
    is_running,
    resident_bytes,
    stop_process,
)

ALIVE_SECONDS = 10.0
"""A word to the supervisor at least so often, however long a batch takes."""


@dataclass(frozen=True)
class Limits:
    """What one document may cost before it is given up."""

    document_seconds: float = 8.0
    """CPU seconds of one document (or wall-clock seconds without using the CPU). Real pages stay below 2 s."""
    setup_seconds: float = 300.0
    """Wall-clock seconds for loading models and compiling kernels; `SETUP_FACTOR` times that while it uses the CPU."""
    memory_bytes: int = 4 << 30
    """Address space of the child; an allocation beyond it fails there."""
    growth_bytes: int = 256 << 20
    """A child that has grown by this much since its set-up is replaced (parsers leak)."""


SETUP_FACTOR = 6
"""A set-up that uses the CPU may take so many times as long as one that waits."""
KILLED = "killed_sigkill"
"""Cause of death of a child that something has killed: most often the kernel, short of memory, or a person. The
document at hand may be innocent, so it is blamed when it happens a second time."""


class Host(Protocol):
    """Runs the fused stages of a phase on batches."""

    def run(self, batch: pa.RecordBatch, seen: Mapping[str, int]) -> ChainResult: ...

    def close(self) -> None: ...


class InlineHost:
    """The stages in this very process: for a debugger and for tests. Nothing protects it."""

    def __init__(self, phase: Phase, *, sample: float, seed: int, columns: Sequence[str] | None = None) -> None:
        about: dict[str, Any] = {"rules": phase.rules, "applies": phase.applies}
        self._chain = Chain(phase.fused, sample=sample, seed=seed, columns=columns, **about)
        self._chain.setup()

    def run(self, batch: pa.RecordBatch, seen: Mapping[str, int]) -> ChainResult:
        return self._chain.run(batch, seen=seen)

    def close(self) -> None:
        pass


class ChildHost:
    """The stages in a supervised child process.

    A document over its limits, or one that kills the child, is blamed by the heartbeat, the child is replaced,
    and the batch is run again with that document quarantined. The batch is the unit that is done again, so
    sources keep batches small (128 pages).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        phase: Phase,
        *,
        sample: float,
        seed: int,
        limits: Limits,
        columns: Sequence[str] | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`alive` is called now and then while a batch is under way, for a supervisor that minds silence."""
        described = pipeline.to_json()
        fused = [label for label, _ in phase.fused]
        # neither source nor sink: the child need not import them
        described["stages"] = [entry for entry in described["stages"] if entry["stage"] in fused]
        self._setup = {
            "op": "setup",
            "pipeline": described,
            "labels": fused,
            "sample": sample,
            "seed": seed,
            "columns": columns if columns is None else list(columns),
            "applies": phase.applies,
            "rules": {label: asdict(phase.rules[label]) for label in fused if label in phase.rules},
        }
        self._limits = limits
        # CUDA reserves far more address space than it uses, and loads much of itself with the first batch
        gpus = bool(phase.resources.gpus)
        # PyTorch takes twice the address space of all else before it has done anything
        self._memory = 0 if gpus else limits.memory_bytes * (2 if phase.batch_rows else 1)
        self._growth = limits.growth_bytes * (16 if gpus else 1)
        self._threads = max(1, int(phase.resources.cpus))
        self._beat = Heartbeat()
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        # a batch in one call: being hasty costs nothing where it is done again one document at a time
        batches = [
            (isinstance(stage, Annotate) and stage.batch_seconds) or limits.document_seconds / 2
            for _, stage in phase.fused
        ]
        self._watch = _Watch(self._beat, limits, batches, alive)
        self._baseline = 0
        self.restarts = 0

    def run(self, batch: pa.RecordBatch, seen: Mapping[str, int]) -> ChainResult:
        """The result of a batch, whatever its documents do to the child."""
        poison: dict[int, tuple[int, str, str]] = {}
        killed: set[int] = set()
        isolate, blind = False, 0
        _, packed = pack_batches(batch)
        while True:
            channel = self._ready()
            header = {"op": "batch", "poison": poison, "isolate": isolate, "seen": dict(seen)}
            try:
                answer, body = channel.request(header, packed)
            except ChildGone:
                position, cause, detail = self._bury()
                if cause == KILLED and position.row not in killed:
                    killed.add(position.row)
                    continue
                if position.row >= 0 and position.row not in poison:
                    poison[position.row] = (position.stage, cause, detail)
                elif not isolate:
                    isolate = True
                else:
                    blind += 1
                    if blind == 3:
                        raise ShardError(
                            "the child process keeps dying and no document can be blamed",
                            why=f"{cause}: {detail}",
                            fix="run with --workers 0 to see the error in one process",
                        ) from None
                continue
            _raise_if_error(answer)
            kept, dropped, quarantined = unpack_batches(answer["lengths"], body)
            self._replace_if_grown()
            counts = [StageCount.from_json(count) for count in answer["counts"]]
            return ChainResult(kept, dropped, quarantined, counts)

    def close(self) -> None:
        """End the child and free what is shared with it."""
        self._stop()
        self._beat.close()

    def _ready(self) -> Channel:
        """The channel to a child that has been set up; starts one where there is none."""
        if self._channel is None:
            self._channel = self._started() or self._started(again=True)
        assert self._channel is not None
        return self._channel

    def _started(self, again: bool = False) -> Channel | None:
        """The channel to a new child that has been set up; None when that was killed, unless it is so `again`."""
        self._beat.idle()
        arguments = (os.getpid(), self._beat.descriptor, self._memory)
        self._child = subprocess.Popen(
            child_command("tokenmill.executors.host_child", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._beat.descriptor,),
            env=child_environment(self._threads),
        )
        self._watch.start(self._child, setting_up=True)
        channel = Channel(self._child, self._watch)
        try:
            answer, _ = channel.request(self._setup)
        except ChildGone:
            _, cause, detail = self._bury()
            if cause == KILLED and not again:
                return None
            # killed once more: by whoever it is, another worker or machine may be spared
            raise (ShardError if cause == KILLED else FatalError)(
                "the child process died while it set up its stages",
                why=f"{cause}: {detail}",
                fix="run with --workers 0 to see the error; more memory may help (--memory-limit)",
            ) from None
        _raise_if_error(answer)
        self._watch.start(self._child, setting_up=False)
        self._baseline = resident_bytes(self._child.pid)
        self.restarts += 1
        return channel

    def _bury(self) -> tuple[Position, str, str]:
        """Where the child was when it died, and of what."""
        assert self._child is not None
        position = self._beat.read()
        if self._watch.verdict:
            self._stop()
            return position, "timeout", self._watch.verdict
        try:
            code = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        self._stop()
        if code < 0:
            name = signal.Signals(-code).name
            return position, f"killed_{name.lower()}", f"the process was killed by {name}"
        if code == OUT_OF_MEMORY:
            return position, "MemoryError", "more memory than the process may have (--memory-limit)"
        return position, "process_exit", f"the process ended with exit code {code}"

    def _stop(self) -> None:
        if self._child is not None:
            stop_process(self._child)
        self._child = self._channel = None

    def _replace_if_grown(self) -> None:
        assert self._child is not None
        if resident_bytes(self._child.pid) > self._baseline + self._growth:
            self._stop()


class _Watch:
    """Called while the parent waits: kills the child when the document at work is over its limits."""

    def __init__(self, beat: Heartbeat, limits: Limits, batches: Sequence[float], alive: Callable[[], None]) -> None:
        """batches: seconds that a whole batch may take, for each stage."""
        self._beat = beat
        self._limits = limits
        self._batches = batches
        self._alive = alive
        self.verdict = ""

    def start(self, child: subprocess.Popen[bytes], *, setting_up: bool) -> None:
        self._child = child
        self._setting_up = setting_up
        self._position: Position | None = None
        self._said = Stopwatch()
        self.verdict = ""

    def __call__(self) -> None:
        if self._said.tick() >= ALIVE_SECONDS:
            self._said = Stopwatch()
            self._alive()
        cpu, position = cpu_seconds(self._child.pid), self._beat.read()
        if position != self._position:
            self._position, self._wall, self._cpu = position, Stopwatch(), cpu
            return
        wall = self._wall.tick()
        used = wall if cpu is None or self._cpu is None else cpu - self._cpu
        if self._too_much(position, wall, used):
            patient = self._setting_up or position.row == COMPILING
            limit = self._limits.setup_seconds if patient else self._limit(position)
            self.verdict = f"over the limit of {limit:g} s"
            self._child.kill()

    def _too_much(self, position: Position, wall: float, used: float) -> bool:
        """Whether the child has had `wall` seconds, and used `used` CPU seconds of them, for too little."""
        limit = self._limits.document_seconds
        if self._setting_up or position.row == COMPILING:
            # busy is not stuck: on a busy machine, the first set-up of an installation compiles for many minutes
            patience = self._limits.setup_seconds
            return wall >= patience and (used < wall / 4 or wall >= SETUP_FACTOR * patience)
        if position.row == IDLE:
            return wall >= 8 * limit
        asleep = used < wall / 4 and not is_running(self._child.pid)
        if position.row < 0:
            whole = self._limit(position)
            return used >= whole or (wall >= whole and asleep)
        return used >= limit or (wall >= limit and asleep) or wall >= 8 * limit

    def _limit(self, position: Position) -> float:
        return self._batches[position.stage] if position.row == -1 else self._limits.document_seconds


def _raise_if_error(answer: Mapping[str, Any]) -> None:
    if not answer["ok"]:
        raise TokenmillError.from_fields(answer)
