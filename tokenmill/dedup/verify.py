"""Verification: representatives are chosen, every other document is compared with one before it is given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput
from tokenmill.dedup.gather import load_bucket
from tokenmill.dedup.groups import Group
from tokenmill.dedup.preference import Preference, sort_keys

MEASURES = ("jaccard", "containment", "none")
EVIDENCE = pa.schema(
    [
        ("doc_id", pa.string()),
        ("compared_with", pa.string()),
        ("score", pa.float64()),
        ("rule", pa.string()),
        ("accepted", pa.bool_()),
    ]
)
"""Every comparison that was made, also those after which a document was kept."""
LABELS = pa.schema(
    [
        ("row", pa.uint32()),
        ("cluster_id", pa.string()),
        ("cluster_size", pa.int64()),
        ("representative_id", pa.string()),
        ("score", pa.float64()),
        ("keep", pa.bool_()),
        ("rule", pa.string()),
    ]
)
UNVERIFIED = "unverified"
RULES = ("index", "representative", "exact")
"""Names of the outcomes `OF_INDEX`, `REPRESENTATIVE` and `COPY` of the kernel; `SIMILAR` is named after the measure."""


@dataclass(frozen=True)
class Policy:
    """How candidates are verified. See the settings of `MinHashDedup`."""

    measure: str = "jaccard"
    min_similarity: float = 0.7
    large_cluster: int = 500
    large_min_similarity: float = 0.8
    max_comparisons: int = 8


def verify_bucket(
    paths: Sequence[str],
    bucket: int,
    buckets: int,
    groups: Sequence[Group],
    policy: Policy,
    preferences: Sequence[Preference],
    out: TaskOutput,
) -> dict[str, Any]:
    """Decide about every document of a bucket; writes their labels, one batch per new group, and the evidence."""
    everything = load_bucket(paths, bucket, buckets)
    sets = _sets(everything)
    table = everything.select([name for name in everything.column_names if name != "shingles"])
    del everything
    keys = [("component", "ascending"), ("old", "descending"), *sort_keys(preferences), ("document", "ascending")]
    if policy.measure == "containment" and not preferences:  # what contains comes before what is contained
        table = table.append_column("size", pa.array(_set_sizes(table, sets[1])))
        keys.insert(2, ("size", "descending"))
    order = pc.sort_indices(table, sort_keys=keys)
    table = table.take(order).combine_chunks()
    places = order.to_numpy()
    out.alive()
    values, offsets = sets
    chosen, score, outcome, evidence = _decide(table, (values, offsets[:-1][places], offsets[1:][places]), policy)
    _write_evidence(table, evidence, policy, out)
    _write_labels(table, chosen, score, outcome, groups, policy, out)
    removed = int((outcome >= 2).sum())
    return {"rows_of": {"labels": len(table), "evidence": len(evidence[0])}, "removed": removed}


def _decide(
    table: pa.Table, sets: tuple[Any, Any, Any], policy: Policy
) -> tuple[Any, Any, Any, tuple[Any, Any, Any, Any]]:
    """(representative, score, outcome) of each row, and the comparisons. sets: (hashes, starts (n,), stops (n,))."""
    from tokenmill.dedup.verify_kernel import CONTAINMENT, JACCARD, SIMILAR, verify

    count = len(table)
    chosen, score, outcome = np.zeros(count, np.int64), np.zeros(count), np.zeros(count, np.int8)
    component = table.column("component").to_numpy()
    bounds = (
        np.flatnonzero(np.concatenate([[True], component[1:] != component[:-1], [True]]))
        if count
        else np.zeros(1, np.int64)
    )
    none = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))
    if not count:
        return chosen, score, outcome, none
    old = table.column("old").to_numpy()
    source = _sources(table)
    if policy.measure == "none":
        chosen = np.repeat(bounds[:-1], np.diff(bounds))
        chosen = np.where(old, np.arange(count), chosen)  # what was published before stays
        copies = (source >= 0) & (source[chosen] == source)
        outcome = np.where(chosen == np.arange(count), np.where(old, 0, 1), np.where(copies, 2, SIMILAR)).astype(
            np.int8
        )
        return chosen, np.where(outcome == SIMILAR, np.nan, 1.0), outcome, none
    most = min(policy.max_comparisons, count)
    mine = np.add.reduceat(((source == np.arange(count)) | (old & (source >= 0))).astype(np.int64), bounds[:-1])
    compared = int((mine * np.minimum(mine, most)).sum())
    evidence = (
        np.zeros(compared, np.int64),
        np.zeros(compared, np.int64),
        np.zeros(compared),
        np.zeros(compared, bool),
    )
    limits = np.array([policy.min_similarity, policy.large_cluster, policy.large_min_similarity, most], np.float64)
    measure = CONTAINMENT if policy.measure == "containment" else JACCARD
    made = verify(bounds.astype(np.int64), source, old, (*sets, measure), limits, (chosen, score, outcome), evidence)
    return chosen, score, outcome, tuple(array[:made] for array in evidence)  # type: ignore[return-value]


def _set_sizes(table: pa.Table, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Shingles of each document; a copy has those of its original."""
    documents, copy_of = table.column("document").to_numpy(), table.column("copy_of").to_numpy()
    order = np.argsort(documents)
    sizes: npt.NDArray[np.int64] = np.diff(offsets)[order[np.searchsorted(documents[order], copy_of)]]
    return sizes


