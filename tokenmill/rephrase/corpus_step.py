"""The step `corpus`: counts of all shards, what only many outputs show, and samples for people."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.io.filesystem import open_binary
from tokenmill.rephrase.corpus.measure import measure_corpus, warnings

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased

SAMPLES = 12
"""Outputs of a kind that a report shows, spread over styles or reasons."""
SAMPLE_CHARS = 3000


def write_corpus(stage: WriteRephrased, work: Work, out: TaskOutput) -> Mapping[str, Any]:
    """`rephrased/corpus.json`: what `report.html` and the summary tell."""
    outputs = work.outputs("outputs")
    counts: Counter[str] = Counter()
    for task in outputs:
        counts.update(task.facts["counts"])
    buckets = tuple(name for name in (stage.by, *stage.carry) if name)
    measured = measure_corpus(
        lambda: _tables([task.paths["rephrased"] for task in outputs], out),
        lambda: map(_asked, _tables([task.paths["rejected"] for task in outputs], out)),
        lambda: _tables([shard.path for shard in work.shards], out) if stage.keep_documents else iter(()),
        buckets=buckets,
        max_documents=stage.sample_documents,
        seed=stage.seed,
    )
    styles, reasons = _by_style(counts)
    tokens = {name: sum(one[name] for one in styles.values()) for name in ("tokens_in", "tokens_out")}
    dollars = (tokens["tokens_in"] * stage.price_in + tokens["tokens_out"] * stage.price_out) / 1e6
    kept = sum(one["kept_tokens"] for one in styles.values())
    judged = [task.facts for task in work.outputs("judge")]
    content = {
        "model": stage.identity.model,
        "styles": styles,
        "reasons": reasons,
        "passages": counts["passages"],
        "accepted": counts["accepted"],
        "rejected": counts["rejected"],
        **tokens,
        "kept_tokens": kept,
        "dollars": dollars,
        "dollars_per_billion_kept": 1e9 * dollars / kept if kept and dollars else None,
        "rates": measured.get("rates_by_bucket", []),
        "measured": measured,
        "warnings": warnings(measured),
        "judged": judged[0] if judged else None,
        "samples": _samples(work, {kind: [task.paths[kind] for task in outputs] for kind in ("rephrased", "rejected")}),
    }
    with open(out.path("corpus", ".json"), "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, ensure_ascii=False, sort_keys=True)
    return {"accepted": counts["accepted"], "rejected": counts["rejected"]}


def _asked(table: pa.Table) -> pa.Table:
    """Without passages that nobody was asked about: they say nothing about a model."""
    return table.filter(pc.greater(pc.list_value_length(table.column("request_keys")), 0))


def _by_style(counts: Mapping[str, int]) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    names = ("accepted", "rejected", "skipped", "tokens_in", "tokens_out", "kept_tokens")
    styles: dict[str, dict[str, int]] = {}
    reasons: dict[str, dict[str, int]] = {}
    for key, count in sorted(counts.items()):
        kind, _, rest = key.partition(".")
        style, _, name = rest.rpartition(".")
        if kind == "style":
            styles.setdefault(style, dict.fromkeys(names, 0))[name] = count
        elif kind == "reason":
            reasons.setdefault(style, {})[name] = count
    return styles, reasons


def _tables(paths: Sequence[str], out: TaskOutput) -> Iterator[pa.Table]:
    for path in paths:
        with open_binary(path) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=2048):
                yield pa.Table.from_batches([batch])
        out.alive()


_SHOWN = ("id", "parent_id", "url", "style", "text", "char_start", "char_end")
_WHY = ("reason", "signal", "value", "threshold", "detail")


def _samples(work: Work, paths: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Some accepted and some rejected outputs with their sources, chosen by hash: one of each style or reason first."""
    found = {}
    for name, kind, group in (("accepted", "rephrased", "style"), ("rejected", "rejected", "reason")):
        more = _WHY if kind == "rejected" else ()
        heaps: dict[str, list[tuple[int, str, int, dict[str, Any]]]] = {}
        for number, path in enumerate(paths[kind]):
            with open_binary(path) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(columns=[*_SHOWN, *more]):
                    for row in batch.to_pylist():
                        place = -int.from_bytes(hashlib.sha256(row["id"].encode()).digest()[:8], "big")
                        heap = heaps.setdefault(row[group], [])
                        entry = (place, row["id"], number, row)
                        (heapq.heappush if len(heap) < SAMPLES else heapq.heappushpop)(heap, entry)
        turns = [sorted(heap, key=lambda one: (-one[0], one[1])) for _, heap in sorted(heaps.items())]
        chosen = [one for turn in range(SAMPLES) for group_rows in turns for one in group_rows[turn : turn + 1]]
        found[name] = [_with_source(work, number, row) for _, _, number, row in chosen[:SAMPLES]]
    return found


def _with_source(work: Work, number: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row with the stretch of its source's text that it is about."""
    source = None
    with open_binary(work.shards[number].path) as stream:
        file = pq.ParquetFile(stream)
        if "text" in file.schema_arrow.names:
            for batch in file.iter_batches(columns=["id", "text"]):
                hits = batch.filter(pc.equal(batch.column("id"), row["parent_id"]))
                if hits.num_rows:
                    source = hits.column("text")[0].as_py()[row["char_start"] : row["char_end"]]
                    break
    text = (row["text"] or "")[:SAMPLE_CHARS]
    return {**row, "text": text, "source": None if source is None else source[:SAMPLE_CHARS]}
