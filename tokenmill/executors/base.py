"""What an executor is: one method over idempotent tasks that take paths, not documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tokenmill.core.errors import TokenmillError
from tokenmill.core.stage import Resources
from tokenmill.executors.worker import ShardTask


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard: its manifest, or the error that made it fail after all retries."""

    index: int
    manifest: Mapping[str, Any] | None
    error: TokenmillError | None = None
    attempts: int = 1


@dataclass(frozen=True)
class ShardProgress:
    """A word from a shard under way: records read, documents, kept, quarantined so far."""

    index: int
    counts: Mapping[str, Any]


class Executor(Protocol):
    """Runs a task on many shards and yields progress and results as they come."""

    name: str

    def map(
        self, task: ShardTask, shards: Sequence[int], resources: Resources
    ) -> Iterator[ShardResult | ShardProgress]:
        """One ShardResult per shard, in any order. FatalError stops everything; nothing else is raised."""
        ...

    def close(self) -> None:
        """Let go of processes that were kept between phases; the executor can be used again."""
        ...
