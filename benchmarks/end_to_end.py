"""tokenmill against datatrove's FineWeb steps: the same WARC files, one core each, in turns, in one run.

    make bench-env && .venv/bin/python benchmarks/end_to_end.py [--files 3] [--rounds 2]

Every program runs as a whole process tree pinned to one core (both put extraction into a child process, of which only
one works at a time), so that start-up, reading and writing count, and neither gains from a second core. What either
makes once per machine (compiled URL lists, compiled kernels, unpacked lists) is made before. Pages are the HTML
responses that the peer reads. Memory is the peak over time of the proportional set size (PSS), summed over a worker
and its child.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenmill.text.langid import BUNDLED, model_path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PEER = "datatrove 0.10.1"
EXTRACTORS = ("skim", "cascade", "trafilatura", "resiliparse")
OURS = {f"tokenmill, {extractor}": extractor for extractor in EXTRACTORS}
TARGETS = dict(zip(OURS, (10.0, 5.0, 2.5, 8.0), strict=True))


@dataclass
class Result:
    """Measurements of one program over all rounds."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    stages: list[tuple[str, int, int, float]] = field(default_factory=list)
    kept: int = 0


def main() -> None:
    """Measure, print the ratios and the per-stage tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--input", type=Path, default=SHARED / "crawl")
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    parser.add_argument("--only", nargs="+", choices=EXTRACTORS, default=EXTRACTORS, help="which extractors of ours")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    if not Path(arguments.peer_python).exists():
        sys.exit(f"no peer environment at {arguments.peer_python}: run `make bench-env` first")
    with tempfile.TemporaryDirectory(prefix="tokenmill-bench-") as folder:
        work = Path(folder)
        source = work / "warcs"
        source.mkdir()
        for path in sorted(arguments.input.glob("*.warc.gz"))[: arguments.files]:
            shutil.copy(path, source)
        warm_up(work)
        results, pages = measure(arguments, source, work)
    report(results, pages, arguments.files)


def warm_up(work: Path) -> None:
    """Make what is made once per machine: URL lists and kernels."""
    print("warming up", file=sys.stderr)
    for extractor in EXTRACTORS:
        run_ours(ROOT / "examples/data", work / f"warm-{extractor}", extractor, None)


def measure(arguments: argparse.Namespace, source: Path, work: Path) -> tuple[dict[str, Result], int]:
    """All programs in turns. Pages are counted by the peer."""
    results = {name: Result() for name in [*(name for name in OURS if OURS[name] in arguments.only), PEER]}
    pages = 0
    for number in range(arguments.rounds):
        for position, (name, result) in enumerate(results.items()):
            out = work / f"{number}-{position}"
            if name == PEER:
                seconds, peak = run_peer(arguments.peer_python, source, out, arguments.core)
                result.stages, result.kept, pages = read_peer(out)
            else:
                seconds, peak = run_ours(source, out, OURS[name], arguments.core)
                result.stages, result.kept = read_ours(out)
            result.seconds.append(seconds)
            result.peak = max(result.peak, peak)
            print(f"round {number + 1}: {name} {seconds:.1f} s", file=sys.stderr)
    return results, pages


def run_ours(source: Path, out: Path, extractor: str, core: int | None) -> tuple[float, int]:
    command = [sys.executable, "-m", "tokenmill", "run", "fineweb", "--input", str(source), "--output", str(out)]
    return timed([*command, "--workers", "1", "--set", f"extract_text.extractor={extractor}"], core, workers_only=True)


def run_peer(python: str, source: Path, out: Path, core: int) -> tuple[float, int]:
    script = str(ROOT / "benchmarks/peer_fineweb.py")
    return timed([python, script, str(source), str(out), language_model()], core, workers_only=False)


def language_model() -> str:
    """The one language model that both use."""
    return model_path(BUNDLED)


def timed(command: list[str], core: int | None, *, workers_only: bool) -> tuple[float, int]:
    """Wall-clock seconds of a process tree pinned to `core`, and its peak PSS.

    workers_only: leave out the coordinator, which serves any number of workers.
    """
    started = time.perf_counter()
    pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=pin, cwd=tempfile.gettempdir()
    )
    peak = [0]
    watcher = threading.Thread(target=watch_memory, args=(process, peak, workers_only), daemon=True)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{errors[-3000:]}")
    watcher.join()
    return seconds, peak[0]


def watch_memory(process: subprocess.Popen[str], peak: list[int], workers_only: bool) -> None:
    while process.poll() is None:
        tree = descendants(process.pid) if workers_only else [process.pid, *descendants(process.pid)]
        peak[0] = max(peak[0], sum(proportional_bytes(pid) for pid in tree))
        time.sleep(0.25)


def descendants(pid: int) -> list[int]:
    found = []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    for child in map(int, children):
        found += [child, *descendants(child)]
    return found


def proportional_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def read_ours(out: Path) -> tuple[list[tuple[str, int, int, float]], int]:
    """(stage, in, out, seconds) summed over the manifests of a run, and documents kept."""
    totals: dict[str, list[float]] = {}
    for path in out.glob("phases/*/manifests/*.json"):
        for entry in json.loads(path.read_text())["stages"]:
            row = totals.setdefault(entry["stage"], [0, 0, 0.0])
            row[0] += entry["in"]
            row[1] += entry["out"]
            row[2] += entry["seconds"]
    stages = [(name, int(row[0]), int(row[1]), row[2]) for name, row in totals.items()]
    return stages, stages[-1][2]


def read_peer(out: Path) -> tuple[list[tuple[str, int, int, float]], int, int]:
    """The same of the peer, and the number of pages that it read."""
    entries: list[dict[str, Any]] = json.loads((out / "peer.json").read_text())
    pages = int(entries[0]["counts"]["documents"])
    stages = []
    going = pages
    for entry in entries:
        counts = entry["counts"]
        leaving = int(counts.get("forwarded", going))
        stages.append((entry["stage"], going, leaving, float(entry["seconds"])))
        going = leaving
    return stages, going, pages


def report(results: dict[str, Result], pages: int, files: int) -> None:
    """Print Markdown: the summary with ratios pair by pair, then a table per program."""
    peer = results[PEER]
    print(f"\n{pages:,} pages in {files} files, one core, whole processes, {len(peer.seconds)} rounds in turns\n")
    print("| program | seconds (median) | pages/s | ratio to the peer, by round | target | peak of a worker | kept |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for name, result in results.items():
        middle = statistics.median(result.seconds)
        ratios = [theirs / ours for theirs, ours in zip(peer.seconds, result.seconds, strict=True)]
        shown = ", ".join(f"{ratio:.2f}x" for ratio in ratios)
        target = f"{TARGETS[name]}x" if name in TARGETS else ""
        memory = f"{result.peak / 2**20:.0f} MiB"
        print(f"| {name} | {middle:.1f} | {pages / middle:.1f} | {shown} | {target} | {memory} | {result.kept} |")
    for name, result in results.items():
        print(f"\n{name}, last round:\n\n| stage | in | out | seconds | ms a document |\n|---|---:|---:|---:|---:|")
        for stage, into, out, seconds in result.stages:
            print(f"| {stage} | {into:,} | {out:,} | {seconds:.2f} | {1000 * seconds / max(into, 1):.2f} |")


if __name__ == "__main__":
    main()
