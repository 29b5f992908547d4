"""The step `outputs`: answers of a shard are read, stitched, checked; each becomes a row, kept or with its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.errors import ShardError
from tokenmill.core.rule import Drop
from tokenmill.core.schema import FINEWEB
from tokenmill.io.filesystem import open_binary
from tokenmill.io.parquet import ParquetShardWriter
from tokenmill.rephrase.assemble import Candidate, Outcome, assemble
from tokenmill.rephrase.checks.run import CheckSettings, check_pairs, verdicts
from tokenmill.rephrase.columns import output_schema
from tokenmill.rephrase.stitch import published_text

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased

WINDOW = 1024
"""Documents whose outcomes are in memory at once."""
CARRIED = ("robots", "license")
"""Columns of the source that every output gets where it has them."""


def write_outputs(stage: WriteRephrased, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
    """`rephrased` and `rejected` of one shard; the facts count where every passage went."""
    with ExitStack() as stack:
        return _write_outputs(stage, number, work, out, stack)


def _write_outputs(
    stage: WriteRephrased, number: int, work: Work, out: TaskOutput, stack: ExitStack
) -> Mapping[str, Any]:
    shard = work.shards[number]
    data = pq.ParquetFile(stack.enter_context(open_binary(shard.path)))
    carried = _carried(stage, data.schema_arrow)
    outcomes = _Outcomes([task.paths["passages"] for task in work.outputs("generate")], number, stack)
    checks = CheckSettings(encoder=stage.similarity)
    writers = {
        kind: ParquetShardWriter(
            out.path(kind, ".parquet"),
            output_schema(carried, rejected=kind == "rejected"),
            level=3,
            rows=5000,
            size=32 << 20,
            chunking=True,
        )
        for kind in ("rephrased", "rejected")
    }
    builder = _Rows(stage, carried)
    counts: Counter[str] = Counter()
    row = 0
    columns = [name for name in data.schema_arrow.names if name in {*FINEWEB, *carried}]
    for batch in data.iter_batches(batch_size=WINDOW, columns=columns):
        documents = batch.to_pylist()
        found = outcomes.between(row, row + len(documents) - 1)
        candidates = [
            candidate
            for (place, style), parts in found.items()
            for candidate in assemble(stage, stage.styles_by_name[style], documents[place - row], parts)
        ]
        _write(candidates, checks, builder, writers, counts)
        row += len(documents)
        out.alive()
    for writer in writers.values():
        writer.close()
    _check_balance(counts, int(shard.facts["rows"]), shard.slug)
    kinds = {"rephrased": counts["accepted"], "rejected": counts["rejected"]}
    return {"counts": dict(sorted(counts.items())), "rows_of": kinds}


def _write(
    candidates: Sequence[Candidate],
    checks: CheckSettings,
    builder: _Rows,
    writers: Mapping[str, ParquetShardWriter],
    counts: Counter[str],
) -> None:
    """Check what has come, and write rows in the order of documents."""
    pairs = [candidate.pair for candidate in candidates]
    table = check_pairs(pairs, checks)
    rows: dict[str, list[dict[str, Any]]] = {"rephrased": [], "rejected": []}
    for candidate, measured, verdict in zip(candidates, table.to_pylist(), verdicts(table, pairs), strict=True):
        drop = candidate.drop or verdict
        kind = "rephrased" if drop is None else "rejected"
        rows[kind].append(builder.row(candidate, measured, drop))
        counts["passages"] += len(candidate.outcomes)
        counts["accepted" if drop is None else "rejected"] += 1
        style = candidate.style.name
        asked = any(outcome.row["key"] for outcome in candidate.outcomes)
        counts[f"style.{style}.{'accepted' if drop is None else 'rejected' if asked else 'skipped'}"] += 1
        if drop is not None:
            counts[f"reason.{style}.{drop.reason}"] += 1
        else:
            counts[f"style.{style}.kept_tokens"] += builder.stage.counter.count(candidate.text)
        for outcome in candidate.outcomes:
            for name in ("tokens_in", "tokens_out"):
                value = (outcome.row[name] or 0) / (outcome.row["shared"] or 1)
                counts[f"style.{style}.{name}"] += round(value)
    for kind, found in rows.items():
        if found:
            schema = output_schema(builder.carried, rejected=kind == "rejected")
            for batch in pa.Table.from_pylist(found, schema=schema).to_batches():
                writers[kind].write(batch)


def _carried(stage: WriteRephrased, schema: pa.Schema) -> dict[str, pa.DataType]:
    wanted = dict.fromkeys([*CARRIED, *([stage.by] if stage.by else []), *stage.carry])
    return {name: schema.field(name).type for name in wanted if name in schema.names}


def _check_balance(counts: Mapping[str, int], rows: int, slug: str) -> None:
    """Every passage that was cut is in exactly one row."""
    if counts.get("passages", 0) != rows:
        raise ShardError(
            f"{slug}: {rows:,} passages were cut, and {counts.get('passages', 0):,} came out",
            why="passages were lost or doubled on the way",
            fix="please report this",
        )


class _Outcomes:
    """What became of the passages of one shard, read in windows of documents from the files of all ranges."""

    def __init__(self, paths: Sequence[str], shard: int, stack: ExitStack) -> None:
        self._shard = shard
        self._groups: list[tuple[pq.ParquetFile, int, int, int]] = []
        """(file, row group, first and last document of this shard that it may hold)."""
        for path in paths:
            file = pq.ParquetFile(stack.enter_context(open_binary(path)))
            places = [file.schema_arrow.get_field_index(name) for name in ("shard", "row")]
            for number in range(file.num_row_groups):
                about = file.metadata.row_group(number)
                shards, rows = (about.column(place).statistics for place in places)
                if shards.min <= shard <= shards.max:
                    mixed = shards.min != shards.max
                    self._groups.append((file, number, 0 if mixed else rows.min, 1 << 62 if mixed else rows.max))

    def between(self, first: int, last: int) -> dict[tuple[int, str], list[Outcome]]:
        """(document, style) -> its outcomes in order of their place in the text; sorted."""
        found: dict[tuple[int, str], list[Outcome]] = {}
        for file, number, low, high in self._groups:
            if low <= last and high >= first:
                table = file.read_row_group(number)
                rows, shards = table.column("row"), table.column("shard")
                inside = pc.and_(pc.greater_equal(rows, first), pc.less_equal(rows, last))
                for row in table.filter(pc.and_(inside, pc.equal(shards, self._shard))).to_pylist():
                    found.setdefault((row["row"], row["style"]), []).append(Outcome(row))
        for parts in found.values():
            parts.sort(key=lambda part: (part.row["start"], part.row["number"]))
        return dict(sorted(found.items()))


class _Rows:
    """Rows of the output: the text with its whole history."""

    def __init__(self, stage: WriteRephrased, carried: Mapping[str, pa.DataType]) -> None:
        self.carried = carried
        self.stage = stage
        identity = stage.identity
        self._same = {
            "model": identity.model,
            "model_revision": identity.revision,
            "model_weights": identity.weights_digest,
            "chat_template": identity.template_digest,
            "generator_license": stage.generator_license,
            "engine": stage.engine,
        }
        self._sampling: dict[tuple[str, int], str] = {}

    def row(self, candidate: Candidate, measured: Mapping[str, Any], drop: Drop | None) -> dict[str, Any]:
        """One row, accepted or (drop) rejected."""
        source, style = candidate.document, candidate.style
        asked = [outcome.row for outcome in candidate.outcomes if outcome.row["key"]]
        first: Mapping[str, Any] = asked[0] if asked else {}
        tokens = {name: self._sum(asked, name) for name in ("tokens_in", "tokens_out", "tokens_cached")}
        found: dict[str, Any] = {
            **{name: source.get(name) for name in (*FINEWEB, *self.carried)},
            "text": candidate.text if drop else published_text(style, candidate.pair.source, candidate.text),
            "token_count": None,
            "id": f"{source['id']}~{style.name}" + ("" if candidate.passage is None else f"~{candidate.passage}"),
            "parent_id": source["id"],
            "parent_doc_id": candidate.doc_id,
            "synthetic": candidate.synthetic,
            "style": style.name,
            "style_version": style.version,
            "style_digest": style.digest,
            "passage": candidate.passage,
            "passages": len(candidate.outcomes),
            "passages_missing": candidate.missing,
            "char_start": candidate.start,
            "char_end": candidate.end,
            **self._same,
            "served_by": first.get("served_by"),
            "sampling": self._sampling_of(candidate, first),
            "seed": first.get("seed"),
            "request_keys": [row["key"] for row in asked],
            "prompt_digest": first.get("prompt_digest"),
            "attempts": sum(row["attempts"] or 0 for row in asked),
            "finish_reason": candidate.pair.finish_reason or None,
            **tokens,
            "latency_s": self._sum(asked, "latency_s"),
            "cost": (tokens["tokens_in"] * self.stage.price_in + tokens["tokens_out"] * self.stage.price_out) / 1e6,
            "program": candidate.program,
            **measured,
        }
        if drop is not None:
            found |= {
                "reason": drop.reason,
                "signal": drop.signal or None,
                "value": drop.value,
                "threshold": drop.threshold,
                "detail": drop.detail or None,
            }
        return found

    def _sampling_of(self, candidate: Candidate, first: Mapping[str, Any]) -> str:
        style, limit = candidate.style, first.get("max_tokens") or candidate.style.output_tokens
        if (style.name, limit) not in self._sampling:
            found = {**style.sampling, **self.stage.sampling, "max_tokens": limit}
            self._sampling[style.name, limit] = json.dumps(
                {k: v for k, v in found.items() if v is not None}, sort_keys=True
            )
        return self._sampling[style.name, limit]

    @staticmethod
    def _sum(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
        return sum(row[name] or 0 for row in rows)
