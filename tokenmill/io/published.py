"""What a run has published of its documents: a row of `data/`, of `dropped/` or of `quarantine/`, found by an address,
a record id or a doc_id.

Files are taken from manifests. Only columns are read that tell documents apart, a row group at a time, so the search
through a large run costs what these columns weigh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.schema import DOC_ID
from tokenmill.io.documents import Documents
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder

KINDS = ("data", "dropped", "quarantine")
NAMES = (DOC_ID, "id", "url", "file_path", "warc_offset")
"""Columns that tell documents apart; `data/` of a plain run has no doc_id."""
CAPTURES = 50
"""Most captures of one address that are listed."""
NEIGHBOURS = 5000
"""Most addresses of the same host that are remembered for an address that is not found."""


class PublishedFile(NamedTuple):
    """A published file with documents of the shard `slug` of a run."""

    kind: str
    path: str
    slug: str


class Place(NamedTuple):
    """A row of a published file. `group` is the row group, `row` the place in it."""

    file: PublishedFile
    group: int
    row: int
    doc_id: str
    """As the file has it, else made from file and offset; "" where neither is there."""


@dataclass
class Search:
    """What a search has found. near: addresses of the same host. rows: documents that were looked through."""

    places: list[Place] = field(default_factory=list)
    near: list[str] = field(default_factory=list)
    rows: int = 0
    files: int = 0
    by: str = ""
    """url, id or doc_id."""


class PublishedTables:
    """The published tables of a run."""

    def __init__(self, folder: RunFolder) -> None:
        """ConfigError where the folder holds no run."""
        run = folder.read_json("run.json")
        if run is None:
            raise ConfigError(f"{folder.location} holds no run", why="there is no run.json", fix="check the path")
        self.folder = folder
        self.run: Mapping[str, Any] = run
        self.documents = Documents(folder, run)
        self.slugs = [shard["output"] for shard in run["input"]["shards"]]

    @cached_property
    def origin(self) -> PublishedTables | None:
        """The annotated run that this one was filtered from, where it is still there."""
        made = self.run.get("refilter")
        if not made:
            return None
        try:
            found = PublishedTables(RunFolder(made["run"]))
        except (TokenmillError, OSError):
            return None
        return found if found.run["fingerprint"] == made["fingerprint"] else None

    @property
    def verdicts(self) -> list[str]:
        """Columns of the verdicts of an annotated run, in the order of its stages; empty for other runs."""
        labels = [entry["stage"] for entry in self.run["stages"]]
        return [name for label in labels if (name := f"{label}_verdict") in self.run["columns"]]

    def files(self, slug: str, kinds: Sequence[str] = KINDS) -> Iterator[PublishedFile]:
        """The published Parquet files of a shard."""
        for stored in self.documents.stored(slug):
            if stored.kind in kinds and stored.path.endswith(".parquet"):
                yield PublishedFile(stored.kind, stored.path, slug)

    def search(self, query: str) -> Search:
        """The documents with this doc_id, record id or address. An id ends the search, an address has captures."""
        slug = self.documents.shard_of(query) if "#" in query else None
        ids = [query, f"<{query}>", f"<urn:uuid:{query}>"]
        found = Search()
        host = _host(query)
        for one in [slug] if slug else self.slugs:
            for file in self.files(one):
                found.files += 1
                for group, table in _groups(file.path, NAMES):
                    found.rows += table.num_rows
                    mask, by = _matching(table, query, ids, exact=slug is not None)
                    found.near += _near(table, host, NEIGHBOURS - len(found.near))
                    for row in np.flatnonzero(mask).tolist():
                        found.places.append(Place(file, group, row, _doc_id(table, row)))
                        found.by = by
                    if found.places and (found.by != "url" or len(found.places) >= CAPTURES):
                        return found
        return found

    def row(self, place: Place, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """All columns (or these) of a row."""
        with open_binary(place.file.path) as stream:
            parquet = pq.ParquetFile(stream)
            names = [name for name in columns or parquet.schema_arrow.names if name in parquet.schema_arrow.names]
            table = parquet.read_row_group(place.group, columns=names).slice(place.row, 1)
        return dict(table.to_pylist()[0])

    def phase_row(self, slug: str, doc_id: str) -> dict[str, Any]:
        """What the phases between have of a document, such as signals that are not published; may be empty."""
        for stored in reversed(self.documents.stored(slug)):
            if stored.kind != "phase":
                continue
            for group, table in _groups(stored.path, [DOC_ID]):
                at = pc.index(table.column(DOC_ID), doc_id).as_py()
                if at >= 0:
                    return self.row(Place(PublishedFile("phase", stored.path, slug), group, at, doc_id))
        return {}


def _groups(path: str, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    with open_binary(path) as stream:
        parquet = pq.ParquetFile(stream)
        names = [name for name in columns if name in parquet.schema_arrow.names]
        for group in range(parquet.num_row_groups):
            yield group, parquet.read_row_group(group, columns=names)


def _matching(table: pa.Table, query: str, ids: Sequence[str], *, exact: bool) -> tuple[np.ndarray[Any, Any], str]:
    """(rows that are meant, by what). exact: the query is a doc_id of a shard of the run."""
    names = table.column_names
    if exact:
        if DOC_ID in names:
            return _true(pc.equal(table.column(DOC_ID), query)), "doc_id"
        mask = _true(pc.equal(table.column("id"), query))  # sources of documents without ids take the doc_id for it
        name, _, place = query.rpartition("#")
        offset = place.partition("+")[0]
        if offset.isdecimal() and {"file_path", "warc_offset"} <= set(names):
            same = pc.equal(table.column("warc_offset"), int(offset))
            mask |= _true(pc.and_kleene(same, pc.equal(table.column("file_path"), name)))
        return mask, "doc_id"
    if "id" in names:
        mask = _true(pc.is_in(table.column("id"), pa.array(ids)))
        if mask.any():
            return mask, "id"
    if "url" in names:
        return _true(pc.equal(table.column("url"), query)), "url"
    return np.zeros(table.num_rows, np.bool_), "url"


def _true(mask: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.asarray(pc.fill_null(mask, False).to_numpy())


def _near(table: pa.Table, host: str, most: int) -> list[str]:
    if not host or most <= 0 or "url" not in table.column_names:
        return []
    urls = table.column("url")
    return [url for url in urls.filter(pc.match_substring(urls, host)).slice(0, most).to_pylist() if url]


def _host(query: str) -> str:
    """The host of an address, "" for what is none."""
    host = (query.partition("://")[2] or query).partition("/")[0].lower()
    return host.removeprefix("www.") if "." in host else ""


def _doc_id(table: pa.Table, row: int) -> str:
    values = {name: table.column(name)[row].as_py() for name in table.column_names}
    if values.get(DOC_ID):
        return str(values[DOC_ID])
    if values.get("file_path") and values.get("warc_offset") is not None:
        return f"{values['file_path']}#{values['warc_offset']}"
    return ""
