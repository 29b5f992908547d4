"""Clustered documents brought together: what verification must know of each, in buckets of whole components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import ShardData, TaskOutput
from tokenmill.core.schema import DOC_ID
from tokenmill.dedup.groups import Group
from tokenmill.dedup.preference import Preference
from tokenmill.io.filesystem import open_binary

BUCKET_DOCUMENTS = 100_000
"""About so many clustered documents are verified by a task: 0.5 GB of shingles at 600 words each."""
READ_ROWS = 4096
HELD_BYTES = 256 << 20
"""Documents that are held before they are written."""

Shingles = Callable[[pa.Array], tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]]
"""Texts -> (hashes, bounds): the set of shingles of each."""


def bucket_count(clustered: int) -> int:
    """Buckets for so many clustered documents."""
    return max(1, -(-clustered // BUCKET_DOCUMENTS))


def buckets_of(component: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.int64]:
    """The bucket of each component, evenly spread."""
    mixed = component * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) % np.uint64(count)).astype(np.int64)


def gather(
    group: Group,
    members: pa.RecordBatch,
    buckets: int,
    digests: str,
    preferences: Sequence[Preference],
    shingles: Shingles | None,
    out: TaskOutput,
) -> dict[str, Any]:
    """Write the clustered documents of a group: Arrow batches, one per bucket, and again as often as memory is full.

    members: see `candidates.MEMBERS`. digests: the column of digests. shingles: None where no texts are compared.
    """
    parts: list[list[pa.RecordBatch]] = [[] for _ in range(buckets)]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    held = 0
    with pa.OSFile(out.path("gathered", ".arrow"), "wb") as sink, ExitStack() as stack:
        writer = None
        for batch in _documents(group, members, digests, preferences, shingles, out):
            if writer is None:
                writer = stack.enter_context(pa.ipc.new_file(sink, batch.schema, options=options))
            places = buckets_of(batch.column("component").to_numpy(), buckets)
            for bucket in np.unique(places):
                parts[bucket].append(batch.take(pa.array(np.flatnonzero(places == bucket))))
            held += batch.nbytes
            if held > HELD_BYTES or not batch.num_rows:
                for part in parts:
                    together = pa.Table.from_batches(part, batch.schema).combine_chunks().to_batches()
                    writer.write_batch(together[0] if together else batch.slice(0, 0))
                    part.clear()
                held = 0
    return {"rows_of": {"gathered": members.num_rows}}


def _documents(
    group: Group,
    members: pa.RecordBatch,
    digests: str,
    preferences: Sequence[Preference],
    shingles: Shingles | None,
    out: TaskOutput,
) -> Iterator[pa.RecordBatch]:
    """The members with what is known of them; an empty batch comes last."""
    rows = members.column("row").to_numpy().astype(np.int64)
    wanted = () if group.index else tuple(preference.reads() for preference in preferences)
    columns = list(dict.fromkeys([DOC_ID, digests, *wanted]))
    if shingles is not None and "text" not in columns:
        columns.append("text")
    first = 0
    for shard in group.shards:
        for batch in read_shard(shard, columns):
            start, stop = np.searchsorted(rows, [first, first + batch.num_rows])
            if stop > start:
                chosen = batch.take(pa.array(rows[start:stop] - first))
                yield _described(group, members.slice(start, stop - start), chosen, digests, preferences, shingles)
            first += batch.num_rows
            out.alive()
    with open_binary(group.shards[0].path) as stream:
        schema = pq.read_schema(stream)
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in columns]))
    yield _described(group, members.slice(0, 0), empty, digests, preferences, shingles)


def read_shard(shard: ShardData, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Columns of a shard's documents, in order."""
    with open_binary(shard.path) as stream:
        yield from pq.ParquetFile(stream).iter_batches(batch_size=READ_ROWS, columns=list(columns))


def _described(
    group: Group,
    members: pa.RecordBatch,
    batch: pa.RecordBatch,
    digests: str,
    preferences: Sequence[Preference],
    shingles: Shingles | None,
) -> pa.RecordBatch:
    numbers = members.column("row").to_numpy().astype(np.uint64) + np.uint64(group.first)
    columns: dict[str, pa.Array] = {
        "document": pa.array(numbers),
        "component": members.column("component"),
        "copy_of": members.column("copy_of"),
        "old": pa.array(np.full(len(numbers), group.index)),
        "doc_id": pc.binary_join_element_wise(group.origin, batch.column(DOC_ID), ""),
        "digest": batch.column(digests),
    }
    for number, preference in enumerate(preferences):
        # documents of an index stay whatever they are: nothing is asked of them
        columns[f"prefer_{number}"] = pa.nulls(len(numbers)) if group.index else preference.values(batch)
    if shingles is not None:
        columns["shingles"] = _sets(batch.column("text"), numbers, members.column("copy_of").to_numpy(), shingles)
    return pa.RecordBatch.from_pydict(columns)


def _sets(
    texts: pa.Array, numbers: npt.NDArray[np.uint64], copy_of: npt.NDArray[np.uint64], shingles: Shingles
) -> pa.Array:
    """The shingles of the documents that are not copies of an earlier one: its set stands for theirs."""
    originals = np.flatnonzero(numbers == copy_of)
    sizes = np.zeros(len(numbers), np.int64)
    values = np.zeros(0, np.uint64)
    if len(originals):
        values, bounds = shingles(texts.take(pa.array(originals)))
        sizes[originals] = np.diff(bounds)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values, pa.uint64()))


def load_bucket(paths: Sequence[str], bucket: int, buckets: int) -> pa.Table:
    """All documents of a bucket, from the files of all groups."""
    batches = []
    for path in paths:
        with open_binary(path) as stream:
            file = pa.ipc.open_file(stream)
            mine = [file.get_batch(number) for number in range(bucket, file.num_record_batches, buckets)]
            batches.append(pa.Table.from_batches(mine))
    return pa.concat_tables(batches, promote_options="default").combine_chunks()


def load_members(path: str, number: int) -> pa.RecordBatch:
    """The members of a group, see `candidates.components`."""
    with open_binary(path) as stream:
        return pa.ipc.open_file(stream).get_batch(number)
