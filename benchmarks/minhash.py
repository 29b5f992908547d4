"""MinHash keys against datatrove 0.10.1 and rensa 0.5.0: the same texts, one core each, in turns, in one run.

    make bench-env && .venv/bin/python benchmarks/minhash.py [--rounds 3] [--sample 600]

5-gram shingles, 112 permutations. tokenmill goes from the texts of an Arrow column to band keys and digests;
datatrove from a text to its signature (`get_shingles`, `get_signature`). rensa's dense signatures start from texts that
we have normalised (`split`, then 5-grams joined in Python), or from shingles that are there, which is its best case.
The sketch that it calls Rho is another one, and not in the table.

Each program is a process of its own, pinned to the core; texts are in memory and everything is loaded and has seen 64
texts before the clock starts. Ratios are of CPU seconds. Texts are those of `texts.py`, made if they are not there.
Then all texts are normalised by both and compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from texts import ROOT, TEXTS, pinned, prepared

PEERS = ("datatrove", "rensa", "rensa-shingles")
NAMES = {
    "affine64-v1": "tokenmill, affine64-v1",
    "datatrove-v1": "tokenmill, datatrove-v1",
    "datatrove": "datatrove 0.10.1",
    "rensa": "rensa 0.5.0 from normalised text",
    "rensa-shingles": "rensa 0.5.0 from shingles",
}
WARM_UP = 64
PASSES = 20
"""Times that we see the texts: once is too short for the clock."""


def main() -> None:
    """Measure in turns, print the table and the agreement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=Path, default=TEXTS)
    parser.add_argument("--sample", type=int, default=600, help="texts that are timed, spread over all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    parser.add_argument("--own", help="only this scheme, in this process; prints JSON")
    arguments = parser.parse_args()
    if arguments.own:
        print(json.dumps(measure_own(arguments.texts, arguments.own)))
        return
    if not Path(arguments.peer_python).exists():
        sys.exit(f"no peer environment at {arguments.peer_python}: run `make bench-env` first")
    if not arguments.texts.exists():
        prepared(output=arguments.texts)
    from tokenmill.text.minhash import SCHEMES, normalised

    texts = pq.read_table(arguments.texts, columns=["text"])["text"].to_pylist()
    table = pa.table({"text": texts, "normalised": list(map(normalised, texts))})
    with tempfile.TemporaryDirectory() as folder:
        every, sample = Path(folder) / "every.parquet", Path(folder) / "sample.parquet"
        pq.write_table(table, every)
        rows = np.linspace(0, len(texts) - 1, min(arguments.sample, len(texts))).astype(int)
        table = table.take(rows)
        pq.write_table(table, sample)
        peer = [arguments.peer_python, str(Path(__file__).with_name("minhash_peer.py"))]
        results: dict[str, list[float]] = {}
        for number in range(arguments.rounds):
            for scheme in SCHEMES:
                command = [sys.executable, __file__, "--own", scheme, "--texts", str(sample)]
                results.setdefault(scheme, []).append(pinned(command, arguments.core)["cpu"])
            for program in PEERS:
                found = pinned([*peer, str(sample), program], arguments.core)
                results.setdefault(program, []).append(found["cpu"])
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        report(results, table)
        agreement = pinned([*peer, str(every), "agreement"], arguments.core)
    print(f"\n`normalised` is what `simplify_text` gives, for {agreement['equal']:,} of {len(texts):,} texts")
    unspaced = f"{agreement['unspaced']:,} have characters of scripts without spaces"
    print(
        f"the others: {unspaced}, {agreement['spaces']:,} differ in the number of spaces, {agreement['rest']:,} in more"
    )


def measure_own(path: Path, scheme: str) -> dict[str, float]:
    """CPU seconds for keys of all texts, once."""
    from tokenmill.text.minhash import MinHash

    texts = pq.read_table(path, columns=["text"])["text"].combine_chunks()
    make = MinHash(scheme)
    make.keys(texts.slice(0, WARM_UP))
    cpu = time.process_time()
    for _ in range(PASSES):
        make.keys(texts)
    return {"cpu": (time.process_time() - cpu) / PASSES}


def report(results: dict[str, list[float]], table: pa.Table) -> None:
    """Print Markdown: speeds, and how many times faster than each peer tokenmill is."""
    count, size = table.num_rows, sum(len(text.encode()) for text in table["text"].to_pylist())
    words = sum(len(text.split()) for text in table["normalised"].to_pylist())
    print(f"\n{count:,} texts of {words / count:.0f} words on average, {size / 1e6:.2f} MB, one core, in turns\n")
    columns = [name for name in results if name not in PEERS]
    print(
        f"| program | microseconds a text (median) | texts/s | MB/s | {' | '.join(f'{name} is' for name in columns)} |"
    )
    print(f"|---|---:|---:|---:|{'---|' * len(columns)}")
    for program, rounds in results.items():
        middle = statistics.median(rounds)
        shown = f"{1e6 * middle / count:,.1f} | {count / middle:,.0f} | {size / 1e6 / middle:,.1f}"
        ratios = []
        for name in columns:
            times = [theirs / ours for ours, theirs in zip(results[name], rounds, strict=True)]
            ratios.append(", ".join(f"{ratio:.1f}x" for ratio in times) if program in PEERS else "")
        print(f"| {NAMES[program]} | {shown} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main()
