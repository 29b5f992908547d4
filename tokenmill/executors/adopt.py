"""Phases of an earlier run taken over by a new one that would do the same work.

A phase is known by its fingerprint, which covers everything from the source to its last stage. Where the inputs and
options of two runs are the same too, so are the files of the phase. They are linked (copied where no link can be made),
then their manifests, then the mark that the phase is complete: what is killed in between is a phase that is not
complete, with shards that are, and goes on as such.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenmill.core.phases import Phase
from tokenmill.executors.forget_marks import is_untouched
from tokenmill.executors.runspec import RunSpec, freeze, input_entry
from tokenmill.executors.steps import SUCCESS_JSON, TASKS_JSON
from tokenmill.io.runfolder import RunFolder, disk_error

_NO_LINK = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def adopt(spec: RunSpec, folder: RunFolder, earlier: RunSpec, source: RunFolder) -> list[str]:
    """Take complete phases of the run `earlier` in `source` into `folder`; the names of those that were taken.

    From the first phase on, up to the first that the earlier run has not done, or does in another way. Phases that
    `folder` has complete are left as they are. Idempotent. Nothing where a folder is not on a local disk, or documents
    or intermediate files were removed from `source`.
    ConfigError where `folder` holds another run, FatalError where the disk is full.
    """
    if not (folder.is_local and source.is_local and is_untouched(source)) or not _same_work(spec, earlier):
        return []
    theirs = {phase.directory: phase for phase in earlier.plan.phases}
    taken = []
    with folder.locked():
        freeze(folder, spec)
        for phase in spec.plan.phases:
            other = theirs.get(phase.directory)
            if other is None or not _same_phase(phase, other):
                break
            if folder.exists(f"phases/{phase.directory}/{SUCCESS_JSON}"):
                continue
            manifests = _manifests(source, phase)
            if manifests is None:
                break
            _take(folder, source, phase, manifests)
            taken.append(phase.directory)
    return taken


def _same_work(spec: RunSpec, earlier: RunSpec) -> bool:
    """Whether both runs read the same inputs into shards of the same names, with the same options."""
    one, two = ([(input_entry(s), s.path) for s in run.plan.inputs] for run in (spec, earlier))
    return one == two and spec.slugs == earlier.slugs and spec.options == earlier.options


def _same_phase(phase: Phase, other: Phase) -> bool:
    """The fingerprint says what is done; which columns are kept for later depends on what comes later."""
    same = phase.fingerprint == other.fingerprint and phase.labels == other.labels and phase.step == other.step
    return same and dict(phase.columns) == dict(other.columns) and phase.reread == other.reread


def _manifests(source: RunFolder, phase: Phase) -> Mapping[str, Mapping[str, Any]] | None:
    """Name -> manifest of every shard or task of a complete phase; None where it is not complete, or files are gone."""
    sealed = source.read_json(f"phases/{phase.directory}/{SUCCESS_JSON}")
    if sealed is None or sealed["fingerprint"] != phase.fingerprint:
        return None
    found: dict[str, Mapping[str, Any]] = {}
    for output in sealed["outputs"]:
        manifest = source.manifest(phase.directory, output["name"])
        if manifest is None or any(source.size(file["path"]) != file["bytes"] for file in manifest["files"]):
            return None
        found[output["name"]] = manifest
    return found


def _take(folder: RunFolder, source: RunFolder, phase: Phase, manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """Files first, then what says that they are there."""
    place = f"phases/{phase.directory}"
    for slug, manifest in manifests.items():
        for file in manifest["files"]:
            _link(source, folder, file["path"], file["bytes"])
        _link(source, folder, f"{place}/manifests/{slug}.json")
    folder.remove(f"{place}/attempts")  # of a coordinator that was killed at this phase
    for name in (TASKS_JSON, SUCCESS_JSON):
        if source.exists(f"{place}/{name}"):
            _link(source, folder, f"{place}/{name}")


def _link(source: RunFolder, folder: RunFolder, relative: str, size: int | None = None) -> None:
    """The file under its name in the other folder, whole or not at all. One of the right size stays."""
    if size is not None and folder.size(relative) == size:
        return
    origin, final = source.path(relative), Path(folder.path(relative))
    temporary = final.with_name(f"{final.name}.{uuid.uuid4().hex}.tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(origin, temporary)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            shutil.copyfile(origin, temporary)
        os.replace(temporary, final)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(error, str(final)) from error


def adopt_from(spec: RunSpec, folder: RunFolder, earlier: Sequence[tuple[RunSpec, RunFolder]]) -> list[str]:
    """`adopt` from several runs: each gives what it has beyond the others. The names of the phases that were taken."""
    taken: list[str] = []
    for other, source in earlier:
        taken += adopt(spec, folder, other, source)
    return taken
