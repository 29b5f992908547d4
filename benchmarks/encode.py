"""Encoding: `tokenmill tokenize` against the package tokenizers alone and datatrove 0.10.1, in turns, in one run.

    make bench-env && .venv/bin/python benchmarks/encode.py [--count 8000] [--rounds 3]

    tokenmill        the whole command, from reading shards to shuffled token shards with lineage, digests and manifest
    encode_batch     the library's call alone with its own threads: neither start-up nor reading, nothing is kept
    processes        the same in one process per core without threads: the most that the library gives
    datatrove        DocumentTokenizer, encode and write, one task and one worker per core, no shuffle

Texts are pages of the pool. Seconds are wall clock on the same cores, for tokenmill and datatrove of the whole process
tree. Memory is the peak over time of proportional set sizes (PSS), summed; tokenmill is measured on a quarter of
the texts as well. All must find the same tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from dedup import measured
from texts import ROOT

from tokenmill.tokens.tokenizer import load_tokenizer

SHARED = ROOT.parent / "shared"
OURS = "tokenmill"
PROGRAMS = (OURS, "encode_batch", "processes", "datatrove")
TARGETS = {"encode_batch": 0.95, "datatrove": 1.3}
PEER = str(Path(__file__).with_name("encode_peer.py"))


@dataclass
class Result:
    """Measurements of one program over all rounds."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """CPU seconds, of all processes: on a busy machine the better figure."""
    tokens: int = 0
    peak: int = 0
    """Bytes."""


def main() -> None:
    """Measure in turns, print seconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=8000, help="documents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--column", default="raw_text", help="raw_text or main_text of the pool")
    parser.add_argument("--tokenizer", default=str(SHARED / "tokenizers/gpt2"))
    parser.add_argument("--only", nargs="*", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    arguments = parser.parse_args()
    if not Path(arguments.peer_python).exists():
        sys.exit(f"no peer environment at {arguments.peer_python}: run `make bench-env` first")
    with tempfile.TemporaryDirectory(prefix="tokenmill-encode-") as folder:
        work = Path(folder)
        tokenizer = work / "tokenizer.json"
        tokenizer.write_bytes(load_tokenizer(arguments.tokenizer).canonical)
        texts = pool(arguments.column, arguments.count)
        write(work / "texts", texts)
        write(work / "quarter", texts[::4])
        quarter = run(OURS, work / "quarter", tokenizer, work / "out-quarter", arguments.peer_python)
        results: dict[str, Result] = defaultdict(Result)
        for number in range(arguments.rounds):
            for name in arguments.only:
                found = run(name, work / "texts", tokenizer, work / f"out-{name}-{number}", arguments.peer_python)
                add(results[name], found)
                print(f"round {number + 1}: {name} {found.seconds[0]:.1f} s", file=sys.stderr)
        report(results, quarter, texts)


def pool(column: str, count: int) -> list[str]:
    """Texts from all files of the pool in turns, so that all hosts and languages have their share."""
    files = [pq.read_table(path, columns=[column])[column] for path in sorted((SHARED / "pool").glob("*.parquet"))]
    share = -(-count // len(files))
    picked = [
        file.drop_null().take(list(range(0, len(file.drop_null()), max(1, len(file) // share)))) for file in files
    ]
    texts: list[str] = [text for file in picked for text in file.to_pylist()]
    return texts[:count]


def write(folder: Path, texts: list[str], shards: int = 8) -> None:
    folder.mkdir()
    for number in range(shards):
        some = texts[number::shards]
        table = pa.table({"id": [f"{number}-{n}" for n in range(len(some))], "text": some})
        pq.write_table(table, folder / f"{number:03d}.parquet", row_group_size=500)


def run(name: str, source: Path, tokenizer: Path, out: Path, peer_python: str) -> Result:
    """One program on one folder."""
    if name == OURS:
        command = [sys.executable, "-m", "tokenmill", "tokenize", str(source), "--tokenizer", str(tokenizer)]
        cost = measured([*command, "--output", str(out), "--workers", str(len(os.sched_getaffinity(0)))])
        manifest = json.loads((out / "tokens/manifest.json").read_text())
        return Result([cost.wall], [cost.cpu], manifest["tokens"] - manifest["documents"], cost.peak)
    mode = "library" if name == "encode_batch" else name
    python = peer_python if name == "datatrove" else sys.executable
    cost = measured([python, PEER, mode, str(source), str(tokenizer), *([str(out)] if name == "datatrove" else [])])
    found = json.loads(cost.output.splitlines()[-1])
    if name == "datatrove":
        documents = sum(pq.ParquetFile(path).metadata.num_rows for path in source.glob("*.parquet"))
        return Result([cost.wall], [cost.cpu], found["tokens"] - documents, cost.peak)
    return Result([found["seconds"]], [found["cpu"]], found["tokens"], cost.peak)


def add(result: Result, found: Result) -> None:
    result.seconds += found.seconds
    result.cpu += found.cpu
    result.tokens = found.tokens
    result.peak = max(result.peak, found.peak)


def report(results: dict[str, Result], quarter: Result, texts: list[str]) -> None:
    """Print Markdown."""
    size = sum(len(text.encode()) for text in texts)
    cores = len(os.sched_getaffinity(0))
    print(f"\n{len(texts):,} documents, {size / 1e6:.0f} MB of text, {cores} cores, in turns\n")
    print("| program | seconds (median) | CPU seconds | documents/s | tokens/s | peak |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, result in results.items():
        seconds, cpu = statistics.median(result.seconds), statistics.median(result.cpu)
        rates = f"{len(texts) / seconds:,.0f} | {result.tokens / seconds:,.0f}"
        print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {rates} | {result.peak / 2**20:.0f} MiB |")
    if OURS in results:
        print("\n| tokenmill is faster than | by seconds: min, median, max | by CPU seconds | wanted |")
        print("|---|---|---|---:|")
        for name in [name for name in results if name != OURS]:
            shown = [ratios(getattr(results[name], of), getattr(results[OURS], of)) for of in ("seconds", "cpu")]
            print(f"| {name} | {' | '.join(shown)} | {TARGETS.get(name, '')} |")
    print(f"\ntokenmill on a quarter of the texts: peak {quarter.peak / 2**20:.0f} MiB")
    counts = {result.tokens for result in results.values()}
    print("all find the same tokens" if len(counts) == 1 else f"tokens differ: {sorted(counts)}")


def ratios(theirs: list[float], ours: list[float]) -> str:
    found = sorted(one / other for one, other in zip(theirs, ours, strict=True))
    return ", ".join(f"{ratio:.2f}x" for ratio in (found[0], statistics.median(found), found[-1]))


if __name__ == "__main__":
    main()
