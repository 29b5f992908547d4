"""Progress of a run: a live table on a terminal, plain lines elsewhere. A view of `RunTracker`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tokenmill.cli.console import error_console, safe_line
from tokenmill.core.errors import TokenmillError
from tokenmill.core.phases import Phase
from tokenmill.core.stage import Stepped
from tokenmill.executors.base import Notice, PhaseEvent, ShardRetry
from tokenmill.executors.coordinator import span
from tokenmill.executors.tracking import COUNTS, PhaseState, RunTracker

LINE_SECONDS = 10.0
"""Time between two plain lines."""
SHOWN_ACTIVE = 20
"""Most shards under way in the live table: those that have run longest, for a cluster has hundreds."""


class ProgressView:
    """Tells people of a run. Counts are of this session and of what was committed before it."""

    def __init__(self, tracker: RunTracker, location: str) -> None:
        self._tracker = tracker
        self._location = location
        self._console = error_console()
        self._live: Live | None = None
        self._drawn = Group()
        self._printed = time.monotonic()
        self._stragglers: set[tuple[int, int]] = set()

    def __enter__(self) -> ProgressView:
        self._console.print(f"run in {safe_line(self._location)}", highlight=False)
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._render)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._print_lines()

    def observe(self, phase: Phase, event: PhaseEvent) -> None:
        """One event, which the tracker has seen already."""
        if isinstance(event, Notice):
            self._print(f"note: {safe_line(event.text)}")
        elif isinstance(event, ShardRetry):
            state = self._tracker.phases.get(phase.index)
            name = safe_line(state.names[event.index]) if state else str(event.index)
            self._print(f"{name}: attempt {event.attempts} failed, tried again: {safe_line(event.error.what)}")
        if self._live is None and time.monotonic() - self._printed >= LINE_SECONDS:
            self._print_lines()

    def tick(self) -> None:
        """Tell of shards that have become stragglers; once for each."""
        for state, index, seconds in self._tracker.stragglers():
            key = (state.phase.index, index)
            if key not in self._stragglers:
                self._stragglers.add(key)
                where = f" ({safe_line(state.active[index].where)})" if state.active[index].where else ""
                self._print(
                    f"{safe_line(state.names[index])}{where} has run for {span(seconds)}: much longer than others"
                )

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def _print_lines(self) -> None:
        self._printed = time.monotonic()
        for state in self._shown():
            self._print(safe_line(self._line(state)))

    def _shown(self) -> list[PhaseState]:
        """The open phases, or the last one where all are complete."""
        return self._tracker.open_phases or list(self._tracker.phases.values())[-1:]

    def _line(self, state: PhaseState) -> str:
        now = self._tracker.clock()
        phases = len(self._tracker.spec.plan.phases)
        phase = "" if phases == 1 else f"phase {state.phase.index + 1}/{phases} · "
        failed = f" · {len(state.failed)} failed" if state.failed else ""
        retried = f" · {state.retries} tried again" if state.retries else ""
        slow = len(state.stragglers(now))
        trouble = failed + retried + (f" · {slow} stragglers" if slow else "")
        if state.phase.step:
            tasks = f"{phase}{state.label} · {state.committed}/{state.shards} tasks{trouble}"
            return " · ".join(filter(None, (tasks, _told(state.phase, self._location), _times(state, now))))
        documents, kept = state.now("documents"), state.now("kept")
        return (
            f"{phase}{state.committed}/{state.shards} shards{trouble} · {documents:,} documents ·"
            f" kept {kept:,} ({kept / max(documents, 1):.0%}) · quarantined {state.now('quarantined'):,} ·"
            f" {state.rate(now):.0f} documents/s · {_times(state, now)}"
        )

    def _render(self) -> Group:
        """The live table; the last one while an event is being taken in.

        The thread that draws has locked the console, and the one that takes in an event may be about to print: neither
        may wait for the other.
        """
        if self._tracker.lock.acquire(blocking=False):
            try:
                self._drawn = Group(*self._renderables())
            finally:
                self._tracker.lock.release()
        return self._drawn

    def _renderables(self) -> Iterator[RenderableType]:
        now = self._tracker.clock()
        for state in self._shown():
            yield Text(self._line(state))
            slow = state.stragglers(now)
            told = [(i, a) for i, a in state.active.items() if a.counts or i in slow]
            if not told:
                continue
            table = Table(box=None, padding=(0, 2, 0, 0))
            for name in ("shard", *COUNTS, ""):
                table.add_column(name, justify="right" if name in COUNTS else "left")
            oldest = sorted(told, key=lambda pair: pair[1].since)[:SHOWN_ACTIVE]
            for index, active in sorted(oldest):
                numbers = [f"{active.counts.get(key, 0):,}" for key in COUNTS]
                remark = f"straggler, {span(slow[index])} {active.where}" if index in slow else ""
                table.add_row(
                    safe_line(state.names[index]), *numbers, Text.from_markup(safe_line(remark), style="yellow")
                )
            yield table
            if len(told) > SHOWN_ACTIVE:
                yield Text(f"and {len(told) - SHOWN_ACTIVE} more shards under way", "dim")


def _told(phase: Phase, location: str) -> str:
    """What a stage says of its own step; a file that cannot be read just now says nothing."""
    stage = phase.stages[0]
    try:
        return stage.progress(phase.step, location, phase.fingerprint) if isinstance(stage, Stepped) else ""
    except (OSError, TokenmillError):
        return ""


def _times(state: PhaseState, now: float) -> str:
    eta, seconds = state.eta(now), state.seconds(now)
    return f"{seconds:.0f} s" if eta is None else f"{seconds:.0f} s, about {eta:.0f} s left"
