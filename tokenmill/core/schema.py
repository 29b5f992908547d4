"""Columns: names, types and order.

Between stages a batch is a plain `pyarrow.RecordBatch`; sources make them of at most `SOURCE_ROWS` or `SOURCE_BYTES`.
Published data has FineWeb's columns first, then provenance, then signals in the order in which the
stages add them. Internal columns (`doc_id`, `payload`, `html`, ...) are never published.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

SOURCE_ROWS = 128
"""Most rows of a batch from a source. Overhead is flat from there up (a few microseconds a row), and a batch is what
is done again when a document kills the process."""
SOURCE_BYTES = 8 << 20
"""Most bytes of payload or text of such a batch; one document may exceed it, then it is a batch of its own."""

DOC_ID = "doc_id"

FINEWEB: dict[str, pa.DataType] = {
    "text": pa.string(),
    "id": pa.string(),
    "dump": pa.string(),
    "url": pa.string(),
    "date": pa.string(),
    "file_path": pa.string(),
    "language": pa.string(),
    "language_score": pa.float64(),
    "token_count": pa.int64(),
}
"""The columns of FineWeb, in its order (data set card of HuggingFaceFW/fineweb)."""

PROVENANCE: dict[str, pa.DataType] = {
    "warc_offset": pa.int64(),
    "warc_length": pa.int64(),
    "content_type": pa.string(),
    "robots": pa.string(),
    "license": pa.string(),
}
"""Where a document came from and what its publisher said about reuse."""

INTERNAL: dict[str, pa.DataType] = {
    DOC_ID: pa.string(),
    "payload": pa.binary(),
    "http_headers": pa.string(),
    "truncated": pa.string(),
    "html": pa.string(),
    "tokens": pa.binary(),
}
"""Columns that live between stages only.

`doc_id` is `<file_path>#<offset>`: derived from the source file, never from a row position.
`payload` is the HTTP body as archived, `http_headers` its header block (one `Name: value` a line),
`truncated` the value of WARC-Truncated or "", `html` the decoded page, `tokens` the ids of the text, 16 or 32 bits
each, little endian.
"""


def published_schema(available: dict[str, pa.DataType]) -> pa.Schema:
    """Schema of published data: FineWeb's columns, then provenance, then every other public column.

    `available` maps the columns that the last stage leaves to their types. FineWeb's columns that no stage
    has filled are published as nulls, so that every data set of tokenmill has them.
    """
    fields = [pa.field(name, dtype) for name, dtype in FINEWEB.items()]
    fields += [pa.field(name, dtype) for name, dtype in PROVENANCE.items()]
    known = FINEWEB.keys() | PROVENANCE.keys() | INTERNAL.keys()
    fields += [pa.field(name, dtype) for name, dtype in available.items() if name not in known]
    return pa.schema(fields)


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly the columns of `schema`, in its order; missing ones are nulls."""
    names = set(batch.schema.names)
    arrays = [
        batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def text_bytes(batch: pa.RecordBatch, columns: Iterable[str] = ("text", "html", "payload")) -> int:
    """Bytes of the first of `columns` that the batch has: the size of its documents at this point."""
    for name in columns:
        if name in batch.schema.names:
            return int(pc.sum(pc.binary_length(batch.column(name))).as_py() or 0)
    return 0
