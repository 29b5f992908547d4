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
from tokenmill.executors.worker import ShardRunner, ShardTask

MAX_ATTEMPTS = 3
"""Tries of a shard before it is listed as failed."""
SILENCE_SECONDS = 300.0
"""A worker that has said nothing for so long is stuck outside any document (a dead disk or network)."""


class InlineExecutor:
    """Everything in this process, without protection: `--workers 0`, for a debugger."""

    name = "inline"

    def map(
        self, task: ShardTask, shards: Sequence[int], resources: Resources
    ) -> Iterator[ShardResult | ShardProgress]:
        runner = ShardRunner(task)
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


@dataclass
class _Worker:
    """A worker process and what is known of it."""

    process: subprocess.Popen[bytes]
    shard: int | None = None
    silence: Stopwatch = field(default_factory=Stopwatch)
    pending: bytearray = field(default_factory=bytearray)

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


class LocalExecutor:
    """`workers` processes on this machine, each with a child of its own for the fused stages."""

    name = "local"

    def __init__(self, workers: int, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self.workers = workers
        self._silence = silence_seconds

    def map(
        self, task: ShardTask, shards: Sequence[int], resources: Resources
    ) -> Iterator[ShardResult | ShardProgress]:
        queue = deque(shards)
        attempts = dict.fromkeys(shards, 0)
        crew: list[_Worker] = []
        patience = 2.0
        try:
            with selectors.DefaultSelector() as selector:
                while queue or any(worker.shard is not None for worker in crew):
                    self._staff(crew, selector, queue, attempts, task)
                    for key, _ in selector.select(0.5):
                        yield from self._hear(key.data, crew, selector, queue, attempts)
                    for worker in list(crew):
                        if worker.shard is not None and worker.silence.tick() > self._silence:
                            why = f"silent for {self._silence:.0f} s"
                            yield from self._lose(worker, crew, selector, queue, attempts, why)
        except BaseException:
            patience = 0.0  # an error or a signal: leave at once, whatever they are doing
            raise
        finally:
            for worker in crew:
                stop_process(worker.process, patience)

    def _staff(
        self,
        crew: list[_Worker],
        selector: selectors.BaseSelector,
        queue: deque[int],
        attempts: dict[int, int],
        task: ShardTask,
    ) -> None:
        """Start workers while there is work for them, and give every idle one a shard."""
        busy = sum(worker.shard is not None for worker in crew)
        while len(crew) < min(self.workers, busy + len(queue)):
            process = subprocess.Popen(
                child_command("tokenmill.executors.worker_main", os.getpid()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(),
            )
            worker = _Worker(process)
            worker.send(task.to_json())
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ, worker)
            crew.append(worker)
        for worker in crew:
            if worker.shard is None and queue:
                worker.shard = queue.popleft()
                worker.silence = Stopwatch()
                attempts[worker.shard] += 1
                worker.send({"shard": worker.shard})

    def _hear(
        self,
        worker: _Worker,
        crew: list[_Worker],
        selector: selectors.BaseSelector,
        queue: deque[int],
        attempts: dict[int, int],
    ) -> Iterator[ShardResult | ShardProgress]:
        messages = worker.read()
        if messages is None:
            code = worker.process.wait()
            yield from self._lose(worker, crew, selector, queue, attempts, f"the worker ended with code {code}")
            return
        for message in messages:
            index = message["shard"]
            if message["kind"] == "progress":
                yield ShardProgress(index, message["counts"])
            elif message["kind"] == "result":
                worker.shard = None
                yield ShardResult(index, message["manifest"], attempts=attempts[index])
            elif message["kind"] == "error":
                worker.shard = None
                error = TokenmillError.from_fields(message)
                if not isinstance(error, ShardError):
                    raise error
                yield from self._retry(index, queue, attempts, error)

    def _lose(
        self,
        worker: _Worker,
        crew: list[_Worker],
        selector: selectors.BaseSelector,
        queue: deque[int],
        attempts: dict[int, int],
        why: str,
    ) -> Iterator[ShardResult | ShardProgress]:
        """A worker is gone or stuck: remove it, and try its shard again."""
        assert worker.process.stdout is not None
        selector.unregister(worker.process.stdout)
        stop_process(worker.process)
        crew.remove(worker)
        if worker.shard is not None:
            error = ShardError("a worker process was lost", why=why, fix="look for a killed process or a full memory")
            yield from self._retry(worker.shard, queue, attempts, error)

    @staticmethod
    def _retry(index: int, queue: deque[int], attempts: dict[int, int], error: TokenmillError) -> Iterator[ShardResult]:
        if attempts[index] < MAX_ATTEMPTS:
            queue.append(index)
        else:
            yield ShardResult(index, None, error, attempts[index])
