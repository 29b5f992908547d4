"""The funnel: documents, bytes and seconds by stage and reason, folded over the manifests of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.accounting import StageCount
from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.overlap import Overlap

PHASE_JOINTS = frozenset({"read_phase", "write_phase"})
"""Stages that only carry documents from one phase to the next; they are no rows of the funnel."""


@dataclass
class Funnel:
    """Counts of a run, summed over its committed shards."""

    run: Mapping[str, Any]
    stages: list[StageCount] = field(default_factory=list)
    shards_done: int = 0
    shards: int = 0
    overlap: Overlap | None = None
    """How rules overlap; only in annotate mode."""

    @property
    def records(self) -> int:
        """What the source read, whatever it was."""
        return self.stages[0].into if self.stages else 0

    @property
    def kept(self) -> int:
        return self.stages[-1].out if self.stages else 0

    @property
    def quarantined(self) -> Counter[str]:
        """Quarantined documents by `stage.cause`."""
        return Counter({f"{s.stage}.{cause}": n for s in self.stages for cause, n in s.quarantined.items()})

    @property
    def dropped(self) -> Counter[str]:
        """Dropped records and documents by `stage.reason`."""
        return Counter({f"{s.stage}.{reason}": n for s in self.stages for reason, n in s.dropped.items()})

    @property
    def complete(self) -> bool:
        return self.shards_done == self.shards

    @property
    def balance(self) -> int:
        """Records that are not accounted for: 0, or something is wrong.

        While a run of several phases is under way, its stages are at different shards, so each is checked alone.
        """
        if self.complete:
            return self.records - self.kept - self.dropped.total() - self.quarantined.total()
        return sum(s.into - s.out - s.dropped.total() - s.quarantined.total() for s in self.stages)


def fold(folder: RunFolder, seen: Callable[[Mapping[str, Any]], None] | None = None) -> Funnel:
    """The funnel of a run, finished or not. ConfigError when the folder holds no run.

    seen: called with every manifest of a phase of documents: a large run has 100,000 of them, so they are read once.
    """
    run = folder.read_json("run.json")
    if run is None:
        raise ConfigError(f"{folder.location} holds no run", why="there is no run.json", fix="check the path")
    totals: dict[str, StageCount] = {}
    shards = run["input"]["shards"]
    funnel = Funnel(run, shards=len(shards))
    for phase in run["phases"]:
        if phase.get("step"):
            continue
        done = 0
        for _, manifest in folder.manifests(phase["directory"]):
            done += 1
            if seen is not None:
                seen(manifest)
            if "overlap" in manifest:
                funnel.overlap = funnel.overlap or Overlap()
                funnel.overlap.add(manifest["overlap"])
            for entry in manifest["stages"]:
                count = StageCount.from_json(entry)
                if count.stage not in PHASE_JOINTS:
                    totals.setdefault(count.stage, StageCount(count.stage)).add(count)
        funnel.shards_done = done
    funnel.stages = list(totals.values())
    return funnel
