"""Columns of what comes out: the text, where it came from, who wrote it and how, and what the checks found."""

from __future__ import annotations

from collections.abc import Mapping

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
    "key": pa.string(),
    "failure": pa.string(),
    "detail": pa.string(),
    "response": pa.string(),
    "finish_reason": pa.string(),
    "prompt_digest": pa.string(),
    "served_by": pa.string(),
    "seed": pa.int64(),
    "max_tokens": pa.int64(),
    "attempts": pa.int32(),
    "halved": pa.int32(),
    "tokens_in": pa.int64(),
    "tokens_out": pa.int64(),
    "tokens_cached": pa.int64(),
    "latency_s": pa.float64(),
    "shared": pa.int32(),
}
"""What became of each passage. `attempts`: answers that came. `halved`: requests that the passage was cut into for the
model's context, 0 where it was not. `tokens_*`: of all attempts, for all are paid. `shared`: passages that share the
request, which was made once."""

PROVENANCE: Mapping[str, pa.DataType] = {
    "parent_id": pa.string(),
    "parent_doc_id": pa.string(),
    "synthetic": pa.bool_(),
    "style": pa.string(),
    "style_version": pa.int32(),
    "style_digest": pa.string(),
    "passage": pa.int32(),
    "passages": pa.int32(),
    "passages_missing": pa.int32(),
    "char_start": pa.int64(),
    "char_end": pa.int64(),
    "model": pa.string(),
    "model_revision": pa.string(),
    "model_weights": pa.string(),
    "chat_template": pa.string(),
    "generator_license": pa.string(),
    "engine": pa.string(),
    "served_by": pa.string(),
    "sampling": pa.string(),
    "seed": pa.int64(),
    "request_keys": pa.list_(pa.string()),
    "prompt_digest": pa.string(),
    "attempts": pa.int32(),
    "finish_reason": pa.string(),
    "tokens_in": pa.int64(),
    "tokens_out": pa.int64(),
    "tokens_cached": pa.int64(),
    "latency_s": pa.float64(),
    "cost": pa.float64(),
    "program": pa.string(),
}
"""Whence and how. `synthetic` is true for all that a model has worded, and stays with the row; false for a page from
which an edit program has only taken away. `passage`: null where the row is stitched from all passages of its document.
`char_start`, `char_end`: of the source's text. Digests are SHA-256. `tokens_*`: of all attempts; `cost` in US dollars.
`program`: the operations of an edit, as JSON."""

VERDICT: Mapping[str, pa.DataType] = {
    "reason": pa.string(),
    "signal": pa.string(),
    "value": pa.float64(),
    "threshold": pa.float64(),
    "detail": pa.string(),
}
"""Further columns of rejected outputs, as those of dropped documents."""


def output_schema(carried: Mapping[str, pa.DataType], *, rejected: bool = False) -> pa.Schema:
    """Of `rephrased/` or `rejected/`: FineWeb's columns, provenance, columns of the source, checks."""
    named = {**FINEWEB, **PROVENANCE, **{name: dtype for name, dtype in carried.items() if name not in FINEWEB}}
    more = {**CHECK_COLUMNS, **(VERDICT if rejected else {})}
    return pa.schema([pa.field(name, dtype) for name, dtype in {**named, **more}.items()])
