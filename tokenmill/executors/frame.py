"""The documents of one batch on their way through a group of fused stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from tokenmill.core.doc import Doc


class Frame:
    """Rows of a batch as `Doc` views, so that words and signals are computed once for all stages.

    Dropping a row only shortens two lists, and Arrow arrays are built again only where a stage wants a batch
    (`to_batch`) or at the end. `rows[i]` is the position of `docs[i]` in the original batch, `sizes[i]` the
    bytes of the document at this point.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._columns = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
        self.types: dict[str, pa.DataType] = {field.name: field.type for field in batch.schema}
        self._changed: set[str] = set()
        self.rows = list(range(batch.num_rows))
        self.docs = [Doc(_fetch=partial(self._fetch, row), _names=self._columns.keys()) for row in self.rows]
        self.sizes = [self._initial_size(row) for row in self.rows]

    def _fetch(self, row: int, column: str) -> Any:
        return self._columns[column][row].as_py()

    def _initial_size(self, row: int) -> int:
        for name in ("text", "html", "payload"):
            if name in self._columns:
                value = self._columns[name][row]
                return value.as_buffer().size if value.is_valid else 0
        return 0

    def replace(self, position: int, changes: Mapping[str, Any]) -> None:
        """Give one document other values. The size follows the text, or the page while there is no text."""
        self.docs[position] = self.docs[position].replaced(changes)
        for name in ("text", "html"):
            if isinstance(changes.get(name), str):
                self.sizes[position] = len(changes[name].encode())
                break

    def declare(self, columns: Mapping[str, pa.DataType]) -> None:
        """Columns that a stage has set on every document."""
        self.types.update(columns)
        self._changed.update(columns)

    def keep(self, positions: Sequence[int]) -> None:
        """Leave only these documents, in order."""
        self.rows = [self.rows[i] for i in positions]
        self.docs = [self.docs[i] for i in positions]
        self.sizes = [self.sizes[i] for i in positions]

    def to_batch(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The remaining documents as a batch of all columns, or of those named that exist."""
        names = list(self.types) if columns is None else [name for name in columns if name in self.types]
        indices = pa.array(self.rows, pa.int64())
        untouched = len(self.rows) == self._batch.num_rows
        arrays = []
        for name in names:
            if name in self._changed:
                arrays.append(pa.array([doc[name] if name in doc else None for doc in self.docs], self.types[name]))
            else:
                array = self._columns[name]
                arrays.append(array if untouched else array.take(indices))
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([(n, self.types[n]) for n in names]))
