"""A run of made-up shards, told event by event, with a clock that is set by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.executors.support import recipe
from tokenmill.core.errors import ShardError
from tokenmill.core.phases import Phase
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import InputShard
from tokenmill.executors.base import PhaseEnd, PhaseStart, ShardProgress, ShardResult, ShardRetry, ShardStart
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.executors.tracking import RunTracker


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Told:
    """The tracker of a run with so many shards, and short words for its events."""

    def __init__(self, sizes: list[int], names: list[str] | None = None, *, spans: bool = False) -> None:
        """spans: the shards are spans of files."""
        names = names or [f"s{i}.jsonl" for i in range(len(sizes))]
        inputs = [InputShard(f"/in/{name}", name, size, "") for name, size in zip(names, sizes, strict=True)]
        if spans:
            inputs = [replace(shard, stop=shard.size, part=(0, 1)) for shard in inputs]
        self.spec = RunSpec.of(make_plan(recipe("trap"), inputs), Options(), "/in")
        self.clock = Clock()
        self.tracker = RunTracker(self.spec, clock=self.clock)
        self.phase: Phase = self.spec.plan.phases[0]
        self.watchers: list[Any] = []

    def tell(self, event: Any, phase: Phase | None = None) -> None:
        self.tracker.observe(phase or self.phase, event)
        for watcher in self.watchers:
            watcher.observe(phase or self.phase, event)

    def begin(self, committed: dict[str, Any] | None = None) -> None:
        self.tell(PhaseStart(committed or {}, self.spec.slugs))

    def start(self, index: int, where: str = "process 1") -> None:
        self.tell(ShardStart(0, index, where))

    def progress(self, index: int, documents: int, kept: int = 0) -> None:
        counts = {"records": documents, "documents": documents, "kept": kept, "quarantined": 0}
        self.tell(ShardProgress(0, index, counts))

    def done(self, index: int, documents: int = 10, kept: int = 6) -> None:
        self.tell(ShardResult(0, index, manifest(documents, kept)))

    def retry(self, index: int, attempts: int = 1) -> None:
        self.tell(ShardRetry(0, index, ShardError("the disk sighed", why="age"), attempts))

    def fail(self, index: int) -> None:
        self.tell(ShardResult(0, index, None, ShardError("the disk died"), 3))

    def end(self) -> None:
        self.tell(PhaseEnd())


def manifest(documents: int, kept: int, reason: str = "short") -> dict[str, Any]:
    """A manifest of a source and a filter that drops for one reason; one document is in quarantine."""
    source = {"stage": "read_jsonl", "in": documents, "out": documents, "dropped": {}, "quarantined": {}}
    dropped = {reason: documents - kept - 1}
    rule = {"stage": "rule", "in": documents, "out": kept, "dropped": dropped, "quarantined": {"ValueError": 1}}
    return {"stages": [source, rule], "files": [{"bytes": 100, "path": "data/x.parquet"}]}
