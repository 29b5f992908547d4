"""The step `judge`: a model reads a sample of accepted outputs beside their sources and counts what is supported."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.errors import ConfigError
from tokenmill.io.chat.reply import Reply
from tokenmill.io.filesystem import open_binary
from tokenmill.rephrase.asking import engine_of, ledger_folder, meter_of
from tokenmill.rephrase.checks.judge import (
    FAITHFUL,
    SAMPLING,
    judge_digest,
    judge_messages,
    judged,
    read_judgement,
)
from tokenmill.rephrase.checks.run import Pair
from tokenmill.rephrase.generate import settings_of
from tokenmill.rephrase.ledger import ALL, Ledger
from tokenmill.rephrase.passages import stretches, texts_at
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.request import Passage, Request, request_key
from tokenmill.rephrase.session import run_session

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased

COLUMNS: Mapping[str, pa.DataType] = {
    "id": pa.string(),
    "parent_id": pa.string(),
    "style": pa.string(),
    "judge": pa.string(),
    "verdict": pa.string(),
    "supported": pa.int32(),
    "unsupported": pa.int32(),
    "contradicted": pa.int32(),
    "omitted": pa.int32(),
    "failure": pa.string(),
}
"""One row per judged output. `verdict` and counts are null where `failure` says why there are none."""
_READ = ("id", "parent_id", "source_row", "style", "text", "answer_start", "answered_spans", "char_start", "char_end")


def judge_sample(stage: WriteRephrased, work: Work, out: TaskOutput) -> Mapping[str, Any]:
    """`judged/sample.parquet`, and in the facts how many outputs say what their sources say."""
    if not stage.keep_documents:
        raise ConfigError("a judge needs the texts of the documents", fix="keep_documents=true")
    pairs = list(_sample(stage, work, out))
    engine = engine_of(stage, judge=True, alive=out.alive)
    identity = engine.identity.to_json()
    requests = [_request(stage, identity, row, pair) for row, pair in pairs]
    meter = meter_of(stage, work.folder, "judge", work.fingerprint)
    with Ledger(
        ledger_folder(stage, work.folder),
        ALL,
        work.folder,
        keys={request.key for request in requests},
        payer=(meter.run, meter.name),
        alive=out.alive,
    ) as ledger:
        run_session(
            engine,
            ledger,
            settings_of(stage),
            requests,
            read=_readable,
            rechunk=lambda request: (),
            meter=meter,
            alive=out.alive,
        )
        entries = ledger.entries
    rows, counts = [], Counter[str]()
    for (row, _), request in zip(pairs, requests, strict=True):
        entry = entries[request.key]
        found = read_judgement(entry.response) if entry.outcome == "answer" else None
        verdict = None if found is None else found.verdict
        counts[verdict or "unreadable"] += 1
        rows.append(
            {
                **{name: row[name] for name in ("id", "parent_id", "style")},
                "judge": identity["model"],
                "verdict": verdict,
                **({} if found is None else vars(found)),
                "failure": None if found is not None else entry.kind or "parse",
            }
        )
    rows.sort(key=lambda one: one["id"])
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(COLUMNS.items()))), out.path("judged", ".parquet"))
    asked = [entries[key] for key in sorted({request.key for request in requests})]
    readable = len(rows) - counts["unreadable"]
    return {
        "judged": len(rows),
        "supported": counts[FAITHFUL],
        "unsupported": readable - counts[FAITHFUL],
        "unreadable": counts["unreadable"],
        "verdicts": dict(sorted(counts.items())),
        "tokens_in": sum(entry.tokens_in for entry in asked),
        "tokens_out": sum(entry.tokens_out for entry in asked),
        "rows_of": {"judged": len(rows)},
    }


def _sample(stage: WriteRephrased, work: Work, out: TaskOutput) -> Iterator[tuple[dict[str, Any], Pair]]:
    """Accepted outputs that a hash chooses: their answers alone, with the stretches of the source that they are of."""
    for shard, task in zip(work.shards, work.outputs("outputs"), strict=True):
        with open_binary(task.paths["rephrased"]) as stream:
            table = pq.read_table(stream, columns=list(_READ))
        chosen = [row for row in table.to_pylist() if judged(row["id"], stage.judge_share, stage.seed)]
        sources = texts_at(shard.path, {row["source_row"] for row in chosen})
        for row in chosen:
            style, source = stage.styles_by_name[row["style"]], sources[row["source_row"]]
            yield (
                row,
                Pair(
                    stretches(source, row["answered_spans"]),
                    row["text"][row["answer_start"] :],
                    style,
                    "",
                    "stop",
                    0,
                    0,
                ),
            )
        out.alive()


def _request(stage: WriteRephrased, identity: Mapping[str, str], row: Mapping[str, Any], pair: Pair) -> Request:
    messages: Sequence[Mapping[str, str]] = judge_messages(pair, stage.seed)
    seed = int.from_bytes(hashlib.sha256(f"{stage.seed}\0{row['id']}".encode()).digest()[:4], "big") >> 1
    sampling = {**SAMPLING, "seed": seed}
    key = request_key(identity, judge_digest(), list(messages), sampling)
    passage = Passage(row["id"], 0, row["char_start"], row["char_end"], pair.source, 0)
    return Request(key, "judge", tuple(messages), sampling, passage)


def _readable(request: Request, reply: Reply) -> Reading:
    return Reading() if read_judgement(reply.text) is not None else Reading("parse", "no counts of claims")
