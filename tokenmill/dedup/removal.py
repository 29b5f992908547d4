"""What the barriers that cut passages out of texts have in common: lists of numbers, tables, and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import DETAIL, VERDICT, ShardData, TaskOutput
from tokenmill.core.kernels import Kernel
from tokenmill.dedup.gather import read_shard
from tokenmill.dedup.groups import Group
from tokenmill.io.filesystem import open_binary
from tokenmill.text.measure import KERNEL, measure

ALL_REPEATED, TOO_SHORT = "all_repeated", "too_short"
"""Reasons for which documents are dropped: nothing is left of them, or too little."""
WORDS_SIGNAL = "gopher_word_count"
"""What counts the words that are left."""
SHOWN_CHARACTERS = 4000
"""Most characters of a removed passage that is shown to people."""

Offsets = npt.NDArray[np.int64]


def parts_of(column: pa.Array) -> tuple[npt.NDArray[Any], Offsets]:
    """(values, offsets) of a column of lists, one more offset than rows; a null is an empty list."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return column.flatten().to_numpy(), offsets


def lists_of(values: npt.NDArray[Any], offsets: Offsets, valid: pa.Array | None = None) -> pa.Array:
    """Lists of numbers; null where not valid."""
    absent = None if valid is None else pc.invert(valid)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values), mask=absent)


def selected(mask: npt.NDArray[np.bool_], offsets: Offsets) -> tuple[npt.NDArray[np.int64], Offsets]:
    """(numbers inside their lists of the items that a mask selects, offsets of the lists that they make)."""
    rows = np.flatnonzero(mask)
    bounds = np.searchsorted(rows, offsets)
    return rows - np.repeat(offsets[:-1], np.diff(bounds)), bounds


def write_shards(path: str, schema: pa.Schema, batches: Iterable[tuple[ShardData, pa.RecordBatch]]) -> int:
    """Write the table of a group, a row group (or more) per shard; how many rows. batches: of all shards in order."""
    rows = 0
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_index=True) as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting).cast(schema), row_group_size=1 << 20)
                waiting.clear()

        current = None
        for shard, batch in batches:
            if shard is not current:
                flush()
            current = shard
            if batch.num_rows:
                waiting.append(batch)
            rows += batch.num_rows
        flush()
    return rows


def batches_of(
    group: Group, columns: Sequence[str], out: TaskOutput
) -> Iterator[tuple[ShardData, int, pa.RecordBatch]]:
    """(shard, first row in it, batch) of a group, in order."""
    for shard in group.shards:
        first = 0
        for batch in read_shard(shard, columns):
            yield shard, first, batch
            first += batch.num_rows
            out.alive()


def texts_at(shard: ShardData, rows: Sequence[int]) -> list[str]:
    """Texts of some documents of a shard; only the row groups that have them are read. rows: ascending."""
    found: list[str] = []
    wanted = np.asarray(rows, np.int64)
    with open_binary(shard.path) as stream:
        file = pq.ParquetFile(stream)
        first = 0
        for number in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            mine = wanted[(wanted >= first) & (wanted < first + size)] - first
            if len(mine):
                column = file.read_row_group(number, columns=["text"]).column("text")
                found += [text or "" for text in column.take(pa.array(mine)).to_pylist()]
            first += size
    return found


def outcome_kernels(min_words_left: int) -> tuple[Kernel, ...]:
    """The kernel that `warm_up` compiles."""
    return (KERNEL,) if min_words_left > 0 else ()


def warm_up(min_words_left: int) -> None:
    """Compile what `outcome` wants."""
    if min_words_left > 0:
        measure(pa.array(["a"]), [WORDS_SIGNAL])


def outcome(
    texts: pa.Array,
    left: pa.Array,
    removed: npt.NDArray[np.int64],
    part: pa.Array,
    *,
    columns: tuple[str, str],
    what: str,
    min_words_left: int,
) -> Mapping[str, pa.Array]:
    """What a barrier's `apply` gives: texts, counts and verdicts.

    left: the texts after the cuts. removed: how many spans or words each has lost. part: where a document took part.
    columns: names for `removed` and for the bytes that are gone. what: names what is removed.

    A document that is dropped keeps its text, as everything that is dropped: so people see what it was.
    """
    lost = pc.fill_null(pc.subtract(pc.binary_length(texts), pc.binary_length(left)).cast(pa.int64()), 0)
    cut = pa.array(removed > 0)
    bare = pc.and_(cut, pc.equal(pc.binary_length(pc.utf8_trim_whitespace(left)), 0))
    short = pa.array(np.zeros(len(texts), np.bool_))
    if min_words_left > 0:
        words = measure(left, [WORDS_SIGNAL])[WORDS_SIGNAL]
        short = pc.and_(cut, pc.less(words, min_words_left))
    nothing = pa.scalar(None, pa.string())
    verdicts = pc.if_else(bare, ALL_REPEATED, pc.if_else(short, TOO_SHORT, nothing))
    amounts = pa.array(removed).cast(pa.string())
    details = pc.binary_join_element_wise(amounts, f"{what},", lost.cast(pa.string()), "bytes", " ")
    return {
        "text": pc.if_else(pc.and_(cut, verdicts.is_null()), left, texts),
        columns[0]: pc.if_else(part, pa.array(removed), pa.scalar(None, pa.int64())),
        columns[1]: pc.if_else(part, lost, pa.scalar(None, pa.int64())),
        VERDICT: verdicts,
        DETAIL: pc.if_else(verdicts.is_valid(), details, nothing),
    }
