"""Spans of one file must join: what a span began with is checked against where the one before it ended.

A span looks for the first record behind its cut. A page can hold an archive whose members look like records, and then
the span begins inside that page. Nobody can tell from there, but the worker that has read the span before knows where
its last record ended. So the manifests say what was covered, and a span that does not join is done again from the
right place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tokenmill.core.phases import Phase
from tokenmill.core.stage import InputShard
from tokenmill.executors.runspec import RunSpec
from tokenmill.io.runfolder import RunFolder

STARTS_JSON = "starts.json"


def corrected(folder: RunFolder, spec: RunSpec) -> Sequence[InputShard]:
    """The input shards; those spans that were found to begin elsewhere begin there."""
    inputs = spec.plan.inputs
    starts = _starts(folder, spec) if any(shard.part is not None for shard in inputs) else {}
    return [
        replace(shard, start=starts[slug], exact=True) if slug in starts else shard
        for shard, slug in zip(inputs, spec.slugs, strict=True)
    ]


def _starts(folder: RunFolder, spec: RunSpec) -> dict[str, int]:
    found: dict[str, int] | None = folder.read_json(_place(spec))
    return found or {}


def _place(spec: RunSpec) -> str:
    return f"phases/{spec.plan.phases[0].directory}/{STARTS_JSON}"


def misplaced(spec: RunSpec, manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Output name -> true beginning, of the first span of each file that does not join the one before it."""
    found: dict[str, int] = {}
    files: set[str] = set()
    end: int | None = None
    for shard, slug in zip(spec.plan.inputs, spec.slugs, strict=True):
        covered = manifests[slug].get("covered")
        if shard.part is None or covered is None:
            continue
        first, last = covered
        nothing = first == last  # no record begins in it: the one before it may have ended behind it
        if shard.part[0] and shard.name not in files:
            assert end is not None
            if first != end and not (nothing and end >= first):
                found[slug] = end
                files.add(shard.name)
        end = max(last, end) if nothing and shard.part[0] and end is not None else last
    return found


def move(
    folder: RunFolder,
    spec: RunSpec,
    phases: Sequence[Phase],
    starts: Mapping[str, int],
    manifests: Mapping[int, dict[str, Mapping[str, Any]]],
) -> None:
    """Write down where spans begin in truth, and take back what was made from the wrong place.

    phases: those that have read the spans or what came of them. manifests: by phase; what is taken back is removed.
    """
    folder.write_json(_place(spec), {**_starts(folder, spec), **starts})
    for phase in reversed(phases):
        for slug in starts:
            withdraw(folder, phase, slug, manifests[phase.index].pop(slug, None))


def withdraw(folder: RunFolder, phase: Phase, slug: str, manifest: Mapping[str, Any] | None) -> None:
    """Take a commit back, its files before the manifest: a commit without its files is not believed."""
    for file in manifest["files"] if manifest else ():
        folder.remove(file["path"])
    folder.remove(f"phases/{phase.directory}/manifests/{slug}.json")
