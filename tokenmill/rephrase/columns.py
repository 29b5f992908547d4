"""Columns of what comes out: the text, where it came from, who wrote it and how, and what the checks found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from tokenmill.core.schema import FINEWEB
from tokenmill.rephrase.checks.columns import CHECK_COLUMNS

PART_COLUMNS: Mapping[str, pa.DataType] = {
    "part": pa.string(),
    "shard": pa.int32(),
    "row": pa.int64(),
    "doc_id": pa.string(),
    "url": pa.string(),
    "style": pa.string(),
    "number": pa.int32(),
    "start": pa.int64(),
    "end": pa.int64(),
    "tokens": pa.int32(),
    "text": pa.string(),
    "skipped": pa.string(),
}
"""Passages between the phases. `part` orders them (`ledger.part_of`), `row` is the document's among those of its shard,
`skipped` the reason why nobody is asked about a passage, null where somebody is."""

OUTCOME_COLUMNS: Mapping[str, pa.DataType] = {
    "shard": pa.int32(),
    "row": pa.int64(),
    "style": pa.string(),
    "number": pa.int32(),
    "leaf": pa.int32(),
    "doc_id": pa.string(),
    "start": pa.int64(),
    "end": pa.int64(),
    "text": pa.string(),
    "gap": pa.string(),
    "key": pa.string(),
    "failure": pa.string(),
    "detail": pa.string(),
    "response": pa.string(),
    "finish_reason": pa.string(),
    "prompt_digest": pa.string(),
    "served_by": pa.string(),
    "sampling": pa.string(),
    "seed": pa.int64(),
    "attempts": pa.int32(),
    "tokens_in": pa.float64(),
    "tokens_out": pa.float64(),
    "tokens_cached": pa.float64(),
    "latency_s": pa.float64(),
    "shared": pa.int32(),
}
"""What became of each passage: one row, or several (`leaf` from 0) where the passage was cut for the model's context;
`start`, `end` and `text` are then those of the piece, and `gap` is what stands between it and the next one. `failure`,
`detail` and `response`: of the answer that counts, and so are `sampling` (JSON, without the seed) and `seed`.
`attempts`: answers that came. `shared`: passages that share the request, which was made once. `tokens_*`: of all
attempts, for all are paid, divided by `shared`."""

PROVENANCE: Mapping[str, pa.DataType] = {
    "parent_id": pa.string(),
    "parent_doc_id": pa.string(),
    "source_row": pa.int64(),
    "synthetic": pa.bool_(),
    "style": pa.string(),
    "style_version": pa.int32(),
    "style_digest": pa.string(),
    "passage": pa.int32(),
    "passages": pa.int32(),
    "passages_missing": pa.int32(),
    "char_start": pa.int64(),
    "char_end": pa.int64(),
    "answered_spans": pa.list_(pa.int64()),
    "answer_start": pa.int32(),
    "kept_tokens": pa.int64(),
    "model": pa.string(),
    "model_revision": pa.string(),
    "model_weights": pa.string(),
    "chat_template": pa.string(),
    "generator_license": pa.string(),
    "engine": pa.string(),
    "served_by": pa.string(),
    "sampling": pa.string(),
    "request_keys": pa.list_(pa.string()),
    "seeds": pa.list_(pa.int64()),
    "prompt_digests": pa.list_(pa.string()),
    "shared": pa.int32(),
    "attempts": pa.int32(),
    "finish_reason": pa.string(),
    "tokens_in": pa.float64(),
    "tokens_out": pa.float64(),
    "tokens_cached": pa.float64(),
    "latency_s": pa.float64(),
    "cost": pa.float64(),
    "program": pa.string(),
}
"""Whence and how. `synthetic` is true for all that a model has worded, and stays with the row; false for a page of
people from which an edit program has only taken away. `source_row`: place of the source in `data/` of its shard.
`passage`: null where the row is stitched from all passages of its document. `char_start`, `char_end`: of the source's
text; `answered_spans`: begin and end, by turns, of the stretches of it that the text was made of. `answer_start`:
characters of the text before the answer, where that stands behind its source. `kept_tokens`: of the answer; null where
it is rejected. `sampling`: settings, as JSON, that are the same for all answers; `seeds` and `prompt_digests` are
parallel to `request_keys`. `shared`: most passages that share one of these requests. Digests are SHA-256. `tokens_*`:
of all attempts, a passage's share where passages share them, so that sums over rows are what was paid; `cost` in US
dollars likewise. `program`: the operations of an edit, as JSON."""

VERDICT: Mapping[str, pa.DataType] = {
    "reason": pa.string(),
    "signal": pa.string(),
    "value": pa.float64(),
    "threshold": pa.float64(),
    "detail": pa.string(),
}
"""Further columns of rejected outputs, as those of dropped documents."""


OVERWRITTEN = frozenset({"text", "id", "token_count"})
"""Columns of FineWeb that are the output's own; the others are the source's."""
SYNTHETIC = "synthetic"


def carried_names(names: Iterable[str]) -> dict[str, str]:
    """Column of the documents -> its name among those of outputs: `source_<name>` where outputs have one of that name.

    Columns of FineWeb that outputs get anyway are left out.
    """
    reserved = {*PROVENANCE, *CHECK_COLUMNS, *VERDICT, *FINEWEB}
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name in FINEWEB and name not in OVERWRITTEN:
            continue
        other = name
        while other in reserved:
            other = f"source_{other}"
        reserved.add(other)
        found[name] = other
    return found


def is_true(value: Any) -> bool:
    """Whether a value of the column `synthetic` says so: readers give numbers and texts for it as well."""
    return value.strip().lower() in ("true", "1", "1.0") if isinstance(value, str) else bool(value == 1)


def output_schema(carried: Mapping[str, pa.DataType], *, rejected: bool = False) -> pa.Schema:
    """Of `rephrased/` or `rejected/`: FineWeb's columns, provenance, carried columns (`carried_names`), checks."""
    named = {**FINEWEB, **PROVENANCE, **carried}
    more = {**CHECK_COLUMNS, **(VERDICT if rejected else {})}
    return pa.schema([pa.field(name, dtype) for name, dtype in {**named, **more}.items()])
