"""The step `generate`: passages of a range become requests, and what came of each is noted for its shard."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from tokenmill.rephrase.formats import FormatError, read_format, unwrapped
from tokenmill.rephrase.ledger import Entry, Ledger
from tokenmill.rephrase.passages import SortedWriter, rows_between
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.render import request_of
from tokenmill.rephrase.request import Passage, Request
from tokenmill.rephrase.session import SessionSettings, run_session
from tokenmill.rephrase.style import Style

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased


@dataclass(frozen=True)
class Asked:
    """Settings that are the same for all requests of a task."""

    stage: WriteRephrased
    identity: Mapping[str, str]
    urls: Mapping[str, str]
    """doc_id -> address of the page."""

    def request_of(self, row: Mapping[str, Any]) -> Request:
        """The request about a passage of the table."""
        passage = Passage(row["doc_id"], row["number"], row["start"], row["end"], row["text"], row["tokens"])
        return self.request(self.stage.styles_by_name[row["style"]], passage)

    def request(self, style: Style, passage: Passage, depth: int = 0) -> Request:
        """The request about a passage."""
        stage = self.stage
        url = self.urls.get(passage.doc_id, "")
        return request_of(
            style, passage, identity=self.identity, seed=stage.seed, url=url, changes=stage.sampling, depth=depth
        )

    def rechunk(self, request: Request) -> Sequence[Request]:
        """Requests about the halves of a passage; none where it cannot be halved."""
        style = self.stage.styles_by_name[request.style]
        parts = halves(request.passage, self.stage.counter)
        return [self.request(style, part, request.depth + 1) for part in parts]

    def read(self, request: Request, reply: Reply) -> Reading:
        """Whether an answer has the form that its style asks for. Refusals are looked for in what it says, not in
        thoughts."""
        found = read_format(self.stage.styles_by_name[request.style], reply.text)
        said = _bare(reply.text) if found.kind else found.text
        if refused := find_phrase("refusal", said, request.passage.text):
            return Reading("refusal", refused)
        return Reading(found.kind, found.detail)


def _bare(text: str) -> str:
    try:
        return unwrapped(text)
    except FormatError:  # nothing but thoughts
        return ""


def generate(stage: WriteRephrased, part: tuple[str, str], work: Work, out: TaskOutput) -> Mapping[str, Any]:
    """Ask what the ledger lacks of a range, and write a row for each passage, sorted by shard."""
    first, last = part
    rows = _passages(work, first, last).to_pylist()
    asked = Asked(stage, stage.identity.to_json(), {row["doc_id"]: row["url"] for row in rows})
    requests = {number: asked.request_of(row) for number, row in enumerate(rows) if row["skipped"] is None}
    meter = meter_of(stage, work.folder, f"{first}-{last}", work.fingerprint)
    with Ledger(
        ledger_folder(stage, work.folder),
        (first, last),
        work.folder,
        keys={request.key for request in requests.values()},
        payer=(meter.run, meter.name),
        alive=out.alive,
    ) as ledger:
        run_session(
            engine_of(stage, alive=out.alive),
            ledger,
            settings_of(stage),
            requests.values(),
            read=asked.read,
            rechunk=asked.rechunk,
            meter=meter,
            alive=out.alive,
        )
        outcomes = _Outcomes(ledger.entries, asked)
        outcomes.share(requests.values())
    path = out.path("passages", ".parquet")
    writer = SortedWriter(path, OUTCOME_COLUMNS, ("shard", "row", "style", "number", "leaf"))
    for number, row in enumerate(rows):
        if number not in requests:
            about = {"leaf": 0, "gap": "", "failure": row["skipped"], "detail": "not asked"}
            writer.add({**{name: row[name] for name in _COPIED}, **about}, len(row["text"]))
            continue
        for told in outcomes.rows(row, requests[number]):
            writer.add(told, len(told["text"]) + len(told["response"] or ""))
    writer.close()
    unique = len({request.key for request in requests.values()})
    return {"rows": len(rows), "asked": len(requests), "unique": unique, "rows_of": {"passages": writer.rows}}


_COPIED = ("shard", "row", "style", "number", "doc_id", "start", "end", "text")


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


@dataclass(frozen=True)
class _Leaf:
    """A request that was asked in the end: about a passage, or about a piece of one. Spans: characters of the document
    whose passage it is, not of the one that the ledger has noted for it."""

    entry: Entry
    start: int
    end: int
    depth: int
    above: tuple[Entry, ...]
    """What had been asked about more, and paid for, before it was cut; with the first piece alone."""


class _Outcomes:
    """What the ledger says of requests, as rows."""

    def __init__(self, entries: Mapping[str, Entry], asked: Asked) -> None:
        self._entries, self._asked = entries, asked
        self._shared: Counter[str] = Counter()

    def share(self, requests: Iterable[Request]) -> None:
        """Count by how many passages each key is shared."""
        for request in requests:
            self._shared.update(key for leaf in self.leaves(request) for key in _keys(leaf))

    def rows(self, row: Mapping[str, Any], request: Request) -> Iterator[dict[str, Any]]:
        """The outcome of a passage: a row for each request that was answered about it, or has failed."""
        leaves = list(self.leaves(request))
        base, text = row["start"], row["text"]
        for number, leaf in enumerate(leaves):
            entry = leaf.entry
            settings = dict(entry.row["sampling"] or {})
            following = leaves[number + 1].start if number + 1 < len(leaves) else leaf.end
            own = {
                **{name: row[name] for name in _COPIED},
                "leaf": number,
                "start": leaf.start,
                "end": leaf.end,
                "text": text[leaf.start - base : leaf.end - base],
                "gap": text[leaf.end - base : following - base],
                "key": entry.key,
                "failure": None if entry.outcome == "answer" else entry.kind,
                "detail": None if entry.outcome == "answer" else entry.detail,
                "response": entry.row["response"],
                "finish_reason": entry.row["finish_reason"],
                "served_by": entry.row["served_by"],
                "seed": settings.pop("seed", None),
                "sampling": json.dumps(settings, sort_keys=True),
                "shared": max(self._shared[key] for key in _keys(leaf)),
            }
            yield {**own, "prompt_digest": self._prompt(request, leaf, own["text"]), **self._paid(leaf)}

    def _paid(self, leaf: _Leaf) -> dict[str, Any]:
        paid = [(entry, self._shared[entry.key]) for entry in (leaf.entry, *leaf.above)]
        return {
            "attempts": sum(entry.attempts for entry, _ in paid),
            "tokens_in": sum(entry.tokens_in / shared for entry, shared in paid),
            "tokens_out": sum(entry.tokens_out / shared for entry, shared in paid),
            "tokens_cached": sum(entry.tokens_cached / shared for entry, shared in paid),
            "latency_s": sum(entry.seconds for entry, _ in paid),
        }

    def _prompt(self, request: Request, leaf: _Leaf, text: str) -> str:
        if not leaf.depth:
            return digest_of(request.messages)
        whole = request.passage
        passage = Passage(whole.doc_id, whole.number, leaf.start, leaf.end, text, 0)
        style = self._asked.stage.styles_by_name[request.style]
        return digest_of(self._asked.request(style, passage, leaf.depth).messages)

    def leaves(self, request: Request) -> Iterator[_Leaf]:
        """What was asked in the end instead of a request, in the order of the text; the request itself if it was."""
        return self._leaves(request.key, request.passage.start, request.passage.end, 0, ())

    def _leaves(self, key: str, start: int, end: int, depth: int, above: tuple[Entry, ...]) -> Iterator[_Leaf]:
        entry = self._entries.get(key)
        if entry is None or not entry.outcome:
            raise ShardError(
                f"request {key[:12]} has no outcome", why="the session ended without one", fix="run the command again"
            )
        if entry.outcome != "split":
            yield _Leaf(entry, start, end, depth, above)
            return
        moved = start - entry.row["passage"][1]  # an equal passage of another document may have been noted
        above = (*above, entry)
        for child, first, last in entry.parts:
            yield from self._leaves(child, first + moved, last + moved, depth + 1, above)
            above = ()


def _keys(leaf: _Leaf) -> list[str]:
    return [leaf.entry.key, *(entry.key for entry in leaf.above)]


def digest_of(messages: Sequence[Mapping[str, str]]) -> str:
    """SHA-256 of a prompt as it was sent."""
    return hashlib.sha256(json.dumps(list(map(dict, messages)), sort_keys=True).encode()).hexdigest()
