"""The local executor: supervised worker processes of our own.

`multiprocessing.Pool` hangs for ever when a worker is killed and `ProcessPoolExecutor` fails every pending
future (measured on Python 3.11 to 3.13), so neither is used. A worker that dies or falls silent is replaced
and its shard is tried again.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.errors import FatalError, ShardError, TokenmillError
from tokenmill.core.stage import Resources
from tokenmill.executors.base import ShardProgress, ShardResult
from tokenmill.executors.process import Stopwatch, child_command, child_environment, stop_process
from tokenmill.executors.runspec import RunSpec
from tokenmill.executors.worker import ShardRunner, ShardTask

MAX_ATTEMPTS = 3
"""Tries of a shard before it is listed as failed."""
SILENCE_SECONDS = 300.0
"""A worker that has said nothing for so long is stuck outside any document (a dead disk or network)."""


class InlineExecutor:
    """Everything in this process, without protection: `--workers 0`, for a debugger."""

    name = "inline"

    def __init__(self, spec: RunSpec | None = None) -> None:
        """spec: the run, where it is at hand; it need not be read and checked again."""
        self._spec = spec

    def map(
        self, task: ShardTask, shards: Sequence[int], resources: Resources
    ) -> Iterator[ShardResult | ShardProgress]:
        runner = ShardRunner(task, spec=self._spec)
        try:
            for index in shards:
                try:
                    manifest = runner.run_shard(index, lambda counts: None)
                except FatalError:
                    raise
                except ShardError as error:
                    yield ShardResult(index, None, error)
                    continue
                yield ShardResult(index, manifest)
        finally:
            runner.close()

    def close(self) -> None:
        pass


@dataclass
class _Worker:
    """A worker process and what is known of it."""

    process: subprocess.Popen[bytes]
    shard: int | None = None
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
    """The worker processes of an executor, which stay from one phase to the next: to start one takes a second."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def staff(self, waiting: int) -> None:
        """Start workers while there is work for more of them."""
        busy = sum(worker.shard is not None for worker in self.workers)
        while len(self.workers) < min(self._most, busy + waiting):
            process = subprocess.Popen(
                child_command("tokenmill.executors.worker_main", os.getpid()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(),
            )
            worker = _Worker(process)
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

    def dismiss(self, patience: float) -> None:
        """End all workers; with no patience at once, whatever they are doing."""
        for worker in self.workers:
            stop_process(worker.process, patience)
        self.workers.clear()
        self._selector.close()
        self._selector = selectors.DefaultSelector()


class _Phase:
    """The shards of one phase on their way through the workers."""

    def __init__(self, crew: _Crew, task: ShardTask, shards: Sequence[int], silence: float) -> None:
        self._crew = crew
        self._task = task
        self._queue = deque(shards)
        self._attempts = dict.fromkeys(shards, 0)
        self._silence = silence

    def run(self) -> Iterator[ShardResult | ShardProgress]:
        while self._queue or any(worker.shard is not None for worker in self._crew.workers):
            self._crew.staff(len(self._queue))
            self._assign()
            for worker in self._crew.heard(0.5):
                yield from self._hear(worker)
            for worker in list(self._crew.workers):
                if worker.shard is not None and worker.silence.tick() > self._silence:
                    yield from self._lose(worker, f"silent for {self._silence:.0f} s")

    def _assign(self) -> None:
        """Give every idle worker a shard."""
        for worker in self._crew.workers:
            if worker.shard is None and self._queue:
                if worker.task is not self._task:
                    worker.task = self._task
                    worker.send({"task": self._task.to_json()})
                worker.shard = self._queue.popleft()
                worker.silence = Stopwatch()
                self._attempts[worker.shard] += 1
                worker.send({"shard": worker.shard})

    def _hear(self, worker: _Worker) -> Iterator[ShardResult | ShardProgress]:
        messages = worker.read()
        if messages is None:
            code = worker.process.wait()
            yield from self._lose(worker, f"the worker ended with code {code}")
            return
        for message in messages:
            index = message["shard"]
            if message["kind"] == "progress":
                yield ShardProgress(index, message["counts"])
            elif message["kind"] == "result":
                worker.shard = None
                yield ShardResult(index, message["manifest"], attempts=self._attempts[index])
            elif message["kind"] == "error":
                worker.shard = None
                error = TokenmillError.from_fields(message)
                if not isinstance(error, ShardError):
                    raise error
                yield from self._retry(index, error)

    def _lose(self, worker: _Worker, why: str) -> Iterator[ShardResult | ShardProgress]:
        """A worker is gone or stuck: remove it, and try its shard again."""
        self._crew.remove(worker)
        if worker.shard is not None:
            error = ShardError("a worker process was lost", why=why, fix="look for a killed process or a full memory")
            yield from self._retry(worker.shard, error)

    def _retry(self, index: int, error: TokenmillError) -> Iterator[ShardResult]:
        if self._attempts[index] < MAX_ATTEMPTS:
            self._queue.append(index)
        else:
            yield ShardResult(index, None, error, self._attempts[index])


class LocalExecutor:
    """`workers` processes on this machine, each with a child of its own for the fused stages. `close` ends them."""

    name = "local"

    def __init__(self, workers: int, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self.workers = workers
        self._silence = silence_seconds
        self._crew = _Crew(workers)

    def map(
        self, task: ShardTask, shards: Sequence[int], resources: Resources
    ) -> Iterator[ShardResult | ShardProgress]:
        try:
            yield from _Phase(self._crew, task, shards, self._silence).run()
        except BaseException:
            self._crew.dismiss(0.0)  # an error or a signal: leave at once
            raise

    def close(self) -> None:
        self._crew.dismiss(2.0)
