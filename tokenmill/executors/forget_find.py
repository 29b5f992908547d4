"""Finding the documents of a run that somebody asks to be removed, in every file that has their ids or addresses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.schema import DOC_ID
from tokenmill.executors.forget_marks import Grave
from tokenmill.filters.optout_list import OptOutList, url_digest
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder

_ARCHIVES = ("tokenmill.io.warc:", "tokenmill.io.wet:")
"""Sources whose doc_ids are made of a file and an offset in it."""
WAS = {"data": "kept", "dropped": "dropped", "quarantine": "quarantined"}
_MOST_HOSTS = 200
"""With more, one pattern for all is no faster than looking at each address."""
_ODD_URL = r"[^!-~]|^[^/]*//[^/?#]*%"
"""Addresses with characters that browsers remove or rewrite, or with an encoded host."""
NAMED = ("id", "url")
"""Columns that a row has nothing in once its document was forgotten; its `doc_id` stays."""


@dataclass(frozen=True)
class Wanted:
    """What to look for: addresses and domains in a list, and ids (record ids and doc_ids alike)."""

    addresses: OptOutList
    ids: frozenset[str] = frozenset()

    def rows(self, table: pa.Table, ids: pa.Array | None = None) -> list[int]:
        """The rows that are wanted, in order. ids: the doc_ids of the rows, where the table has none."""
        found = np.zeros(len(table), np.bool_)
        if self.ids:
            values = pa.array(sorted(self.ids), pa.string())
            columns = [table.column(name) for name in (DOC_ID, "id") if name in table.column_names]
            for column in (*columns, *([ids] if ids is not None else [])):
                found |= pc.is_in(column, values).to_numpy(zero_copy_only=False)
        if len(self.addresses) and "url" in table.column_names:
            urls = table.column("url").combine_chunks()
            for row in self._candidates(urls):
                found[row] = found[row] or self.addresses.find(urls[row].as_py()) is not None
        return np.flatnonzero(found).tolist()

    def _candidates(self, urls: pa.Array) -> list[int]:
        """Rows whose address may be wanted: a tenth of the time of looking at each."""
        hosts = self.addresses.hosts()
        if hosts is None or len(hosts) > _MOST_HOSTS:
            return np.flatnonzero(urls.is_valid()).tolist()
        pattern = "|".join([*map(re.escape, hosts), _ODD_URL])
        hits = pc.fill_null(pc.match_substring_regex(urls, pattern, ignore_case=True), False)
        return np.flatnonzero(hits.to_numpy(zero_copy_only=False)).tolist()


@dataclass
class Targets:
    """The documents that go. `keys`: `row_key` of those of which the run has stored no `doc_id`."""

    doc_ids: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, graves: Sequence[Grave]) -> Targets:
        found = cls()
        for grave in graves:
            if grave.key_sha256 is not None:
                found.keys.add(grave.key_sha256)
            elif grave.doc_id is not None:
                found.doc_ids.add(grave.doc_id)
        return found


def data_phases(run: Mapping[str, Any]) -> list[str]:
    """Directories of the phases of documents, in order."""
    return [phase["directory"] for phase in run["phases"] if not phase.get("step")]


def find(folder: RunFolder, run: Mapping[str, Any], wanted: Wanted) -> list[Grave]:
    """All wanted documents, each once, by shard. Reads the columns of ids and addresses of all shards."""
    found: list[Grave] = []
    for shard in run["input"]["shards"]:
        found += _find_in_shard(folder, run, shard["output"], wanted)
    return found


def _find_in_shard(folder: RunFolder, run: Mapping[str, Any], slug: str, wanted: Wanted) -> Iterator[Grave]:
    known: dict[str | None, Grave] = {}
    for kind, path in _files(folder, run, slug):
        table = read(path, [DOC_ID, *NAMED])
        # data/ has no doc_ids: they are only told where somebody asks for one, or a row is wanted anyway
        ids = published_ids(folder, run, slug, path) if kind == "data" and wanted.ids else None
        rows = wanted.rows(table, ids.column if ids else None)
        if not rows:
            continue
        if kind == "data" and ids is None:
            ids = published_ids(folder, run, slug, path)
        chosen = table.take(pa.array(rows, pa.int64())).to_pylist()
        names = ids.column.take(pa.array(rows, pa.int64())).to_pylist() if ids else [row[DOC_ID] for row in chosen]
        for row, doc_id in zip(chosen, names, strict=True):
            if kind != "data" and all(row.get(column) is None for column in NAMED):
                continue  # forgotten before
            url = row.get("url")
            key = row_key(row.get("id"), url) if ids is not None and not ids.stored else None
            grave = Grave(slug, doc_id, key, url_digest(url) if url else None, WAS.get(kind, "kept"))
            # files of results come last, and know better than those between phases
            if (key or doc_id) not in known or kind in WAS:
                known[key or doc_id] = grave
    yield from known.values()


class Ids(NamedTuple):
    """doc_ids of the rows of `data/`; stored: they are those of the run, and not only told from where records lie."""

    column: pa.Array
    stored: bool


def _files(folder: RunFolder, run: Mapping[str, Any], slug: str) -> list[tuple[str, str]]:
    """(kind, path) of every file of a shard that has documents, results last."""
    files: list[tuple[str, str]] = []
    for directory in data_phases(run):
        manifest = folder.manifest(directory, slug)
        for file in manifest["files"] if manifest else ():
            inner = file["kind"] == "data" and file["path"].startswith("phases/")
            if inner or file["kind"] in WAS:
                files.append(("phase" if inner else file["kind"], folder.path(file["path"])))
    return sorted(files, key=lambda item: item[0] != "phase")


def published_ids(folder: RunFolder, run: Mapping[str, Any], slug: str, path: str) -> Ids:
    """The doc_ids of the rows of a shard of `data/`; null where the run has not stored enough to tell.

    They are those of the last phase before it that has not been dropped since. In a run of one phase over archives: the
    file and the offset of the record, which nearly always make up the doc_id.
    """
    last: str | None = None
    gone: list[pa.Array] = []
    for directory in data_phases(run):
        manifest = folder.manifest(directory, slug)
        for file in manifest["files"] if manifest else ():
            if file["kind"] == "data" and file["path"].startswith("phases/"):
                last = file["path"]
            elif file["kind"] in ("dropped", "quarantine"):
                gone += read(folder.path(file["path"]), [DOC_ID]).column(0).chunks
    places = read(path, ["file_path", "warc_offset"])
    if last is not None:
        ids = read(folder.path(last), [DOC_ID]).column(0)
        lost = pa.chunked_array(gone, pa.string()).combine_chunks()
        left = ids.filter(pc.invert(pc.is_in(ids, lost))).combine_chunks()
        if len(left) == len(places):
            return Ids(left, True)
    if places.num_columns < 2 or not run["stages"][0]["class"].startswith(_ARCHIVES):
        return Ids(pa.nulls(len(places), pa.string()), False)
    offsets = pc.cast(places.column("warc_offset"), pa.string())
    return Ids(pc.binary_join_element_wise(places.column("file_path"), offsets, "#").combine_chunks(), False)


def goes(table: pa.Table, targets: Targets, ids: pa.Array | None = None) -> pa.Array:
    """Per row, whether it is a target. ids: the doc_ids of the rows, where the table has no such column."""
    names = table.column(DOC_ID).combine_chunks() if ids is None else ids
    mask = pc.fill_null(pc.is_in(names, pa.array(sorted(targets.doc_ids), pa.string())), False)
    if targets.keys and {"id", "url"}.issubset(table.column_names):
        pairs = zip(table.column("id").to_pylist(), table.column("url").to_pylist(), strict=True)
        mask = pc.or_(mask, pa.array([row_key(*pair) in targets.keys for pair in pairs], pa.bool_()))
    return mask


def row_key(id: str | None, url: str | None) -> str:
    """SHA-256 of record id and address, hexadecimal: it names a row, and does not say whose it is."""
    return hashlib.sha256(f"{id}\n{url}".encode("utf-8", "surrogatepass")).hexdigest()


def read(path: str, columns: Sequence[str]) -> pa.Table:
    """Those of the columns that the file has."""
    with open_binary(path) as stream:
        parquet = pq.ParquetFile(stream)
        return parquet.read(columns=[name for name in columns if name in parquet.schema_arrow.names])
