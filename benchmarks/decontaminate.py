"""Decontamination against datatrove 0.10.1's `NGramsDecontFilter`: the same texts and benchmarks, one core, in turns.

    make bench-env && .venv/bin/python benchmarks/decontaminate.py [--rounds 3] [--limit 2000] [--per-task 15]

Each program is a process of its own, pinned to the core; texts are in memory, and the index is built, before the clock
starts. The time is that of clean texts, in CPU seconds. What is flagged is counted for the clean texts and for items
planted in them (`tokens/decontaminate/plant.py`); the peer gets the questions and answers that our index has, and looks
for any run of 12 words of them, its default, with runs of questions (`find_query_ngrams`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from texts import ROOT, pinned

PEER = "datatrove 0.10.1"
WARM_UP = 64
ROWS = 128
"""Documents of a batch, as sources make them."""
CLEAN = "clean"


def main() -> None:
    """Plant, measure in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", default=str(ROOT.parent / "shared/eval-kit"))
    parser.add_argument("--documents", default=str(ROOT.parent / "shared/pool"))
    parser.add_argument("--text-column", default="main_text")
    parser.add_argument("--limit", type=int, default=2000, help="clean texts")
    parser.add_argument("--per-task", type=int, default=15, help="items planted of each task, in each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    parser.add_argument("--own", help="only this, in this process: the folder of texts; prints JSON")
    arguments = parser.parse_args()
    if arguments.own:
        print(json.dumps(measure_own(Path(arguments.own), arguments.against)))
        return
    with tempfile.TemporaryDirectory(prefix="tokenmill-decontaminate-") as name:
        folder = Path(name)
        prepare(folder, arguments)
        own = [sys.executable, __file__, "--own", name, "--against", arguments.against]
        peer = [arguments.peer_python, str(Path(__file__).with_name("decontaminate_peer.py")), name]
        programs = {"tokenmill": own, **({PEER: peer} if Path(arguments.peer_python).exists() else {})}
        results: dict[str, list[dict[str, Any]]] = {program: [] for program in programs}
        for number in range(arguments.rounds):
            for program, command in programs.items():
                results[program].append(pinned(command, arguments.core))
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        report(results, pq.read_table(folder / "texts.parquet"))


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """Texts with what is planted in them, and the benchmark items for the peer."""
    from tokenmill.tokens.decontaminate.benchmarks import read_items
    from tokenmill.tokens.decontaminate.documents import find_documents
    from tokenmill.tokens.decontaminate.plant import KINDS, planted

    rows = [row for part in find_documents(arguments.documents, arguments.text_column).rows() for row in part]
    texts = [row["text"] for row in rows if row["text"]]
    clean = texts[:: max(len(texts) // arguments.limit, 1)][: arguments.limit]
    items = read_items([arguments.against])
    table = [(CLEAN, text) for text in clean]
    hosts = [text for text in clean if len(text.split()) >= 50]
    for kind in KINDS:
        for task in dict.fromkeys(item.task for item in items):
            own = [item for item in items if item.task == task]
            drawn = own[:: max(len(own) // arguments.per_task, 1)][: arguments.per_task]
            table += [(kind, planted(item, kind, hosts, 0)) for item in drawn]
    kinds, columns = zip(*table, strict=True)
    pq.write_table(pa.table({"kind": list(kinds), "text": list(columns)}), folder / "texts.parquet")
    with open(folder / "items.jsonl", "w", encoding="utf-8") as stream:
        for query, label in dict.fromkeys((piece, item.answer) for item in items for _, piece in item.pieces):
            stream.write(json.dumps({"query": query, "label": label}) + "\n")


def measure_own(folder: Path, against: str) -> dict[str, Any]:
    """CPU seconds on clean texts, and how many of each kind are flagged."""
    from tokenmill.core.decide import first_holding
    from tokenmill.tokens.decontaminate.stage import DropContaminated, FindContamination

    pa.set_cpu_count(1)
    table = pq.read_table(folder / "texts.parquet")
    finder, rules = FindContamination(against=(against,)), DropContaminated().rules()
    finder.setup()

    def flag(texts: pa.ChunkedArray) -> int:
        found = 0
        for batch in pa.table({"text": texts}).combine_chunks().to_batches(max_chunksize=ROWS):
            columns = finder.annotate(batch)
            verdicts = first_holding(rules, lambda name: columns[name], batch.num_rows)  # noqa: B023
            found += sum(verdict >= 0 for verdict in verdicts)
        return found

    clean = table.filter(pc.equal(table["kind"], CLEAN))["text"]
    flag(clean.slice(0, WARM_UP))
    started = time.process_time()
    flagged = {CLEAN: flag(clean)}
    seconds = time.process_time() - started
    for kind in dict.fromkeys(table["kind"].to_pylist()):
        flagged[kind] = flag(table.filter(pc.equal(table["kind"], kind))["text"])
    return {"cpu": seconds, "flagged": flagged}


def report(results: dict[str, list[dict[str, Any]]], table: pa.Table) -> None:
    """Print Markdown."""
    clean = table.filter(pc.equal(table["kind"], CLEAN))["text"]
    size = pc.sum(pc.binary_length(clean)).as_py()
    of = Counter(table["kind"].to_pylist())
    print(f"\n{len(clean):,} clean texts, {size / 1e6:.1f} MB, one core, in turns\n")
    print("| program | CPU seconds (median) | documents/s | MB/s | ratio to the peer, by round |")
    print("|---|---:|---:|---:|---|")
    for program, rounds in results.items():
        middle = statistics.median(one["cpu"] for one in rounds)
        peers = results.get(PEER, rounds)
        ratios = [theirs["cpu"] / ours["cpu"] for ours, theirs in zip(rounds, peers, strict=True)]
        speeds = f"{len(clean) / middle:,.0f} | {size / 1e6 / middle:.1f}"
        print(f"| {program} | {middle:.3f} | {speeds} | {', '.join(f'{ratio:.0f}x' for ratio in ratios)} |")
    print(f"\n| flagged of | {' | '.join(results)} |\n|---|{'---:|' * len(results)}")
    for kind, count in of.items():
        shares = [f"{rounds[-1]['flagged'][kind] / count:.2%}" for rounds in results.values()]
        print(f"| {kind} ({count:,}) | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
