"""Everything that watches a run, fed from one tracker: progress, log, status file and metrics."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol

from tokenmill.cli.logs import JsonLog
from tokenmill.cli.progress import ProgressView
from tokenmill.core.errors import TokenmillError
from tokenmill.core.phases import Phase
from tokenmill.executors.base import Executor, PhaseEvent, PhaseStart
from tokenmill.executors.coordinator import CoordinatorFile
from tokenmill.executors.metrics import PrometheusBackend, RayBackend, RunMetrics
from tokenmill.executors.runspec import RunSpec
from tokenmill.executors.tracking import RunTracker
from tokenmill.io.runfolder import RunFolder

TICK_SECONDS = 1.0
JOIN_SECONDS = 1.0
"""A store that does not answer must not keep a run from ending; what the thread does then is write the status file."""


class _Watcher(Protocol):
    def observe(self, phase: Phase, event: PhaseEvent) -> None: ...
    def tick(self) -> None: ...


class Watch:
    """A context around `execute`; `observe` is its observer.

    A thread of its own looks once a second, for a run may have nothing to tell for minutes, and the status file must
    be fresh all the same. How the run came out is told with `ended`; an exception that passes by tells it too.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunFolder,
        executor: Executor,
        *,
        log_json: str | None = None,
        metrics_port: int | None = None,
    ) -> None:
        """ConfigError when the log cannot be opened or the port cannot be served."""
        self.tracker = RunTracker(spec)
        self._executor = executor
        self._folder = folder
        self._over = False
        self._wake = threading.Event()
        self._heard = False
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._metrics: list[RunMetrics] = []
        if metrics_port is not None:
            self._metrics.append(RunMetrics(self.tracker, PrometheusBackend(metrics_port)))
        self._log = JsonLog(log_json, self.tracker) if log_json is not None else None
        self._view = ProgressView(self.tracker, folder.location) if log_json != "-" else None
        self._file = CoordinatorFile(folder, self.tracker, executor)
        self._outcome: tuple[str, int] | None = None

    @property
    def _watchers(self) -> list[_Watcher]:
        return [one for one in (self._view, self._log, self._file, *self._metrics) if one is not None]

    def __enter__(self) -> Watch:
        if self._log is not None:
            self._log.start(output=self._folder.location, executor=self._executor.name)
        if self._view is not None:
            self._view.__enter__()
        self._thread.start()
        return self

    def ended(self, how: str, exit_code: int) -> None:
        """How the run came out: finished or failed, with its exit code."""
        self._outcome = how, exit_code

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.tracker.lock:  # from here on, nobody ticks what is about to be closed
            self._over = True
        self._wake.set()
        self._thread.join(JOIN_SECONDS)
        how, code = self._outcome or ("finished", 0)
        if error is not None:
            # what is no Exception is a signal
            how = "error" if isinstance(error, Exception) else "stopped"
            code = error.exit_code if isinstance(error, TokenmillError) else 1 if how == "error" else 75
        with ExitStack() as stack:  # whatever fails in one, the others are told
            for metrics in self._metrics:
                stack.callback(metrics.close)
            stack.callback(self._file.end, how, code, str(error) if how == "error" else "")
            if self._log is not None:
                stack.callback(self._log.end, how, code, error if how == "error" else None)
            if self._view is not None:
                stack.callback(self._view.__exit__)

    def observe(self, phase: Phase, event: PhaseEvent) -> None:
        """The observer of the run."""
        with self.tracker.lock:
            first = isinstance(event, PhaseStart) and not self.tracker.phases
            if first and self._executor.name == "ray":
                self._metrics.append(RunMetrics(self.tracker, RayBackend()))  # Ray is up by now
            self.tracker.observe(phase, event)
            for watcher in self._watchers:
                watcher.observe(phase, event)
            if not self._heard:
                self._heard = True
                self._wake.set()  # `status` shall not have to wait for the first word

    def _look(self) -> None:
        while True:
            self._wake.wait(TICK_SECONDS)
            with self.tracker.lock:
                if self._over:
                    return
                self._wake.clear()
                for watcher in self._watchers:
                    if watcher is not self._file:
                        watcher.tick()
            self._file.tick()  # a slow store must not hold up the run
