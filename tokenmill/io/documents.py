"""What a run has stored of single documents: address, record id, date, text. Only the shards concerned are opened.

In order of trust: the phase before the deduplication, other phases, `dropped/` (texts of a sample), `data/` (as
published, after all stages). `data/` has no `doc_id`; its rows are the documents of the shard that nothing has dropped,
in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.schema import DOC_ID
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder

SHOWN = ("id", "url", "date", "text")
SAMPLE_CHARS = 4000
"""Texts in `dropped/` end here (as in `executors.chain`, which readers do not know)."""


class Stored(NamedTuple):
    """A file with documents of one shard: `phase`, `dropped`, `data` or `quarantine`, in the phase `directory`."""

    kind: str
    path: str
    directory: str


class Documents:
    """The documents of a run, looked up by `doc_id`."""

    def __init__(self, folder: RunFolder, run: Mapping[str, Any]) -> None:
        self._folder = folder
        self._phases = [phase["directory"] for phase in run["phases"] if not phase.get("step")]
        self._slugs: dict[str, list[tuple[int, str]]] = {}
        for shard in run["input"]["shards"]:
            self._slugs.setdefault(shard["name"], []).append((shard.get("start", 0), shard["output"]))
        self._files: dict[str, list[Stored]] = {}

    def shard_of(self, doc_id: str) -> str | None:
        """The shard (its name in the outputs) that a `doc_id` names: `<file_path>#<place>`."""
        name, _, place = doc_id.rpartition("#")
        spans = sorted(self._slugs.get(name, []))
        if len(spans) < 2:
            return spans[0][1] if spans else None
        offset = place.partition("+")[0]
        behind = [output for start, output in spans if offset.isdecimal() and start <= int(offset)]
        return behind[-1] if behind else None

    def stored(self, slug: str) -> list[Stored]:
        """All files that have documents of a shard."""
        if slug not in self._files:
            found = []
            for directory in self._phases:
                manifest = self._folder.manifest(directory, slug)
                for file in manifest["files"] if manifest else ():
                    inner = file["kind"] == "data" and file["path"].startswith("phases/")
                    kind = "phase" if inner else file["kind"]
                    found.append(Stored(kind, self._folder.path(file["path"]), directory))
            self._files[slug] = found
        return self._files[slug]

    def look_up(
        self, wanted: Iterable[tuple[str, str]], before: str, columns: Sequence[str] = SHOWN
    ) -> dict[str, dict[str, Any]]:
        """doc_id -> what is known of it; `text_from` says where a text was found, `text_cut` whether it is a beginning.

        wanted: (slug, doc_id). before: directory of the phase before the deduplication.
        """
        shards: dict[str, dict[str, dict[str, Any]]] = {}
        for slug, doc_id in wanted:
            shards.setdefault(slug, {})[doc_id] = {}
        for slug, documents in shards.items():
            order = ("phase", "dropped", "data")
            files = [file for file in self.stored(slug) if file.kind in order]
            for file in sorted(files, key=lambda file: (file.directory != before, order.index(file.kind))):
                lacking = {id for id, known in documents.items() if any(name not in known for name in columns)}
                if not lacking:
                    break
                for row in self._rows(slug, file, lacking, columns):
                    known = documents[row.pop(DOC_ID)]
                    if "text" not in known and row.get("text") is not None:
                        known["text_from"] = file.kind
                        known["text_cut"] = file.kind == "dropped" and len(row["text"]) >= SAMPLE_CHARS
                    known.update({name: v for name, v in row.items() if v is not None and name not in known})
        return {doc_id: known for documents in shards.values() for doc_id, known in documents.items()}

    def _rows(self, slug: str, file: Stored, wanted: set[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        with open_binary(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            present = [name for name in columns if name in parquet.schema_arrow.names]
            ids = self._published_ids(slug, parquet.metadata.num_rows) if file.kind == "data" else None
            if not present or (file.kind == "data" and ids is None):
                return
            first = 0
            for number in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(number).num_rows
                found = parquet.read_row_group(number, columns=[DOC_ID]).column(0) if ids is None else ids
                mine = found if ids is None else ids.slice(first, rows)
                places = np.flatnonzero(pc.is_in(mine, pa.array(sorted(wanted), pa.string())).to_numpy())
                if len(places):
                    table = parquet.read_row_group(number, columns=present).take(pa.array(places))
                    names = mine.take(pa.array(places)).to_pylist()
                    yield from ({**row, DOC_ID: id} for id, row in zip(names, table.to_pylist(), strict=True))
                first += rows

    def _published_ids(self, slug: str, rows: int) -> pa.ChunkedArray | None:
        """The ids of the rows of `data/`, None where they cannot be told."""
        gone: list[pa.Array] = []
        first: Stored | None = None
        for file in self.stored(slug):
            if file.kind == "phase":
                first = file  # the last one: it has the fewest documents
            elif file.kind in ("dropped", "quarantine"):
                gone += _read(file.path, [DOC_ID]).column(0).chunks
        if first is None:
            return None
        ids = _read(first.path, [DOC_ID]).column(0)
        left = ids.filter(pc.invert(pc.is_in(ids, pa.chunked_array(gone, pa.string()).combine_chunks())))
        return left if len(left) == rows else None

    def addresses(self, slugs: Iterable[str], before: str) -> Iterator[tuple[str, pa.Table]]:
        """(slug, table of doc_id, id, url) of the documents of shards, each perhaps more than once."""
        columns = [DOC_ID, "id", "url"]
        for slug in slugs:
            files = self.stored(slug)
            own = next((file for file in files if file.kind == "phase" and file.directory == before), None)
            if own is not None:
                table = _read(own.path, columns)
                if table.num_columns == len(columns):
                    yield slug, table
                    continue
            for file in files:
                if file.kind == "dropped":
                    yield slug, _read(file.path, columns)
                elif file.kind == "data":
                    table = _read(file.path, columns[1:])
                    ids = self._published_ids(slug, len(table))
                    if ids is not None:
                        yield slug, table.add_column(0, DOC_ID, ids)


def _read(path: str, columns: Sequence[str]) -> pa.Table:
    """Those of the columns that the file has."""
    with open_binary(path) as stream:
        parquet = pq.ParquetFile(stream)
        return parquet.read(columns=[name for name in columns if name in parquet.schema_arrow.names])
