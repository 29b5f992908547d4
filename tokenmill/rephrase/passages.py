"""Passages between the phases: a Parquet file per shard, sorted in runs, from which ranges are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.io.filesystem import open_binary

SORTED_BYTES = 64 << 20
"""Bytes of rows that are sorted at once. A range is read from one place of each such run."""
GROUP_ROWS = 512
"""Rows of a row group: the statistics of these say what a reader may pass over."""


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
