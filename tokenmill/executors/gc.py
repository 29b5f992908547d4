"""What a run's folder holds that nothing needs: leavings of killed processes, and intermediate files of finished steps.

Who reads what below `phases/`, once a run is finished:

    data/ of a phase     `clusters`, `explain` (texts before a deduplication, ids of the rows of data/), a run that has
                         this one as its `index`, arms of an ablation that take phases over
    keys/                a run that names this one as `index`
    members              `clusters`: which documents were connected as candidates
    all other files      of the steps of deduplications: candidates, digests, labels. Nobody.

The last go. What their manifests say of them goes first, so that the same `tokenmill run` still finds a complete run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.executors.forget_marks import COLLECTED_JSON, refresh_seal, unfinished_phase
from tokenmill.executors.runspec import load_run
from tokenmill.io.runfolder import RunFolder

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp$")
_PUBLISHED = ("data", "dropped", "quarantine", "dedup", "tokens", "rephrased")
_OF_PHASE = frozenset({"_SUCCESS.json", "tasks.json", "starts.json"})
ATTEMPT, TEMPORARY, INTERMEDIATE, UNNAMED, ORPHAN = "attempt", "temporary", "intermediate", "unnamed", "orphan"
WHY = {
    ATTEMPT: "of an attempt that was never committed",
    TEMPORARY: "half-written by a process that was killed",
    INTERMEDIATE: "of a finished deduplication, read by nothing any more",
    UNNAMED: "below phases/, and no manifest names it",
    ORPHAN: "among the results, and no manifest names it",
}


@dataclass(frozen=True)
class Piece:
    """A file that nothing needs. path: below the run's folder. kind: a key of `WHY`."""

    path: str
    bytes: int
    kind: str


@dataclass
class Garbage:
    """What was found, and what became of it."""

    pieces: list[Piece] = field(default_factory=list)
    """Removed, or with `dry_run` what would be."""
    orphans: list[Piece] = field(default_factory=list)
    """Only listed: files among the results that tokenmill does not know."""
    dry_run: bool = False

    @property
    def bytes(self) -> int:
        return sum(piece.bytes for piece in self.pieces)

    def to_json(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "bytes": self.bytes,
            "files": [vars(piece) for piece in self.pieces],
            "orphans": [vars(piece) for piece in self.orphans],
        }


def collect_garbage(folder: RunFolder, *, orphans: bool = False, dry_run: bool = False) -> Garbage:
    """Remove what nothing needs. orphans: also files among the results that no manifest names.

    ConfigError for folders that hold no run, runs under way, and object stores. Killed anywhere, it can be done again.
    """
    check_local(folder, "gc")
    run = load_run(folder)
    with folder.locked():
        found = Garbage(dry_run=dry_run)
        found.pieces += intermediate(folder, run)
        known = {piece.path for piece in found.pieces}
        for piece in _leavings(folder, run):
            if piece.path not in known:
                (found.pieces if orphans or piece.kind != ORPHAN else found.orphans).append(piece)
        if not dry_run:
            drop_intermediate(folder, run)
            _remove(folder, found.pieces)
    return found


def check_local(folder: RunFolder, what: str) -> None:
    """ConfigError for object stores, which know no lock: a coordinator elsewhere might be at work."""
    if not folder.is_local:
        raise ConfigError(
            f"tokenmill {what} works on a local disk, and {folder.location} is on an object store",
            why="nothing there tells whether another process works on the run",
            fix="copy the run to a disk, do it there, and copy it back to another prefix",
        )


def intermediate(folder: RunFolder, run: Mapping[str, Any]) -> Iterator[Piece]:
    """The files of a finished run's deduplications that nobody reads any more; none of an unfinished run."""
    for _, manifest in _collectable(folder, run):
        for file in manifest["files"]:
            if _is_intermediate(manifest, file, run):
                yield Piece(file["path"], folder.size(file["path"]) or 0, INTERMEDIATE)


