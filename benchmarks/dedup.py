"""MinHash deduplication against datatrove 0.10.1, end to end: the same shards, one worker each, in turns, in one run.

    make bench-env && .venv/bin/python benchmarks/dedup.py [--count 20000] [--rounds 2]

Every program runs as a whole process tree pinned to one core, from reading the shards to writing what is left, with
5-grams, 14 bands and 8 rows. CPU seconds are those of all processes, start-up included; memory is the peak over time of
their proportional set sizes (PSS), summed.

    tokenmill                  its own hashes; candidates are verified (default)
    tokenmill, datatrove-v1    the peer's hashes, nothing verified, short documents left alone as the peer does
    datatrove                  its tokenizer
    datatrove, our words       on texts that tokenmill has normalised, words between white space

The last two programs of one kind of words must find the same clusters: with `datatrove-v1` and our words on both sides
that is checked, document by document. The corpus is that of `corpora.py`, a quarter of it copies.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from corpora import write_corpus
from end_to_end import descendants, proportional_bytes
from mutations import SHINGLE, normalised
from texts import ROOT

PEER = "datatrove"
OURS: dict[str, dict[str, Any]] = {
    "tokenmill": {},
    "tokenmill, datatrove-v1": {"scheme": "datatrove-v1", "verify": "none", "short_documents": "keep"},
}
PEERS = {PEER: [], f"{PEER}, our words": ["--words", "split", "--normalised"]}
Clusters = Mapping[str, Any]
"""id -> cluster, of the documents that are in one with others."""


@dataclass
class Cost:
    """What a process tree took."""

    wall: float
    cpu: float
    peak: int
    """Bytes."""
    output: str = ""


@dataclass
class Result:
    """Measurements of one program over all rounds."""

    costs: list[Cost] = field(default_factory=list)
    clusters: Clusters = field(default_factory=dict)
    kept: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    """CPU seconds per stage, where the program says."""


def main() -> None:
    """Measure in turns, print the ratios, compare the clusters."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--input", type=Path, help="a folder of shards instead of a corpus (id, text)")
    parser.add_argument("--only", nargs="*", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    arguments = parser.parse_args()
    if not Path(arguments.peer_python).exists():
        sys.exit(f"no peer environment at {arguments.peer_python}: run `make bench-env` first")
    with tempfile.TemporaryDirectory(prefix="tokenmill-dedup-") as folder:
        work = Path(folder)
        source = arguments.input or write_corpus(work / "corpus", arguments.count, arguments.seed, arguments.shards)
        plain = write_normalised(source, work / "normalised")
        results = measure(arguments, source, plain, work)
        report(results, source)
        compare(results, source)


def write_normalised(source: Path, folder: Path) -> Path:
    """The same shards with the texts as tokenmill's MinHash sees them."""
    folder.mkdir()
    for shard in sorted(source.glob("*.parquet")):
        table = pq.read_table(shard)
        texts = pa.array([normalised(text or "") for text in table["text"].to_pylist()])
        pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", texts), folder / shard.name)
    return folder


def measure(arguments: argparse.Namespace, source: Path, plain: Path, work: Path) -> dict[str, Result]:
    """All programs in turns."""
    results: dict[str, Result] = defaultdict(Result)
    for number in range(arguments.rounds):
        for name in arguments.only:
            out = work / f"{name} {number}"
            result = results[name]
            if name in OURS:
                result.costs.append(run_ours(source, out, OURS[name], core=arguments.core))
                result.clusters, result.kept = own_clusters(source, out), rows(out / "data")
            else:
                given = plain if "--normalised" in PEERS[name] else source
                script = str(Path(__file__).with_name("dedup_peer.py"))
                command = [arguments.peer_python, script, str(given), str(out), *PEERS[name]]
                result.costs.append(measured(command, core=arguments.core))
                result.clusters, result.kept = peer_clusters(out), rows(out / "data")
                stages = json.loads((out / "peer.json").read_text())["stages"]
                result.stages = {stage: entry["cpu"] for stage, entry in stages.items()}
            print(f"round {number + 1}: {name} {result.costs[-1].cpu:.1f} s", file=sys.stderr)
    return results


def run_ours(
    source: Path, out: Path, settings: Mapping[str, Any], *, core: int | None = None, workers: int = 1
) -> Cost:
    """tokenmill's deduplication of the shards in `source`."""
    recipe = out.with_name(f"{out.name}.recipe.py")
    shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    recipe.write_text(
        "from tokenmill import Pipeline, ReadParquet, WriteParquet\n"
        "from tokenmill.dedup.minhash import MinHashDedup\n\n"
        f'dedup = Pipeline("dedup", [ReadParquet(), MinHashDedup({shown}), WriteParquet()])\n'
    )
    command = [sys.executable, "-m", "tokenmill", "run", f"{recipe}:dedup", "--workers", str(workers)]
    return measured([*command, "--input", str(source), "--output", str(out)], core=core)


def own_table(out: Path) -> pa.Table:
    """What tokenmill decided: doc_id, cluster_id, cluster_size, representative_id, score, keep, rule."""
    # other files of the deduplication lie in folders beside
    return pa.concat_tables(map(pq.read_table, sorted((out / "dedup/minhash_dedup").glob("*.parquet"))))


def own_ids(source: Path) -> dict[str, str]:
    """doc_id -> id, for shards of Parquet."""
    return {
        f"{shard.name}#{row}": identifier
        for shard in sorted(source.glob("*.parquet"))
        for row, identifier in enumerate(pq.read_table(shard, columns=["id"])["id"].to_pylist())
    }


def own_clusters(source: Path, out: Path) -> Clusters:
    ids, table = own_ids(source), own_table(out).select(["doc_id", "cluster_id", "cluster_size"])
    return {ids[row["doc_id"]]: row["cluster_id"] for row in table.to_pylist() if (row["cluster_size"] or 0) > 1}


def peer_clusters(out: Path) -> Clusters:
    table = pq.read_table(out / "clusters.parquet")
    return dict(zip(table["id"].to_pylist(), table["cluster"].to_pylist(), strict=True))


def rows(folder: Path) -> int:
    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.rglob("*.parquet"))


