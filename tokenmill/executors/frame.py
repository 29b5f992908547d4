"""The documents of one batch on their way through a group of fused stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.doc import Doc


class Frame:
    """Rows of a batch as `Doc` views, so that words and signals are computed once for all stages.

    Dropping a row only shortens two lists, and Arrow arrays are built again only where a stage wants a batch
    (`to_batch`) or at the end. `rows[i]` is the position of `docs[i]` in the original batch, `sizes[i]` the
    bytes of the document at this point. `measured` tells documents which columns hold which signals now.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._length = batch.num_rows
        self._columns = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
        self.types: dict[str, pa.DataType] = {field.name: field.type for field in batch.schema}
        self._changed: set[str] = set()
        self.measured: dict[str, str] = {}
        self.rows = list(range(batch.num_rows))
        names = self._columns.keys()
        self.docs = [Doc(_fetch=partial(self._fetch, row), _names=names, _measured=self.measured) for row in self.rows]
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

    def add(self, arrays: Mapping[str, pa.Array]) -> None:
        """Set whole columns, one value per remaining document."""
        places: pa.Array | None = None
        if len(self.rows) < self._length:
            order: list[int | None] = [None] * self._length
            for position, row in enumerate(self.rows):
                order[row] = position
            places = pa.array(order, pa.int64())
        before = [name for name in arrays if name in self.types]
        for name, array in arrays.items():
            self._columns[name] = array if places is None else array.take(places)
            self.types[name] = array.type
        self._changed.difference_update(arrays)
        if before:
            for doc in self.docs:
                doc.forget(before)

    def rewrite(self, arrays: Mapping[str, pa.Array]) -> None:
        """Set whole columns, and where the text differs forget what was known of the old one."""
        texts = arrays.get("text")
        if texts is not None:
            lengths = pc.binary_length(texts).to_pylist()
            unchanged = pc.equal(texts, self.column("text")).to_pylist()
            for position, same in enumerate(unchanged):
                if not same:
                    self.docs[position] = self.docs[position].renewed()
                    self.sizes[position] = lengths[position] or 0
        self.add(arrays)

    def keep(self, positions: Sequence[int]) -> None:
        """Leave only these documents, in order."""
        if len(positions) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in positions]
        self.docs = [self.docs[i] for i in positions]
        self.sizes = [self.sizes[i] for i in positions]

    def column(self, name: str) -> pa.Array:
        """One column of the remaining documents."""
        if name in self._changed:
            return pa.array([doc[name] if name in doc else None for doc in self.docs], self.types[name])
        array = self._columns[name]
        return array if len(self.rows) == self._length else array.take(pa.array(self.rows, pa.int64()))

    def to_batch(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The remaining documents as a batch of all columns, or of those named that exist."""
        names = list(self.types) if columns is None else [name for name in columns if name in self.types]
        schema = pa.schema([(name, self.types[name]) for name in names])
        if not names:
            return pa.RecordBatch.from_pylist([{}] * len(self.docs), schema=schema)
        return pa.RecordBatch.from_arrays([self.column(name) for name in names], schema=schema)
