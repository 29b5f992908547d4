"""What a removal leaves in a run: tombstones, the mark that intermediate files are gone, and what follows for resuming.

    out/tombstones/<digest>.json    what was removed, and whether the removal is finished
    out/phases/collected.json       there where intermediate files of finished steps have been removed

A tombstone holds no address and no text: addresses are personal data as well. `url_sha256` is the SHA-256 of the
address in its canonical form (`text/urls.py`), without a salt on purpose: whoever is given an address can check whether
it was asked to be removed, and a block list may hold such digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.executors.steps import SUCCESS_JSON
from tokenmill.io.removals import TOMBSTONES, check_removed
from tokenmill.io.runfolder import RunFolder

COLLECTED_JSON = "phases/collected.json"
FORGOTTEN = "forgotten"
"""Reason under which the last stage of a run counts and lists documents that were removed after it."""
_FORMAT = 1
_OF_FILE = ("path", "rows", "bytes", "sha256")


@dataclass(frozen=True)
class Grave:
    """A document that was removed. `doc_id` says where its record lies in the archives, and nothing of its text."""

    shard: str
    """Output name of its shard."""
    doc_id: str | None
    """None where the run has not stored it, and it cannot be told from the place of the record either."""
    key_sha256: str | None
    """SHA-256 of its record id and address, by which it is found where the run has not stored its `doc_id`."""
    url_sha256: str | None
    was: str
    """kept, dropped or quarantined."""


@dataclass(frozen=True)
class Tombstone:
    """One removal. While `done` is false the same command goes on with it, and nothing else may change the run."""

    time: str
    reason: str
    requests: Mapping[str, int]
    """How many addresses, domains and ids were asked for; not which."""
    documents: tuple[Grave, ...]
    done: bool = False

    @property
    def name(self) -> str:
        """The same for the same documents."""
        content = json.dumps([asdict(grave) for grave in self.documents], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def write(self, folder: RunFolder) -> None:
        folder.write_json(f"{TOMBSTONES}/{self.name}.json", {"format": _FORMAT, **asdict(self)})

    def finished(self) -> Tombstone:
        return replace(self, done=True)


def tombstones(folder: RunFolder) -> Iterator[Tombstone]:
    """All removals of a run, in order of name."""
    for name in folder.list(TOMBSTONES):
        data = folder.read_json(f"{TOMBSTONES}/{name}") if name.endswith(".json") else None
        if data is None:
            continue
        if data.pop("format", None) != _FORMAT:
            raise ConfigError(
                f"{folder.path(TOMBSTONES)}/{name} is of another version", fix="use the tokenmill that has written it"
            )
        graves = tuple(Grave(**grave) for grave in data.pop("documents"))
        yield Tombstone(**data, documents=graves)


def is_untouched(folder: RunFolder) -> bool:
    """Whether all phases of a run hold what they were made with, so that another run may take them over."""
    return not folder.list(TOMBSTONES) and not folder.exists(COLLECTED_JSON)


def check_whole(folder: RunFolder, run: Mapping[str, Any]) -> None:
    """ConfigError where going on with a run would make anew what was removed from it.

    A shard whose files are lost is otherwise made again from the archives, with the documents that were to be
    forgotten, and steps from intermediate files that are gone. Nothing is changed here.
    """
    if is_untouched(folder):
        return
    check_removed(folder)
    lost = next(_lost(folder, run), None)
    if lost is not None:
        forgotten = bool(folder.list(TOMBSTONES))
        raise ConfigError(
            f"{lost} of {folder.location} is gone and cannot be made again here",
            why="documents were forgotten from this run (tombstones/), and the archives would bring them back"
            if forgotten
            else "tokenmill gc has removed the intermediate files that it was made from",
            fix="copy the file back; or run the recipe into another --output"
            + (", with the stage OptOut and a block list of what was forgotten" if forgotten else ""),
        )


def _lost(folder: RunFolder, run: Mapping[str, Any]) -> Iterator[str]:
    """Files that manifests name and that are not there, or of another size; seals that are not there."""
    for phase in run["phases"]:
        place = f"phases/{phase['directory']}"
        sealed = folder.read_json(f"{place}/{SUCCESS_JSON}")
        if sealed is None:
            yield f"{place}/{SUCCESS_JSON}"
            return
        for output in sealed["outputs"]:
            if not folder.exists(f"{place}/manifests/{output['name']}.json"):
                yield f"{place}/manifests/{output['name']}.json"
            for kind, file in output["files"].items():
                if folder.size(file["path"]) != file["bytes"] and not _left_out(phase, kind, run):
                    yield file["path"]


def _left_out(phase: Mapping[str, Any], kind: str, run: Mapping[str, Any]) -> bool:
    """Kinds of files that a sink of tokens has only while it works."""
    sink = run["stages"][-1]
    return phase["stages"][-1] == sink["stage"] and kind not in _STAY and not sink["class"].endswith(":WriteParquet")


_STAY = frozenset(
    ("data", "dropped", "quarantine", "tokens", "index", "metadata", "documents", "manifest", "tokenizer")
)


def refresh_seal(folder: RunFolder, directory: str) -> None:
    """Make `_SUCCESS.json` say what the manifests of a phase say now."""
    place = f"phases/{directory}/{SUCCESS_JSON}"
    sealed = folder.read_json(place)
    outputs = []
    for output in sealed["outputs"]:
        manifest = folder.manifest(directory, output["name"])
        if manifest is None:
            outputs.append(output)
            continue
        files = {file["kind"]: {key: file[key] for key in _OF_FILE} for file in manifest["files"]}
        outputs.append({"name": output["name"], "files": files, "facts": manifest.get("facts", {})})
    if outputs != sealed["outputs"]:
        folder.write_json(place, {**sealed, "outputs": outputs})


def unfinished_phase(folder: RunFolder, run: Mapping[str, Any]) -> str:
    """The first phase of a run that is not complete; "" where all are."""
    directories: Sequence[str] = [phase["directory"] for phase in run["phases"]]
    return next((name for name in directories if not folder.exists(f"phases/{name}/{SUCCESS_JSON}")), "")
