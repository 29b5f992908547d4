"""All rules of the four quality families against datatrove 0.10.1: the same texts, one core each, in turns, in one run.

    make bench-env && .venv/bin/python benchmarks/signals.py [--rounds 3] [--limit 200]

Gopher repetition, Gopher quality, C4 and FineWeb, C4's new text going on to FineWeb as in FineWeb's recipe.

    all       every rule decides on every text, none is spared by an earlier drop; tokenmill measures what rules need
    annotate  the same, and tokenmill measures every signal that it knows (its annotate mode)
    early     a dropped text goes no further, as in a run

Each program is a process of its own, pinned to the core; texts are in memory and everything is loaded and has seen 64
texts before the clock starts. Ratios are of CPU seconds. Texts are those of `texts.py`, made if they are not there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from texts import ROOT, TEXTS, pinned, prepared

PEER = "datatrove 0.10.1"
MODES = {"all": "all", "annotate": "all", "early": "early"}
"""Our mode -> the peer's that it is compared with."""
WARM_UP = 64
ROWS = 128
"""Documents of a batch, as sources make them."""


def main() -> None:
    """Measure in turns, print the table and the profile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=Path, default=TEXTS)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    parser.add_argument("--own", choices=tuple(MODES), help="only this, in this process; prints JSON")
    arguments = parser.parse_args()
    if arguments.own:
        print(json.dumps(measure_own(arguments.texts, arguments.limit, arguments.own)))
        return
    if not Path(arguments.peer_python).exists():
        sys.exit(f"no peer environment at {arguments.peer_python}: run `make bench-env` first")
    if not arguments.texts.exists():
        prepared(output=arguments.texts)
    table = pq.read_table(arguments.texts, columns=["text"])
    table = table.slice(0, arguments.limit or table.num_rows)
    characters = sum(len(text.encode()) for text in table["text"].to_pylist())
    results = measure(arguments)
    report(results, table.num_rows, characters)


def measure(arguments: argparse.Namespace) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(program, mode) -> one result a round."""
    peer = str(Path(__file__).with_name("signals_peer.py"))
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    common = [str(arguments.texts), str(arguments.limit)]
    for number in range(arguments.rounds):
        for mode in MODES:
            own = [sys.executable, __file__, "--own", mode, "--texts", common[0], "--limit", common[1]]
            results.setdefault(("tokenmill", mode), []).append(pinned(own, arguments.core))
        for mode in dict.fromkeys(MODES.values()):
            results.setdefault((PEER, mode), []).append(
                pinned([arguments.peer_python, peer, *common, mode], arguments.core)
            )
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    return results


def measure_own(path: Path, limit: int, mode: str) -> dict[str, Any]:
    """CPU and wall-clock seconds of the stages on the texts, and seconds per stage."""
    pa.set_cpu_count(1)
    chain = make_chain(mode)
    chain.setup()
    batches = make_batches(path, limit)
    chain.run(batches[0].slice(0, WARM_UP))
    seconds: Counter[str] = Counter()
    kept = 0
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        result = chain.run(batch)
        kept += passed(result.kept)
        for count in result.counts:
            seconds[count.stage] += count.seconds
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "stages": dict(seconds),
        "kept": kept,
    }


def make_batches(path: Path, limit: int) -> list[pa.RecordBatch]:
    """The texts as a source would give them."""
    table = pq.read_table(path)
    table = table.slice(0, limit or table.num_rows)
    ids = pa.array([f"{number:08}" for number in range(table.num_rows)])
    rows = pa.table({"doc_id": ids, "text": table["text"].combine_chunks()})
    return [batch for part in [rows.combine_chunks()] for batch in part.to_batches(max_chunksize=ROWS)]


def make_chain(mode: str) -> Any:
    """The stages that the plan makes of the four families, with its measurements."""
    from tokenmill import (
        C4Lines,
        C4Quality,
        FineWebQuality,
        GopherQuality,
        GopherRepetition,
        Pipeline,
        ReadParquet,
        WriteParquet,
    )
    from tokenmill.core.measuring import StageRules
    from tokenmill.core.plan import Annotation, make_plan, verdict_column
    from tokenmill.core.stage import Filter
    from tokenmill.executors.chain import Chain

    stages = [GopherRepetition(), GopherQuality(), C4Lines(terminal_punctuation=False), C4Quality(), FineWebQuality()]
    pipeline = Pipeline("signals", [ReadParquet(), *stages, WriteParquet()])
    (phase,) = make_plan(pipeline, [], Annotation() if mode == "annotate" else None).phases
    rules = dict(phase.rules)
    if mode == "all":  # as the annotate mode, without the signals that no rule needs
        for label, stage in phase.fused:
            verdict = verdict_column(label) if isinstance(stage, Filter) else ""
            rules[label] = StageRules(rules[label].measured, verdict)
    verdicts = [about.verdict for about in rules.values() if about.verdict]
    return Chain(phase.fused, rules=rules, columns=["doc_id", *verdicts])


def passed(kept: pa.RecordBatch) -> int:
    """Documents that no filter drops."""
    verdicts = [column for name, column in zip(kept.schema.names, kept.columns, strict=True) if name != "doc_id"]
    return sum(all(not column[row].is_valid for column in verdicts) for row in range(kept.num_rows))


def report(results: dict[tuple[str, str], list[dict[str, Any]]], count: int, size: int) -> None:
    """Print Markdown: speeds and ratios, then where the time goes."""
    print(f"\n{count:,} texts, {size / 1e6:.1f} MB, one core, in turns\n")
    print("| program | mode | CPU seconds (median) | documents/s | MB/s | ratio to the peer, by round | kept |")
    print("|---|---|---:|---:|---:|---|---:|")
    for (program, mode), rounds in results.items():
        middle = statistics.median(one["cpu"] for one in rounds)
        peers = results[(PEER, MODES[mode])]
        ratios = [theirs["cpu"] / ours["cpu"] for ours, theirs in zip(rounds, peers, strict=True)]
        shown = ", ".join(f"{ratio:.1f}x" for ratio in ratios)
        speeds = f"{count / middle:,.0f} | {size / 1e6 / middle:.2f}"
        print(f"| {program} | {mode} | {middle:.3f} | {speeds} | {shown} | {rounds[-1]['kept']:,} |")
    for (program, mode), rounds in results.items():
        last = rounds[-1]
        print(f"\n{program}, {mode}, last round:\n\n| stage | seconds | share | microseconds a text |")
        print("|---|---:|---:|---:|")
        rest = max(last["wall"] - sum(last["stages"].values()), 0.0)
        for stage, seconds in {**last["stages"], "(between stages)": rest}.items():
            share = 100 * seconds / last["wall"]
            print(f"| {stage} | {seconds:.3f} | {share:.0f} % | {1e6 * seconds / count:.0f} |")


if __name__ == "__main__":
    main()
