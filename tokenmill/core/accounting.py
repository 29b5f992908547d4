"""Counters of a shard: what went in, what came out, and why the rest did not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tokenmill.core.errors import TokenmillError

DROPPED = pa.schema(
    [
        ("doc_id", pa.string()),
        ("id", pa.string()),
        ("url", pa.string()),
        ("file_path", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_length", pa.int64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("signal", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("detail", pa.string()),
        ("text", pa.string()),
    ]
)
"""Columns of `dropped/`. `text` is filled for a seeded sample only; `signal`, `value` and `threshold` where a
rule decided."""

QUARANTINED = pa.schema([*list(DROPPED)[:7], ("cause", pa.string()), ("detail", pa.string())])
"""Columns of `quarantine/`: documents that crashed or hung a library, with the cause."""


@dataclass
class StageCount:
    """Counts of one stage. Documents: `into == out + dropped + quarantined`, always.

    Bytes are those of the document at that point (payload, page or text); seconds are wall-clock time spent
    in the stage.
    """

    stage: str
    into: int = 0
    out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0

    def add(self, other: StageCount) -> None:
        self.into += other.into
        self.out += other.out
        self.dropped.update(other.dropped)
        self.quarantined.update(other.quarantined)
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.seconds += other.seconds

    @property
    def balanced(self) -> bool:
        return self.into == self.out + self.dropped.total() + self.quarantined.total()

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "in": self.into,
            "out": self.out,
            "dropped": dict(sorted(self.dropped.items())),
            "quarantined": dict(sorted(self.quarantined.items())),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "seconds": round(self.seconds, 6),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageCount:
        return cls(
            stage=data["stage"],
            into=data["in"],
            out=data["out"],
            dropped=Counter(data["dropped"]),
            quarantined=Counter(data["quarantined"]),
            bytes_in=data["bytes_in"],
            bytes_out=data["bytes_out"],
            seconds=data["seconds"],
        )


def check_conservation(counts: list[StageCount]) -> None:
    """Every stage's books must balance, and each stage must receive what the one before let out."""
    for before, stage in zip([None, *counts], counts, strict=False):
        if not stage.balanced or (before is not None and before.out != stage.into):
            raise TokenmillError(
                f"the counts of stage {stage.stage!r} do not add up: {stage.to_json()}",
                why="this is a defect of tokenmill, nothing was published",
                fix="please report it with this message",
            )
