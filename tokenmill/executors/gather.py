"""Small batches made into larger ones, for stages that want to see many documents at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

GATHERED_BYTES = 64 << 20
"""Most bytes of a batch that is made of several: it travels to a child process and back."""


def gathered(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same documents in batches of up to `rows` rows or `GATHERED_BYTES`; as they come where rows is 0.

    Whole batches are joined, so where the bounds lie depends on the documents alone.
    """
    if not rows:
        yield from batches
        return
    held: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        if held and (count + batch.num_rows > rows or size + batch.nbytes > GATHERED_BYTES):
            yield _joined(held)
            held, count, size = [], 0, 0
        held.append(batch)
        count += batch.num_rows
        size += batch.nbytes
    if held:
        yield _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).combine_chunks()
    columns = [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)