def measured(command: list[str], *, core: int | None = None, memory: str = "Pss") -> Cost:
    """Run a process tree, on one core if given, and say what it took. `memory`: PSS or RSS, summed over the tree."""
    pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, preexec_fn=pin, cwd=tempfile.gettempdir())
        peak, done = [0], threading.Event()
        watcher = threading.Thread(target=watch, args=(process.pid, peak, done, memory), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)  # with what its own children took
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{errors.read().decode(errors='replace')[-3000:]}")
        return Cost(wall, usage.ru_utime + usage.ru_stime, peak[0], output.read().decode(errors="replace"))


def watch(pid: int, peak: list[int], done: threading.Event, memory: str) -> None:
    size = proportional_bytes if memory == "Pss" else resident_bytes
    while not done.wait(0.2):
        peak[0] = max(peak[0], sum(map(size, [pid, *descendants(pid)])))


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def report(results: Mapping[str, Result], source: Path) -> None:
    """Print Markdown: costs and ratios pair by pair, then the peer's stages."""
    count = rows(source)
    print(f"\n{count:,} documents, one core, whole processes, in turns\n")
    print("| program | CPU seconds (median) | wall clock | documents/s | ratio to datatrove, by round | peak | kept |")
    print("|---|---:|---:|---:|---|---:|---:|")
    peer = results[PEER].costs if PEER in results else []
    for name, result in results.items():
        cpu = statistics.median(cost.cpu for cost in result.costs)
        wall = statistics.median(cost.wall for cost in result.costs)
        ratios = ", ".join(f"{theirs.cpu / ours.cpu:.1f}x" for theirs, ours in zip(peer, result.costs, strict=False))
        peak = max(cost.peak for cost in result.costs) / 2**20
        print(f"| {name} | {cpu:.1f} | {wall:.1f} | {count / cpu:,.0f} | {ratios} | {peak:.0f} MiB | {result.kept:,} |")
    for name, result in results.items():
        if result.stages:
            print(f"\n{name}: " + ", ".join(f"{stage} {cpu:.1f} s" for stage, cpu in result.stages.items()))


def compare(results: Mapping[str, Result], source: Path) -> None:
    """Whether both find the same clusters where hashes and words are the same."""
    ours, peers = list(OURS)[1], list(PEERS)[1]
    if ours not in results or peers not in results:
        return
    mine, theirs = groups(results[ours].clusters), groups(results[peers].clusters)
    other = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    short = short_documents(source, set(other))
    print(f"\nsame clusters ({ours} and {peers}):\n")
    print("| | clusters | documents in them |\n|---|---:|---:|")
    for name, found in ((ours, mine), (peers, theirs)):
        print(f"| {name} | {len(set(found.values())):,} | {len(found):,} |")
    print(f"\ndocuments that are with others: {len(other):,}, {len(short):,} of them with fewer than {SHINGLE} words")
    for name in [name for name in other if name not in short][:10]:
        print(f"  {name}: {len(mine.get(name, ()))} here, {len(theirs.get(name, ()))} there")


def groups(clusters: Clusters) -> dict[str, frozenset[str]]:
    """id -> all ids of its cluster; a document alone in a cluster is in none."""
    members: dict[Any, set[str]] = defaultdict(set)
    for name, cluster in clusters.items():
        members[cluster].add(name)
    return {name: group for group in map(frozenset, members.values()) if len(group) > 1 for name in group}


def short_documents(source: Path, wanted: set[str]) -> set[str]:
    """Those of the wanted that are too short for a 5-gram: the peer compares none of them."""
    found = set()
    for shard in sorted(source.glob("*.parquet")):
        for row in pq.read_table(shard, columns=["id", "text"]).to_pylist():
            if row["id"] in wanted and len(normalised(row["text"] or "").split()) < SHINGLE:
                found.add(row["id"])
    return found


if __name__ == "__main__":
    main()
