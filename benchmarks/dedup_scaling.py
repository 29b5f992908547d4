"""Candidates and clusters of 1, 3 and 10 million documents' band keys: time and memory of all processes.

    .venv/bin/python benchmarks/dedup_scaling.py [--millions 1 3 10] [--workers 2] [--program tokenmill|reference]

Keys are 14 random numbers of 64 bits per document. About a quarter of the documents are planted in clusters, one in 100
in one giant; a document shares one to three bands with the first of its cluster, so that nothing is found twice
for free. How many clusters there are is known and is checked. `reference` is one process that has everything in memory:
numpy's sort for each band, and union-find.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from dedup import measured

BANDS = 14
WARM_UP = 0.001
"""Millions of documents of a run that is not counted: kernels are compiled once per machine."""
SHARD = 250_000
"""Documents per file of keys."""
FIRSTS = 12
"""Every twelfth document may be the first of a cluster, and is never a member of another."""
MEMBERS, GIANT = 0.17, 0.01
"""Shares of documents that belong to some first document, and to the first of all."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Found:
    """What a program says: numbers of clusters and of documents in them, wall-clock seconds by step."""

    clusters: int
    documents: int
    seconds: dict[str, float]


def main() -> None:
    """Make keys, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--millions", type=float, nargs="*", default=[1, 3, 10])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--program", choices=tuple(PROGRAMS), default="tokenmill")
    parser.add_argument("--folder", type=Path, help="only run the program on these keys, in this process; prints JSON")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="where keys go: 112 bytes each")
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(asdict(PROGRAMS[arguments.program](arguments.folder, arguments.workers))))
        return
    print(f"\n{arguments.program}, {arguments.workers} workers, {os.cpu_count()} cores\n")
    print(
        "| documents | seconds | CPU seconds | µs a document | peak RSS, all processes | bytes a document | clusters |"
    )
    print("|---:|---:|---:|---:|---:|---:|---|")
    for millions in (WARM_UP, *arguments.millions):
        with tempfile.TemporaryDirectory(prefix="tokenmill-keys-", dir=arguments.work) as folder:
            row = measure(arguments, Path(folder), round(millions * 1e6))
        if millions != WARM_UP:
            print(row, flush=True)


def measure(arguments: argparse.Namespace, folder: Path, count: int) -> str:
    """One row of the table."""
    expected = write_keys(folder, count)
    command = [sys.executable, __file__, "--program", arguments.program, "--workers", str(arguments.workers)]
    cost = measured([*command, "--folder", str(folder)], memory="Rss")
    found = Found(**json.loads(cost.output.splitlines()[-1]))
    clusters = f"{found.clusters:,} of {found.documents:,} documents"
    if (found.clusters, found.documents) != expected:
        clusters += f", WRONG: {expected[0]:,} of {expected[1]:,}"
    seconds = sum(found.seconds.values())
    steps = ", ".join(f"{step} {took:.1f}" for step, took in found.seconds.items())
    time_cells = f"{seconds:.1f} ({steps}) | {cost.cpu:.1f} | {1e6 * seconds / count:.2f}"
    return f"| {count:,} | {time_cells} | {cost.peak / 2**20:,.0f} MiB | {cost.peak / count:.0f} | {clusters} |"


def write_keys(folder: Path, count: int) -> tuple[int, int]:
    """Files of keys, (rows, 14) uint64, in `folder`; the number of clusters and of documents in them."""
    bases = planted(count)
    for start in range(0, count, SHARD):
        numbers = np.arange(start, min(start + SHARD, count), dtype=np.uint64)
        np.save(folder / f"{start // SHARD:05}.npy", keys(numbers, bases[start : start + SHARD]))
    members = bases != np.arange(count, dtype=np.uint64)
    clusters = len(np.unique(bases[members]))
    return clusters, clusters + int(members.sum())


def planted(count: int) -> Array:
    """Per document the first of its cluster; itself where it is in none or is the first."""
    numbers = np.arange(count, dtype=np.uint64)
    draw = (mixed(numbers, 1) >> np.uint64(11)).astype(np.float64) / 2**53
    firsts = mixed(numbers, 2) % np.uint64(max(count // FIRSTS, 1)) * np.uint64(FIRSTS)
    member = numbers % np.uint64(FIRSTS) != 0
    bases = np.where(member & (draw < (MEMBERS + GIANT) * FIRSTS / (FIRSTS - 1)), firsts, numbers)
    return np.where(member & (draw < GIANT * FIRSTS / (FIRSTS - 1)), np.uint64(0), bases)


def keys(numbers: Array, bases: Array) -> Array:
    """Keys of documents, each of which shares the bands that chance has chosen with the first of its cluster."""
    bands = np.arange(BANDS, dtype=np.uint64)
    own = mixed(numbers[:, None] * np.uint64(BANDS) + bands, 3)
    theirs = mixed(bases[:, None] * np.uint64(BANDS) + bands, 3)
    shared = np.zeros(own.shape, bool)
    for number in range(3):
        shared[np.arange(len(numbers)), (mixed(numbers, 4 + number) % np.uint64(BANDS)).astype(np.int64)] = True
    return np.where(shared, theirs, own)


def mixed(values: Array, stream: int) -> Array:
    """SplitMix64 (Steele, Lea and Flood 2014): a random number per value and stream."""
    seed = np.uint64(stream * 0x9E3779B97F4A7C15 % 2**64)
    values = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ seed
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def own(folder: Path, workers: int) -> Found:
    """tokenmill's steps, in as many processes as a run would have; sorting the keys of a group counts too."""
    import tokenmill.dedup.candidates as candidates
    from tokenmill.core.barrier import ShardData
    from tokenmill.dedup.groups import group

    files = sorted(folder.glob("*.npy"))
    shards = [ShardData(path.stem, str(path), len(np.load(path, mmap_mode="r"))) for path in files]
    groups = group(shards)
    documents = sum(shard.rows for shard in shards)
    seconds = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(abs, range(workers)))  # they are there
        started = time.perf_counter()
        keys = list(pool.map(own_keys, groups))
        seconds["sorted keys"] = time.perf_counter() - started
        started = time.perf_counter()
        names = candidates.range_tasks(documents, BANDS + 1)
        tasks = list(pool.map(own_pairs, names, itertools.repeat(groups), itertools.repeat(keys)))
        seconds["candidates"] = time.perf_counter() - started
    started = time.perf_counter()
    facts = candidates.components(tasks, groups, Output(folder, "components"))
    seconds["clusters"] = time.perf_counter() - started
    return Found(facts["components"], facts["clustered"], seconds)


