"""What deduplications have published and kept of documents that are forgotten: keys, and samples of their texts.

The tables and the evidence of a deduplication hold no text and no address, only `doc_id`s, as tombstones do: they stay,
so that clusters can still be told. Its other intermediate files have gone before (`executors/gc.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.schema import DOC_ID
from tokenmill.dedup.keyfile import KeyFile, write_keys
from tokenmill.executors.forget_find import Targets, read
from tokenmill.executors.forget_write import Rewrite
from tokenmill.io.runfolder import RunFolder

_SAMPLES = ("spans", "passages")
"""Kinds of published files with samples of removed text."""


def rewrite_steps(
    folder: RunFolder, run: Mapping[str, Any], targets: Mapping[str, Targets], tombstone: str
) -> set[str]:
    """Take documents out of keys and samples; the directories of phases that have changed. Idempotent.

    targets: by shard.
    """
    changed: set[str] = set()
    before = ""
    for phase in run["phases"]:
        directory = phase["directory"]
        if not phase.get("step"):
            before = directory
            continue
        for task, manifest in folder.manifests(directory):
            kinds = {file["kind"] for file in manifest["files"]}
            rewrite = Rewrite(folder, directory, task)
            if "keys" in kinds and phase["step"] == "keys":
                _without_keys(folder, rewrite, before, targets)
            for kind in sorted(kinds.intersection(_SAMPLES)):
                _without_samples(folder, rewrite, kind, {doc for one in targets.values() for doc in one.doc_ids})
            if rewrite.commit(tombstone):
                changed.add(directory)
    return changed


def _without_keys(folder: RunFolder, rewrite: Rewrite, before: str, targets: Mapping[str, Targets]) -> None:
    """Remove the keys of documents from the file of a group; numbers of the others stay, as places in it."""
    facts = rewrite.manifest["facts"]
    entry = rewrite.entry("keys")
    assert entry is not None
    gone: list[int] = []
    first = 0
    for slug, rows in zip(facts.get("shards", ()), facts.get("rows", ()), strict=True):
        if slug in targets:
            manifest = folder.manifest(before, slug)
            files = [file for file in (manifest or {"files": ()})["files"] if file["kind"] == "data"]
            for file in files:
                ids = read(folder.path(file["path"]), [DOC_ID]).column(0)
                hits = pc.is_in(ids, pa.array(sorted(targets[slug].doc_ids), pa.string()))
                gone += (first + np.flatnonzero(hits.to_numpy())).tolist()
        first += rows
    if not gone:
        return
    bands = []
    with KeyFile(folder.path(entry["path"])) as file:
        about, found = file.about, 0
        for band in range(file.bands):
            keys, numbers = file.slice(band)
            order = np.argsort(numbers, kind="stable")
            keys, numbers = keys[order], numbers[order]
            stay = ~np.isin(numbers, np.array(gone, np.uint32))
            found += int((~stay).sum())
            bands.append((keys[stay], numbers[stay]))
    if found:
        write_keys(rewrite.attempt.path("keys"), bands, about)
        rewrite.replace("keys", entry["rows"] - found)


def _without_samples(folder: RunFolder, rewrite: Rewrite, kind: str, doc_ids: set[str]) -> None:
    """Remove the samples that were taken from documents."""
    entry = rewrite.entry(kind)
    assert entry is not None
    with pa.OSFile(folder.path(entry["path"])) as stream:
        table = pq.read_table(stream)
    mask = pc.is_in(table.column(DOC_ID), pa.array(sorted(doc_ids), pa.string()))
    if mask.combine_chunks().true_count:
        left = table.filter(pc.invert(mask))
        pq.write_table(left, rewrite.attempt.path(kind), compression="zstd")
        rewrite.replace(kind, len(left))
