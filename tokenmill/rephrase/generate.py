"""The step `generate`: passages of a range become requests, and what came of each is noted for its shard."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.errors import ShardError
from tokenmill.io.chat.reply import Reply
from tokenmill.rephrase.asking import engine_of, ledger_folder, meter_of
from tokenmill.rephrase.checks.phrases import find_phrase
from tokenmill.rephrase.chunks import halves
from tokenmill.rephrase.columns import OUTCOME_COLUMNS, PART_COLUMNS
from tokenmill.rephrase.formats import read_format
from tokenmill.rephrase.ledger import Entry, Ledger
from tokenmill.rephrase.passages import SortedWriter, rows_between
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.render import request_of
from tokenmill.rephrase.request import Passage, Request
from tokenmill.rephrase.session import SessionSettings, run_session
from tokenmill.rephrase.style import Style

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased

JOINED = "\n\n"
"""Between the answers about the halves of a passage that did not fit into the model's context."""


@dataclass(frozen=True)
class Asked:
    """Settings that are the same for all requests of a task."""

    stage: WriteRephrased
    identity: Mapping[str, str]

    def request_of(self, row: Mapping[str, Any]) -> Request:
        """The request about a passage of the table."""
        passage = Passage(row["doc_id"], row["number"], row["start"], row["end"], row["text"], row["tokens"])
        return self.request(self.stage.styles_by_name[row["style"]], passage, row["url"])

    def request(self, style: Style, passage: Passage, url: str, depth: int = 0) -> Request:
        """The request about a passage."""
        stage = self.stage
        return request_of(
            style, passage, identity=self.identity, seed=stage.seed, url=url, changes=stage.sampling, depth=depth
        )

    def rechunk(self, request: Request) -> Sequence[Request]:
        """Requests about the halves of a passage; none where it cannot be halved."""
        style = self.stage.styles_by_name[request.style]
        parts = halves(request.passage, self.stage.counter)
        return [self.request(style, part, "", request.depth + 1) for part in parts]

    def read(self, request: Request, reply: Reply) -> Reading:
        """Whether an answer has the form that its style asks for."""
        found = read_format(self.stage.styles_by_name[request.style], reply.text)
        if refused := find_phrase("refusal", reply.text, request.passage.text):
            return Reading("refusal", refused)
        return Reading(found.kind, found.detail)


def generate(stage: WriteRephrased, part: tuple[str, str], work: Work, out: TaskOutput) -> Mapping[str, Any]:
    """Ask what the ledger lacks of a range, and write a row for each passage, sorted by shard."""
    first, last = part
    rows = _passages(work, first, last).to_pylist()
    asked = Asked(stage, stage.identity.to_json())
    requests = {number: asked.request_of(row) for number, row in enumerate(rows) if row["skipped"] is None}
    with Ledger(ledger_folder(stage, work.folder), (first, last), work.folder) as ledger:
        run_session(
            engine_of(stage, alive=out.alive),
            ledger,
            settings_of(stage),
            requests.values(),
            read=asked.read,
            rechunk=asked.rechunk,
            meter=meter_of(stage, work.folder, f"{first}-{last}", work.fingerprint),
            alive=out.alive,
        )
        outcomes = _Outcomes(ledger.entries)
        shared = Counter(request.key for request in requests.values())
    path = out.path("passages", ".parquet")
    writer = SortedWriter(path, {**OUTCOME_COLUMNS, **_KEPT}, ("shard", "row", "style", "number"))
    for number, row in enumerate(rows):
        about = {name: row[name] for name in _COPIED}
        request = requests.get(number)
        if request is not None:
            about |= outcomes.row(request) | {"shared": shared[request.key]}
        else:
            about |= {"failure": row["skipped"], "detail": "not asked"}
        writer.add(about, len(row["text"]) + len(about.get("response") or ""))
    writer.close()
    return {"rows": len(rows), "asked": len(requests), "unique": len(shared), "rows_of": {"passages": writer.rows}}


_COPIED = ("shard", "row", "style", "number", "doc_id", "start", "end", "tokens", "text")
_KEPT = {name: PART_COLUMNS[name] for name in _COPIED if name not in OUTCOME_COLUMNS}


def settings_of(stage: WriteRephrased) -> SessionSettings:
    """How patiently requests are made."""
    return SessionSettings(
        concurrency=stage.concurrency,
        tries=stage.tries,
        timeout=stage.timeout,
        give_up_seconds=stage.give_up_seconds,
        retry=frozenset(stage.retry),
        when_spent=stage.when_spent,
    )


def _passages(work: Work, first: str, last: str) -> pa.Table:
    """The passages of a range of all shards, in an order that depends on nothing but them."""
    schema = pa.schema(list(PART_COLUMNS.items()))
    tables = []
    for number, shard in enumerate(work.shards):
        for found in rows_between(shard.beside["passages"], "part", first, last):
            place = pa.array([number] * found.num_rows, pa.int32())
            tables.append(found.set_column(found.schema.get_field_index("shard"), schema.field("shard"), place))
    order = [(name, "ascending") for name in ("part", "shard", "row", "start", "style", "number")]
    return pa.concat_tables([schema.empty_table(), *tables]).sort_by(order)


class _Outcomes:
    """What the ledger says of requests, as rows."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def row(self, request: Request) -> dict[str, Any]:
        """The outcome of a request: its answer, or those of its halves joined; a failure where one has failed."""
        leaves = list(self._leaves(request.key))
        failed = next((entry for entry in leaves if entry.outcome != "answer"), None)
        told = failed or leaves[0]
        texts = [entry.response for entry in leaves]
        sampling = told.row["sampling"] or {}
        return {
            "key": request.key,
            "failure": None if failed is None else failed.kind,
            "detail": None if failed is None else failed.detail,
            "response": told.row["response"] if failed is not None else JOINED.join(texts),
            "finish_reason": told.row["finish_reason"],
            "prompt_digest": digest_of(request.messages),
            "served_by": told.row["served_by"],
            "seed": sampling.get("seed"),
            "max_tokens": sampling.get("max_tokens"),
            "attempts": sum(entry.attempts for entry in leaves),
            "halved": len(leaves) if len(leaves) > 1 else 0,
            "tokens_in": sum(entry.tokens_in for entry in leaves),
            "tokens_out": sum(entry.tokens_out for entry in leaves),
            "tokens_cached": sum(entry.tokens_cached for entry in leaves),
            "latency_s": sum(entry.seconds for entry in leaves),
        }

    def _leaves(self, key: str) -> Iterator[Entry]:
        entry = self._entries.get(key)
        if entry is None or not entry.outcome:
            raise ShardError(
                f"request {key[:12]} has no outcome", why="the session ended without one", fix="run the command again"
            )
        if entry.outcome == "split":
            for child, _, _ in entry.parts:
                yield from self._leaves(child)
        else:
            yield entry


def digest_of(messages: Sequence[Mapping[str, str]]) -> str:
    """SHA-256 of a prompt as it was sent."""
    return hashlib.sha256(json.dumps(list(map(dict, messages)), sort_keys=True).encode()).hexdigest()
