"""What a barrier sees of a run: the shards of the phase before it, and the files of its own earlier steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

JOINED = "table."
"""Before the name of a column of a barrier's table, where the table is joined to the documents."""
VERDICT = "verdict."
"""Key of `Barrier.apply`'s answer: the reason to drop each document, null to keep it."""
DETAIL = "detail."
"""Key of `Barrier.apply`'s answer: a note for the list of dropped documents, such as what it is a copy of."""


@dataclass(frozen=True)
class ShardData:
    """The documents of one shard, as the phase before the steps left them: a Parquet file of `rows` rows."""

    slug: str
    path: str
    rows: int
    beside: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further files that a sink has written, by kind."""
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What the writer of a sink tells of the shard."""


@dataclass(frozen=True)
class TaskFiles:
    """What a task of an earlier step has left: its files by kind, and the facts that it returned."""

    name: str
    paths: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Kind -> path below the run's folder, bytes and sha256."""


class Work(Protocol):
    """A run as the tasks of a barrier see it. Everything in it is the same in every process and on every resume."""

    @property
    def shards(self) -> Sequence[ShardData]:
        """All shards, in order of their names."""
        ...

    def outputs(self, step: str) -> Sequence[TaskFiles]:
        """What the tasks of an earlier step have left, in the order of its tasks."""
        ...

    @property
    def input(self) -> str:
        """Absolute location of the input of the run."""
        ...

    @property
    def folder(self) -> str:
        """Absolute location of the output of the run, for what is kept beside its files and never published."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the step: it names the run in what several runs share."""
        ...


class TaskOutput(Protocol):
    """Where a task leaves its files."""

    def path(self, kind: str, extension: str) -> str:
        """A local path for the file of this kind, one per task; it is published once the task is done."""
        ...

    def alive(self) -> None:
        """A word to the supervisor; to be said at least every few minutes."""
        ...
