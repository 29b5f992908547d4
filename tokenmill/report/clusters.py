"""The clusters that a run's deduplications have found: counted, searched, and one of them with its reasons.

Tables may have many millions of rows: they are read row group by row group, and only the columns that are asked for.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.schema import DOC_ID
from tokenmill.io.documents import Documents
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold
from tokenmill.text.hosts import host_of

HOSTS_OF = 200
"""Members of a large cluster whose hosts are looked up."""
_SIMILAR = ("jaccard", "containment")


@dataclass(frozen=True)
class TableFile:
    """A file of a deduplication's table: the documents of `shards` one after the other, so many `rows` of each."""

    path: str
    shards: tuple[str, ...]
    rows: tuple[int, ...]

    def shards_at(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The shard of each of these rows."""
        return [self.shards[place] for place in np.searchsorted(np.cumsum(self.rows), rows, side="right")]


@dataclass(frozen=True)
class Dedup:
    """A finished deduplication of a run. `before`: directory of the phase whose documents it compared."""

    label: str
    kind: str
    config: Mapping[str, Any]
    tables: tuple[TableFile, ...]
    evidence: tuple[str, ...]
    before: str
    components: str | None
    """File of the connected candidates; one batch per file of the table, after those of the index."""

    @property
    def measure(self) -> str:
        """`jaccard`, `containment`, or `none` where texts were not compared."""
        return str(self.config.get("verify", "none"))

    @property
    def same(self) -> str:
        """What documents of the rule `exact` have in common."""
        if self.kind == "UrlDedup":
            return "address"
        return str(self.config.get("by", "text"))

    def least(self, component: int | None) -> float:
        """The similarity that was asked for in a component of so many documents (None: not known)."""
        large = component is not None and component > self.config.get("large_cluster", component)
        return float(self.config.get("large_min_similarity" if large else "min_similarity", 0.0))

    def parts(
        self,
        columns: Sequence[str],
        where: str = "",
        wanted: Collection[str] = (),
        tables: Collection[int] | None = None,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> Iterator[tuple[int, pa.Table]]:
        """(number of the file, rows) of the table, a row group at a time; a column `row` has their places in the file.

        where, wanted: only rows with one of these values of a column; row groups without any are read no further.
        tables: numbers of the files that are looked at. rows: only these places, in order.
        """
        values = pa.array(wanted, pa.string())
        for number, table in enumerate(self.tables):
            if tables is not None and number not in tables:
                continue
            with open_binary(table.path) as stream:
                file, first = pq.ParquetFile(stream), 0
                for group in range(file.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    places = np.arange(count)
                    if rows is not None:
                        places = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + count)] - first
                    elif where:
                        found = pc.is_in(file.read_row_group(group, columns=[where]).column(0), values)
                        places = np.flatnonzero(found.to_numpy())
                    if len(places):
                        part = file.read_row_group(group, columns=list(columns))
                        part = part if len(places) == count else part.take(pa.array(places))
                        yield number, part.append_column("row", pa.array(places + first))
                    first += count


@dataclass
class Survey:
    """A deduplication in numbers. `sizes`: clusters of two and more by size; `largest`: (size, cluster id)."""

    documents: int = 0
    removed: int = 0
    outside: int = 0
    """Documents that took no part: without text, or dropped by a filter of an annotated run."""
    apart: int = 0
    """Kept documents that were candidates, and like none of the others."""
    removed_by_index: int = 0
    """Documents whose representative is in an earlier run."""
    rules: Counter[str] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    largest: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Brief:
    """One line about a cluster. `hosts` of at most `HOSTS_OF` members."""

    cluster_id: str
    size: int
    representative_id: str = ""
    url: str = ""
    rules: Counter[str] = field(default_factory=Counter)
    lowest: float | None = None
    hosts: Counter[str] = field(default_factory=Counter)


class Clusters:
    """The deduplications of a run."""

    def __init__(self, folder: RunFolder) -> None:
        self.funnel = fold(folder)
        self.run = self.funnel.run
        self.documents = Documents(folder, self.run)
        self.folder = folder
        named = [(phase["stages"][0], phase.get("step")) for phase in self.run["phases"]]
        steps = list(dict.fromkeys(label for label, step in named if step == "clusters"))
        self.passages = [label for label, step in named if step == "table" and label not in steps]
        """Stages that remove passages of texts: they have no clusters."""
        if not steps and self.passages:
            raise ConfigError(
                f"{folder.location} has no clusters",
                why=f"{', '.join(self.passages)} removes passages, not documents",
                fix=f"what it removed most often is in {folder.path(f'dedup/{self.passages[0]}')}",
            )
        if not steps:
            origin = self.run.get("refilter", {}).get("run")
            raise ConfigError(
                f"{folder.location} has no deduplication" + (" of its own" if origin else ""),
                why=f"it was made from {origin}" if origin else f"its stages are {', '.join(self._configs)}",
                fix=f"tokenmill clusters {origin}" if origin else "put a MinHashDedup() or ExactDedup() in the recipe",
            )
        opened = {label: self._open(label) for label in steps}
        self.unfinished = [label for label, dedup in opened.items() if dedup is None]
        self.dedups = [dedup for dedup in opened.values() if dedup is not None]
        if not self.dedups:
            raise ConfigError(
                f"{', '.join(self.unfinished)}: not finished in {folder.location}",
                fix="run the same command again to go on; tokenmill status tells how far it is",
            )

    @cached_property
    def _configs(self) -> dict[str, Mapping[str, Any]]:
        return {entry["stage"]: entry for entry in self.run["stages"]}

    def chosen(self, label: str | None) -> Dedup:
        """The deduplication of this name, else the last one."""
        if label is None:
            return self.dedups[-1]
        for dedup in self.dedups:
            if dedup.label == label:
                return dedup
        why = "it is not finished" if label in self.unfinished else did_you_mean(label, [d.label for d in self.dedups])
        raise ConfigError(f"no deduplication {label!r} in {self.folder.location}", why=why)

    def _open(self, label: str) -> Dedup | None:
        phases = self.run["phases"]
        steps = [phase for phase in phases if phase.get("step") and phase["stages"][0] == label]
        sealed = {step["step"]: self.folder.read_json(f"phases/{step['directory']}/_SUCCESS.json") for step in steps}
        if not sealed["table"]:
            return None
        path = self.folder.path
        tables = [
            TableFile(path(entry["files"]["table"]["path"]), *(tuple(entry["facts"][k]) for k in ("shards", "rows")))
            for entry in sealed["table"]["outputs"]
        ]
        files = [entry["files"] for step in sealed.values() for entry in step["outputs"]]
        entry = self._configs[label]
        return Dedup(
            label=label,
            kind=entry["class"].rpartition(":")[2],
            config=entry["config"],
            tables=tuple(tables),
            evidence=tuple(path(f["evidence"]["path"]) for f in files if "evidence" in f),
            before=phases[phases.index(steps[0]) - 1]["directory"],
            components=next((path(f["members"]["path"]) for f in files if "members" in f), None),
        )

    def removed_bytes(self, dedup: Dedup) -> int | None:
        """Bytes of the documents that went, as they were at that point; None while they are still going."""
        count = next((stage for stage in self.funnel.stages if stage.stage == dedup.label), None)
        if count is None or count.into != sum(sum(table.rows) for table in dedup.tables):
            return None
        return count.bytes_in - count.bytes_out

    def survey(self, dedup: Dedup, top: int) -> Survey:
        """Count the whole table, and find the `top` largest clusters."""
        found = Survey()
        largest: dict[str, int] = {}
        for _, part in dedup.parts(["rule", "keep", "cluster_size", "cluster_id"]):
            rules = {row["values"]: row["counts"] for row in part.column("rule").value_counts().to_pylist()}
            found.outside += rules.pop(None, 0)
            found.rules.update(rules)
            found.documents += len(part)
            found.removed += pc.sum(pc.invert(part.column("keep"))).as_py() or 0
            sizes = part.filter(pc.equal(part.column("rule"), "representative")).column("cluster_size")
            found.sizes.update({row["values"]: row["counts"] for row in sizes.value_counts().to_pylist()})
            if not top:
                continue
            least = min(largest.values()) if len(largest) >= top else 2
            several = part.filter(pc.greater_equal(part.column("cluster_size"), least))
            pairs = several.group_by(["cluster_id", "cluster_size"]).aggregate([]).to_pylist()
            largest.update({row["cluster_id"]: row["cluster_size"] for row in pairs})
            largest = dict(heapq.nsmallest(top, largest.items(), key=lambda item: (-item[1], item[0])))
        found.apart = found.sizes.pop(1, 0)
        found.removed_by_index = found.removed - sum((size - 1) * count for size, count in found.sizes.items())
        found.largest = [(size, cluster_id) for cluster_id, size in largest.items()]
        return found

    def briefs(self, dedup: Dedup, largest: Sequence[tuple[int, str]]) -> list[Brief]:
        """What there is to say about some clusters in a line."""
        found = {cluster_id: Brief(cluster_id, size) for size, cluster_id in largest}
        sample: dict[str, list[tuple[str, str]]] = {cluster_id: [] for cluster_id in found}
        columns = [DOC_ID, "cluster_id", "representative_id", "rule", "score"]
        for number, part in dedup.parts(columns, "cluster_id", found):
            shards = dedup.tables[number].shards_at(part.column("row").to_numpy())
            counted = part.group_by(["cluster_id", "representative_id", "rule"]).aggregate(
                [("score", "min"), ("rule", "count")]
            )
            for row in counted.to_pylist():
                brief = found[row["cluster_id"]]
                brief.representative_id = row["representative_id"]
                brief.rules[row["rule"]] += row["rule_count"]
                if row["rule"] in _SIMILAR and row["score_min"] is not None:
                    brief.lowest = min(row["score_min"], brief.lowest if brief.lowest is not None else 1.0)
            ids, clusters = part.column(DOC_ID).to_pylist(), part.column("cluster_id").to_pylist()
            for shard, doc_id, cluster_id in zip(shards, ids, clusters, strict=True):
                if len(sample[cluster_id]) < HOSTS_OF or doc_id == found[cluster_id].representative_id:
                    sample[cluster_id].append((shard, doc_id))
        known = self.documents.look_up([one for some in sample.values() for one in some], dedup.before, ["url"])
        for cluster_id, brief in found.items():
            brief.hosts.update(host_of(known[doc_id].get("url", "")) for _, doc_id in sample[cluster_id])
            del brief.hosts[""]
            brief.url = known.get(brief.representative_id, {}).get("url", "")
        return list(found.values())
