"""Which document of a cluster is kept: a sort key over columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ConfigError

LENGTH = "length"
"""Bytes of the text."""


@dataclass(frozen=True)
class Preference:
    """One part of the sort key. `order` lists values from best to worst; documents with others come after them."""

    column: str
    descending: bool = False
    order: tuple[str, ...] = ()

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """The sort values of the documents of a batch; nulls come last."""
        if self.column == LENGTH:
            return pc.binary_length(batch.column("text")).cast(pa.int64())
        column = batch.column(self.column)
        if self.order:
            return pc.index_in(column.cast(pa.string()), pa.array(self.order))
        return column

    def reads(self) -> str:
        """The column that it needs."""
        return "text" if self.column == LENGTH else self.column


def parse(prefer: Sequence[str]) -> tuple[Preference, ...]:
    """The sort key that settings describe. ConfigError where one cannot be read.

    "date": the smallest is kept; "-date": the largest; "length", "-length": bytes of the text; "dump:A|B|C": the first
    of these values that there is.
    """
    found = []
    for text in prefer:
        name, colon, values = text.partition(":")
        descending = name.startswith("-")
        name = name.removeprefix("-").strip()
        order = tuple(value.strip() for value in values.replace(",", "|").split("|") if value.strip())
        if not name or (colon and (descending or not order)):
            raise ConfigError(
                f"prefer={text!r} cannot be read",
                fix='a column to sort by ("date"), "-" before it for the largest first ("-length"),'
                ' or an order of values ("dump:CC-MAIN-2024-10|CC-MAIN-2023-50")',
            )
        found.append(Preference(name, descending, order))
    return tuple(found)


def sort_keys(preferences: Sequence[Preference]) -> list[tuple[str, str]]:
    """(column, direction) for `pyarrow.compute.sort_indices`, of columns `prefer_0`, `prefer_1`, ..."""
    return [
        (f"prefer_{number}", "descending" if preference.descending else "ascending")
        for number, preference in enumerate(preferences)
    ]
