"""The Ray executor: the same jobs on a cluster.

Ray is used as a scheduler of idempotent jobs and for nothing else. Jobs of phases on CPUs are tasks; jobs of stages
that want GPUs go to actors, each of which loads its model once. A bounded number is in flight, retries are counted
here, and a job that was lost twice over publishes once: the manifest decides.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import exceptions as lost

from tokenmill.core.errors import ConfigError, FatalError, ShardError, TokenmillError
from tokenmill.core.stage import Resources
from tokenmill.executors.base import (
    Job,
    Jobs,
    Notice,
    ShardEvent,
    ShardProgress,
    ShardResult,
    ShardRetry,
    ShardStart,
)
from tokenmill.executors.local import MAX_ATTEMPTS, SILENCE_SECONDS
from tokenmill.executors.process import Stopwatch
from tokenmill.executors.ray_worker import Board, ModelWorker, run_shard

MAX_LOST = 20
"""Tries of a shard whose worker or machine was lost. On machines that come and go this says little about the shard."""
AHEAD = 2
"""Tasks in flight for each one that can run: the next one is at its machine before the last one ends."""
LOOK_SECONDS = 1.0
"""Time between two looks at the board and at what the cluster has."""
WAIT_SECONDS = 30.0
"""After so long without a worker that could do a waiting job, people are told."""
KNOCK_SECONDS = 10.0
"""Patience with the address of a cluster that does not answer."""
STARVING_SECONDS = 10.0
"""After so long without a CPU for a task, an actor that has nothing to do gives up its own."""
LOSS_SECONDS = 0.2
"""Pause after a loss; twice as long after each one that follows without a success between."""
LONGEST_WAIT_SECONDS = 15.0
"""Longest such pause."""
OBJECT_STORE_BYTES = 80 << 20
"""Object store of a cluster that is started here: nothing but small messages goes through it."""

_LOST = (
    lost.WorkerCrashedError,
    lost.NodeDiedError,
    lost.LocalRayletDiedError,
    lost.OutOfMemoryError,
    lost.RayActorError,
    lost.ObjectLostError,
    lost.TaskCancelledError,
    lost.RaySystemError,
    lost.OwnerDiedError,
)
"""What Ray says when the fault lies with a process, a machine or a network."""


def connect(address: str | None, workers: int = 0) -> bool:
    """Connect this process to a cluster, unless it is connected already. True when it was not.

    address: `auto` (the default) finds the cluster of this machine or that of RAY_ADDRESS; `local` starts one for this
    process, with `workers` CPUs (0: all); else an address, `ray://` included. ConfigError when there is none.
    """
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"address": address or "auto", "logging_level": logging.WARNING}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # tasks without GPUs: no warning at every start
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        options |= {"num_cpus": workers} if workers else {}
    try:
        _knock(os.environ.get("RAY_ADDRESS", "") if options["address"] == "auto" else options["address"])
        ray.init(**options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster at {options['address']}",
            why=str(error).partition("\n")[0],
            fix="start one with `ray start --head`, or give --ray-address (`local` starts one for this run)",
        ) from error
    return True


def _knock(address: str) -> None:
    """OSError where nobody listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


@dataclass
class _Flight:
    """A job that Ray has been given."""

    job: Job
    actor: Any = None
    heard: Stopwatch = field(default_factory=Stopwatch)
    """Since the last word; a pause of this process counts for a second."""
    started: bool = False


class RayExecutor:
    """Jobs on the cluster that this process is connected to, or on the one at `address` (see `connect`).

    workers: most jobs in flight at once; 0 or less: as many as the cluster can run, and `AHEAD` times as many waiting.
    A session that was there before is left as it was.
    """

    name = "ray"

    def __init__(
        self, address: str | None = None, *, workers: int = 0, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        self.workers = max(workers, 0)
        self._ours = connect(address, self.workers)
        self._silence = silence_seconds
        self._board: Any = None

    def map(self, jobs: Jobs) -> Iterator[ShardEvent]:
        if not ray.is_initialized():  # closed, and used again
            raise ConfigError("the connection to the Ray cluster is closed", fix="make a new RayExecutor")
        if self._board is None:
            options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0}
            self._board = ray.remote(**options)(Board).remote()
        shift = _Shift(jobs, self._board, self.workers, self._silence)
        try:
            yield from shift.run()
        except SystemError as error:
            # what a handler of a signal raises inside Ray's compiled code comes out as the cause of a SystemError
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None
        finally:
            shift.abandon(cancel=not self._ours)

    def close(self) -> None:
        if self._board is not None:
            with contextlib.suppress(Exception):
                ray.kill(self._board)
            self._board = None
        if self._ours:
            ray.shutdown()
            self._ours = False


