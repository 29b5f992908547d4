"""What an executor is: one method over idempotent jobs that take paths, not documents."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tokenmill.core.errors import TokenmillError
from tokenmill.core.stage import Resources
from tokenmill.executors.worker import ShardTask


@dataclass(frozen=True)
class Job:
    """One shard of one phase, or one task of a barrier's step; idempotent, so it may be done again anywhere."""

    task: ShardTask
    index: int
    resources: Resources


Jobs = deque[Job]
"""Jobs that are ready. The coordinator appends to it between two events: what a result has made possible."""


@dataclass(frozen=True)
class PhaseStart:
    """A phase begins with these shards or tasks; some of them were committed before."""

    committed: Mapping[str, Mapping[str, Any]]
    names: Sequence[str] = ()


@dataclass(frozen=True)
class PhaseEnd:
    """All shards of a phase are committed and the phase is sealed."""


@dataclass(frozen=True)
class ShardStart:
    """A shard has been given to a worker."""

    phase: int
    index: int
    where: str = ""
    """The worker, in words: a process, a node."""


@dataclass(frozen=True)
class ShardProgress:
    """A word from a shard under way: records read, documents, kept, quarantined so far."""

    phase: int
    index: int
    counts: Mapping[str, Any]


@dataclass(frozen=True)
class ShardRetry:
    """An attempt at a shard has failed, and it will be tried again."""

    phase: int
    index: int
    error: TokenmillError
    attempts: int


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard: its manifest, or the error that made it fail after all retries."""

    phase: int
    index: int
    manifest: Mapping[str, Any] | None
    error: TokenmillError | None = None
    attempts: int = 1


@dataclass(frozen=True)
class Notice:
    """Something that people should know while the run goes on, such as waiting for a machine."""

    phase: int
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


ShardEvent = ShardStart | ShardProgress | ShardRetry | ShardResult | Notice
"""What an executor tells."""
PhaseEvent = PhaseStart | PhaseEnd | ShardEvent
"""What an observer of a run is told."""


class Executor(Protocol):
    """Does jobs and tells of them as they go."""

    name: str
    workers: int
    """How many jobs at once, 0 where that changes while it runs."""

    def map(self, jobs: Jobs) -> Iterator[ShardEvent]:
        """Take jobs until there are none left and none under way: one ShardResult per job, in any order.

        FatalError and ConfigError stop everything; nothing else is raised.
        """
        ...

    def close(self) -> None:
        """Let go of processes that were kept between phases; the executor can be used again."""
        ...
