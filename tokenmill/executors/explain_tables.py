"""What the deduplications of a run have said about one document, from their published tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import Barrier
from tokenmill.executors.carried import read_rows
from tokenmill.executors.explanation import Duplicate
from tokenmill.executors.steps import SUCCESS_JSON
from tokenmill.io.filesystem import open_binary
from tokenmill.io.published import PublishedTables

COMPARED = 5
"""Most comparisons of a document that are told."""
EVIDENCE_BYTES = 1 << 30
"""Beyond this the evidence of a run is not searched for one document."""


class BarrierTables:
    """Rows of the tables of a run's barriers. A refiltered run's are its own, else those of the annotated run."""

    def __init__(self, published: PublishedTables) -> None:
        self._published = published
        self._places: dict[tuple[str, str], tuple[str, int, int] | None] = {}

    def row(self, label: str, slug: str, doc_id: str) -> tuple[PublishedTables, pa.Table] | None:
        """The row of a document, with the run that has it; None where the document never came there."""
        for published in (self._published, self._published.origin):
            place = self._place(published, label, slug) if published is not None else None
            if place is None or published is None:
                continue
            path, start, rows = place
            with open_binary(path) as stream:
                file = pq.ParquetFile(stream)
                ids = read_rows(file, start, rows, [DOC_ID]).column(0)
                at = pc.index(ids, doc_id).as_py()
                if at >= 0:
                    return published, read_rows(file, start + at, 1, list(file.schema_arrow.names))
        return None

    def joined(self, label: str, barrier: Barrier, slug: str, doc_id: str) -> pa.RecordBatch | None:
        """What `Barrier.apply` reads of the row; None where there is none."""
        found = self.row(label, slug, doc_id)
        if found is None:
            return None
        table = found[1].select(list(barrier.table)).combine_chunks()
        return table.to_batches()[0] if table.num_columns else None

    def duplicate(self, label: str, config: Mapping[str, Any], slug: str, doc_id: str) -> Duplicate | None:
        """What to tell of a document's cluster; None where it took no part, or the barrier has no clusters."""
        found = self.row(label, slug, doc_id)
        if found is None or "cluster_id" not in found[1].column_names:
            return None
        published, table = found
        row = table.to_pylist()[0]
        if row["cluster_id"] is None:
            return None
        measure = str(config.get("verify", "none"))
        compared = [] if measure == "none" else _compared(published, label, doc_id)
        known = self._known(published, label, row["representative_id"])
        return Duplicate(
            cluster_id=row["cluster_id"],
            cluster_size=row["cluster_size"],
            representative_id=row["representative_id"],
            keep=row["keep"],
            rule=row["rule"],
            score=row["score"],
            measure=measure,
            least=config.get("min_similarity") if measure != "none" else None,
            same="address" if "url" in label else str(config.get("by", "text")),
            representative_url=known.get("url") or "",
            representative_date=str(known.get("date") or ""),
            compared=compared,
            text=None if row["representative_id"] == doc_id else known.get("text"),
            text_from=known.get("text_from", ""),
        )

    def _known(self, published: PublishedTables, label: str, doc_id: str) -> Mapping[str, Any]:
        """What is stored of the representative; nothing for one of an earlier run."""
        slug = published.documents.shard_of(doc_id)
        if slug is None:
            return {}
        phases = published.run["phases"]
        first = next(n for n, phase in enumerate(phases) if phase.get("step") and phase["stages"][0] == label)
        before = next(phase["directory"] for phase in reversed(phases[:first]) if not phase.get("step"))
        return published.documents.look_up([(slug, doc_id)], before).get(doc_id, {})

    def _place(self, published: PublishedTables, label: str, slug: str) -> tuple[str, int, int] | None:
        """(file of the table, first row, rows) of a shard; None where that barrier is not complete."""
        key = (published.folder.location + "\0" + label, slug)
        if key not in self._places:
            self._places[key] = next(
                ((path, start, rows) for name, path, start, rows in _parts(published, label) if name == slug), None
            )
        return self._places[key]


def _parts(published: PublishedTables, label: str) -> Iterator[tuple[str, str, int, int]]:
    """(shard, file of the table, first row in it, rows) of a barrier."""
    steps = [phase for phase in published.run["phases"] if phase.get("step") and phase["stages"][0] == label]
    sealed = published.folder.read_json(f"phases/{steps[-1]['directory']}/{SUCCESS_JSON}") if steps else None
    for entry in sealed["outputs"] if sealed else ():
        facts, start = entry["facts"], 0
        if "table" not in entry["files"] or "shards" not in facts:
            continue
        for slug, rows in zip(facts["shards"], facts["rows"], strict=True):
            yield slug, published.folder.path(entry["files"]["table"]["path"]), start, rows
            start += rows


def _compared(published: PublishedTables, label: str, doc_id: str) -> list[dict[str, Any]]:
    """The comparisons of a document with others, the most similar first."""
    files = []
    for phase in published.run["phases"]:
        if phase.get("step") and phase["stages"][0] == label:
            sealed = published.folder.read_json(f"phases/{phase['directory']}/{SUCCESS_JSON}")
            outputs = sealed["outputs"] if sealed else ()
            files += [entry["files"]["evidence"] for entry in outputs if "evidence" in entry["files"]]
    if sum(file["bytes"] for file in files) > EVIDENCE_BYTES:
        return []
    found = []
    for file in files:
        with open_binary(published.folder.path(file["path"])) as stream:
            parquet = pq.ParquetFile(stream)
            for group in range(parquet.num_row_groups):
                part = parquet.read_row_group(group, columns=[DOC_ID, "compared_with", "score", "accepted"])
                mine = pc.or_(pc.equal(part.column(DOC_ID), doc_id), pc.equal(part.column("compared_with"), doc_id))
                found += part.filter(mine).to_pylist()
    told = [
        {
            DOC_ID: row["compared_with"] if row[DOC_ID] == doc_id else row[DOC_ID],
            "score": row["score"],
            "accepted": row["accepted"],
        }
        for row in found
    ]
    return sorted(told, key=lambda row: (-row["score"], row[DOC_ID]))[:COMPARED]
