"""What of a run is published on a hub: committed files as the manifests list them, never a listing of a folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.core.secrets import redact_settings
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder, file_digest
from tokenmill.io.stores import protocol_of

CARD = "README.md"
RUN = "run.json"
CHECKSUMS = "SHA256SUMS"
REPORT = "report.html"
FOLDERS = ("data", "dropped", "quarantine", "dedup", "tokens", "rephrased")
"""Folders of a run that hold published files."""
_SAFE_PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._~-]*/)+[A-Za-z0-9_][A-Za-z0-9._~-]*")
_COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class PushFile:
    """One file of the repository that is to be."""

    path: str
    size: int
    sha256: str
    content: bytes | None = None
    """Small files that are made for the hub; None for files of the run."""


def committed_files(folder: RunFolder) -> Iterator[Mapping[str, Any]]:
    """Entries (kind, path, rows, bytes, sha256) of all published files, as the manifests list them."""
    run = folder.read_json(RUN) or {"phases": []}
    for phase in run["phases"]:
        for _, manifest in folder.manifests(phase["directory"]):
            for entry in manifest["files"]:
                if not entry["path"].startswith("phases/"):
                    yield entry


def chosen_files(folder: RunFolder, include: Collection[str]) -> list[PushFile]:
    """The committed files below the folders of `include`, in order of path.

    ConfigError for a path that no run of tokenmill has: a manifest that somebody else made could name any file.
    """
    found: dict[str, PushFile] = {}
    for entry in committed_files(folder):
        path = entry["path"]
        if not _SAFE_PATH.fullmatch(path) or ".." in path.split("/"):
            raise ConfigError(
                f"a manifest names the file {path!r}, which is none of a run's",
                fix="publish runs that tokenmill made, with their manifests as they are",
            )
        if path.partition("/")[0] in include:
            found[path] = PushFile(path, entry["bytes"], entry["sha256"])
    return [found[path] for path in sorted(found)]


def made_file(path: str, text: str) -> PushFile:
    """A file with this content."""
    import hashlib

    data = text.encode()
    return PushFile(path, len(data), hashlib.sha256(data).hexdigest(), data)


def checksum_lines(files: Collection[PushFile]) -> str:
    """Lines of `sha256sum --check`."""
    return "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))


def published_run(run: Mapping[str, Any]) -> str:
    """`run.json` for everybody: without secrets, and without the places of one machine.

    Inputs keep their names and sizes, by which a run from the same archives (`--input`) is recognized.
    """
    public = {**_named(redact_settings(run))}
    source = dict(public["input"])
    source["location"] = _public_place(str(source["location"]))
    source["shards"] = [
        {**shard, "path": _public_place(str(shard["path"])) or shard["name"]} for shard in source["shards"]
    ]
    stages = [
        {**stage, "file": f"recipe/{Path(stage['file']).name}"} if "file" in stage else stage
        for stage in public["stages"]
    ]
    public |= {"input": source, "stages": stages}
    return json.dumps(public, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _named(value: Any) -> Any:
    """Plain values with the names of files in place of their absolute paths."""
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _public_place(location: str) -> str:
    return "" if protocol_of(location) == "file" else location


def fetch(folder: RunFolder, file: PushFile, scratch: Path) -> Path:
    """The local path of a file of the run, whole and as it was committed; from an object store a copy in `scratch`.

    FatalError where it is not what its manifest says, or leads out of the run's folder.
    """
    if folder.is_local:
        path = Path(folder.path(file.path))
        root = os.path.realpath(folder.path("."))
        if not os.path.realpath(path).startswith(root + os.sep):
            raise FatalError(
                f"{path} leads out of the run's folder", why="it is a link", fix="put the file itself there"
            )
    else:
        path = scratch / file.path.replace("/", "~")
        with open_binary(folder.path(file.path)) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)
    try:
        found = file_digest(str(path))
    except FileNotFoundError:
        raise FatalError(
            f"{folder.path(file.path)} is gone",
            why="its manifest lists it",
            fix="run the same command again: it is made",
        ) from None
    if found != file.sha256:
        raise FatalError(
            f"{folder.path(file.path)} is not what was committed",
            why=f"its SHA-256 is {found[:16]}..., the manifest says {file.sha256[:16]}...",
            fix="delete the file and run the same command again: it is made anew",
        )
    return path
