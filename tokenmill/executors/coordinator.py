"""`phases/coordinator.json`: the word of a run's coordinator to whoever looks at the run from elsewhere.

One small file, replaced whole. It tells what manifests cannot: who works on what since when, rates, and how the last
session ended. What is committed is never read from it: manifests say that. It is not among the bytes that a run
promises to reproduce.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tokenmill import __version__
from tokenmill.core.phases import Phase
from tokenmill.executors.base import Executor, Notice, PhaseEnd, PhaseEvent, PhaseStart
from tokenmill.executors.tracking import RunTracker, snapshot
from tokenmill.io.runfolder import RunFolder

COORDINATOR_JSON = "phases/coordinator.json"
LOCAL_SECONDS, REMOTE_SECONDS = 10.0, 30.0
"""Seconds between two writings, on a disk and on an object store (where each is a request that costs)."""
MISSED = 4
"""After so many writings that did not come, a coordinator counts as silent: one may be slow on a busy machine."""
END_SECONDS = 10.0
"""So long the end of a run waits for its last word to be written: a store may be tried for minutes, and this is one
small file."""


class CoordinatorFile:
    """Writes the file: after starts and ends of phases, and at intervals in between when `tick` is called.

    Nothing is written before the first event: until then the folder may be another run's. A folder that cannot be
    written to is no reason to stop a run here; the run itself will meet it. One writing is under way at a time, and
    none follows the one that tells of the end.
    """

    def __init__(
        self,
        folder: RunFolder,
        tracker: RunTracker,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._tracker = tracker
        self._executor = executor
        self._clock = clock
        self.interval = LOCAL_SECONDS if folder.is_local else REMOTE_SECONDS
        self._started = _utc()
        self._begun = self._due = False
        self._written = 0.0
        self._writing = threading.Lock()
        self._over = False

    def observe(self, phase: Phase, event: PhaseEvent) -> None:
        """An event that the tracker has seen already. Nothing is written here: stores may take their time.

        A notice may come before any phase: a run that looks at what is committed is alive.
        """
        if isinstance(event, PhaseStart | PhaseEnd) or (isinstance(event, Notice) and not self._begun):
            self._begun = self._due = True

    def tick(self) -> None:
        """Write when it is time. To be called about once a second, without the tracker's lock."""
        if not self._begun or not (self._due or self._clock() - self._written >= self.interval):
            return
        if not self._writing.acquire(blocking=False):
            return  # the one before is under way
        try:
            if not self._over:
                self._write(self._content(None))
        finally:
            self._writing.release()

    def end(self, how: str, exit_code: int, error: str = "") -> None:
        """The session is over. how: finished, failed (shards), stopped (a signal) or error.

        What takes longer than END_SECONDS is left to a thread, which still waits for a writing that is under way: the
        older word must not stand over the last one.
        """
        self._over = True
        if not self._begun:
            return
        content = self._content({"how": how, "exit_code": exit_code, "error": error})
        thread = threading.Thread(target=self._write_last, args=(content,), name="last word", daemon=True)
        thread.start()
        thread.join(END_SECONDS)

    def _write_last(self, content: Mapping[str, Any]) -> None:
        with self._writing:
            self._write(content)

    def _content(self, ended: Mapping[str, Any] | None) -> dict[str, Any]:
        self._due = False
        self._written = self._clock()
        return {
            "format": 1,
            "tokenmill": __version__,
            "time": _utc(),
            "started": self._started,
            "interval": self.interval,
            "host": platform.node(),
            "pid": os.getpid(),
            "executor": self._executor.name,
            "workers": self._executor.workers,
            "ended": ended,
            **snapshot(self._tracker),
        }

    def _write(self, content: Mapping[str, Any]) -> None:
        try:
            self._folder.write_json(COORDINATOR_JSON, content)
        except Exception:  # stores raise what they like, and a status file is not worth a run
            pass


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Liveness:
    """What the file says about the coordinator.

    state: live, silent or dead while it has not said that it ended; else finished, failed, stopped or error; unknown
    without a file.
    """

    state: str
    text: str
    content: Mapping[str, Any]

    @property
    def is_live(self) -> bool:
        return self.state == "live"


def liveness(folder: RunFolder, *, now: datetime | None = None) -> Liveness:
    """Read the file and judge by its age, and by the process where that would be on this machine.

    now: the time of the reader. Clocks of two machines may differ: a file from the future counts as fresh.
    """
    try:
        content = folder.read_json(COORDINATOR_JSON)
        age = ((now or datetime.now(UTC)) - datetime.fromisoformat(content["time"])).total_seconds() if content else 0
    except (ValueError, KeyError, TypeError):
        return Liveness("unknown", f"{COORDINATOR_JSON} cannot be read", {})
    if not content:
        return Liveness("unknown", "no coordinator has left word", {})
    who = f"process {content['pid']} on {content['host']}"
    ended = content["ended"]
    if ended:
        texts = {
            "finished": "finished",
            "failed": "ended with shards that failed",
            "stopped": "stopped by a signal",
            "error": "ended with an error",
        }
        said = texts.get(ended["how"], ended["how"])
        return Liveness(ended["how"], f"{said}, {span(age)} ago, exit code {ended['exit_code']}", content)
    if content["host"] == platform.node() and not _alive(content["pid"]):
        return Liveness("dead", f"dead: {who} has ended without a word, last heard of {span(age)} ago", content)
    if age > MISSED * content["interval"]:
        return Liveness("silent", f"silent: no word from {who} for {span(age)}", content)
    return Liveness("live", f"live: {who}, last word {span(max(age, 0))} ago", content)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # there, and another user's
    return True


def span(seconds: float) -> str:
    """Seconds for people: 42 s, 12 min, 3.4 h, 2.1 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
