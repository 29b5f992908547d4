"""The table of a deduplication: one row per document, in the order of the documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput
from tokenmill.core.schema import DOC_ID
from tokenmill.dedup.gather import read_shard
from tokenmill.dedup.groups import Group
from tokenmill.io.filesystem import open_binary

TABLE: Mapping[str, pa.DataType] = {
    "doc_id": pa.string(),
    "cluster_id": pa.string(),
    "cluster_size": pa.int64(),
    "representative_id": pa.string(),
    "score": pa.float64(),
    "keep": pa.bool_(),
    "rule": pa.string(),
}
"""cluster_id: the first document of the cluster. score: similarity with the representative, null where nobody looked.
rule: why a document is kept (`unique`, `representative`) or not (`exact`, `jaccard`, `containment`, `unverified`);
null, as all but doc_id and keep, where a document took no part."""


def write_table(group: Group, labels: Sequence[str], number: int, takes_part: str, out: TaskOutput) -> dict[str, Any]:
    """Write the table of a group: one row group (or more) per shard.

    labels: files of the verified buckets; number: the batch of this group in them. takes_part: the column that is
    null where a document takes no part.
    """
    found = []
    for path in labels:
        with open_binary(path) as stream:
            found.append(pa.ipc.open_file(stream).get_batch(number))
    clustered = pa.Table.from_batches(found)
    clustered = clustered.take(pc.sort_indices(clustered.column("row"))).combine_chunks()
    rows = clustered.column("row").to_numpy().astype(np.int64)
    schema = pa.schema(list(TABLE.items()))
    first = kept = 0
    with pq.ParquetWriter(out.path("table", ".parquet"), schema, compression="zstd", write_page_index=True) as writer:
        for shard in group.shards:
            batches = list(read_shard(shard, [DOC_ID, takes_part]))
            if not batches:
                continue
            documents = pa.Table.from_batches(batches).combine_chunks()
            start, stop = np.searchsorted(rows, [first, first + len(documents)])
            places = np.full(len(documents), -1, np.int64)
            places[rows[start:stop] - first] = np.arange(start, stop)
            part = _rows(documents, takes_part, clustered, places).cast(schema)
            kept += pc.sum(part.column("keep")).as_py() or 0
            if len(part):
                writer.write_table(part, row_group_size=1 << 20)
            first += len(documents)
            out.alive()
    return {**group.facts(), "rows_of": {"table": first}, "kept": kept}


def _rows(documents: pa.Table, takes_part: str, clustered: pa.Table, places: np.ndarray) -> pa.Table:
    """Documents with their labels; those in no cluster represent themselves."""
    ids = documents.column(DOC_ID).combine_chunks()
    alone = places < 0
    inside = documents.column(takes_part).combine_chunks().is_valid()
    chosen = pa.array(np.where(alone, 0, places), mask=alone)

    def column(name: str, otherwise: Any) -> pa.Array:
        labels = clustered.column(name).combine_chunks()
        taken = labels.take(chosen) if len(labels) else pa.nulls(len(ids), labels.type)
        mask = pc.and_(pa.array(alone), inside)
        return pc.if_else(mask, otherwise, taken)

    return pa.table(
        {
            "doc_id": ids,
            "cluster_id": column("cluster_id", ids),
            "cluster_size": column("cluster_size", pa.scalar(1, pa.int64())),
            "representative_id": column("representative_id", ids),
            "score": column("score", pa.scalar(1.0)),
            "keep": pc.fill_null(column("keep", pa.scalar(True)), True),
            "rule": column("rule", pa.scalar("unique")),
        }
    )
