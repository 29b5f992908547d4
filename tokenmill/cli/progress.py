"""Progress of a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tokenmill.cli.console import error_console, safe
from tokenmill.core.phases import Phase
from tokenmill.executors.base import ShardProgress, ShardResult
from tokenmill.executors.run import PhaseStart
from tokenmill.executors.runspec import RunSpec

LINE_SECONDS = 10.0
"""Time between two plain lines."""


class ProgressView:
    """Observer of a run. Counts are of this session and of what was committed before it."""

    def __init__(self, spec: RunSpec, location: str) -> None:
        self._spec = spec
        self._location = location
        self._console = error_console()
        self._live: Live | None = None
        self._phase: Phase | None = None
        self._names: Sequence[str] = spec.slugs
        self._active: dict[int, Mapping[str, Any]] = {}
        self._begin_phase()

    def _begin_phase(self) -> None:
        self._done = self._failed = self._before = 0
        self._bytes_done = self._bytes_before = self._documents_before = 0
        self._totals = {"documents": 0, "kept": 0, "quarantined": 0}
        self._started = self._printed = time.monotonic()
        self._active.clear()

    def __enter__(self) -> ProgressView:
        self._console.print(f"run in {safe(self._location)}", highlight=False)
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._render)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._phase is not None:
            self._console.print(self._line(), highlight=False)

    def observe(self, phase: Phase, event: PhaseStart | ShardResult | ShardProgress) -> None:
        """Take in one event of the run."""
        if isinstance(event, PhaseStart):
            self._begin_phase()
            self._phase = phase
            self._names = event.names
            self._count_committed(event.committed)
        elif isinstance(event, ShardProgress):
            self._active[event.index] = event.counts
        else:
            self._finish(event)
        if self._live is None and time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            self._console.print(self._line(), highlight=False)

    def _count_committed(self, committed: Mapping[str, Mapping[str, Any]]) -> None:
        """What an earlier session has left behind, so that a resumed run does not begin at zero."""
        sizes = dict(zip(self._names, self._sizes(), strict=True))
        for slug, manifest in committed.items():
            self._before += 1
            self._bytes_before += sizes[slug]
            self._add(manifest)
        self._documents_before = self._totals["documents"]

    def _sizes(self) -> list[int]:
        """What the shards of the phase weigh; the tasks of a step weigh the same."""
        if self._phase is not None and self._phase.step:
            return [1] * len(self._names)
        return [shard.size for shard in self._spec.plan.inputs]

    def _finish(self, result: ShardResult) -> None:
        self._active.pop(result.index, None)
        if result.manifest is None:
            self._failed += 1
            return
        self._done += 1
        self._bytes_done += self._sizes()[result.index]
        self._add(result.manifest)

    def _add(self, manifest: Mapping[str, Any]) -> None:
        stages = manifest["stages"]
        if not stages:
            return
        self._totals["documents"] += stages[0]["out"]
        self._totals["kept"] += stages[-1]["out"]
        self._totals["quarantined"] += sum(sum(s["quarantined"].values()) for s in stages)

    def _now(self, key: str) -> int:
        return self._totals[key] + sum(int(counts[key]) for counts in self._active.values())

    def _line(self) -> str:
        documents, kept = self._now("documents"), self._now("kept")
        seconds = max(time.monotonic() - self._started, 1e-6)
        shards = len(self._names)
        phases = len(self._spec.plan.phases)
        phase = "" if phases == 1 or self._phase is None else f"phase {self._phase.index + 1}/{phases} · "
        failed = f" · {self._failed} failed" if self._failed else ""
        if self._phase is not None and self._phase.step:
            what = safe(f"{self._phase.labels[0]}: {self._phase.step}")
            return f"{phase}{what} · {self._done + self._before}/{shards} tasks{failed} · {self._eta(seconds)}"
        return (
            f"{phase}{self._done + self._before}/{shards} shards{failed} · {documents:,} documents ·"
            f" kept {kept:,} ({kept / max(documents, 1):.0%}) · quarantined {self._now('quarantined'):,} ·"
            f" {self._rate(seconds):.0f} documents/s · {self._eta(seconds)}"
        )

    def _rate(self, seconds: float) -> float:
        """Documents per second of this session; shards committed before it do not count."""
        return (self._now("documents") - self._documents_before) / seconds

    def _eta(self, seconds: float) -> str:
        total = sum(self._sizes())
        if not self._bytes_done:
            return f"{seconds:.0f} s"
        left = (total - self._bytes_before - self._bytes_done) * seconds / self._bytes_done
        return f"{seconds:.0f} s, about {left:.0f} s left"

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("shard", "records", "documents", "kept", "quarantined"):
            table.add_column(name, justify="left" if name == "shard" else "right")
        for index, counts in sorted(self._active.items()):
            name = safe(self._names[index])
            numbers = [f"{counts[key]:,}" for key in ("records", "documents", "kept", "quarantined")]
            table.add_row(name, *numbers)
        return Group(Text(self._line()), table)
