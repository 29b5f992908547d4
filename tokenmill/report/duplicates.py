"""What deduplications of whole documents came to, for the report: from the facts of their steps, not the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenmill.io.runfolder import RunFolder


@dataclass(frozen=True)
class Duplicates:
    """One deduplication. `sizes`: components of candidates by the upper end of their size."""

    label: str
    documents: int
    candidates: int
    components: int
    largest: int
    removed: int
    sizes: Mapping[str, int]

    @property
    def kept_after_all(self) -> int:
        """Candidates that were kept: one for each component, and those that were found unlike."""
        return self.candidates - self.removed

    @property
    def bars(self) -> list[tuple[str, int, float]]:
        """(size, components of it, share of the most frequent size), by size."""
        most = max(self.sizes.values(), default=1)
        return [(size, self.sizes[size], self.sizes[size] / most) for size in sorted(self.sizes, key=int)]


def duplicates(folder: RunFolder) -> list[Duplicates]:
    """The deduplications of a run that are through, in order."""
    found = []
    phases = folder.read_json("run.json")["phases"]
    for phase in phases:
        if phase.get("step") != "clusters":
            continue
        label = phase["stages"][0]
        clusters = _facts(folder, phase)
        later = [p for p in phases if p.get("step") == "verify" and p["stages"][0] == label]
        verified = [facts for phase in later for facts in _facts(folder, phase)]
        if clusters and verified:
            facts = clusters[0]
            found.append(
                Duplicates(
                    label=label,
                    documents=facts["documents"],
                    candidates=facts["clustered"],
                    components=facts["components"],
                    largest=facts["largest"],
                    removed=sum(one["removed"] for one in verified),
                    sizes=facts["sizes"],
                )
            )
    return found


def _facts(folder: RunFolder, phase: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The facts of all tasks of a step; none before it is complete."""
    sealed = folder.read_json(f"phases/{phase['directory']}/_SUCCESS.json")
    return [entry["facts"] for entry in sealed["outputs"]] if sealed else []
