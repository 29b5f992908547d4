"""The step `outputs`: answers of a shard are read, stitched, checked; each becomes a row, kept or with its reason."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.errors import ShardError
from tokenmill.core.rule import Drop
from tokenmill.core.schema import FINEWEB
from tokenmill.io.filesystem import open_binary
from tokenmill.io.parquet import ParquetShardWriter
from tokenmill.rephrase.assemble import BUDGET, Candidate, assemble, outcomes_of, was_asked
from tokenmill.rephrase.checks.columns import CHECK_COLUMNS
from tokenmill.rephrase.checks.run import CheckSettings, check_pairs, verdicts
from tokenmill.rephrase.columns import SYNTHETIC, carried_names, is_true, output_schema
from tokenmill.rephrase.passages import Gathered
from tokenmill.rephrase.stitch import published_text

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased

WINDOW = 1024
"""Documents whose outcomes are in memory at once."""
CARRIED = (SYNTHETIC, "robots", "license")
"""Columns of the source that every output gets where it has them."""
TOKENS = ("tokens_in", "tokens_out", "tokens_cached")


def write_outputs(stage: WriteRephrased, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
    """`rephrased` and `rejected` of one shard; the facts count where every passage went."""
    with ExitStack() as stack:
        return _write_outputs(stage, number, work, out, stack)


def _write_outputs(
    stage: WriteRephrased, number: int, work: Work, out: TaskOutput, stack: ExitStack
) -> Mapping[str, Any]:
    shard = work.shards[number]
    data = pq.ParquetFile(stack.enter_context(open_binary(shard.path)))
    names = names_carried(stage, data.schema_arrow.names)
    types = {other: data.schema_arrow.field(name).type for name, other in names.items()}
    paths = {kind: out.path(kind, ".parquet") for kind in ("rephrased", "rejected")}
    outcomes = stack.enter_context(
        Gathered(
            [task.paths["passages"] for task in work.outputs("generate")],
            number,
            ("row", "style", "number", "leaf"),
            os.path.dirname(paths["rephrased"]),
            alive=out.alive,
        )
    )
    schemas = {kind: output_schema(types, rejected=kind == "rejected") for kind in paths}
    writers = {
        kind: ParquetShardWriter(path, schemas[kind], level=3, rows=5000, size=32 << 20, chunking=True)
        for kind, path in paths.items()
    }
    job = _Job(stage, CheckSettings(encoder=stage.similarity), _Rows(stage, names), writers, schemas)
    done = 0
    columns = [name for name in data.schema_arrow.names if name in {*FINEWEB, *names}]
    for batch in data.iter_batches(batch_size=WINDOW, columns=columns):
        documents = batch.to_pylist()
        job.write(done, documents, outcomes.until(done + len(documents) - 1))
        done += len(documents)
        out.alive()
    for writer in writers.values():
        writer.close()
    _check_balance(job.counts, int(shard.facts["rows"]), shard.slug)
    kinds = {"rephrased": job.counts["accepted"], "rejected": job.counts["rejected"]}
    return {"counts": dict(sorted(job.counts.items())), "tokens": dict(sorted(job.tokens.items())), "rows_of": kinds}


class _Job:
    """Candidates become rows, in the order of documents, and are counted.

    counts: passages, accepted, rejected, and by style and reason. tokens: "<style>.<name>" -> share of what was paid.
    """

    def __init__(
        self,
        stage: WriteRephrased,
        checks: CheckSettings,
        builder: _Rows,
        writers: Mapping[str, ParquetShardWriter],
        schemas: Mapping[str, pa.Schema],
    ) -> None:
        self._stage, self._checks, self._builder = stage, checks, builder
        self._writers, self._schemas = writers, schemas
        self.counts: Counter[str] = Counter()
        self.tokens: dict[str, float] = {}

    def write(self, first: int, documents: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]]) -> None:
        """Rows of a window. first: row of the first document."""
        found: list[tuple[int, Candidate]] = []
        for (row, name), rows in groupby(outcomes, key=lambda one: (one["row"], one["style"])):
            style = self._stage.styles_by_name[name]
            parts = outcomes_of(style, list(rows))
            made = assemble(self._stage, style, documents[row - first], parts)
            found += ((row, candidate) for candidate in made)
        # of answers that could not be read nothing is measured: an empty text has no qualities
        pairs = [candidate.pair for _, candidate in found if candidate.drop is None]
        measured = check_pairs(pairs, self._checks)
        checked = iter(zip(measured.to_pylist(), verdicts(measured, pairs), strict=True))
        rows_of: dict[str, list[dict[str, Any]]] = {kind: [] for kind in self._writers}
        for row, candidate in found:
            values, drop = next(checked) if candidate.drop is None else (_UNMEASURED, candidate.drop)
            made_row = self._builder.row(row, candidate, values, drop)
            rows_of["rephrased" if drop is None else "rejected"].append(made_row)
            self._count(candidate, drop, made_row)
        for kind, listed in rows_of.items():
            if listed:
                for batch in pa.Table.from_pylist(listed, schema=self._schemas[kind]).to_batches():
                    self._writers[kind].write(batch)

    def _count(self, candidate: Candidate, drop: Drop | None, row: Mapping[str, Any]) -> None:
        style, counts = candidate.style.name, self.counts
        counts["passages"] += len(candidate.outcomes)
        counts["accepted" if drop is None else "rejected"] += 1
        if drop is None:
            counts[f"style.{style}.accepted"] += 1
            counts[f"style.{style}.kept_tokens"] += row["kept_tokens"]
        else:
            skipped = drop.reason == BUDGET or not any(outcome.wanted for outcome in candidate.outcomes)
            counts[f"style.{style}.{'skipped' if skipped else 'rejected'}"] += 1
            counts[f"reason.{style}.{drop.reason}"] += 1
        for name in TOKENS:
            key = f"{style}.{name}"
            self.tokens[key] = self.tokens.get(key, 0.0) + row[name]


_UNMEASURED = dict.fromkeys(CHECK_COLUMNS)


def names_carried(stage: WriteRephrased, columns: Sequence[str]) -> dict[str, str]:
    """Column of the documents that outputs get too -> its name there. columns: those that the documents have."""
    wanted = [*CARRIED, *([stage.by] if stage.by else []), *stage.carry]
    return carried_names([name for name in wanted if name in columns])


def _check_balance(counts: Mapping[str, int], rows: int, slug: str) -> None:
    """Every passage that was cut is in exactly one row."""
    if counts.get("passages", 0) != rows:
        raise ShardError(
            f"{slug}: {rows:,} passages were cut, and {counts.get('passages', 0):,} came out",
            why="passages were lost or doubled on the way",
            fix="please report this",
        )


class _Rows:
    """Rows of the output: the text with its whole history."""

    def __init__(self, stage: WriteRephrased, names: Mapping[str, str]) -> None:
        """names: of `names_carried`."""
        self._names = names
        self._stage = stage
        identity = stage.identity
        self._same = {
            "model": identity.model,
            "model_revision": identity.revision,
            "model_weights": identity.weights_digest,
            "chat_template": identity.template_digest,
            "generator_license": stage.generator_license,
            "engine": stage.engine,
        }

    def row(
        self, source_row: int, candidate: Candidate, measured: Mapping[str, Any], drop: Drop | None
    ) -> dict[str, Any]:
        """One row, accepted or (drop) rejected."""
        source, style = candidate.document, candidate.style
        text = candidate.text if drop else published_text(style, candidate.pair.source, candidate.text)
        spans = candidate.spans
        if style.kind == "edit":
            spans = [(0, len(source["text"]))]
        found: dict[str, Any] = {
            **{name: source.get(name) for name in FINEWEB},
            **{other: source.get(name) for name, other in self._names.items()},
            "text": text,
            "token_count": None,
            "id": f"{source['id']}~{style.name}" + ("" if candidate.passage is None else f"~{candidate.passage}"),
            "parent_id": source["id"],
            "parent_doc_id": candidate.doc_id,
            "source_row": source_row,
            "synthetic": candidate.synthetic or is_true(source.get(SYNTHETIC)),
            "style": style.name,
            "style_version": style.version,
            "style_digest": style.digest,
            "passage": candidate.passage,
            "passages": len(candidate.outcomes),
            "passages_missing": candidate.missing,
            "char_start": min(part.start for part in candidate.outcomes),
            "char_end": max(part.end for part in candidate.outcomes),
            "answered_spans": list(chain.from_iterable(spans)),
            "answer_start": len(text) - len(candidate.text),
            "kept_tokens": self._stage.counter.count(candidate.text) if drop is None else None,
            **self._same,
            **self._history(candidate),
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

    def _history(self, candidate: Candidate) -> dict[str, Any]:
        """What was asked and paid for a row."""
        leaves = [leaf for part in candidate.outcomes for leaf in part.leaves]
        asked = [leaf for leaf in leaves if was_asked(leaf)]
        used = [leaf for leaf in asked if leaf["failure"] is None] or asked
        tokens = {name: sum(leaf[name] or 0.0 for leaf in leaves) for name in TOKENS}
        prices = self._stage.price_in, self._stage.price_out
        return {
            "served_by": used[0]["served_by"] if used else None,
            "sampling": _common([leaf["sampling"] for leaf in used]),
            "request_keys": [leaf["key"] for leaf in asked],
            "seeds": [leaf["seed"] for leaf in asked],
            "prompt_digests": [leaf["prompt_digest"] for leaf in asked],
            "shared": max((leaf["shared"] for leaf in asked), default=None),
            "attempts": sum(leaf["attempts"] or 0 for leaf in leaves),
            "finish_reason": candidate.pair.finish_reason or None,
            **tokens,
            "latency_s": sum(leaf["latency_s"] or 0.0 for leaf in leaves),
            "cost": (tokens["tokens_in"] * prices[0] + tokens["tokens_out"] * prices[1]) / 1e6,
        }


def _common(settings: Sequence[str]) -> str | None:
    """What all of them say alike. settings: mappings as JSON."""
    if len(set(settings)) < 2:
        return settings[0] if settings else None
    first, *others = [json.loads(one) for one in dict.fromkeys(settings)]
    same = {name: value for name, value in first.items() if all(name in one and one[name] == value for one in others)}
    return json.dumps(same, sort_keys=True)
