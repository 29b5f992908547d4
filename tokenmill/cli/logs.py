"""`--log-json`: what happens in a run, one JSON object per line, for programs that collect logs.

Names in it come from archives and from users; every control character in them is escaped, so that no name can begin
a line of its own or speak to a terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.phases import Phase
from tokenmill.core.secrets import hide
from tokenmill.executors.base import (
    Notice,
    PhaseEnd,
    PhaseEvent,
    PhaseStart,
    ShardProgress,
    ShardResult,
    ShardRetry,
    ShardStart,
)
from tokenmill.executors.tracking import COUNTS, PhaseState, RunTracker

PROGRESS_SECONDS = 10.0
"""Time between two lines `progress` of a phase."""


class JsonLog:
    """Writes the log of one run. `observe` and `tick` are called after the tracker has seen an event."""

    def __init__(self, target: str, tracker: RunTracker, *, clock: Callable[[], float] = time.monotonic) -> None:
        """target: a file, which is appended to, or "-" for stderr. ConfigError when it cannot be opened."""
        self._tracker = tracker
        self._clock = clock
        self._told: dict[int, float] = {}
        self._stragglers: set[tuple[int, int]] = set()
        self._stream, self._own = _open(target), target != "-"

    def start(self, **fields: Any) -> None:
        """The line `run_start`."""
        plan = self._tracker.spec.plan
        self._say("info", "run_start", recipe=plan.pipeline.name, fingerprint=plan.fingerprint, **fields)

    def observe(self, phase: Phase, event: PhaseEvent) -> None:
        """One event, which the tracker has seen already."""
        where = {"phase": phase.index + 1, "name": phase.directory.partition("@")[0]}
        if isinstance(event, Notice):  # may come before any phase
            self._say("warning", "notice", **where, text=event.text, fields=dict(event.fields))
            return
        state = self._tracker.phases.get(phase.index)
        if state is None:
            return
        if isinstance(event, PhaseStart):
            self._told[phase.index] = self._clock()
            self._say("info", "phase_start", **where, shards=state.shards, committed_before=state.before)
        elif isinstance(event, PhaseEnd):
            self._say("info", "phase_end", **where, **_counts(state), seconds=self._seconds(state))
        elif isinstance(event, ShardProgress):
            self._progress(state, where)
        else:
            self._shard(state, where, event)

    def tick(self) -> None:
        """Tell of shards that have become stragglers."""
        for state, index, seconds in self._tracker.stragglers():
            key = (state.phase.index, index)
            if key not in self._stragglers:
                self._stragglers.add(key)
                where = {"phase": state.phase.index + 1, "name": state.phase.directory.partition("@")[0]}
                shard = {"shard": state.names[index], "where": state.active[index].where}
                self._say("warning", "straggler", **where, **shard, seconds=round(seconds, 1))

    def end(self, how: str, exit_code: int, error: BaseException | None = None) -> None:
        """The line `run_end`, the last one."""
        failed = sum(len(state.failed) for state in self._tracker.phases.values())
        seconds = round(self._tracker.clock() - self._tracker.started, 3)
        self._say(
            "info" if exit_code == 0 else "error" if how in ("failed", "error") else "warning",
            "run_end",
            how=how,
            exit_code=exit_code,
            seconds=seconds,
            retries=self._tracker.retries,
            failed_shards=failed,
            **({"error": _fields(error)} if error is not None else {}),
        )
        if self._own:
            self._stream.close()

    def _shard(self, state: PhaseState, where: Mapping[str, Any], event: ShardStart | ShardRetry | ShardResult) -> None:
        told = {**where, "shard": state.names[event.index]}
        if isinstance(event, ShardStart):
            self._say("info", "shard_start", **told, where=event.where)
        elif isinstance(event, ShardRetry):
            self._say("warning", "shard_retry", **told, attempts=event.attempts, error=_fields(event.error))
        elif event.manifest is None:
            self._say("error", "shard_failed", **told, attempts=event.attempts, error=_fields(event.error))
        else:
            self._stragglers.discard((state.phase.index, event.index))
            seconds = None if state.last_duration is None else round(state.last_duration, 3)
            stages = event.manifest["stages"]
            counts = {"documents": stages[0]["out"], "kept": stages[-1]["out"]} if stages else {}
            written = sum(file["bytes"] for file in event.manifest["files"])
            self._say("info", "shard_done", **told, attempts=event.attempts, seconds=seconds, bytes=written, **counts)

    def _progress(self, state: PhaseState, where: Mapping[str, Any]) -> None:
        if self._clock() - self._told.get(state.phase.index, 0.0) < PROGRESS_SECONDS:
            return
        self._told[state.phase.index] = self._clock()
        now = self._tracker.clock()
        eta = state.eta(now)
        self._say(
            "info",
            "progress",
            **where,
            **_counts(state),
            seconds=self._seconds(state),
            documents_per_second=round(state.recent_rate(now), 2),
            eta_seconds=None if eta is None else round(eta, 1),
        )

    def _seconds(self, state: PhaseState) -> float:
        return round(state.seconds(self._tracker.clock()), 3)

    def _say(self, level: str, event: str, **fields: Any) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": when, "level": level, "event": event, **fields}, default=str)
        try:
            # JSON escapes all control characters but one
            self._stream.write(line.replace("\x7f", "\\u007f") + "\n")
            self._stream.flush()
        except OSError:
            pass  # a full disk is the run's to tell


def _open(target: str) -> TextIO:
    if target == "-":
        return sys.stderr
    try:
        return open(target, "a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the log {target}", why=str(error), fix="--log-json FILE, or -") from error


def _counts(state: PhaseState) -> dict[str, int]:
    shards = {"shards": state.shards, "committed": state.committed, "failed": len(state.failed)}
    active = {"active": len(state.active), "retries": state.retries}
    return {**shards, **active, **{key: state.now(key) for key in COUNTS if key != "records"}}


def _fields(error: BaseException | None) -> dict[str, str]:
    if isinstance(error, TokenmillError):
        return error.to_fields()
    return {"error": type(error).__name__, "what": hide(str(error))} if error is not None else {}
