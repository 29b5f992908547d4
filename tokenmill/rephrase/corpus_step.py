"""The step `corpus`: counts of all shards, what only many outputs show, and samples for people."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.io.filesystem import open_binary
from tokenmill.rephrase.asking import ledger_folder
from tokenmill.rephrase.assemble import BUDGET
from tokenmill.rephrase.corpus.measure import measure_corpus, warnings
from tokenmill.rephrase.outputs import names_carried
from tokenmill.rephrase.passages import texts_at

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased

SAMPLES = 12
"""Outputs of a kind that a report shows, spread over styles or reasons."""
SAMPLE_CHARS = 3000
MOST_UNROUTED = 20
"""Values of the column of routes that are told."""


def write_corpus(stage: WriteRephrased, work: Work, out: TaskOutput) -> Mapping[str, Any]:
    """`rephrased/corpus.json`: what `report.html` and the summary tell."""
    outputs = work.outputs("outputs")
    counts: Counter[str] = Counter()
    for task in outputs:
        counts.update(task.facts["counts"])
    styles, reasons = _by_style(counts)
    paid = _paid(styles, [task.facts["tokens"] for task in outputs])
    measured = measure_corpus(
        lambda: map(_answers, _tables([task.paths["rephrased"] for task in outputs], out)),
        lambda: map(_asked, _tables([task.paths["rejected"] for task in outputs], out)),
        lambda: _tables([shard.path for shard in work.shards], out) if stage.keep_documents else iter(()),
        buckets=_buckets(stage, work),
        max_documents=stage.sample_documents,
        seed=stage.seed,
    )
    judged = next((task.facts for task in work.outputs("judge")), None)
    for name in paid if judged is not None else ():
        paid[name] += judged[name] if judged is not None else 0
    dollars = (paid["tokens_in"] * stage.price_in + paid["tokens_out"] * stage.price_out) / 1e6
    kept = sum(one["kept_tokens"] for one in styles.values())
    content = {
        "model": stage.identity.model,
        "ledger": str(ledger_folder(stage, work.folder)),
        "styles": styles,
        "reasons": reasons,
        "unrouted": unrouted(work),
        "passages": counts["passages"],
        "accepted": counts["accepted"],
        "rejected": counts["rejected"],
        **{name: round(tokens) for name, tokens in paid.items()},
        "kept_tokens": kept,
        "dollars": dollars,
        "dollars_per_billion_kept": 1e9 * dollars / kept if kept and dollars else None,
        "rates": measured.get("rates_by_bucket", []),
        "measured": measured,
        "warnings": warnings(measured),
        "judged": judged,
        "samples": _samples(work, {kind: [task.paths[kind] for task in outputs] for kind in ("rephrased", "rejected")}),
    }
    with open(out.path("corpus", ".json"), "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, ensure_ascii=False, sort_keys=True)
    return {"accepted": counts["accepted"], "rejected": counts["rejected"]}


def unrouted(work: Work) -> dict[str, int]:
    """Value of the column that decides on styles -> documents that got none, the commonest first."""
    found: Counter[str] = Counter()
    for shard in work.shards:
        found.update(shard.facts.get("unrouted", {}))
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_UNROUTED])


def _buckets(stage: WriteRephrased, work: Work) -> tuple[str, ...]:
    """The columns of outputs by which rates are told."""
    if not work.shards:
        return ()
    with open_binary(work.shards[0].path) as stream:
        names = names_carried(stage, pq.ParquetFile(stream).schema_arrow.names)
    return tuple(names.get(name, name) for name in (stage.by, *stage.carry) if name)


def _paid(styles: Mapping[str, dict[str, int]], tokens: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Tokens of all outputs. Rows have shares of what passages share: only their sums are rounded."""
    totals = dict.fromkeys(("tokens_in", "tokens_out"), 0.0)
    for name in totals:
        for style, counts in styles.items():
            found = math.fsum(one.get(f"{style}.{name}", 0.0) for one in tokens)
            counts[name] = round(found)
            totals[name] += found
    return totals


def _answers(table: pa.Table) -> pa.Table:
    """With the answers alone as texts, where they stand behind their sources."""
    starts = table.column("answer_start").to_pylist()
    if not any(starts):
        return table
    texts = [text[start:] for text, start in zip(table.column("text").to_pylist(), starts, strict=True)]
    return table.set_column(table.schema.get_field_index("text"), "text", pa.array(texts, pa.string()))


def _asked(table: pa.Table) -> pa.Table:
    """Without passages that nobody was asked about: they say nothing about a model."""
    asked = pc.greater(pc.list_value_length(table.column("request_keys")), 0)
    return table.filter(pc.and_(asked, pc.not_equal(table.column("reason"), BUDGET)))


def _by_style(counts: Mapping[str, int]) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Counts of each style, tokens still 0, and of each reason."""
    names = ("accepted", "rejected", "skipped", "tokens_in", "tokens_out", "kept_tokens")
    styles: dict[str, dict[str, int]] = {}
    reasons: dict[str, dict[str, int]] = {}
    for key, number in sorted(counts.items()):
        kind, _, rest = key.partition(".")
        style, _, name = rest.rpartition(".")
        if kind == "style":
            styles.setdefault(style, dict.fromkeys(names, 0))[name] = number
        elif kind == "reason":
            reasons.setdefault(style, {})[name] = number
    return styles, reasons


def _tables(paths: Sequence[str], out: TaskOutput) -> Iterator[pa.Table]:
    for path in paths:
        with open_binary(path) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=2048):
                yield pa.Table.from_batches([batch])
        out.alive()


_SHOWN = ("id", "parent_id", "parent_doc_id", "source_row", "url", "style", "text", "char_start", "char_end")
_WHY = ("reason", "signal", "value", "threshold", "detail")


def _samples(work: Work, paths: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Some accepted and some rejected outputs with their sources, chosen by hash: one of each style or reason first."""
    found = {}
    for name, kind, group in (("accepted", "rephrased", "style"), ("rejected", "rejected", "reason")):
        more = _WHY if kind == "rejected" else ()
        heaps: dict[str, list[tuple[int, str, str, int, int, dict[str, Any]]]] = {}
        turn = count()  # ids need not be unique, and rows have no order
        for number, path in enumerate(paths[kind]):
            with open_binary(path) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(columns=[*_SHOWN, *more]):
                    for row in batch.to_pylist():
                        place = -int.from_bytes(hashlib.sha256(row["id"].encode()).digest()[:8], "big")
                        heap = heaps.setdefault(row[group], [])
                        entry = (place, row["id"], row["parent_doc_id"], next(turn), number, row)
                        (heapq.heappush if len(heap) < SAMPLES else heapq.heappushpop)(heap, entry)
        turns = [sorted(heap, key=lambda one: (-one[0], one[1:4])) for _, heap in sorted(heaps.items())]
        chosen = [one for at in range(SAMPLES) for group_rows in turns for one in group_rows[at : at + 1]]
        found[name] = [_with_source(work, number, row) for *_, number, row in chosen[:SAMPLES]]
    return found


def _with_source(work: Work, number: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row with the stretch of its source's text that it is about."""
    source = texts_at(work.shards[number].path, {row["source_row"]}).get(row["source_row"])
    if source is not None:
        source = source[row["char_start"] : row["char_end"]][:SAMPLE_CHARS]
    return {**row, "text": (row["text"] or "")[:SAMPLE_CHARS], "source": source}
