"""The documents that one phase hands to the next, joined with the table of the barrier between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import JOINED
from tokenmill.core.errors import ShardError
from tokenmill.core.phases import Phase, data_phases
from tokenmill.core.schema import DOC_ID, SOURCE_ROWS
from tokenmill.core.stage import InputShard, Source
from tokenmill.executors.runspec import RunSpec
from tokenmill.executors.steps import SUCCESS_JSON
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder


class Carried:
    """What a phase gets from the one before it. Made once per worker: the seal of a barrier lists all shards."""

    def __init__(self, folder: RunFolder, spec: RunSpec, phase: Phase, inputs: Sequence[InputShard]) -> None:
        """inputs: the shards as the source is to read them, should it read them again."""
        self._folder = folder
        self._spec = spec
        self._inputs = inputs
        self._phase = phase
        self._before = data_phases(spec.plan.phases[: phase.index])[-1]
        self.origin = ""
        """SHA-256 of the documents that were given last."""

    def batches(self, index: int) -> Iterator[pa.RecordBatch]:
        """Batches of shard `index`, joined with the table. ShardError where something does not fit."""
        slug = self._spec.slugs[index]
        barrier = self._phase.applied
        if barrier is None:
            yield from self._kept(slug, None)
            return
        table = self._table(slug, [DOC_ID, *barrier.table])
        if self._phase.reread:
            yield from _again(self._spec.plan.source, self._inputs[index], table, slug)
            return
        hidden = set(barrier.prepares())
        columns = [name for name in self._before.columns if name not in hidden]
        row = 0
        for batch in self._kept(slug, columns):
            yield _joined(batch, table.slice(row, batch.num_rows), slug)
            row += batch.num_rows
        if row != table.num_rows:
            raise _mismatch(slug, f"{row} documents, {table.num_rows} rows of the table")

    def _kept(self, slug: str, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        manifest = self._folder.manifest(self._before.directory, slug)
        if manifest is None:
            raise ShardError(
                f"shard {slug} of phase {self._before.directory} is missing", fix="run the same command again"
            )
        (file,) = (file for file in manifest["files"] if file["kind"] == "data")
        self.origin = file["sha256"]
        with open_binary(self._folder.path(file["path"])) as stream:
            yield from pq.ParquetFile(stream).iter_batches(batch_size=SOURCE_ROWS, columns=columns)

    def _table(self, slug: str, columns: list[str]) -> pa.Table:
        """The rows of the barrier's table for one shard."""
        if slug not in self._places:
            raise ShardError(f"{self._phase.labels[0]} has no table for shard {slug}", fix="run the same command again")
        path, start, rows = self._places[slug]
        with open_binary(self._folder.path(path)) as stream:
            return read_rows(pq.ParquetFile(stream), start, rows, columns)

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, int]]:
        """Shard -> (file of the table, first row in it, rows)."""
        last = self._spec.plan.phases[self._phase.index - 1]
        sealed = self._folder.read_json(f"phases/{last.directory}/{SUCCESS_JSON}")
        found: dict[str, tuple[str, int, int]] = {}
        for entry in sealed["outputs"] if sealed else ():
            facts, start = entry["facts"], 0
            for slug, rows in zip(facts["shards"], facts["rows"], strict=True):
                found[slug] = (entry["files"]["table"]["path"], start, rows)
                start += rows
        return found


def _again(source: Source, shard: InputShard, table: pa.Table, slug: str) -> Iterator[pa.RecordBatch]:
    """Documents from the source, those that were kept before: the table lists them in the source's order."""
    wanted = table.column(DOC_ID).to_pylist()
    seen: set[str] = set()
    row = 0
    for batch in source.read(shard, _NoReports()):
        picks: list[int] = []
        for position, doc_id in enumerate(batch.column(DOC_ID).to_pylist()):
            if doc_id in seen:
                raise ShardError(
                    f"the source has two documents {doc_id} in shard {slug}",
                    why="documents are told apart by doc_id",
                    fix="let the source give every document a doc_id of its own",
                )
            seen.add(doc_id)
            if row + len(picks) < len(wanted) and doc_id == wanted[row + len(picks)]:
                picks.append(position)
        if picks:
            chosen = batch if len(picks) == batch.num_rows else batch.take(pa.array(picks, pa.int64()))
            yield _joined(chosen, table.slice(row, len(picks)), slug)
            row += len(picks)
    if row != len(wanted):
        raise _mismatch(slug, f"the source gave {row} of {len(wanted)} documents again")


class _NoReports:
    """What the source leaves out was counted in the first reading."""

    def __call__(
        self, reason: str, *, id: str = "", url: str = "", offset: int = -1, length: int = -1, detail: str = ""
    ) -> None:
        pass

    def covered(self, first: int, end: int) -> None:
        pass


def read_rows(file: pq.ParquetFile, start: int, rows: int, columns: list[str]) -> pa.Table:
    """Some rows of a Parquet file, without reading row groups that have none of them."""
    groups: list[int] = []
    first = position = 0
    for group in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if position < start + rows and position + size > start:
            if not groups:
                first = position
            groups.append(group)
        position += size
    if not groups:
        return file.schema_arrow.empty_table().select(columns)
    return file.read_row_groups(groups, columns=columns).slice(start - first, rows)


def _joined(batch: pa.RecordBatch, table: pa.Table, slug: str) -> pa.RecordBatch:
    if not batch.column(DOC_ID).equals(table.column(DOC_ID).combine_chunks()):
        raise _mismatch(slug, "the ids of the documents differ")
    for name in table.column_names:
        if name != DOC_ID:
            column = table.column(name).combine_chunks()
            batch = batch.append_column(JOINED + name, column)
    return batch


def _mismatch(slug: str, why: str) -> ShardError:
    return ShardError(
        f"shard {slug} does not fit the table of the barrier before it",
        why=f"{why}; the input or the run's folder has changed under the run",
        fix="delete the output and run again",
    )
