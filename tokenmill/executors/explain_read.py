"""One document from its source again: the record of a run in its archive, or a page's file wrapped as a record."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import InputShard, Source
from tokenmill.io.stores import protocol_of, shown, without_query

NO_URL = "http://page.invalid/"
"""Address of a page that has none: filters of addresses would drop an empty one."""


@dataclass(frozen=True)
class Skip:
    """What a source has said of a record that gives no document."""

    reason: str
    id: str
    url: str
    offset: int
    detail: str


@dataclass(frozen=True)
class Given:
    """What the source gave: one row, or the reason why there is none. `path` is the file that was read."""

    batch: pa.RecordBatch | None
    skip: Skip | None
    path: str


class _Heard:
    """Listens to what a source reports."""

    def __init__(self) -> None:
        self.skips: list[Skip] = []

    def __call__(
        self, reason: str, *, id: str = "", url: str = "", offset: int = -1, length: int = -1, detail: str = ""
    ) -> None:
        self.skips.append(Skip(reason, id, url, offset, detail))

    def covered(self, first: int, end: int) -> None:
        pass


def archive_paths(shard: Mapping[str, Any], location: str, folders: Iterable[str] = ()) -> Iterator[str]:
    """Where the file of a shard may lie: below `folders`, where the run had it, and below the input's location.

    shard: its entry in run.json; that of a refiltered run names a file of the annotated run, which is no archive.
    """
    name = shard["name"]
    for folder in folders:
        yield f"{folder.rstrip('/')}/{name}"
        yield f"{folder.rstrip('/')}/{name.rpartition('/')[2]}"
    if f"/{without_query(shard['path'])}".endswith(f"/{name}"):
        yield shard["path"]
    root = location.rstrip("/")
    if root.rpartition("/")[2] == name:
        yield root
    yield f"{root}/{name}"


def read_again(source: Source, name: str, paths: Sequence[str], row: Mapping[str, Any]) -> Given:
    """The document of `row` (doc_id, id, warc_offset, as published) from the first of `paths` that is there.

    ConfigError where none is there, or where it holds another record at that place. OSError and ShardError where it
    cannot be read.
    """
    path = next((path for path in dict.fromkeys(paths) if _is_there(path)), None)
    if path is None:
        raise ConfigError(
            f"the archive {name} is not there",
            where=", ".join(shown(path) for path in dict.fromkeys(paths)),
            fix="give the folder where it lies now: --archives FOLDER",
        )
    offset = row.get("warc_offset")
    # neither size nor time: an archive that was copied is the same, and the id of the record tells
    shard = InputShard(path, name, 0, "")
    if source.splittable and offset is not None:
        shard = InputShard(path, name, 0, "", start=offset, stop=offset + 1, part=(0, 1), exact=True)
    heard = _Heard()
    for batch in source.read(shard, heard):
        found = _chosen(batch, row)
        if found is not None:
            return Given(found, None, path)
    wanted = row.get("id") or ""
    said = [skip for skip in heard.skips if offset is None or skip.offset == offset]
    if wanted or offset is not None:
        for skip in said:
            if (not wanted and not skip.id) or skip.id == wanted:
                return Given(None, skip, path)
    others = ", ".join(dict.fromkeys(skip.id for skip in said if skip.id)) or "none"
    raise ConfigError(
        f"the record of {row.get(DOC_ID) or wanted} is not where it was in {shown(path)}",
        why=f"the archive has changed since the run, or is another one; ids that are there: {others}",
        fix="give the folder of the archive that the run has read: --archives FOLDER",
    )


def _is_there(path: str) -> bool:
    return protocol_of(path) != "file" or os.path.isfile(path.removeprefix("file://"))


def _chosen(batch: pa.RecordBatch, row: Mapping[str, Any]) -> pa.RecordBatch | None:
    """The row of the batch that is the document: by doc_id and id where both are known, else by the one that is."""
    mask = pa.array([True] * batch.num_rows)
    doc_id, id = row.get(DOC_ID) or "", row.get("id") or ""
    if id:
        mask = pc.equal(batch.column("id"), id)
    if doc_id and (not id or pc.sum(mask).as_py() != 1):
        mask = pc.and_(mask, pc.equal(batch.column(DOC_ID), doc_id))
    found = batch.filter(mask)
    return found.slice(0, 1) if found.num_rows and (doc_id or id) else None


def wrapped(source: Source, payload: bytes, name: str, url: str) -> Given:
    """A page as the source would give it, had a server answered with it; a text where the source reads texts.

    ConfigError where the source reads neither.
    """
    if ".warc" in source.suffixes:
        with tempfile.TemporaryDirectory(prefix="tokenmill-explain-") as folder:
            path = Path(folder, "page.warc")
            path.write_bytes(_record(payload, url))
            heard = _Heard()
            for batch in source.read(InputShard(str(path), name, 0, ""), heard):
                return Given(batch.slice(0, 1), None, "")
        skip = next(iter(heard.skips), Skip("malformed", "", url, 0, "nothing was read"))
        return Given(None, skip, "")
    types = source.columns_added()
    if "text" not in types:
        raise ConfigError(
            f"{source.name} reads neither pages nor texts", fix="--recipe with one that begins with ReadWarc()"
        )
    values = {DOC_ID: f"{name}#0", "url": url, "file_path": name, "text": payload.decode("utf-8", "replace")}
    arrays = [pa.array([values.get(column)], dtype) for column, dtype in types.items()]
    return Given(pa.RecordBatch.from_arrays(arrays, names=list(types)), None, "")


def _record(payload: bytes, url: str) -> bytes:
    """A WARC record of an HTTP response: HTML, and the page says its charset itself."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + payload
    address = "".join(url.split()) or NO_URL
    id = uuid.uuid5(uuid.NAMESPACE_URL, address)
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{id}>\r\nWARC-Target-URI: {address}\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return head.encode("utf-8", "replace") + http + b"\r\n\r\n"
