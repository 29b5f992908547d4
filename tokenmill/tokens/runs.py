"""Sorted runs: what a shard of documents leaves for the gathering, in two files.

`ids` holds token ids without EOS, in runs of bounded size, the documents of each run sorted by key. `index` is a
Parquet table with a row per document in the same order; statistics of its row groups say where keys are, so that a
range of keys is read in one piece per run. Memory is bounded by the size of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.core.schema import DOC_ID
from tokenmill.io.filesystem import open_binary
from tokenmill.tokens.order import document_keys

RUN_BYTES = 24 << 20
"""Ids of a run: large enough that a range of keys is long, small enough for every worker."""
INDEX_ROWS = 2000
"""Documents of a row group of the index: what is read in vain at the two ends of a range."""
KEY = "key"
RUN_START = "run_start"


class RunsWriter:
    """Writes the two files of a shard from its documents in order."""

    def __init__(
        self,
        ids: str,
        index: str,
        columns: pa.Schema,
        *,
        seed: int | None,
        eos: bool,
        width: int,
        limit: int = RUN_BYTES,
    ) -> None:
        """ids, index: local paths. columns: those of the index besides `key` and `run_start`.

        seed: of the order; None: documents stay in order, and their key is their position in the shard in tokens,
        EOS counted where there is one. width: bytes of an id. limit: bytes of ids of a run.
        """
        self._seed, self._eos, self._width, self._limit = seed, int(eos), width, limit
        self._schema = pa.schema([pa.field(KEY, pa.int64()), pa.field(RUN_START, pa.int64()), *columns])
        self._ids: BinaryIO = open(ids, "wb")
        self._index = pq.ParquetWriter(index, self._schema, compression="zstd", compression_level=1)
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._written = 0
        self.documents = 0
        self.tokens = 0
        """Without EOS."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Documents with `tokens`, `token_count`, `doc_id` and the columns of the index."""
        counts = batch.column("token_count").to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = pc.binary_length(batch.column("tokens")).to_numpy(zero_copy_only=False)
        if not np.array_equal(counts * self._width, sizes):
            raise ShardError(
                f"tokens are not of {self._width} bytes each", why="they were encoded with another tokenizer"
            )
        if self._seed is not None:
            keys = document_keys(self._seed, batch.column(DOC_ID).to_pylist())
        else:
            lengths = counts + self._eos
            before = self.tokens + self.documents * self._eos
            keys = (before + np.cumsum(lengths) - lengths).tolist()
        self.documents += len(counts)
        self.tokens += int(counts.sum())
        columns = [batch.column(name) for name in self._schema.names[2:]]
        names = [KEY, *self._schema.names[2:], "tokens"]
        self._pending.append(pa.table([pa.array(keys, pa.int64()), *columns, batch.column("tokens")], names=names))
        self._pending_bytes += int(sizes.sum())
        if self._pending_bytes >= self._limit:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending, self._pending_bytes = [], 0
        if self._seed is not None:
            order = np.argsort(table.column(KEY).to_numpy(), kind="stable")
            table = table.take(pa.array(order))
        for chunk in table.column("tokens").chunks:
            self._ids.write(_bytes_of(chunk))
        counts = table.column("token_count").to_numpy()
        starts = self._written + np.cumsum(counts) - counts
        self._written += int(counts.sum())
        table = table.add_column(1, RUN_START, pa.array(starts, pa.int64())).drop_columns(["tokens"])
        self._index.write_table(table.cast(self._schema), row_group_size=INDEX_ROWS)

    def close(self) -> None:
        """Finish both files."""
        self._flush()
        self._ids.close()
        self._index.close()


def _bytes_of(array: pa.Array) -> memoryview:
    """The values of a binary array one behind the other, without a copy."""
    if not len(array):
        return memoryview(b"")
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
    return memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


@dataclass(frozen=True)
class Slab:
    """Documents that lie side by side: their rows of the index, and their ids one behind the other."""

    rows: pa.Table
    ids: npt.NDArray[Any]


def read_range(ids: str, index: str, low: int, high: int, dtype: np.dtype) -> Iterator[Slab]:
    """The documents with low <= key < high, run by run. ids, index: locations of the two files."""
    with open_binary(index) as stream, open_binary(ids) as tokens:
        file = pq.ParquetFile(stream)
        column = file.schema_arrow.get_field_index(KEY)
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(column).statistics
            if statistics is not None and (statistics.max < low or statistics.min >= high):
                continue
            rows = file.read_row_group(group)
            keys = rows.column(KEY).to_numpy()  # sorted: a row group never reaches over two runs
            first, last = np.searchsorted(keys, low), np.searchsorted(keys, high - 1, side="right")
            rows = rows.slice(first, last - first)
            if rows.num_rows:
                yield Slab(rows, _read_ids(tokens, ids, rows, dtype))


def _read_ids(stream: Any, path: str, rows: pa.Table, dtype: np.dtype) -> npt.NDArray[Any]:
    first = rows.column(RUN_START)[0].as_py()
    last = rows.num_rows - 1
    count = rows.column(RUN_START)[last].as_py() + rows.column("token_count")[last].as_py() - first
    stream.seek(first * dtype.itemsize)
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ShardError(f"{path} is shorter than its index says", fix="run the same command again")
    return np.frombuffer(data, dtype)