def drop_intermediate(folder: RunFolder, run: Mapping[str, Any]) -> None:
    """Take these files out of manifests and seals, and remove them, with what a killed process has left of that."""
    directories: dict[str, set[str]] = {}
    for directory, manifest in list(_collectable(folder, run)):
        gone = [file for file in manifest["files"] if _is_intermediate(manifest, file, run)]
        kept = [file for file in manifest["files"] if file not in gone]
        directories.setdefault(directory, set()).update(file["path"] for file in kept)
        if not gone:
            continue
        if not folder.exists(COLLECTED_JSON):  # first of all: from here on the steps cannot be done again
            folder.write_json(COLLECTED_JSON, {"format": 1})
        kinds = sorted({*manifest.get("collected", ()), *(file["kind"] for file in gone)})
        written = {key: value for key, value in manifest.items() if key != "label"}
        place = f"phases/{directory}/manifests/{manifest['input']['name']}.json"
        folder.write_json(place, {**written, "files": kept, "collected": kinds})
    for directory, named in directories.items():
        refresh_seal(folder, directory)
        root = Path(folder.path(f"phases/{directory}"))
        for path in list(_files(root)):
            inner = path.relative_to(root).as_posix()
            if f"phases/{directory}/{inner}" not in named and not _is_of_phase(inner):
                path.unlink(missing_ok=True)
        _remove_empty(root)


def remove_temporary(folder: RunFolder) -> None:
    """Remove what a killed process was about to rename; the caller holds the lock of the run."""
    for path in _files(Path(folder.path(""))):
        if _TEMPORARY.search(path.name):
            path.unlink(missing_ok=True)


def _collectable(folder: RunFolder, run: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(directory of the phase, manifest) of every task of a deduplication of ours, where the run is finished."""
    if unfinished_phase(folder, run):
        return
    classes = {entry["stage"]: entry["class"] for entry in run["stages"]}
    for phase in run["phases"]:
        label = phase["stages"][0]
        if phase.get("step") and classes.get(label, "").startswith("tokenmill.dedup."):
            for _, manifest in folder.manifests(phase["directory"]):
                yield phase["directory"], {**manifest, "label": label}


def _is_intermediate(manifest: Mapping[str, Any], file: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether nobody reads a file of a step: it is not published, and neither members nor keys of clusters."""
    if not file["path"].startswith("phases/"):
        return False
    steps = {phase["step"] for phase in run["phases"] if phase.get("step") and phase["stages"][0] == manifest["label"]}
    return not (file["kind"] in ("keys", "members") and "clusters" in steps)


def _leavings(folder: RunFolder, run: Mapping[str, Any]) -> Iterator[Piece]:
    """Files that no manifest names: of killed attempts, half-written ones, and strangers among the results."""
    root = Path(folder.path(""))
    named, waiting = _named(folder, run)
    sink = run["stages"][-1]["stage"]
    own = {phase["directory"]: bool(phase.get("step")) and phase["stages"][0] == sink for phase in run["phases"]}
    for path in sorted(_files(root)):
        relative = path.relative_to(root).as_posix()
        kind = _kind(relative, own, named, waiting)
        if kind:
            yield Piece(relative, path.lstat().st_size, kind)


def _files(root: Path) -> Iterator[Path]:
    for where, _, names in os.walk(root):
        yield from (Path(where, name) for name in names)


def _kind(relative: str, own: Mapping[str, bool], named: set[str], waiting: set[str]) -> str:
    """What kind of garbage a file is; "" where it is none. own: phase -> whether it is a step of the sink."""
    if relative in named:
        return ""
    top, _, rest = relative.partition("/")
    if _TEMPORARY.search(relative):
        return TEMPORARY
    if top in _PUBLISHED:
        return ORPHAN
    if top != "phases" or "/" not in rest:
        return ""
    directory, _, inner = rest.partition("/")
    if directory not in own:
        return ORPHAN
    if inner.startswith("attempts/"):
        return "" if relative in waiting else ATTEMPT
    if _is_of_phase(inner) or own[directory]:
        return ""
    return UNNAMED


def _is_of_phase(inner: str) -> bool:
    """Whether a file of a phase is none that a shard or task has made."""
    return inner in _OF_PHASE or inner.startswith(("manifests/", "attempts/"))


def _named(folder: RunFolder, run: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """(files that manifests name, files of attempts that are committed and not published yet)."""
    named: set[str] = set()
    waiting: set[str] = set()
    for phase in run["phases"]:
        for _, manifest in folder.manifests(phase["directory"]):
            for file in manifest["files"]:
                named.add(file["path"])
                waiting.add(f"{manifest['attempt']}/{file['kind']}.parquet")
    return named, waiting


def _remove(folder: RunFolder, pieces: list[Piece]) -> None:
    root = Path(folder.path(""))
    for piece in pieces:
        path = root / piece.path
        path.unlink(missing_ok=True)
    for place in {piece.path.split("/")[0] for piece in pieces}:
        _remove_empty(root / place)


def _remove_empty(root: Path) -> None:
    """Remove empty folders below `root`."""
    if not root.is_dir():
        return
    for where, _, _ in os.walk(root, topdown=False):
        if where != str(root) and not os.listdir(where):
            os.rmdir(where)
