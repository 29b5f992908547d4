"""Paths on any file system: opening, listing and naming inputs."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.implementations.local import LocalFileSystem

from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.stage import InputShard
from tokenmill.io.pathlist import is_path_list, list_paths
from tokenmill.io.remote import RemoteFile
from tokenmill.io.retry import Patience, retrying
from tokenmill.io.sources import local_version, open_source, version_of
from tokenmill.io.stores import (
    file_system,
    is_http,
    is_s3,
    missing_protocol,
    protocol_of,
    public_location,
    refuse_userinfo,
    shown,
    without_query,
)

__all__ = ["absolute_location", "list_inputs", "missing_protocol", "open_binary", "open_input"]

_LISTING = Patience(tries=5, seconds=30.0)
"""Somebody waits for the list of inputs: a wrong endpoint must be told soon."""


def open_binary(path: str) -> BinaryIO:
    """Open a path or URL for reading bytes; seekable. No decompression.

    Remote files are read by ranges and go on after failures that pass (`io.remote`). OSError where that fails.
    """
    if protocol_of(path) == "file":
        return open(path.removeprefix("file://"), "rb")
    return cast(BinaryIO, RemoteFile(path))


def open_input(shard: InputShard) -> BinaryIO:
    """Open the file of a shard, as `open_binary` does; ShardError where it is not the one that was listed.

    Each span opens the file by itself: without this a file that is replaced would give documents of two versions.
    """
    stream = open_binary(shard.path)
    if isinstance(stream, RemoteFile):
        size, etag = stream.version
    else:
        size, etag = local_version(os.fstat(stream.fileno()))
        if "." not in shard.etag:
            etag = ""  # not a time: the etag of a sample says where it was cut out
    resized = shard.size > 0 and size is not None and size != shard.size
    if resized or (shard.etag and etag and etag != shard.etag):
        stream.close()
        raise ShardError(
            f"input {shard.name} has changed since the run was planned",
            where=shown(shard.path),
            why=f"it had {shard.size} bytes and version {shard.etag or '?'}, now {size} bytes and {etag or '?'}",
            fix="put the old file back and run the same command, or begin a new run in another --output",
        )
    return stream


def absolute_location(location: str) -> str:
    """The location as it is found from any folder."""
    return location if "://" in location else str(Path(location).absolute())


def list_inputs(location: str, suffixes: Iterable[str], *, sizes: bool = False) -> list[InputShard]:
    """The input shards below `location` (a file, a folder, a glob pattern, a list of files), sorted by name.

    A folder is searched recursively for names that end in one of `suffixes`; a single file or a pattern is
    taken as it is; `*.paths` and `*.paths.gz` are lists (`io.pathlist`). sizes: look up the sizes of long
    lists too, one request for each remote file. ConfigError when nothing is found or the store does not answer.
    """
    refuse_userinfo(location)
    public = public_location(location)
    fs, root = file_system(public)
    try:
        if is_path_list(location) and not _is_pattern(location):
            return list_paths(location, sizes=sizes)
        found, base = _find(fs, root, location, tuple(suffixes))
    except FileNotFoundError as error:
        raise ConfigError(
            f"input {shown(location)} does not exist", why=shown(str(error)), fix="check --input; patterns need quotes"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot list {shown(location)}", why=shown(str(error)), fix=_remedy(fs, error)) from error
    if not found:
        raise ConfigError(f"no file matches {shown(location)}", fix="check --input; patterns need quotes")
    shards = [
        InputShard(
            path=_path(fs, path, location, public),
            name=without_query(path)[len(base) :].lstrip("/"),
            size=size,
            etag=etag,
        )
        for path, info in found.items()
        for size, etag in [_version(fs, path, info)]
    ]
    return sorted(shards, key=lambda shard: shard.name)


def _version(fs: Any, path: str, info: dict[str, Any]) -> tuple[int, str]:
    if isinstance(fs, LocalFileSystem) and os.path.exists(path):
        return local_version(os.stat(path))  # of a link fsspec gives the time of the link itself
    return int(info["size"] or 0), version_of(info)


def _path(fs: Any, path: str, location: str, public: str) -> str:
    if public != location:
        return location  # the same name with and without credentials, so that a run resumes with either
    return str(fs.unstrip_protocol(path)) if "://" in location else path


def _find(fs: Any, root: str, location: str, endings: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """(path -> what is known of it, the folder below which names begin)."""
    info = _info(fs, root)
    if root != location and is_http(fs) and (info is None or info["type"] != "file"):
        raise PermissionError(
            f"{shown(root)} is no file, and without credentials nothing can be listed in {shown(location)}"
        )
    if info is None and _is_pattern(root):
        every = retrying(f"list {location}", lambda: fs.glob(root, detail=True), _LISTING)
        found = {path: info for path, info in every.items() if info["type"] == "file"}
        return found, root[: min(root.index(char) for char in "*?[" if char in root)].rsplit("/", 1)[0]
    if info is None:
        raise FileNotFoundError(f"nothing is stored at {shown(root)}")
    if info["type"] == "file":
        return {root: info}, posixpath.dirname(without_query(root))
    if ".parquet" in endings and _info(fs, f"{root.rstrip('/')}/run.json") is not None:
        root = f"{root.rstrip('/')}/data"  # the folder of a run: its documents, not what it dropped
    every = retrying(f"list {location}", lambda: fs.find(root, detail=True), _LISTING)
    found = {path: info for path, info in every.items() if path.endswith(endings)}
    if not found:
        raise ConfigError(
            f"no input files in {location}",
            why=f"of {len(every)} files below it none ends in {', '.join(endings)}",
            fix="give another folder, a file or a quoted pattern as --input",
        )
    return found, root.rstrip("/")


def _info(fs: Any, path: str) -> dict[str, Any] | None:
    """What is known of a file or folder, None where there is none."""
    try:
        if is_http(fs):
            if _is_pattern(path) or without_query(path).endswith("/"):
                return None if _is_pattern(path) else {"type": "directory"}
            source = open_source(path)  # `info` of fsspec calls every failure not found
            source.close()
            return {"type": "file", "size": source.size, "ETag": source.etag}
        found: dict[str, Any] = retrying(f"look up {path}", lambda: fs.info(path), _LISTING)
        return found
    except FileNotFoundError:
        return None


def _is_pattern(location: str) -> bool:
    # a question mark in a web address begins its query
    web = protocol_of(location) in ("http", "https")
    return any(char in without_query(location) for char in ("*" if web else "*?["))


def _remedy(fs: Any, error: OSError) -> str:
    if isinstance(fs, LocalFileSystem) or not isinstance(error, PermissionError):
        return "check --input" + ("" if not is_s3(fs) else ", AWS_REGION and AWS_ENDPOINT_URL; then try again")
    if is_http(fs):
        return "give a file or a list of files, such as warc.paths.gz; with credentials for S3 folders can be listed"
    if is_s3(fs):
        return "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket TOKENMILL_S3_ANON=1"
    return "check --input and what you may read there"