class _Shift:
    """Jobs on their way through the cluster."""

    def __init__(self, jobs: Jobs, board: Any, most: int, silence: float) -> None:
        self._jobs = jobs
        self._board = board
        self._silence = silence
        self._lanes: dict[Resources, _Lane] = {}
        self._flights: dict[Any, _Flight] = {}
        self._by_shard: dict[tuple[int, int], _Flight] = {}
        self._failed: Counter[tuple[int, int]] = Counter()
        self._lost: Counter[tuple[int, int]] = Counter()
        self._most = most
        self._looked = 0.0
        self._words: Any = None

    def run(self) -> Iterator[ShardEvent]:
        while True:
            while self._jobs:
                job = self._jobs.popleft()
                if job.resources not in self._lanes:
                    self._lanes[job.resources] = _Lane(job.resources)
                self._lanes[job.resources].waiting.append(job)
            self._submit()
            if not self._flights and not any(lane.waiting for lane in self._lanes.values()):
                return
            for ref in self._ready():
                yield from self._land(ref)
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self._looked = time.monotonic()
                yield from self._listen()
                yield from self._look()

    def abandon(self, *, cancel: bool) -> None:
        """Let go of what is in flight and of the actors: the run stops, or has no more for them.

        cancel: take tasks back. Not before the end of our own session, which ends them as well: Ray 2.60 sometimes
        aborts the process when both come together.
        """
        for ref, flight in self._flights.items():
            if cancel and flight.actor is None:
                with contextlib.suppress(Exception):
                    ray.cancel(ref, force=True)
        for lane in self._lanes.values():
            lane.close()

    def _submit(self) -> None:
        # later phases first: what has been begun is ended, and models do not wait for all filters
        lanes = sorted(self._lanes.values(), key=lambda lane: -max((job.task.phase for job in lane.waiting), default=0))
        for lane in lanes:
            lane.measure(max((other.cpus for other in self._lanes if not other.gpus), default=0.0))
            while lane.waiting and lane.free() and not (self._most and len(self._flights) >= self._most):
                job = lane.waiting.popleft()
                ref, actor = lane.submit(job, self._board)
                flight = _Flight(job, actor)
                self._flights[ref] = self._by_shard[job.task.phase, job.index] = flight

    def _ready(self) -> list[Any]:
        """Jobs that have ended, within half a second."""
        refs = list(self._flights)
        if not refs:
            time.sleep(0.2)  # jobs wait until a loss is some time ago
            return []
        done, rest = ray.wait(refs, num_returns=1, timeout=0.5)
        if done and rest:
            done += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return done

    def _land(self, ref: Any) -> Iterator[ShardEvent]:
        """What became of a job."""
        flight = self._flights.pop(ref)
        job, key = flight.job, (flight.job.task.phase, flight.job.index)
        self._by_shard.pop(key, None)
        lane = self._lanes[job.resources]
        try:
            answer = ray.get(ref)
        except _LOST as error:
            lane.lost(flight.actor)
            self._lost[key] += 1
            yield self._retry(job, _loss(error), self._lost[key] < MAX_LOST)
            return
        except lost.RayError as error:
            raise FatalError(
                "the cluster cannot run shards of this run",
                why=str(error).strip().rpartition("\n")[2],
                fix="give all machines the same environment: tokenmill doctor --ray-address",
            ) from error
        lane.landed(flight.actor)
        if "manifest" in answer:
            attempts = 1 + self._failed[key] + self._lost[key]
            if not flight.started:  # shorter than the time between two looks at the board
                yield ShardStart(job.task.phase, job.index, answer["where"])
            yield ShardResult(job.task.phase, job.index, answer["manifest"], attempts=attempts)
            return
        told = TokenmillError.from_fields(answer)
        if not isinstance(told, ShardError):
            raise told
        self._failed[key] += 1
        yield self._retry(job, told, self._failed[key] < MAX_ATTEMPTS)

    def _retry(self, job: Job, error: TokenmillError, again: bool) -> ShardEvent:
        phase, attempts = (
            job.task.phase,
            self._failed[job.task.phase, job.index] + self._lost[job.task.phase, job.index],
        )
        if not again:
            return ShardResult(phase, job.index, None, error, attempts)
        self._lanes[job.resources].waiting.append(job)
        return ShardRetry(phase, job.index, error, attempts)

    def _listen(self) -> Iterator[ShardEvent]:
        """What the board has, without ever waiting for it: its machine may be gone."""
        if self._words is None:
            self._words = self._board.take.remote()
        if not ray.wait([self._words], timeout=0)[0]:
            return
        try:
            words = ray.get(self._words)
        except lost.RayError:
            words = []
        self._words = None
        for word in words:
            flight = self._by_shard.get((word["phase"], word["index"]))
            if flight is None:
                continue
            flight.heard = Stopwatch()
            if not flight.started:
                flight.started = True
                yield ShardStart(word["phase"], word["index"], word["where"])
            if "counts" in word:
                yield ShardProgress(word["phase"], word["index"], word["counts"])

    def _look(self) -> Iterator[ShardEvent]:
        """Cancel what has fallen silent, and say where jobs wait for a machine that is not there."""
        for ref, flight in self._flights.items():
            if flight.heard.tick() > self._silence and flight.started:
                flight.heard = Stopwatch()
                if flight.actor is not None:
                    ray.kill(flight.actor)
                else:
                    ray.cancel(ref, force=True)
        started = {flight.job.resources for flight in self._flights.values() if flight.started}
        starving = {
            flight.job.resources
            for flight in self._flights.values()
            if flight.job.resources not in started and flight.heard.seconds > STARVING_SECONDS
        }
        for lane in self._lanes.values():
            if starving - {lane.resources}:
                lane.shrink()
            text = lane.stuck()
            if text:
                phase = next(flight.job.task.phase for flight in self._flights.values())
                yield Notice(phase, text)


