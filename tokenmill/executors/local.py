"""The local executor: supervised worker processes of our own.

`multiprocessing.Pool` hangs for ever when a worker is killed and `ProcessPoolExecutor` fails every pending
future (measured on Python 3.11 to 3.13), so neither is used. A worker that dies or falls silent is replaced
and its shard is tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.errors import FatalError, ShardError, TokenmillError
from tokenmill.executors.base import Job, Jobs, ShardEvent, ShardProgress, ShardResult, ShardRetry, ShardStart
from tokenmill.executors.process import Stopwatch, child_command, child_environment, stop_process, visible_gpus
from tokenmill.executors.runspec import RunSpec
from tokenmill.executors.worker import ShardRunner, ShardTask

MAX_ATTEMPTS = 3
"""Tries of a shard before it is listed as failed."""
SILENCE_SECONDS = 300.0
"""A worker that has said nothing for so long is stuck outside any document (a dead disk or network)."""


class InlineExecutor:
    """Everything in this process, without protection: `--workers 0`, for a debugger."""

    name = "inline"
    workers = 1

    def __init__(self, spec: RunSpec | None = None) -> None:
        """spec: the run, where it is at hand; it need not be read and checked again."""
        self._spec = spec

    def map(self, jobs: Jobs) -> Iterator[ShardEvent]:
        runner: ShardRunner | None = None
        task: ShardTask | None = None
        try:
            while jobs:
                job = jobs.popleft()
                if runner is None or job.task != task:
                    if runner is not None:
                        runner.close()
                    runner, task = ShardRunner(job.task, spec=self._spec), job.task
                yield ShardStart(job.task.phase, job.index, "this process")
                try:
                    manifest = runner.run_shard(job.index, lambda counts: None)
                except FatalError:
                    raise
                except ShardError as error:
                    yield ShardResult(job.task.phase, job.index, None, error)
                    continue
                yield ShardResult(job.task.phase, job.index, manifest)
        finally:
            if runner is not None:
                runner.close()

    def close(self) -> None:
        pass


@dataclass
class _Worker:
    """A worker process and what is known of it."""

    process: subprocess.Popen[bytes]
    lane: float
    """GPUs of the jobs that it does; workers with a model keep to them."""
    slot: int
    job: Job | None = None
    silence: Stopwatch = field(default_factory=Stopwatch)
    pending: bytearray = field(default_factory=bytearray)
    task: ShardTask | None = None
    """What it has been told to work on."""

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its death is noticed by the end of its output

    def read(self) -> list[dict[str, Any]] | None:
        """Complete messages that have arrived, None at the end of the worker's output."""
        assert self.process.stdout is not None
        chunk = os.read(self.process.stdout.fileno(), 1 << 16)
        if not chunk:
            return None
        self.silence = Stopwatch()
        self.pending += chunk
        *lines, rest = bytes(self.pending).split(b"\n")
        self.pending = bytearray(rest)
        return [json.loads(line) for line in lines]


