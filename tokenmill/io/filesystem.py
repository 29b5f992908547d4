"""Paths on any file system, through fsspec: opening, listing and naming inputs."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.core import url_to_fs

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard


def open_binary(path: str) -> BinaryIO:
    """Open a path or URL for reading bytes; seekable where the file system is. No decompression."""
    return cast(BinaryIO, fsspec.open(path, "rb", compression=None).open())


def absolute_location(location: str) -> str:
    """The location as it is found from any folder."""
    return location if "://" in location else str(Path(location).absolute())


def list_inputs(location: str, suffixes: Iterable[str]) -> list[InputShard]:
    """The input shards below `location` (a file, a folder or a glob pattern), sorted by name.

    A folder is searched recursively for names that end in one of `suffixes`; a single file or a pattern is
    taken as it is. ConfigError when nothing is found.
    """
    try:
        fs, root = url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"cannot open {location}", why=str(error), fix=missing_protocol(location)) from error
    endings = tuple(suffixes)
    if any(char in location for char in "*?[") and not fs.exists(root):
        found = {path: info for path, info in fs.glob(root, detail=True).items() if info["type"] == "file"}
        base = root[: min(root.index(char) for char in "*?[" if char in root)].rsplit("/", 1)[0]
    elif fs.isfile(root):
        found, base = {root: fs.info(root)}, posixpath.dirname(root)
    elif fs.isdir(root):
        if ".parquet" in endings and fs.exists(f"{root.rstrip('/')}/run.json"):
            root = f"{root.rstrip('/')}/data"  # the folder of a run: its documents, not what it dropped
        every = fs.find(root, detail=True)
        found = {path: info for path, info in every.items() if path.endswith(endings)}
        base = root.rstrip("/")
        if not found:
            raise ConfigError(
                f"no input files in {location}",
                why=f"of {len(every)} files below it none ends in {', '.join(endings)}",
                fix="give another folder, a file or a quoted pattern as --input",
            )
    else:
        raise ConfigError(f"input {location} does not exist", fix="check --input; patterns need quotes")
    if not found:
        raise ConfigError(f"no file matches {location}", fix="check --input; patterns need quotes")
    shards = [
        InputShard(
            path=fs.unstrip_protocol(path) if "://" in location else path,
            name=path[len(base) :].lstrip("/"),
            size=int(info["size"] or 0),
            etag=_etag(info),
        )
        for path, info in found.items()
    ]
    return sorted(shards, key=lambda shard: shard.name)


def missing_protocol(location: str) -> str:
    """What to install for the file system of a location."""
    protocol = location.partition("://")[0]
    extra = {"s3": "'tokenmill[s3]'", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "az": "adlfs"}
    return f"pip install {extra[protocol]}" if protocol in extra else "check the protocol of the path"


def _etag(info: dict[str, object]) -> str:
    """What tells two versions of a file apart without reading it: the store's etag, else the time of change."""
    for key in ("ETag", "etag", "mtime", "LastModified", "last_modified"):
        if info.get(key) is not None:
            return str(info[key]).strip('"')
    return ""