@dataclass(frozen=True)
class Output:
    """Where a task of tokenmill's leaves its files, without a run."""

    folder: Path
    task: str

    def path(self, kind: str, extension: str) -> str:
        return str(self.folder / f"{self.task}.{kind}{extension}.done")

    def alive(self) -> None:
        pass


def own_keys(group: Any) -> str:
    """The file of sorted keys of a group: 14 bands, and one for exact copies, of which there are none here."""
    from tokenmill.dedup.keyfile import write_keys

    every = np.concatenate([np.load(shard.path) for shard in group.shards])
    numbers = np.arange(len(every), dtype=np.uint32)
    digests = mixed(numbers.astype(np.uint64) + np.uint64(group.first), 9)
    path = f"{Path(group.shards[0].path).with_suffix('')}.keys"
    write_keys(path, [*((every[:, band], numbers) for band in range(BANDS)), (digests, numbers)], {})
    return path


def own_pairs(task: str, groups: Any, keys: list[str]) -> Any:
    from tokenmill.core.barrier import TaskFiles
    from tokenmill.dedup.candidates import find_pairs

    out = Output(Path(keys[0]).parent, task)
    facts = find_pairs(task, groups, keys, BANDS, out)
    return TaskFiles(task, {kind: out.path(kind, ".npy") for kind in ("pairs", "copies")}, facts)


def reference(folder: Path, workers: int) -> Found:
    """Everything in one process and in memory."""
    started = time.perf_counter()
    every = np.concatenate([np.load(path) for path in sorted(folder.glob("*.npy"))])
    parents = np.arange(len(every), dtype=np.int64)
    for band in range(BANDS):
        order = np.argsort(every[:, band], kind="stable")
        inner = np.ascontiguousarray(every[order, band])
        same = np.flatnonzero(inner[1:] == inner[:-1])
        join(parents, order[same], order[same + 1])
    while not np.array_equal(parents, parents[parents]):
        parents = parents[parents]
    sizes = np.bincount(parents, minlength=len(parents))
    seconds = {"all": time.perf_counter() - started}
    return Found(int((sizes > 1).sum()), int(sizes[sizes > 1].sum()), seconds)


def join(parents: Array, lefts: Array, rights: Array) -> None:
    """Union by the smaller root, halving paths."""
    parent = parents.tolist()
    for left, right in pairs_of(lefts, rights):
        while parent[left] != left:
            parent[left] = left = parent[parent[left]]
        while parent[right] != right:
            parent[right] = right = parent[parent[right]]
        if left < right:
            parent[right] = left
        else:
            parent[left] = right
    parents[:] = parent


def pairs_of(lefts: Array, rights: Array) -> Iterator[tuple[int, int]]:
    return zip(lefts.tolist(), rights.tolist(), strict=True)


PROGRAMS = {"tokenmill": own, "reference": reference}

if __name__ == "__main__":
    main()
