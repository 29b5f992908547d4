"""Files of a run written again without some documents, and published in the place of the old ones.

A shard's new files are written below `attempts/`, flushed, re-opened and counted. Then the new manifest takes the
place of the old one in one rename: that is the commit. Only then do the files follow; `finish_publishing` does that
for a process that was killed in between. So a reader sees the old files with the old manifest, or for a moment old
files with the new manifest, as when a shard is committed for the first time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.accounting import DROPPED, StageCount, check_conservation
from tokenmill.core.errors import ShardError
from tokenmill.core.schema import DOC_ID, text_bytes
from tokenmill.executors.forget_find import Targets, goes, published_ids
from tokenmill.executors.forget_marks import FORGOTTEN
from tokenmill.io.filesystem import open_binary
from tokenmill.io.parquet import WriteParquet, verify_parquet
from tokenmill.io.runfolder import Attempt, RunFolder, disk_error, file_digest, flush_to_disk

_STAYS = frozenset((DOC_ID, "file_path", "warc_offset", "warc_length", "stage", "reason", "cause"))
"""Columns of dropped documents that stay when they are forgotten: where the record lies, and what became of it."""
_ROWS = 1024

Change = Callable[[pa.Table], pa.Table]


class Rewrite:
    """New files for one shard or task of a phase, and the manifest that names them."""

    def __init__(self, folder: RunFolder, directory: str, slug: str) -> None:
        manifest = folder.manifest(directory, slug)
        if manifest is None:
            raise ShardError(f"the manifest of {slug} in {directory} is gone", fix="copy it back, and do it again")
        self.manifest = manifest
        self.directory = directory
        self.slug = slug
        self._folder = folder
        self._attempt: Attempt | None = None

    @property
    def attempt(self) -> Attempt:
        """Where new files are written; made when it is first asked for."""
        if self._attempt is None:
            self._attempt = self._folder.new_attempt(self.directory, self.slug)
        return self._attempt

    def entry(self, kind: str) -> dict[str, Any] | None:
        """What the manifest says of the file of a kind."""
        return next((file for file in self.manifest["files"] if file["kind"] == kind), None)

    def replace(self, kind: str, rows: int, place: str = "") -> None:
        """The file of a kind has been written to `attempt.path(kind)`: check it, and put it into the manifest.

        place: where it is published, if there was none of the kind before.
        """
        path = self.attempt.path(kind)
        flush_to_disk(path)
        old = self.entry(kind)
        final = place if old is None else old["path"]
        if final.endswith(".parquet"):
            verify_parquet(path, rows)
        new = {"kind": kind, "path": final, "rows": rows, "bytes": os.path.getsize(path), "sha256": file_digest(path)}
        files = [file if file["kind"] != kind else new for file in self.manifest["files"]]
        self.manifest["files"] = files if old is not None else [*files, new]

    def commit(self, tombstone: str, changed: bool = False) -> bool:
        """Put the new manifest in the place of the old one, and the files in theirs; False if nothing has changed.

        changed: whether the manifest says something new though no file does.
        """
        if self._attempt is None and not changed:
            return False
        if self._attempt is not None:
            self.manifest["attempt"] = self._attempt.relative
            self.manifest[FORGOTTEN] = sorted({*self.manifest.get(FORGOTTEN, ()), tombstone})
            _fsync_directory(self._attempt.directory)
        place = f"phases/{self.directory}/manifests/{self.slug}.json"
        self._folder.write_json(place, self.manifest)
        _fsync_directory(Path(self._folder.path(place)).parent)
        publish(self._folder, self.directory, self.slug, self.manifest)
        return True


def publish(folder: RunFolder, directory: str, slug: str, manifest: Mapping[str, Any]) -> None:
    """Move the files of a committed attempt to their places, and remove all attempts of the shard."""
    for file in manifest["files"]:
        waiting = Path(folder.path(f"{manifest['attempt']}/{file['kind']}.parquet"))
        final = Path(folder.path(file["path"]))
        if waiting.is_file():
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                os.replace(waiting, final)
            except OSError as error:
                raise disk_error(error, str(final)) from error
            _fsync_directory(final.parent)
    folder.remove(f"phases/{directory}/attempts/{slug}")


def finish_publishing(folder: RunFolder, run: Mapping[str, Any]) -> None:
    """Finish what a killed process had committed, and remove what it had only begun."""
    for phase in run["phases"]:
        directory = phase["directory"]
        for slug in folder.list(f"phases/{directory}/attempts"):
            manifest = folder.manifest(directory, slug)
            if manifest is not None:
                publish(folder, directory, slug, manifest)
        folder.remove(f"phases/{directory}/attempts")


def rewrite_shard(folder: RunFolder, run: Mapping[str, Any], slug: str, targets: Targets, tombstone: str) -> set[str]:
    """Take documents out of all files of a shard; the directories of phases that have changed. Idempotent.

    In `data/` their rows go. In files between phases the rows stay, with nothing in them but the `doc_id`: the tables
    of deduplications are joined row by row. In `dropped/` and `quarantine/` the reason stays too, so that counts hold.
    """
    changed: set[str] = set()
    origin = ""
    directories = [phase["directory"] for phase in run["phases"] if not phase.get("step")]
    for number, directory in enumerate(directories):
        rewrite = Rewrite(folder, directory, slug)
        last = directory == directories[-1]
        for kind in ("quarantine", "dropped"):
            _blank(
                folder,
                rewrite,
                kind,
                targets,
                _STAYS,
                WriteParquet(content_defined_chunking=False, row_group_rows=2000),
            )
        if not last:
            _blank(folder, rewrite, "data", targets, frozenset((DOC_ID,)), WriteParquet(compression_level=1))
        else:
            _take_out(folder, run, rewrite, targets, number)
        moved = bool(origin) and rewrite.manifest.get("origin") not in ("", None, origin)
        if moved:
            rewrite.manifest["origin"] = origin
        if rewrite.commit(tombstone, changed=moved):
            changed.add(directory)
        data = rewrite.entry("data")
        origin = data["sha256"] if data is not None else ""
    return changed


def _blank(
    folder: RunFolder, rewrite: Rewrite, kind: str, targets: Targets, stay: frozenset[str], sink: WriteParquet
) -> None:
    """Leave nothing in the rows of targets but the columns that stay."""
    entry = rewrite.entry(kind)
    if entry is None or not entry["rows"]:
        return
    path = folder.path(entry["path"])
    with open_binary(path) as stream:
        names = pq.ParquetFile(stream).schema_arrow.names
    content = [name for name in names if name not in stay]
    if not any(_to_blank(table, targets, content).true_count for table in pieces(path, [DOC_ID, *content])):
        return
    _write(path, rewrite.attempt.path(kind), sink, lambda table: _blanked(table, targets, content))
    rewrite.replace(kind, entry["rows"])


def _to_blank(table: pa.Table, targets: Targets, content: list[str]) -> pa.BooleanArray:
    """The rows of targets that have anything in them."""
    mask = goes(table, targets)
    if not mask.true_count:
        return mask
    full = pa.array([False] * len(table))
    for name in content:
        full = pc.or_(full, pc.is_valid(table.column(name).combine_chunks()))
    return pc.and_(mask, full)


def _blanked(table: pa.Table, targets: Targets, content: list[str]) -> pa.Table:
    mask = goes(table, targets)
    if not mask.true_count:
        return table
    rows = pa.array([None if gone else row for row, gone in enumerate(mask.to_pylist())], pa.int64())
    for name in content:  # taken by rows that are null: that works for every type
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), table.column(name).take(rows))
    return table


def _take_out(folder: RunFolder, run: Mapping[str, Any], rewrite: Rewrite, targets: Targets, phase: int) -> None:
    """Remove the rows of targets from `data/`, and list them as dropped by the sink, for the reason `forgotten`."""
    entry = rewrite.entry("data")
    assert entry is not None
    path = folder.path(entry["path"])
    ids = published_ids(folder, run, rewrite.slug, path).column
    first, gone = 0, list[dict[str, Any]]()
    removed_bytes = 0
    for table in pieces(path, None):
        mask = goes(table, targets, ids.slice(first, len(table)))
        if mask.true_count:
            chosen = table.filter(mask)
            removed_bytes += sum(text_bytes(batch) for batch in chosen.to_batches())
            names = ids.slice(first, len(table)).filter(mask).to_pylist()
            gone += ({**row, DOC_ID: name} for row, name in zip(_places(chosen), names, strict=True))
        first += len(table)
    if not gone:
        return
    place = 0

    def kept(table: pa.Table) -> pa.Table:
        nonlocal place
        mask = goes(table, targets, ids.slice(place, len(table)))
        place += len(table)
        return table.filter(pc.invert(mask))

    _write(path, rewrite.attempt.path("data"), _sink(run), kept)
    rewrite.replace("data", entry["rows"] - len(gone))
    _list_dropped(folder, rewrite, gone, phase)
    _count(rewrite, len(gone), removed_bytes)


def _places(table: pa.Table) -> list[dict[str, Any]]:
    names = [name for name in ("file_path", "warc_offset", "warc_length") if name in table.column_names]
    found: list[dict[str, Any]] = table.select(names).to_pylist() if names else [{} for _ in range(len(table))]
    return found


def _list_dropped(folder: RunFolder, rewrite: Rewrite, gone: list[dict[str, Any]], phase: int) -> None:
    """Add rows to the table of dropped documents, which begins here if there is none."""
    stage = rewrite.manifest["stages"][-1]["stage"]
    added = pa.Table.from_pylist([{**row, "stage": stage, "reason": FORGOTTEN} for row in gone], schema=DROPPED)
    entry = rewrite.entry("dropped")
    target = rewrite.attempt.path("dropped")
    source = None
    if entry is not None:  # what has just been written anew counts, not what is still published
        source = target if os.path.exists(target) else folder.path(entry["path"])
    partial = f"{target}.part"
    sink = WriteParquet(content_defined_chunking=False, row_group_rows=2000)
    writer = sink.open({"data": partial}, DROPPED)
    for table in pieces(source, None) if source is not None else ():
        for batch in table.to_batches():
            writer.write(batch)
    for batch in added.to_batches():
        writer.write(batch)
    writer.close()
    os.replace(partial, target)
    # named as the worker names it, after the number that the phase's folder begins with
    name = rewrite.slug + (f"~phase-{int(rewrite.directory.partition('-')[0])}" if phase else "")
    rewrite.replace("dropped", (entry["rows"] if entry is not None else 0) + len(gone), f"dropped/{name}.parquet")


def _count(rewrite: Rewrite, number: int, size: int) -> None:
    """The books of the last stage: it has let out fewer documents, and says why."""
    counts = [StageCount.from_json(stage) for stage in rewrite.manifest["stages"]]
    sink = counts[-1]
    sink.out -= number
    sink.dropped[FORGOTTEN] += number
    sink.bytes_out = max(0, sink.bytes_out - size)
    check_conservation(counts)
    rewrite.manifest["stages"] = [*rewrite.manifest["stages"][:-1], sink.to_json()]


def _sink(run: Mapping[str, Any]) -> WriteParquet:
    """What writes `data/` with the settings of the run."""
    entry = run["stages"][-1]
    if entry["class"].endswith(":WriteParquet"):
        return WriteParquet(**entry["config"])
    return WriteParquet(row_group_rows=10_000)  # as WriteTokens


def pieces(path: str, columns: list[str] | None) -> Iterator[pa.Table]:
    with open_binary(path) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=_ROWS, columns=columns):
            yield pa.Table.from_batches([batch])


def _write(source: str, target: str, sink: WriteParquet, change: Change) -> None:
    """The table of a file, changed piece by piece, to another file."""
    with open_binary(source) as stream:
        parquet = pq.ParquetFile(stream)
        try:
            writer = sink.open({"data": target}, parquet.schema_arrow)
            for batch in parquet.iter_batches(batch_size=_ROWS):
                for piece in change(pa.Table.from_batches([batch])).combine_chunks().to_batches():
                    writer.write(piece)
            writer.close()
        except OSError as error:
            raise disk_error(error, target) from error


def _fsync_directory(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, str(path)) from error
