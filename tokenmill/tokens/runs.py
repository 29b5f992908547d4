"""Sorted runs: what a shard of documents leaves for the gathering, in three files.

`run_ids` holds token ids without EOS, in runs of bounded size, the documents of each run sorted by key. `run_index` is
an Arrow file with a row per document in the same order, in batches of `INDEX_ROWS`, and `run_ranges` has the smallest
and largest key of each batch: so a range of keys is read in one piece per run. Memory is bounded by the size of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ShardError
from tokenmill.core.schema import DOC_ID
from tokenmill.io.filesystem import open_binary
from tokenmill.tokens.order import document_keys

RUN_BYTES = 12 << 20
"""Ids of a run: large enough that a range of keys is long, small enough for every worker."""
RUN_DOCUMENTS = 100_000
"""Documents of a run: beside its ids each has a row of some 300 bytes."""
INDEX_ROWS = 2000
"""Documents of a batch of the index: what is read in vain at the two ends of a range."""
KEY = "_key"
RUN_START = "_run_start"
RUN_FILES = {"run_ids": ".ids", "run_index": ".arrow", "run_ranges": ".ranges"}
"""Kind -> ending of the three files."""


@dataclass(frozen=True)
class RunFiles:
    """The runs of one shard of documents: locations of the three files, documents, and tokens without EOS."""

    ids: str
    index: str
    ranges: str
    documents: int
    tokens: int

    @classmethod
    def of(cls, paths: Any, facts: Any) -> RunFiles:
        """From paths by kind and the facts of whoever has written them."""
        ids, index, ranges = (paths[kind] for kind in RUN_FILES)
        return cls(ids, index, ranges, int(facts["documents"]), int(facts["tokens"]))

    def length(self, eos: bool) -> int:
        """Positions that its documents take up."""
        return self.tokens + self.documents * eos

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of the index besides `_key` and `_run_start`."""
        with open_binary(self.index) as stream:
            return pa.schema(list(pa.ipc.open_file(stream).schema)[2:])

    @cached_property
    def bounds(self) -> npt.NDArray[np.int64]:
        """(batches, 2): smallest and largest key of each batch of the index."""
        with open_binary(self.ranges) as stream:
            return np.frombuffer(stream.read(), np.int64).reshape(-1, 2)


