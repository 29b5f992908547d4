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
    from tokenmill.dedup.clusters_kernel import runs

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
    assert runs(every, documents, pairs) == equal
    return pairs


def load_pairs(path: str) -> npt.NDArray[Any]:
    """Pairs that `find_pairs` has written."""
    with open_binary(path) as stream:
        found: npt.NDArray[Any] = np.load(stream)
    return found


def components(tasks: Sequence[TaskFiles], groups: Sequence[Group], out: TaskOutput) -> dict[str, Any]:
    """Connect all pairs; write the members of every component with more than one document, by group.

    Memory: 12 bytes a document (20 above 4.29 billion).
    """
    documents = sum(group.rows for group in groups)
    copies = _connect(tasks, ("copies",), documents, out)
    copy_of = copies[0]
    parent, sizes = _connect(tasks, ("copies", "pairs"), documents, out)
    clustered = 0
    with pa.OSFile(out.path("members", ".arrow"), "wb") as sink, pa.ipc.new_file(sink, MEMBERS) as writer:
        for group in groups:
            mine = slice(group.first, group.first + group.rows)
            roots = parent[mine]
            rows = np.flatnonzero(sizes[roots] > 1).astype(np.uint32)
            clustered += len(rows)
            columns = [rows, roots[rows].astype(np.uint64), copy_of[mine][rows].astype(np.uint64)]
            writer.write_batch(pa.record_batch([pa.array(column) for column in columns], schema=MEMBERS))
    several = sizes[sizes > 1]
    return {
        "documents": documents,
        "clustered": clustered,
        "components": len(several),
        "largest": int(several.max()) if len(several) else 0,
        "sizes": histogram(several),
    }


def _connect(
    tasks: Sequence[TaskFiles], kinds: Sequence[str], documents: int, out: TaskOutput
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(smallest document of each document's set, size of the set at its smallest document)."""
    from tokenmill.dedup.clusters_kernel import flatten, union

    parent = np.arange(documents, dtype=number_type(documents))
    for task in tasks:
        for kind in kinds:
            union(parent, load_pairs(task.paths[kind]))
        out.alive()
    sizes = np.zeros(documents, number_type(documents))
    flatten(parent, sizes)
    return parent, sizes


def histogram(sizes: npt.NDArray[Any]) -> Mapping[str, int]:
    """Number of clusters by size: 2, 3, 4, then powers of two (`8` counts sizes 5 to 8)."""
    bounds = [2, 3, 4]
    while bounds[-1] < (int(sizes.max()) if len(sizes) else 0):
        bounds.append(bounds[-1] * 2)
    places = np.searchsorted(bounds, sizes)
    counts = np.bincount(places, minlength=len(bounds))
    return {str(bound): int(count) for bound, count in zip(bounds, counts, strict=True) if count}