class _Crew:
    """The worker processes of an executor, which stay from one phase to the next: to start one takes a second.

    Jobs that want GPUs have workers of their own, so that a model is loaded once and CPU work goes on beside it.
    """

    def __init__(self, workers: int) -> None:
        self._most = workers
        self.workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def most(self, lane: float) -> int:
        """Workers for jobs that want so many GPUs each; at least one, which then runs on what there is."""
        return max(1, int(visible_gpus() / lane)) if lane else self._most

    def staff(self, lane: float, waiting: int) -> None:
        """Start workers while there is work for more of them."""
        mine = [worker for worker in self.workers if worker.lane == lane]
        wanted = min(self.most(lane), sum(worker.job is not None for worker in mine) + waiting)
        slots = sorted(set(range(wanted)) - {worker.slot for worker in mine})
        for slot in slots[: max(0, wanted - len(mine))]:
            process = subprocess.Popen(
                child_command("tokenmill.executors.worker_main", os.getpid()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**child_environment(), **_devices(lane, slot)},
            )
            worker = _Worker(process, lane, slot)
            assert process.stdout is not None
            self._selector.register(process.stdout, selectors.EVENT_READ, worker)
            self.workers.append(worker)

    def heard(self, seconds: float) -> list[_Worker]:
        """Workers that have something to say, within so many seconds."""
        return [key.data for key, _ in self._selector.select(seconds)]

    def remove(self, worker: _Worker) -> None:
        """End a worker that is gone or stuck."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        stop_process(worker.process)
        self.workers.remove(worker)

    def release_gpus(self) -> None:
        """End the workers that hold models on GPUs: what follows may want the memory."""
        for worker in [worker for worker in self.workers if worker.lane]:
            self.remove(worker)

    def dismiss(self, patience: float) -> None:
        """End all workers; with no patience at once, whatever they are doing."""
        for worker in self.workers:
            with contextlib.suppress(OSError):
                assert worker.process.stdin is not None
                worker.process.stdin.close()  # all at once, for they end together
        until = time.monotonic() + patience
        for worker in self.workers:
            stop_process(worker.process, max(0.0, until - time.monotonic()))
        self.workers.clear()
        self._selector.close()
        self._selector = selectors.DefaultSelector()


def _devices(lane: float, slot: int) -> dict[str, str]:
    """Which GPUs the worker in a slot sees: whole ones, or one that several workers share."""
    if not lane or not visible_gpus():
        return {}
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",") if given else [str(number) for number in range(visible_gpus())]
    first = int(slot * lane)
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[first : first + max(1, int(lane))])}


class _Queues:
    """Jobs that wait, by the GPUs that they want and by phase."""

    def __init__(self) -> None:
        self._lanes: dict[float, dict[ShardTask, deque[Job]]] = {}

    def put(self, job: Job) -> None:
        lane = self._lanes.setdefault(job.resources.gpus, {})
        lane.setdefault(job.task, deque()).append(job)

    def waiting(self) -> dict[float, int]:
        """GPUs wanted -> jobs that wait."""
        return {gpus: sum(map(len, lane.values())) for gpus, lane in self._lanes.items()}

    def take(self, worker: _Worker) -> Job | None:
        """The next job for a worker: of the phase for which it has loaded its stages, else of the earliest."""
        lane = self._lanes.get(worker.lane, {})
        queues = [lane[worker.task]] if worker.task in lane else []
        queues += [lane[task] for task in sorted(lane, key=lambda task: task.phase)]
        return next((queue.popleft() for queue in queues if queue), None)


class _Shift:
    """Jobs on their way through the workers."""

    def __init__(self, crew: _Crew, jobs: Jobs, silence: float) -> None:
        self._crew = crew
        self._jobs = jobs
        self._queues = _Queues()
        self._attempts: Counter[tuple[int, int]] = Counter()
        self._silence = silence

    def run(self) -> Iterator[ShardEvent]:
        while True:
            while self._jobs:
                self._queues.put(self._jobs.popleft())
            waiting = self._queues.waiting()
            if not any(waiting.values()) and all(worker.job is None for worker in self._crew.workers):
                self._crew.release_gpus()
                return
            for lane, count in waiting.items():
                self._crew.staff(lane, count)
            yield from self._assign()
            for worker in self._crew.heard(0.5):
                yield from self._hear(worker)
            for worker in list(self._crew.workers):
                if worker.job is not None and worker.silence.tick() > self._silence:
                    yield from self._lose(worker, f"silent for {self._silence:.0f} s")

    def _assign(self) -> Iterator[ShardEvent]:
        """Give every idle worker a job."""
        for worker in self._crew.workers:
            job = self._queues.take(worker) if worker.job is None else None
            if job is None:
                continue
            if worker.task != job.task:
                worker.task = job.task
                worker.send({"task": job.task.to_json()})
            worker.job = job
            worker.silence = Stopwatch()
            self._attempts[job.task.phase, job.index] += 1
            worker.send({"shard": job.index})
            yield ShardStart(job.task.phase, job.index, f"process {worker.process.pid}")

    def _hear(self, worker: _Worker) -> Iterator[ShardEvent]:
        messages = worker.read()
        if messages is None:
            code = worker.process.wait()
            yield from self._lose(worker, f"the worker ended with code {code}")
            return
        for message in messages:
            job, kind = worker.job, message["kind"]
            if job is None or kind not in ("progress", "result", "error"):
                continue
            phase = job.task.phase
            if kind == "progress":
                yield ShardProgress(phase, job.index, message["counts"])
                continue
            worker.job = None
            if kind == "result":
                attempts = self._attempts.pop((phase, job.index))
                yield ShardResult(phase, job.index, message["manifest"], attempts=attempts)
                continue
            error = TokenmillError.from_fields(message)
            if not isinstance(error, ShardError):
                raise error
            yield self._retry(job, error)

    def _lose(self, worker: _Worker, why: str) -> Iterator[ShardEvent]:
        """A worker is gone or stuck: remove it, and try its shard again."""
        self._crew.remove(worker)
        if worker.job is not None:
            error = ShardError("a worker process was lost", why=why, fix="look for a killed process or a full memory")
            yield self._retry(worker.job, error)

    def _retry(self, job: Job, error: TokenmillError) -> ShardEvent:
        attempts = self._attempts[job.task.phase, job.index]
        if attempts >= MAX_ATTEMPTS:
            return ShardResult(job.task.phase, job.index, None, error, attempts)
        self._queues.put(job)
        return ShardRetry(job.task.phase, job.index, error, attempts)


class LocalExecutor:
    """`workers` processes on this machine, each with a child of its own for the fused stages. `close` ends them.

    Stages that want GPUs have as many further workers as the visible GPUs allow, at least one.
    """

    name = "local"

    def __init__(self, workers: int, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self.workers = workers
        self._silence = silence_seconds
        self._crew = _Crew(workers)

    def map(self, jobs: Jobs) -> Iterator[ShardEvent]:
        try:
            yield from _Shift(self._crew, jobs, self._silence).run()
        except BaseException:
            self._crew.dismiss(0.0)  # an error or a signal: leave at once
            raise

    def close(self) -> None:
        self._crew.dismiss(2.0)