def _sources(table: pa.Table) -> npt.NDArray[np.int64]:
    """For each row the row whose text is the same; itself where it is the first; -1 where digests disagree.

    Equal 64-bit keys named the copies; the 128-bit digests must agree, or nothing is believed.
    """
    documents, copy_of = table.column("document").to_numpy(), table.column("copy_of").to_numpy()
    order = np.argsort(documents)
    places = order[np.searchsorted(documents[order], copy_of)]
    digests = table.column("digest")
    same = pc.equal(digests, digests.take(pa.array(places))).combine_chunks().to_numpy(zero_copy_only=False)
    return np.where(same, places, -1).astype(np.int64)


def _sets(table: pa.Table) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    if "shingles" not in table.column_names:
        return np.zeros(0, np.uint64), np.zeros(len(table) + 1, np.int64)
    lists = table.column("shingles").combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    return lists.values.to_numpy(), lists.offsets.to_numpy()


def _write_evidence(table: pa.Table, evidence: tuple[Any, Any, Any, Any], policy: Policy, out: TaskOutput) -> None:
    ids = table.column("doc_id")
    document, other, score, accepted = evidence
    rule = pa.array(np.full(len(document), policy.measure, object), pa.string())
    columns = [ids.take(pa.array(document)), ids.take(pa.array(other)), pa.array(score), rule, pa.array(accepted)]
    pq.write_table(pa.table(columns, schema=EVIDENCE), out.path("evidence", ".parquet"), compression="zstd")


def _write_labels(
    table: pa.Table, chosen: Any, score: Any, outcome: Any, groups: Sequence[Group], policy: Policy, out: TaskOutput
) -> None:
    ids = table.column("doc_id").combine_chunks()
    sizes = np.bincount(chosen, minlength=len(table))
    documents = table.column("document").to_numpy()
    first = np.full(len(table), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, chosen, documents)  # the cluster is named after its first document
    order = np.argsort(documents)
    named = order[np.searchsorted(documents[order], first[chosen])] if len(table) else order
    measure = UNVERIFIED if policy.measure == "none" else policy.measure
    names = np.array([*RULES, measure], object)
    labels = pa.table(
        {
            "row": pa.array(documents),
            "cluster_id": ids.take(pa.array(named)),
            "cluster_size": pa.array(sizes[chosen]),
            "representative_id": ids.take(pa.array(chosen)),
            "score": pa.array(score, mask=np.isnan(score)),
            "keep": pa.array(chosen == np.arange(len(table))),
            "rule": pa.array(names[outcome], pa.string()),
        }
    ).take(pa.array(order))
    ordered = documents[order]
    with pa.OSFile(out.path("labels", ".arrow"), "wb") as sink:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(sink, LABELS, options=options) as writer:
            for group in groups:
                if group.index:
                    continue
                start, stop = np.searchsorted(ordered, np.array([group.first, group.first + group.rows], np.uint64))
                part = labels.slice(start, stop - start).combine_chunks()
                rows = pa.array((ordered[start:stop] - np.uint64(group.first)).astype(np.uint32))
                part = part.set_column(0, "row", rows)
                batches = part.cast(LABELS).to_batches()
                writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=LABELS))