class RunsWriter:
    """Writes the three files from documents."""

    def __init__(
        self,
        paths: Mapping[str, str],
        columns: pa.Schema,
        *,
        seed: int | None,
        eos: bool,
        width: int,
        limit: int = RUN_BYTES,
    ) -> None:
        """paths: local, by kind. columns: those of the index besides `_key` and `_run_start`.

        seed: of the order; None: documents stay in order, and their key is their position in the shard in tokens,
        EOS counted where there is one. width: bytes of an id. limit: bytes of ids of a run.
        """
        self._seed, self._eos, self._width, self._limit = seed, int(eos), width, limit
        self._schema = pa.schema([pa.field(KEY, pa.int64()), pa.field(RUN_START, pa.int64()), *columns])
        self._ids: BinaryIO = open(paths["run_ids"], "wb")
        self._ranges: BinaryIO = open(paths["run_ranges"], "wb")
        options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        self._index = pa.ipc.new_file(paths["run_index"], self._schema, options=options)
        self._pending: list[pa.Table] = []
        self._pending_bytes = self._pending_rows = 0
        self._written = 0
        self.documents = 0
        self.tokens = 0
        """Without EOS."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Documents as they come, with `tokens`, `token_count`, `doc_id` and the columns of the index."""
        counts = batch.column("token_count").to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = pc.binary_length(batch.column("tokens")).to_numpy(zero_copy_only=False)
        if not np.array_equal(counts * self._width, sizes):
            raise ShardError(
                f"tokens are not of {self._width} bytes each", why="they were encoded with another tokenizer"
            )
        names = batch.column(DOC_ID).to_pylist()
        keys = self._positions(counts) if self._seed is None else np.array(document_keys(self._seed, names), np.int64)
        self._count(counts)
        rows = [batch.column(name) for name in self._schema.names[2:]]
        columns = [pa.array(keys, pa.int64()), *rows, batch.column("tokens")]
        self._pending.append(pa.table(columns, names=[KEY, *self._schema.names[2:], "tokens"]))
        self._pending_bytes += int(sizes.sum())
        self._pending_rows += len(counts)
        if self._pending_bytes >= self._limit or self._pending_rows >= RUN_DOCUMENTS:
            self._flush()

    def write_sorted(self, keys: npt.NDArray[np.int64], rows: pa.Table, ids: npt.NDArray[Any]) -> None:
        """Documents in order of their keys, after those written before; in source order keys are counted anew."""
        counts = rows.column("token_count").to_numpy().astype(np.int64)
        if self._seed is None:
            keys = self._positions(counts)
        self._count(counts)
        self._ids.write(ids.tobytes())
        self._append(rows.add_column(0, KEY, pa.array(keys, pa.int64())), counts)

    def _positions(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        lengths = counts + self._eos
        return np.asarray(self.tokens + self.documents * self._eos + np.cumsum(lengths) - lengths, np.int64)

    def _count(self, counts: npt.NDArray[np.int64]) -> None:
        self.documents += len(counts)
        self.tokens += int(counts.sum())

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending, self._pending_bytes, self._pending_rows = [], 0, 0
        if self._seed is not None:
            table = table.take(pa.array(np.argsort(table.column(KEY).to_numpy(), kind="stable")))
        for chunk in table.column("tokens").chunks:
            self._ids.write(_bytes_of(chunk))
        self._append(table.drop_columns(["tokens"]), table.column("token_count").to_numpy().astype(np.int64))

    def _append(self, rows: pa.Table, counts: npt.NDArray[np.int64]) -> None:
        """Sorted rows of which the ids have been written."""
        starts = self._written + np.cumsum(counts) - counts
        self._written += int(counts.sum())
        table = rows.add_column(1, RUN_START, pa.array(starts, pa.int64())).select(self._schema.names)
        for batch in table.cast(self._schema).combine_chunks().to_batches(max_chunksize=INDEX_ROWS):
            keys = batch.column(0).to_numpy()
            self._index.write_batch(batch)
            self._ranges.write(np.array([keys[0], keys[-1]], np.int64).tobytes())

    def close(self) -> None:
        """Finish the files."""
        self._flush()
        self._ids.close()
        self._index.close()
        self._ranges.close()

    def facts(self) -> dict[str, int]:
        """What `RunFiles.of` wants to know."""
        return {"documents": self.documents, "tokens": self.tokens}


def _bytes_of(array: pa.Array) -> memoryview:
    """The values of a binary array one behind the other, without a copy."""
    if not len(array):
        return memoryview(b"")
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
    return memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


@dataclass(frozen=True)
class Slab:
    """Documents that lie side by side: their rows of the index, and their ids one behind the other."""

    rows: pa.RecordBatch
    ids: npt.NDArray[Any]


def read_range(files: RunFiles, low: int, high: int, dtype: np.dtype) -> Iterator[Slab]:
    """The documents with low <= key < high, run by run."""
    inside = (files.bounds[:, 1] >= low) & (files.bounds[:, 0] <= high - 1)
    numbers = np.flatnonzero(inside).tolist()
    if not numbers:
        return
    with open_binary(files.index) as stream, open_binary(files.ids) as tokens:
        reader = pa.ipc.open_file(stream)
        for number in numbers:
            rows = reader.get_batch(number)
            keys = rows.column(0).to_numpy()  # sorted: a batch never reaches over two runs
            first, last = np.searchsorted(keys, low), np.searchsorted(keys, high - 1, side="right")
            if first < last:
                rows = rows.take(pa.array(np.arange(first, last)))  # a slice would keep the whole batch in memory
                yield Slab(rows, _read_ids(tokens, files.ids, rows, dtype))


def _read_ids(stream: Any, path: str, rows: pa.RecordBatch, dtype: np.dtype) -> npt.NDArray[Any]:
    starts, counts = rows.column(RUN_START), rows.column("token_count")
    first = starts[0].as_py()
    count = starts[len(starts) - 1].as_py() + counts[len(counts) - 1].as_py() - first
    stream.seek(first * dtype.itemsize)
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ShardError(f"{path} is shorter than its index says", fix="run the same command again")
    return np.frombuffer(data, dtype)
