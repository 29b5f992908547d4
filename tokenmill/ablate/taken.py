"""`ReadTaken`: chosen rows of documents, as a list says; the list is the input and names the file that has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL
from tokenmill.core.settings import build_stage
from tokenmill.core.stage import InputShard, Skips, Source, stage_class
from tokenmill.executors.runspec import input_entry, shard_from_entry

NUMBER, BYTES = "pool_number", "text_bytes"
_ABOUT = b"tokenmill.taken"


def write_list(path: Path, table: pa.Table, shard: InputShard, source: Source) -> None:
    """A list of rows of `shard`, which `source` reads; whole or not at all."""
    about = {
        "input": {**input_entry(shard), "path": shard.path},
        "stage": source.name,
        "config": source.config(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table.replace_schema_metadata({_ABOUT: json.dumps(about)}), temporary, compression="zstd")
    temporary.replace(path)


def read_list(path: str | Path, columns: list[str] | None = None) -> tuple[pa.Table, InputShard, Source]:
    """What `write_list` wrote: rows, the file that they are in, and what reads it."""
    from tokenmill.io import jsonl, parquet  # noqa: F401 - so that both sources are registered

    table = pq.read_table(path, columns=columns)
    about = json.loads(pq.read_schema(path).metadata[_ABOUT])
    source = build_stage(stage_class(about["stage"]), about["config"])
    assert isinstance(source, Source)
    return table, shard_from_entry(about["input"]), source


def batches_of(shard: InputShard, source: Source) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
    """(number of each row in the file, documents) for all documents that have a text."""
    for batch in source.read(shard, _Unheard()):
        names = batch.column(DOC_ID).to_pylist()
        yield np.array([int(name.rpartition("#")[2]) for name in names], np.int64), batch


class _Unheard:
    """Rows without text are in no arm; the run that made them has counted them."""

    def __call__(self, reason: str, **about: Any) -> None:
        pass

    def covered(self, first: int, end: int) -> None:
        pass


class ReadTaken(Source):
    """Documents of an ablation's pool: an input is a list of rows (`write_list`) with their numbers in the pool.

    `doc_id` becomes the id of the document, so that orders that hash it have a page at one place in all arms.
    """

    suffixes = (".parquet",)

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {DOC_ID: INTERNAL[DOC_ID], **FINEWEB, NUMBER: pa.int64(), BYTES: pa.int64()}

    carried: ClassVar[tuple[str, ...]] = ("text", "id", "url", "language", "language_score", "dump", "date")

    def read(self, shard: InputShard, skip: Skips) -> Iterator[pa.RecordBatch]:
        table, file, source = read_list(shard.path, ["row", NUMBER])
        rows, numbers = table.column("row").to_numpy(), table.column(NUMBER).to_numpy()
        done = 0
        for found, batch in batches_of(file, source):
            wanted = np.isin(found, rows)
            if not wanted.any():
                continue
            kept = batch.filter(pa.array(wanted))
            here = numbers[np.searchsorted(rows, found[wanted])]
            done += len(here)
            yield self._batch(kept, pa.array(here))
        if done != len(rows):
            raise ShardError(
                f"{file.name} has {done} of {len(rows)} documents that were listed in it",
                where=file.path,
                why="it has changed since the ablation began",
                fix="put the old file back, or begin anew in another folder",
            )

    def _batch(self, batch: pa.RecordBatch, numbers: pa.Array) -> pa.RecordBatch:
        columns = {name: batch.column(name) for name in self.carried if name in batch.schema.names}
        columns |= {DOC_ID: batch.column("id"), NUMBER: numbers}
        columns[BYTES] = pc.binary_length(batch.column("text")).cast(pa.int64())
        columns["file_path"] = batch.column("file_path")
        arrays = [columns.get(name, pa.nulls(batch.num_rows, dtype)) for name, dtype in self.columns_added().items()]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(self.columns_added().items())))
