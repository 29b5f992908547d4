"""Before a run: is there room for what it will write?

The ratios are bytes on disk per byte of input as it is stored, rounded up. Measured on the 108.5 MB of compressed
WARC of the developers' crawl (12,354 pages; `docs/operations.md` has the figures): the guess is rough by nature, so
it warns, and refuses only what is hopeless.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenmill.core.errors import ConfigError
from tokenmill.core.phases import Phase, data_phases
from tokenmill.core.stage import InputShard, SteppedSink
from tokenmill.executors.runspec import RUN_JSON, RunSpec
from tokenmill.io.runfolder import RunFolder

MARGIN = 1.3
"""Needed are so many times the estimate."""
HOPELESS = 0.1
"""Below this share of the estimate a run is refused."""

PUBLISHED_RATIO = 0.08
"""Published documents with what is listed as dropped, per byte of compressed archives. Measured with `fineweb`, which
keeps one page in nine: 0.035."""
ANNOTATED_RATIO = 0.2
"""The same in annotate mode, where nothing is dropped: all texts, their signals and verdicts. Measured: 0.17."""
PAYLOAD_RATIO = 0.4
"""What a filtering phase leaves for the next where that still reads the pages. Measured with `fineweb`: 0.33."""
ALL_PAYLOADS_RATIO = 2.1
"""The same where filters have dropped nothing: archived and decoded pages, and texts. Measured: 2.06."""
RAW_RATIO = 1.3
"""What a phase leaves that keeps pages and has no text yet: zstd 1 for gzip."""
TEXT_RATIO = 0.1
"""What a filtering phase leaves when it has texts and no pages. Measured (the other columns of `fineweb`): 0.03."""
STEP_RATIO = 0.02
"""What all steps of one barrier leave: keys, candidates, gathered shingles, tables. Measured: 0.006."""
DOCUMENTS_RATIO = 1.2
"""Where the input is documents (Parquet, JSON Lines) and no archives: any phase writes at most as much again."""


def estimate_bytes(spec: RunSpec) -> int:
    """Bytes that the whole run will leave in its folder, from the bytes of its input. 0 where those are unknown."""
    total = sum(max(0, shard.bytes) for shard in spec.plan.inputs)
    return int(total * sum(_ratio(spec, phase) for phase in spec.plan.phases))


def _ratio(spec: RunSpec, phase: Phase) -> float:
    """Bytes that a phase leaves per byte of input."""
    plan = spec.plan
    sink = plan.sink
    if phase.step:
        stage = phase.stages[0]
        if isinstance(stage, SteppedSink):  # its steps publish what it has put aside, once
            return stage.beside_ratio / len(stage.steps)
        steps = getattr(stage, "steps", ()) or ("",)
        return STEP_RATIO / len(steps)
    if isinstance(sink, SteppedSink) and phase is plan.last:
        return DOCUMENTS_RATIO + sink.beside_ratio
    archives = "payload" in plan.source.columns_added()
    if not archives:
        return DOCUMENTS_RATIO
    if phase is plan.last:
        return PUBLISHED_RATIO if plan.annotation is None else ANNOTATED_RATIO
    if "payload" in phase.columns:
        if "text" not in phase.columns:
            return RAW_RATIO
        return PAYLOAD_RATIO if plan.annotation is None else ALL_PAYLOADS_RATIO
    if "text" not in phase.columns:
        return STEP_RATIO
    return TEXT_RATIO if plan.annotation is None else ANNOTATED_RATIO


def largest_shard(spec: RunSpec, inputs: Sequence[InputShard]) -> int:
    """Bytes that one attempt at the largest shard of `inputs` may have on disk before it is published."""
    largest = max((shard.bytes for shard in inputs), default=0)
    return int(largest * max((_ratio(spec, phase) for phase in data_phases(spec.plan.phases)), default=0.0))


def check_space(
    spec: RunSpec,
    folder: RunFolder,
    *,
    workers: int = 1,
    free: Callable[[str], int] = lambda path: shutil.disk_usage(path).free,
) -> list[str]:
    """Warnings about disks that look too small. ConfigError when the space is clearly hopeless.

    A local output needs room for all that the run leaves, less what it holds already. On an object store the files
    of a shard are made in the temporary folder first: `workers` of them at once on this machine. A run that has begun
    needs room for what is not committed, and is never refused. free: bytes that are free on the disk of a path.
    """
    inputs = spec.plan.inputs
    if folder.is_local:
        what, place = "the output", _existing(folder.path(""))
        needed = estimate_bytes(spec) * MARGIN
    else:
        what, place = "the files of shards before they are uploaded (TMPDIR)", tempfile.gettempdir()
        needed = largest_shard(spec, inputs) * max(1, workers) * MARGIN
    if free(place) >= needed:
        return []
    begun = folder.exists(RUN_JSON)
    left = _left(spec, folder) if begun else inputs
    if not left:
        return []
    if folder.is_local:  # only now, for it looks at every file
        share = sum(shard.bytes for shard in left) / max(1, sum(shard.bytes for shard in inputs))
        # what is held is a poor guess of what is done: estimates are two or three times what is written
        needed = min(needed * share, needed - _held(folder))
    else:
        needed = largest_shard(spec, left) * max(1, workers) * MARGIN
    return _judge(what, place, free(place), needed, refuse=not begun)


def _left(spec: RunSpec, folder: RunFolder) -> list[InputShard]:
    """The shards that the last phase of documents has not committed."""
    last = data_phases(spec.plan.phases)[-1]
    committed = set(folder.list(f"phases/{last.directory}/manifests"))
    pairs = zip(spec.plan.inputs, spec.slugs, strict=True)
    return [shard for shard, slug in pairs if f"{slug}.json" not in committed]


def _judge(what: str, place: str, free: int, needed: float, *, refuse: bool) -> list[str]:
    if needed <= 0 or free >= needed:
        return []
    numbers = f"{_size(needed)} are needed by estimate for {what}, {_size(free)} are free at {place}"
    if refuse and free < needed * HOPELESS:
        raise ConfigError(
            "there is no room for this run",
            why=numbers,
            fix="free space, choose another --output (or TMPDIR), or add --no-preflight if you know better",
        )
    return [f"{numbers}; a full disk stops the run, and it can be resumed"]


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{max(count, 0) / 1e3:.0f} kB"


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that exists."""
    found = Path(path).absolute()
    while not os.path.exists(found) and found != found.parent:  # false as well where the disk cannot be read
        found = found.parent
    return str(found)


def _held(folder: RunFolder) -> int:
    """Bytes that an earlier session has left in the folder of a run."""
    total = 0
    for root, _, files in os.walk(folder.path("")):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total
