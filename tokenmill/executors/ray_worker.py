"""What runs on the machines of a Ray cluster: shards in tasks, shards in actors that keep a model, and the board.

Only plain values go through Ray: a task as JSON, the number of a shard, counts, a manifest. Documents go from file to
file. The functions are imported by name on every machine, so all of them need the same tokenmill.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tokenmill.core.errors import ConfigError, FatalError, ShardError, TokenmillError
from tokenmill.core.secrets import hide
from tokenmill.executors.worker import ShardRunner, ShardTask

WORD_SECONDS = 1.0
"""A shard under way tells of its progress at most so often."""

IDLE_SECONDS = 30.0
"""After so long without a shard, a process gives back the memory of its stages (some hundred MB)."""

Word = dict[str, Any]
"""What a worker says of a shard: `phase`, `index`, `where`, and `counts` once there are some."""


class Board:
    """Holds the latest word of every shard under way until the coordinator asks. Runs as an actor without a CPU.

    If it is lost, so are a few words: results do not pass here.
    """

    def __init__(self) -> None:
        self._words: dict[tuple[int, int], Word] = {}

    def put(self, word: Word) -> None:
        key = (word["phase"], word["index"])
        self._words[key] = {**self._words.get(key, {}), **word}

    def take(self) -> list[Word]:
        """All words since the last time."""
        words, self._words = list(self._words.values()), {}
        return words


def run_shard(task: Mapping[str, Any], index: int, board: Any) -> dict[str, Any]:
    """Do a shard in this process; its manifest, or the fields of the error that it met.

    The stages stay set up for the next shard of the same phase that Ray gives to this process.
    """
    return _RUNNERS.run(ShardTask.from_json(task), index, board)


class ModelWorker:
    """An actor that does shards one after another and keeps what its stages have loaded, such as a model on a GPU."""

    def __init__(self) -> None:
        self._runners = Runners()

    def run_shard(self, task: Mapping[str, Any], index: int, board: Any) -> dict[str, Any]:
        """As the function of that name."""
        return self._runners.run(ShardTask.from_json(task), index, board)


class Runners:
    """The runner of the phase that this process last worked on."""

    def __init__(self) -> None:
        self._task: ShardTask | None = None
        self._runner: ShardRunner | None = None
        self._speaker = _Speaker()
        self._busy = threading.Lock()
        self._last = 0.0

    def run(self, task: ShardTask, index: int, board: Any) -> dict[str, Any]:
        """A shard, in words that travel: {"manifest": ...} or the fields of an error."""
        with self._busy:
            try:
                return self._run(task, index, board)
            finally:
                self._last = time.monotonic()
                timer = threading.Timer(IDLE_SECONDS, self._rest)
                timer.daemon = True
                timer.start()

    def _rest(self) -> None:
        """End the child of a process that has had no shard for a while: the session may be a user's, and go on."""
        with self._busy:
            if self._runner is not None and time.monotonic() - self._last >= IDLE_SECONDS:
                self._runner.close()
                self._runner = None

    def _run(self, task: ShardTask, index: int, board: Any) -> dict[str, Any]:
        self._speaker.begin(board, task.phase, index)
        try:
            manifest = self._ready(task).run_shard(index, self._speaker.progress)
            return {"manifest": manifest, "where": self._speaker.where}
        except TokenmillError as error:
            error.where = error.where or f"node {socket.gethostname()}"
            return error.to_fields()
        except Exception as error:
            # a defect or an unforeseen library error: the shard fails, with the traceback in the worker's log
            import traceback

            print(hide(traceback.format_exc()), file=sys.stderr, flush=True)
            where = f"node {socket.gethostname()}, process {os.getpid()}"
            why = "see the traceback in the log of the Ray worker"
            return ShardError(f"{type(error).__name__}: {error}", where=where, why=why).to_fields()

    def _ready(self, task: ShardTask) -> ShardRunner:
        if self._runner is None or self._task != task:
            import pyarrow as pa

            pa.set_cpu_count(1)
            if self._runner is not None:
                self._runner.close()
            self._runner, self._task = None, task
            try:
                self._runner = ShardRunner(task, alive=self._speaker.alive)
            except ConfigError as error:
                raise _unseen(task, error) from error
        return self._runner


def _unseen(task: ShardTask, error: ConfigError) -> FatalError:
    """What it means when the plan that the coordinator has just checked does not hold on this machine."""
    if "holds no run" in error.what:
        return FatalError(
            f"a machine of the cluster does not see {task.run}",
            where=f"node {socket.gethostname()}",
            fix="put the output on storage that all machines share: s3://, or a network file system",
        )
    return FatalError(
        error.what,
        where=error.where or f"node {socket.gethostname()}",
        why=error.why,
        fix=error.fix or "give all machines the same environment: tokenmill doctor --ray-address",
    )


class _Speaker:
    """Tells the board, and waits for no answer."""

    def __init__(self) -> None:
        self._say: Callable[..., None] = lambda **word: None
        self._last = 0.0
        self.where = f"{socket.gethostname()} process {os.getpid()}"

    def begin(self, board: Any, phase: int, index: int) -> None:
        def say(**more: Any) -> None:
            with contextlib.suppress(Exception):  # the board may be on a machine that is gone
                board.put.remote({"phase": phase, "index": index, "where": self.where, **more})

        self._say = say
        say()
        self._last = time.monotonic()

    def progress(self, counts: Mapping[str, Any]) -> None:
        if time.monotonic() - self._last >= WORD_SECONDS:
            self._last = time.monotonic()
            self._say(counts=dict(counts))

    def alive(self) -> None:
        self._say()


_RUNNERS = Runners()
