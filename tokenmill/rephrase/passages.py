"""Passages between the phases: a Parquet file per shard, sorted in runs, from which ranges are read.

And the way back: rows about one shard from many files, in the order of its documents.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.io.filesystem import open_binary

SORTED_BYTES = 64 << 20
"""Bytes of rows that are sorted at once. A range is read from one place of each such run."""
GROUP_ROWS = 512
"""Rows of a row group: the statistics of these say what a reader may pass over."""
SPILLED_ROWS = 64
"""Rows of a row group of what is spilled: one of each run is in memory."""


class SortedWriter:
    """Rows of fixed columns, sorted by `keys` within runs of about 64 MB. Its bytes depend on the rows alone."""

    def __init__(self, path: str, columns: Mapping[str, pa.DataType], keys: Sequence[str]) -> None:
        self._schema = pa.schema(list(columns.items()))
        self._keys = [(name, "ascending") for name in keys]
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_index=True)
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0
        self.rows = 0

    def add(self, row: Mapping[str, Any], size: int) -> None:
        """One row; size: about as many bytes as it has."""
        self._rows.append(row)
        self._bytes += size + 200
        self.rows += 1
        if self._bytes >= SORTED_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write_table(table.sort_by(self._keys), row_group_size=GROUP_ROWS)
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def rows_between(path: str, column: str, first: Any, last: Any) -> Iterator[pa.Table]:
    """The rows of a file whose `column` is in [first, last]; row groups without any are not read."""
    with open_binary(path) as stream:
        file = pq.ParquetFile(stream)
        place = file.schema_arrow.get_field_index(column)
        for number in range(file.num_row_groups):
            known = file.metadata.row_group(number).column(place).statistics
            if known is not None and known.has_min_max and (known.max < first or known.min > last):
                continue
            table = file.read_row_group(number)
            values = table.column(column)
            table = table.filter(pc.and_(pc.greater_equal(values, first), pc.less_equal(values, last)))
            if table.num_rows:
                yield table


def texts_at(path: str, rows: Collection[int]) -> dict[int, str]:
    """Row of a shard of documents -> its text, for some rows; empty where the shard has no texts."""
    found: dict[int, str] = {}
    with open_binary(path) as stream:
        file = pq.ParquetFile(stream)
        if "text" not in file.schema_arrow.names:
            return {}
        first = 0
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            inside = sorted(row for row in rows if first <= row < first + count)
            if inside:
                texts = file.read_row_group(number, columns=["text"]).column("text")
                found.update((row, texts[row - first].as_py()) for row in inside)
            first += count
    return found


def stretches(text: str, spans: Sequence[int]) -> str:
    """Stretches of a text with blank lines between. spans: begin and end, by turns."""
    return "\n\n".join(text[start:end] for start, end in zip(spans[::2], spans[1::2], strict=True))


class Gathered:
    """The rows of one shard in many files, by document. A context manager.

    Each file is opened once, one at a time. What is more than `held` bytes is sorted and kept in a file in `folder`.
    """

    def __init__(
        self,
        paths: Sequence[str],
        shard: int,
        keys: Sequence[str],
        folder: str,
        *,
        alive: Callable[[], None],
        held: int = SORTED_BYTES,
    ) -> None:
        """keys: the order; the first one is the row of the document. alive: called after each file."""
        self._paths, self._shard, self._folder = paths, shard, folder
        self._keys = [(name, "ascending") for name in keys]
        self._row = keys[0]
        self._alive, self._held = alive, held
        self._spilled: pq.ParquetFile | None = None
        self._runs: list[tuple[pa.Table, Iterator[pa.Table]]] = []
        """Rows of a run that are in memory, and those to come."""

    def __enter__(self) -> Gathered:
        self._scratch = tempfile.TemporaryDirectory(dir=self._folder, prefix="gathered-")
        try:
            self._gather(os.path.join(self._scratch.name, "rows.parquet"))
        except BaseException:
            self._scratch.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spilled is not None:
            self._spilled.close()
        self._scratch.cleanup()

    def _gather(self, path: str) -> None:
        writer: pq.ParquetWriter | None = None
        pending: list[pa.Table] = []
        size, groups = 0, 0
        ranges: list[range] = []
        for name in self._paths:
            for table in rows_between(name, "shard", self._shard, self._shard):
                pending.append(table)
                size += table.nbytes
                if size >= self._held:
                    if writer is None:
                        writer = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
                    run = pa.concat_tables(pending).sort_by(self._keys)
                    writer.write_table(run, row_group_size=SPILLED_ROWS)
                    ranges.append(range(groups, groups - (-len(run) // SPILLED_ROWS)))
                    groups = ranges[-1].stop
                    pending, size = [], 0
            self._alive()
        if writer is not None:
            writer.close()
            self._spilled = spilled = pq.ParquetFile(path)
            self._runs += [(spilled.schema_arrow.empty_table(), self._groups(spilled, run)) for run in ranges]
        if pending:
            self._runs.append((pa.concat_tables(pending).sort_by(self._keys), iter(())))

    @staticmethod
    def _groups(file: pq.ParquetFile, numbers: range) -> Iterator[pa.Table]:
        for number in numbers:
            yield file.read_row_group(number)

    def until(self, last: int) -> list[dict[str, Any]]:
        """The rows, in order, of documents up to `last` that have not been given yet."""
        found: list[pa.Table] = []
        for place, (table, more) in enumerate(self._runs):
            while True:
                inside = int(np.searchsorted(table.column(self._row).to_numpy(), last, side="right"))
                if inside:
                    found.append(table.slice(0, inside))
                if inside < len(table):
                    table = table.slice(inside)
                    break
                following = next(more, None)
                if following is None:
                    table = table.slice(inside)
                    break
                table = following
            self._runs[place] = table, more
        return pa.concat_tables(found).sort_by(self._keys).to_pylist() if found else []
