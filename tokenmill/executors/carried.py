"""The documents that one phase hands to the next, joined with the table of the barrier between them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import JOINED
from tokenmill.core.errors import ShardError
from tokenmill.core.phases import Phase, data_phases
from tokenmill.core.schema import DOC_ID, SOURCE_ROWS
from tokenmill.core.stage import Barrier
from tokenmill.executors.runspec import RunSpec
from tokenmill.executors.steps import SUCCESS_JSON
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder


def carried(folder: RunFolder, spec: RunSpec, phase: Phase, index: int) -> Iterator[pa.RecordBatch]:
    """Batches of shard `index` as `phase` gets them. ShardError where something does not fit."""
    before = data_phases(spec.plan.phases[: phase.index])[-1]
    slug = spec.slugs[index]
    barrier = phase.applied
    if barrier is None:
        yield from _kept(folder, before, slug, None)
        return
    table = _table_of(folder, spec, phase, barrier, slug)
    if phase.reread:
        yield from _again(spec, index, table, slug)
        return
    hidden = set(barrier.prepares())
    columns = [name for name in before.columns if name not in hidden]
    row = 0
    for batch in _kept(folder, before, slug, columns):
        yield _joined(batch, table.slice(row, batch.num_rows), slug)
        row += batch.num_rows
    if row != table.num_rows:
        raise _mismatch(slug, f"{row} documents, {table.num_rows} rows of the table")


def _kept(folder: RunFolder, before: Phase, slug: str, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    manifest = folder.manifest(before.directory, slug)
    if manifest is None:
        raise ShardError(f"shard {slug} of phase {before.directory} is missing", fix="run the same command again")
    (path,) = (file["path"] for file in manifest["files"] if file["kind"] == "data")
    with open_binary(folder.path(path)) as stream:
        yield from pq.ParquetFile(stream).iter_batches(batch_size=SOURCE_ROWS, columns=columns)


def _again(spec: RunSpec, index: int, table: pa.Table, slug: str) -> Iterator[pa.RecordBatch]:
    """Documents from the source, those that were kept before: the table lists them in the source's order."""
    wanted = table.column(DOC_ID).to_pylist()
    row = 0
    for batch in spec.plan.source.read(spec.plan.inputs[index], _no_skip):
        picks: list[int] = []
        for position, doc_id in enumerate(batch.column(DOC_ID).to_pylist()):
            if row + len(picks) < len(wanted) and doc_id == wanted[row + len(picks)]:
                picks.append(position)
        if picks:
            chosen = batch if len(picks) == batch.num_rows else batch.take(pa.array(picks, pa.int64()))
            yield _joined(chosen, table.slice(row, len(picks)), slug)
            row += len(picks)
    if row != len(wanted):
        raise _mismatch(slug, f"the source gave {row} of {len(wanted)} documents again")


def _no_skip(reason: str, *, id: str = "", url: str = "", offset: int = -1, length: int = -1, detail: str = "") -> None:
    """What the source leaves out was counted in the first reading."""


def _table_of(folder: RunFolder, spec: RunSpec, phase: Phase, barrier: Barrier, slug: str) -> pa.Table:
    """The rows of the barrier's table for one shard."""
    last = next(p for p in spec.plan.phases if p.index == phase.index - 1)
    sealed = folder.read_json(f"phases/{last.directory}/{SUCCESS_JSON}")
    for entry in sealed["outputs"] if sealed else ():
        facts = entry["facts"]
        if slug in facts["shards"]:
            place = facts["shards"].index(slug)
            start, rows = sum(facts["rows"][:place]), facts["rows"][place]
            with open_binary(folder.path(entry["files"]["table"]["path"])) as stream:
                return read_rows(pq.ParquetFile(stream), start, rows, [DOC_ID, *barrier.table])
    raise ShardError(f"{phase.labels[0]} has no table for shard {slug}", fix="run the same command again")


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