def _loss(error: Exception) -> ShardError:
    """A loss in words."""
    first = str(error).strip().partition("\n")[0]
    fix = "look at the log of Ray on that machine"
    if isinstance(error, lost.OutOfMemoryError):
        fix = "give tasks more memory: fewer CPUs per machine in `ray start --num-cpus`"
    return ShardError("a worker of the cluster was lost", why=f"{type(error).__name__}: {first}", fix=fix)


class _Lane:
    """Jobs with the same needs: tasks for CPUs, a pool of actors where GPUs are asked for."""

    def __init__(self, resources: Resources) -> None:
        self.waiting: deque[Job] = deque()
        self.resources = resources
        self._in_flight = 0
        self._idle: list[Any] = []
        self._actors: list[Any] = []
        self._measured = 0.0
        self._slots = 0
        self._without_since: float | None = None
        self._losses = 0
        self._not_before = 0.0
        options: dict[str, Any] = {"num_cpus": resources.cpus}
        if resources.memory_bytes:
            options["memory"] = resources.memory_bytes
        if resources.gpus:
            self._actor = ray.remote(num_gpus=resources.gpus, max_restarts=0, max_task_retries=0, **options)(
                ModelWorker
            )
        else:
            # retries are counted by the coordinator, which also hears of them
            self._task = ray.remote(max_retries=0, scheduling_strategy="SPREAD", **options)(run_shard)

    def measure(self, kept_free: float) -> None:
        """How many jobs the cluster can run at once; clusters grow and shrink.

        kept_free: CPUs that actors leave to tasks, for an actor has its CPU also while it waits for work.
        """
        if time.monotonic() - self._measured < LOOK_SECONDS:
            return
        self._measured = time.monotonic()
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        needs = self.resources
        if needs.gpus:
            have = {**have, "CPU": max(have.get("CPU", 0.0) - kept_free, needs.cpus)}
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": float(needs.memory_bytes)}
        slots = [int(have.get(name, 0.0) / amount) for name, amount in wanted.items() if amount]
        self._slots = min(slots, default=int(have.get("CPU", 1.0)))
        if self._slots:
            self._without_since = None
        elif self._without_since is None:
            self._without_since = time.monotonic()

    def free(self) -> bool:
        """Whether one more job may be in flight. With no machine for it, one asks an autoscaler for some."""
        if time.monotonic() < self._not_before:
            return False
        if self.resources.gpus:
            return bool(self._idle) or len(self._actors) < max(self._slots, 1)
        return self._in_flight < max(AHEAD * self._slots, 1)

    def submit(self, job: Job, board: Any) -> tuple[Any, Any]:
        """(reference, actor or None) of a job that is now in flight."""
        self._in_flight += 1
        arguments = (job.task.to_json(), job.index, board)
        if not self.resources.gpus:
            return self._task.remote(*arguments), None
        if not self._idle:
            self._actors.append(self._actor.remote())
            self._idle.append(self._actors[-1])
        actor = self._idle.pop()
        return actor.run_shard.remote(*arguments), actor

    def landed(self, actor: Any) -> None:
        """A job of this lane has come back."""
        self._in_flight -= 1
        self._losses = 0
        if actor is not None:
            self._idle.append(actor)

    def lost(self, actor: Any) -> None:
        """A job of this lane was lost, and its actor with it, whatever Ray says; the next one waits a little."""
        self._in_flight -= 1
        self._losses += 1
        self._not_before = time.monotonic() + min(LOSS_SECONDS * 2 ** min(self._losses - 1, 10), LONGEST_WAIT_SECONDS)
        if actor is not None:
            self._actors.remove(actor)
            with contextlib.suppress(Exception):
                ray.kill(actor)

    def shrink(self) -> None:
        """Let an actor go that has nothing to do."""
        if self._idle:
            actor = self._idle.pop()
            self._actors.remove(actor)
            ray.kill(actor)

    def stuck(self) -> str:
        """What to tell people when no machine of the cluster can do these jobs; "" otherwise, and not too often."""
        since = self._without_since
        if since is None or not self._in_flight or time.monotonic() - since < WAIT_SECONDS:
            return ""
        self._without_since = time.monotonic()
        needs = self.resources
        return (
            f"no machine of the cluster offers {needs.cpus:g} CPU and {needs.gpus:g} GPU for a stage; waiting for one"
            " (a cluster that scales itself may bring it; else stop, and run where there is one)"
        )

    def close(self) -> None:
        """Let the actors go."""
        for actor in self._actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)
        self._actors, self._idle = [], []
