"""From sorted keys to clusters of candidates: equal keys are pairs, and pairs make components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.barrier import TaskFiles, TaskOutput
from tokenmill.dedup.groups import Group
from tokenmill.dedup.keyfile import RANGES, KeyFile
from tokenmill.io.filesystem import open_binary

TASK_RECORDS = 16_000_000
"""About so many (key, document) records are sorted by a task: 0.2 GB, and 0.6 GB at its peak."""
MEMBERS = pa.schema([("row", pa.uint32()), ("component", pa.uint64()), ("copy_of", pa.uint64())])
"""Clustered documents of a group: place in the group, smallest document of the component, smallest exact copy."""


def range_tasks(documents: int, bands: int) -> list[str]:
    """Names of the tasks: which bands and which range of keys each one reads."""
    ranges = 1
    while documents / ranges > TASK_RECORDS and ranges < RANGES:
        ranges *= 2
    together = max(1, min(bands, TASK_RECORDS // max(documents // ranges, 1)))
    return [
        f"bands-{first:03d}-{min(first + together, bands):03d}.range-{part:03d}-of-{ranges:03d}"
        for first in range(0, bands, together)
        for part in range(ranges)
    ]


def _parse(task: str) -> tuple[range, int, int]:
    bands, _, ranges = task.partition(".")
    _, first, stop = bands.split("-")
    _, part, _, parts = ranges.split("-")
    return range(int(first), int(stop)), int(part), int(parts)


def number_type(documents: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type of number that tells all documents apart: half the memory up to 4.29 billion of them."""
    return np.uint32 if documents < 2**32 else np.uint64


def find_pairs(task: str, groups: Sequence[Group], keys: Sequence[str], exact: int, out: TaskOutput) -> dict[str, Any]:
    """Write the pairs of documents with equal keys in the bands and the range of a task.

    keys: the file of keys of each group. exact: the band whose pairs are exact copies; they go to a file of their own.
    """
    bands, part, parts = _parse(task)
    dtype = number_type(sum(group.rows for group in groups))
    found: dict[str, list[npt.NDArray[Any]]] = {"pairs": [], "copies": []}
    for band in bands:
        pairs = _pairs(band, part, parts, groups, keys, dtype)
        found["copies" if band == exact else "pairs"].append(pairs)
        out.alive()
    counts = {}
    for kind, arrays in found.items():
        every = np.concatenate([np.zeros((0, 2), dtype), *arrays])
        with open(out.path(kind, ".npy"), "wb") as stream:
            np.save(stream, every)
        counts[kind] = len(every)
    return {"rows_of": counts}


def _pairs(
    band: int, part: int, parts: int, groups: Sequence[Group], files: Sequence[str], dtype: type
) -> npt.NDArray[Any]:
    keys: list[npt.NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
    numbers: list[npt.NDArray[Any]] = [np.zeros(0, dtype)]
    for group, path in zip(groups, files, strict=True):
        with KeyFile(path) as file:
            one, places = file.slice(band, part, parts)
        keys.append(one)
        numbers.append(places.astype(dtype) + dtype(group.first))
    every, documents = np.concatenate(keys), np.concatenate(numbers)
    keys.clear()
    numbers.clear()
    order = np.argsort(every)
    every, documents = every[order], documents[order]
    del order
    equal = int((every[1:] == every[:-1]).sum())
    pairs: npt.NDArray[Any] = np.zeros((equal, 2), dtype)
    if equal:
        from tokenmill.dedup.clusters_kernel import runs

        assert runs(every, documents, pairs) == equal
    return pairs


def load_pairs(path: str) -> npt.NDArray[Any]:
    """Pairs that `find_pairs` has written."""
    with open_binary(path) as stream:
        found: npt.NDArray[Any] = np.load(stream)
    return found


def components(tasks: Sequence[TaskFiles], groups: Sequence[Group], out: TaskOutput) -> dict[str, Any]:
    """Connect all pairs; write the members of every component with more than one document, by group.

    Memory: 5 bytes a document and 8 more for every exact copy (twice that above 4.29 billion documents).
    """
    from tokenmill.dedup.clusters_kernel import flatten, union

    documents = sum(group.rows for group in groups)
    parent = np.arange(documents, dtype=number_type(documents))
    several = np.zeros(documents, np.uint8)
    for task in tasks:
        union(parent, load_pairs(task.paths["copies"]))
    flatten(parent, several)
    copies, originals = _moved(parent)
    for task in tasks:
        union(parent, load_pairs(task.paths["pairs"]))
        out.alive()
    flatten(parent, several)
    roots = []
    with pa.OSFile(out.path("members", ".arrow"), "wb") as sink, pa.ipc.new_file(sink, MEMBERS) as writer:
        for group in groups:
            mine = slice(group.first, group.first + group.rows)
            rows = np.flatnonzero(several[mine])
            component = parent[mine][rows]
            copy_of = (rows + group.first).astype(parent.dtype)
            start, stop = np.searchsorted(copies, np.array([mine.start, mine.stop], parent.dtype))
            copy_of[np.searchsorted(copy_of, copies[start:stop])] = originals[start:stop]
            columns = [rows.astype(np.uint32), component.astype(np.uint64), copy_of.astype(np.uint64)]
            writer.write_batch(pa.record_batch([pa.array(column) for column in columns], schema=MEMBERS))
            roots.append(component)
            out.alive()
    _, sizes = np.unique(np.concatenate([parent[:0], *roots]), return_counts=True)
    return {
        "documents": documents,
        "clustered": int(sizes.sum()),
        "components": len(sizes),
        "largest": int(sizes.max()) if len(sizes) else 0,
        "sizes": histogram(sizes),
    }


def _moved(parent: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(documents that do not point to themselves, what they point to), looked for in pieces."""
    found = [parent[:0]]
    for start in range(0, len(parent), TASK_RECORDS):
        piece = parent[start : start + TASK_RECORDS]
        found.append(
            (np.flatnonzero(piece != np.arange(start, start + len(piece), dtype=parent.dtype)) + start).astype(
                parent.dtype
            )
        )
    moved = np.concatenate(found)
    return moved, parent[moved]


def histogram(sizes: npt.NDArray[Any]) -> Mapping[str, int]:
    """Number of clusters by size: 2, 3, 4, then powers of two (`8` counts sizes 5 to 8)."""
    bounds = [2, 3, 4]
    while bounds[-1] < (int(sizes.max()) if len(sizes) else 0):
        bounds.append(bounds[-1] * 2)
    places = np.searchsorted(bounds, sizes)
    counts = np.bincount(places, minlength=len(bounds))
    return {str(bound): int(count) for bound, count in zip(bounds, counts, strict=True) if count}
