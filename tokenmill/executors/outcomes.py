"""What stages give back, checked before it is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.secrets import hide
from tokenmill.core.stage import Annotate, Barrier, Filter, Rewrite, Stage
from tokenmill.executors.frame import Frame


@dataclass(frozen=True)
class Preparing:
    """A barrier at the end of a phase, seen as a stage that adds columns.

    before: columns of the verdicts of earlier filters. In annotate mode a document that a filter would have dropped
    is still there; it takes no part in the barrier, so that what is compared is what a plain run compares.
    """

    barrier: Barrier
    before: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.barrier.name

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.barrier.reads, *self.before)

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return self.barrier.prepares()

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """The prepared columns, null where a document takes no part."""
        columns = self.barrier.prepare(batch)
        for name in self.before:
            takes_part = batch.column(name).is_null()
            columns = {
                key: pc.if_else(takes_part, array, pa.scalar(None, array.type)) for key, array in columns.items()
            }
        return columns


def check_values(label: str, changes: Mapping[str, Any], types: Mapping[str, pa.DataType]) -> None:
    """Refuse columns that nobody declared (the author's error) and values that do not fit (the document's)."""
    unknown = changes.keys() - types.keys()
    if unknown:
        raise ConfigError(
            f"{label} sets {sorted(unknown)}, which it does not declare",
            fix="declare the columns with their types in `adds`",
        )
    for name, value in changes.items():
        if isinstance(value, str) and types[name] == pa.string():
            value.encode()  # a lone surrogate fits no column
        else:
            pa.scalar(value, types[name])


def wrong_outcome(stage: Stage, label: str, outcome: object) -> ConfigError:
    """What a stage may return, for an author who returned something else."""
    if isinstance(stage, Filter):
        wanted = "None to keep the document, or the reason to drop it as a string that is not empty"
    else:
        wanted = "a mapping of column values, or a Drop"
    return ConfigError(f"{label} returned {outcome!r} ({type(outcome).__name__})", fix=f"return {wanted}")


def annotated(stage: Annotate | Preparing, batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The columns that the stage adds to a batch, checked: each declared one, one value per row."""
    added = stage.annotate(batch)
    declared = stage.columns_added()
    if set(added) != set(declared) or any(len(array) != batch.num_rows for array in added.values()):
        raise ConfigError(
            f"{stage.name} returned columns { ({k: len(v) for k, v in added.items()}) } for {batch.num_rows} rows",
            why=f"it declares {list(declared)} and must leave rows as they are",
            fix="an Annotate stage returns one array per declared column, as long as the batch",
        )
    return {name: array.cast(declared[name]) for name, array in added.items()}


def identity(doc: Doc) -> dict[str, Any]:
    return {
        name: doc[name] if name in doc else None
        for name in ("doc_id", "id", "url", "file_path", "warc_offset", "warc_length")
    }


MESSAGE_CHARS = 4000
"""Most characters of a message that are looked at: a library may quote a whole page."""


def valid(text: str) -> str:
    """Text that any Arrow string can hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def clean(text: str) -> str:
    """The beginning of a message as it may be stored: valid, and without secrets that an error has told."""
    return hide(valid(text[:MESSAGE_CHARS]))


def checked_columns(
    label: str, changed: Mapping[str, pa.Array], types: Mapping[str, pa.DataType], rows: int
) -> dict[str, pa.Array]:
    """What a stage made of a whole batch: known columns, one value per row."""
    unknown = changed.keys() - types.keys()
    if unknown or any(len(array) != rows for array in changed.values()):
        raise ConfigError(
            f"{label} returned columns { ({k: len(v) for k, v in changed.items()}) }",
            why=f"{rows} rows were given, and {sorted(unknown)} are not declared in `adds`",
            fix="give one array per changed column, as long as the batch",
        )
    return {name: array.cast(types[name]) for name, array in changed.items()}


def settable(stage: Filter | Rewrite | Barrier, frame: Frame) -> dict[str, pa.DataType]:
    """What a stage may set: the text, and what it declares; so the plan knows which columns change where."""
    text = {"text": frame.types["text"]} if "text" in frame.types else {}
    return {**text, **stage.columns_added()}
