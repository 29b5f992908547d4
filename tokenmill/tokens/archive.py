"""From a document of a token set on to the archive that it came from, and to the record in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.io.members import Loss
from tokenmill.io.records import Record, Span, iter_records
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.stores import protocol_of, without_query
from tokenmill.tokens.origin import DocumentPlace
from tokenmill.tokens.tokenset import TokenSet

RUN_JSON = "run.json"
_DEPTH = 16
"""Runs that were made from each other, at most; a chain that is longer leads in a circle."""

_READ_ONLY = ("http", "https")
"""Stores on which no run can lie."""


@dataclass(frozen=True)
class Archive:
    """The file that a document came from."""

    path: str
    """Path or URL."""
    there: bool | None
    """Whether it lies there now; None: it is remote, and nobody has looked."""


def find_archive(place: DocumentPlace, folders: Iterable[str] = ()) -> Archive | None:
    """Where the file of a document lies, None where the set does not say.

    The set was made from a run or a folder, which may have been made from others (`run.json`); all of them are looked
    through, the oldest first, for the name in the column `file_path`. folders: where else to look, and first.
    """
    name = place.row.get("file_path")
    if not name:
        return None
    if "://" in name:
        return Archive(name, None)
    known = [_Input(folder) for folder in folders] + list(_of_set(place.tokens, place.row.get("source"), 0))[::-1]
    candidates = dict.fromkeys(path for one in known for path in one.paths(name))
    found = [Archive(path, _is_there(path)) for path in candidates]
    return next((one for one in found if one.there is not False), None) or next(iter(found), None)


def archived_record(place: DocumentPlace, archive: Archive) -> Record:
    """The record of a document, as archived. ConfigError where it cannot be read there.

    Of several in one member it is the one that `doc_id` names, where that is still the archive's, else the one with the
    document's id, else the first.
    """
    offset, doc_id = place.row.get("warc_offset"), place.row.get("doc_id") or ""
    if offset is None or offset < 0:
        raise ConfigError(
            f"document {doc_id} has no record in an archive", why="it was not read from WARC or ARC files"
        )
    if archive.there is False:
        raise ConfigError(
            f"the archive {archive.path} is not there",
            fix="put it where it lay when the documents were read, or give its folder: --archives FOLDER",
        )
    inner = _inner(place)
    lost = "nothing begins there" if inner is None else "the record of that document is not there"
    first: Record | None = None
    try:
        for found in iter_records(archive.path, span=Span(start=offset, stop=offset + 1)):
            if isinstance(found, Loss):
                lost = f"{found.reason}: {found.detail}"
            elif found.offset == offset and inner in (None, found.inner):
                first = first or found
                if inner is not None or found.headers.get("warc-record-id") == place.row.get("id"):
                    return found
    except OSError as error:
        lost = str(error)
    if first is not None:
        return first
    raise ConfigError(
        f"no record could be read at offset {offset:,} of {archive.path}",
        why=lost,
        fix="compare the file with the one that the documents were read from",
    )


def _inner(place: DocumentPlace) -> int | None:
    """Place of the record in its member, from "<file>#<offset>+<inner>"; None where doc_id is of another file.

    Documents that were read again from Parquet have a doc_id of that file.
    """
    name, _, at = (place.row.get("doc_id") or "").rpartition("#")
    offset, _, inner = at.partition("+")
    if name != place.row.get("file_path") or offset != str(place.row.get("warc_offset")):
        return None
    return int(inner) if inner.isdecimal() else 0


@dataclass(frozen=True)
class _Input:
    """What documents were read from."""

    location: str
    """A folder, a file, a pattern."""
    listed: Sequence[Mapping[str, Any]] = ()
    """Its files, where a run has listed them: {name, path}, both texts."""

    def paths(self, name: str) -> Iterator[str]:
        """Where its file of that name, relative to the location, may lie."""
        yield from (one["path"] for one in self.listed if one["name"] == name and _is_own(one))
        root = self.location.rstrip("/")
        if root.rpartition("/")[2] == name:
            yield root
        yield f"{root}/{name}"


def _of_set(tokens: TokenSet, source: str | None, depth: int) -> Iterator[_Input]:
    entries = [one for one in tokens.manifest.made_from if one.get("source") in (None, source)]
    for entry in entries:
        for kind in ("input", "run"):
            if kind in entry:
                yield _Input(str(entry[kind]))
                yield from _chain(str(entry[kind]), depth)
        if "set" in entry and depth < _DEPTH:
            try:
                made = TokenSet.open(str(entry["set"]))
            except TokenmillError:
                continue
            yield from _of_set(made, None, depth + 1)


def _chain(location: str, depth: int) -> Iterator[_Input]:
    """A location, and what its run was made from if it is a run, the data of one, or files of these data."""
    if depth >= _DEPTH:
        return
    own = location.rstrip("/")
    above = own.rpartition("/")[0]
    for folder in (own, above, above.rpartition("/")[0]):
        spec = _run(folder)
        if spec is not None:
            listed = spec.get("shards")
            known = [one for one in listed if _is_listed(one)] if isinstance(listed, list) else []
            read = _Input(str(spec["location"]), known)
            yield read
            # a run made by refilter says where the archives were, and lists the files of the run that it has read
            others = (one["path"] for one in read.listed if not _is_own(one))
            yield from _chain(next(others, read.location), depth + 1)
            return


def _is_listed(one: object) -> bool:
    return isinstance(one, Mapping) and isinstance(one.get("name"), str) and isinstance(one.get("path"), str)


def _is_own(listed: Mapping[str, Any]) -> bool:
    """Whether the path of a listed file is that of the file of this name, not of documents that were made of it."""
    return f"/{without_query(listed['path'])}".endswith(f"/{listed['name']}")


def _run(folder: str) -> Mapping[str, Any] | None:
    """What a run has read, as its `run.json` says; None where there is none that can be read."""
    protocol = protocol_of(folder)
    if not folder or protocol in _READ_ONLY or (protocol == "file" and not os.path.isdir(folder)):
        return None
    try:
        found = RunFolder(folder).read_json(RUN_JSON)
    except (TokenmillError, OSError, ValueError):
        return None
    read = found.get("input") if isinstance(found, dict) else None
    return read if isinstance(read, dict) and "location" in read else None


def _is_there(path: str) -> bool | None:
    return os.path.isfile(path.removeprefix("file://")) if protocol_of(path) == "file" else None
