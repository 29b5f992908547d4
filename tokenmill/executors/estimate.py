"""What a run costs, measured on a sample of its input; `forecast.py` multiplies it.

Measured are CPU seconds of this process, its workers and their children (wall-clock times of stages share them
out), the documents and the written bytes. Everything is taken to grow with the input in proportion. For the steps of
`MinHashDedup` that was measured (docs/scaling.md), and their figures per document are used, since a sample is too
small to tell; what does not grow so is how many duplicates there are, so the documents kept are an upper bound.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenmill.core.accounting import StageCount
from tokenmill.core.errors import ConfigError
from tokenmill.core.phases import Phase
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import InputShard, Source
from tokenmill.executors.base import PhaseEnd, PhaseEvent, PhaseStart
from tokenmill.executors.local import LocalExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.executors.sampling import Piece, sample_bytes, take
from tokenmill.io.runfolder import RunFolder

MINHASH_STEPS: Mapping[str, tuple[float, float]] = {
    "keys": (1.5e-6, 179),
    "candidates": (0.9e-6, 22),
    "clusters": (0.1e-6, 7),
    "gather": (13.5e-6, 794),
    "verify": (2.1e-6, 12),
    "table": (0.7e-6, 14),
}
"""CPU seconds and bytes left per document, of docs/scaling.md (200,000 documents, 36 % in some component)."""
TELLING_DOCUMENTS = 20_000
"""A sample with so many documents before a barrier tells by itself what its steps cost."""


@dataclass
class Row:
    """One stage, step, or what lies between stages, on the sample: values per piece where pieces can be told apart."""

    phase: int
    label: str
    documents: list[float] = field(default_factory=list)
    """Documents that come in, per piece."""
    core_seconds: list[float] = field(default_factory=list)
    gpu_seconds: list[float] = field(default_factory=list)
    source: str = "measured"
    """measured, or whose figures these are."""


@dataclass
class Sample:
    """What the run on the sample gave. Lists have one value per piece."""

    pieces: list[Piece]
    rows: list[Row]
    documents: list[float]
    """What the source lets out."""
    kept: list[float]
    intermediate: list[float]
    """Bytes below `phases/`, manifests included."""
    published: list[float]
    files: list[float]
    """Files and manifests written."""
    step_bytes: float
    step_source: str
    wall_seconds: float
    cpu_seconds: float
    startup_seconds: float
    """CPU seconds that a worker needs to start; not multiplied."""
    busy: float
    """CPU seconds of the work by wall-clock seconds of its stages; well below 1 on a busy machine."""

    @property
    def source_bytes(self) -> list[float]:
        return [float(piece.source_bytes) for piece in self.pieces]


def measure(
    pipeline: Pipeline,
    inputs: Sequence[InputShard],
    *,
    share: float = 0.001,
    workers: int = 1,
    tell: Callable[[str], None] = lambda text: None,
) -> Sample:
    """Run the recipe on a sample in a temporary folder, with local workers, and measure it.

    share: of the input's bytes. ConfigError when shares or sizes make no sense, or a piece fails.
    """
    total = sum(shard.size for shard in inputs)
    if not 0 < share <= 1:
        raise ConfigError(f"a sample of {share:g} is no share", fix="a number above 0, up to 1")
    if not total:
        raise ConfigError("the sizes of the input files are not known", fix="give a place that can tell them")
    source = pipeline.stages[0]
    assert isinstance(source, Source)
    with tempfile.TemporaryDirectory(prefix="tokenmill-estimate-") as name:
        folder = Path(name)
        pieces = take(source, inputs, sample_bytes(total, share), folder / "in")
        tell(f"sample: {sum(p.source_bytes for p in pieces):,} bytes in {len(pieces)} pieces")
        first = take(source, [pieces[0].shard], 64 << 10, folder / "first", pieces=1)
        warm = _run(pipeline, first, folder / "warm", 1)  # compiles what was never compiled here: done only once
        start = _run(pipeline, first, folder / "start", 1)
        if warm.overhead < start.overhead:  # all was compiled, and a neighbour has disturbed the second one
            start = warm
        tell(f"starting a worker takes {start.overhead:.1f} CPU seconds; now the sample")
        done = _run(pipeline, pieces, folder / "out", min(workers, len(pieces)))
        return _sample(pieces, done, start)


@dataclass
class _Done:
    """A finished run on pieces, with what it used."""

    plan_phases: tuple[Phase, ...]
    manifests: dict[int, list[dict[str, Any]]]
    cpu: dict[int, float]
    wall: float
    workers: int

    def stage_seconds(self, phase: int) -> float:
        return float(sum(stage["seconds"] for m in self.manifests[phase] for stage in m["stages"]))

    @property
    def overhead(self) -> float:
        """CPU seconds beside the stages, most of which start processes when the work is small."""
        return sum(max(0.0, cpu - self.stage_seconds(phase)) for phase, cpu in self.cpu.items())


def _run(pipeline: Pipeline, pieces: Sequence[Piece], output: Path, workers: int) -> _Done:
    plan = make_plan(pipeline, [piece.shard for piece in pieces])
    spec = RunSpec.of(plan, Options(), str(output))
    folder = RunFolder(str(output))
    meter = _Meter()
    started = time.perf_counter()
    outcome = execute(spec, folder, LocalExecutor(workers), observer=meter.observe)
    wall = time.perf_counter() - started
    if outcome.failures:
        slug, error = next(iter(outcome.failures.items()))
        raise ConfigError(f"the recipe fails on the sample, in {slug}", why=str(error), fix="run it on this file")
    order = {slug: i for i, slug in enumerate(spec.slugs)}
    manifests = {}
    for phase in plan.phases:
        found = dict(folder.manifests(phase.directory))
        manifests[phase.index] = [found[slug] for slug in (found if phase.step else order)]
    return _Done(plan.phases, manifests, meter.cpu, wall, workers)


class _Meter:
    """CPU seconds of this process and all below it, by phase. Of phases under way together, the first gets all."""

    def __init__(self) -> None:
        self.cpu: dict[int, float] = defaultdict(float)
        self._last = cpu_of_tree()
        self._open: set[int] = set()

    def observe(self, phase: Phase, event: PhaseEvent) -> None:
        if not isinstance(event, PhaseStart | PhaseEnd):
            return
        now = cpu_of_tree()
        self.cpu[min(self._open, default=phase.index)] += now - self._last
        self._last = now
        if isinstance(event, PhaseStart):
            self._open.add(phase.index)
        else:
            self._open.discard(phase.index)


def cpu_of_tree() -> float:
    """CPU seconds so far of this process, its children that have ended, and those below it that live."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total: float = time.process_time() + ended.ru_utime + ended.ru_stime
    if sys.platform != "linux":
        return total  # the living are counted when they end
    stats: dict[int, list[str]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as stream:
                    stats[int(entry)] = stream.read().decode("utf-8", "replace").rpartition(")")[2].split()
            except OSError:
                continue
    below = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, fields in stats.items() if int(fields[1]) in below} - below
        below |= more
        grown = bool(more)
    tick = os.sysconf("SC_CLK_TCK")
    living = (stats[pid] for pid in below - {os.getpid()} if pid in stats)
    return total + sum(sum(map(int, fields[11:15])) for fields in living) / tick


def _sample(pieces: list[Piece], done: _Done, start: _Done) -> Sample:
    rows: list[Row] = []
    startup = 0.0
    work_cpu = work_wall = 0.0
    before: Phase | None = None
    step_bytes, sources = 0.0, set()
    for phase in done.plan_phases:
        own = start.cpu.get(phase.index, 0.0) - start.stage_seconds(phase.index)
        if phase.step:
            assert before is not None
            row, left, source = _step_row(done, phase, before, max(0.0, own))
            rows.append(row)
            step_bytes += left
            sources.add(source)
            continue
        before = phase
        wall = done.stage_seconds(phase.index)
        fixed = _fixed(own, done.cpu.get(phase.index, 0.0), wall, min(done.workers, len(pieces)))
        startup += fixed
        used = done.cpu.get(phase.index, 0.0) - fixed * min(done.workers, len(pieces))
        work_cpu += used
        work_wall += wall
        rows += _phase_rows(done, phase, min(1.0, used / wall) if wall else 1.0, max(0.0, used - wall))
    phases = [phase.index for phase in _data(done)]
    sizes = [[file for phase in phases for file in done.manifests[phase][i]["files"]] for i in range(len(pieces))]
    first, last = phases[0], phases[-1]
    return Sample(
        pieces=pieces,
        rows=rows,
        documents=[float(m["stages"][0]["out"]) for m in done.manifests[first]],
        kept=[float(m["stages"][-1]["out"]) for m in done.manifests[last]],
        intermediate=[_bytes(found, inside=True) for found in sizes],
        published=[_bytes(found, inside=False) for found in sizes],
        files=[float(len(found) + len(phases)) for found in sizes],
        step_bytes=step_bytes,
        step_source=", ".join(sorted(sources)),
        wall_seconds=done.wall,
        cpu_seconds=sum(done.cpu.values()),
        startup_seconds=startup,
        busy=work_cpu / work_wall if work_wall else 1.0,
    )


def _fixed(own: float, cpu: float, wall: float, workers: int) -> float:
    """CPU seconds of starting a worker. own: as measured by a start alone; cpu, wall: those of the sample's phase.

    A start that took as long as start and work together was measured on a busier machine: then what lies beside the
    stages' own clocks is the start, and the work is not taken for nothing.
    """
    if max(0.0, own) * workers < cpu:
        return max(0.0, own)
    return max(0.0, cpu - wall) / workers


def _data(done: _Done) -> list[Phase]:
    return [phase for phase in done.plan_phases if not phase.step]


def _bytes(files: Sequence[Mapping[str, Any]], *, inside: bool) -> float:
    return float(sum(file["bytes"] for file in files if file["path"].startswith("phases/") == inside))


def _phase_rows(done: _Done, phase: Phase, scale: float, rest: float) -> list[Row]:
    """A row per stage, and one for what lies between them, shared out over pieces by their seconds.

    scale: CPU seconds per wall-clock second of a stage, where the machine was too busy to give all.
    """
    manifests = done.manifests[phase.index]
    counts = [[StageCount.from_json(stage) for stage in manifest["stages"]] for manifest in manifests]
    gpus = phase.resources.gpus
    rows = []
    for stages in zip(*counts, strict=True):
        row = Row(phase.index, stages[0].stage)
        row.documents = [float(count.into) for count in stages]
        row.core_seconds = [count.seconds * scale for count in stages]
        row.gpu_seconds = [count.seconds * gpus for count in stages]
        rows.append(row)
    walls = [sum(count.seconds for count in stages) for stages in counts]
    total = sum(walls) or 1.0
    between = Row(phase.index, "(between stages, digests, commit)")
    between.documents = [float(stages[0].into) for stages in counts]
    between.core_seconds = [rest * wall / total for wall in walls]
    between.gpu_seconds = [0.0] * len(walls)
    return [*rows, between]


def _step_row(done: _Done, phase: Phase, before: Phase, fixed: float) -> tuple[Row, float, str]:
    """A step of a barrier: its row, the bytes that it leaves, and whose figures they are.

    fixed: CPU seconds of the step with next to no documents.
    """
    documents = [float(m["stages"][-1]["out"]) for m in done.manifests[before.index]]
    total = sum(documents)
    known = MINHASH_STEPS.get(phase.step) if phase.stages[0].name == "minhash_dedup" else None
    if known is not None and total < TELLING_DOCUMENTS:
        seconds, left, source = known[0] * total, known[1] * total, "docs/scaling.md"
    else:
        seconds = max(0.0, done.cpu.get(phase.index, 0.0) - fixed)
        left = float(sum(file["bytes"] for m in done.manifests[phase.index] for file in m["files"]))
        source = "measured" if total >= TELLING_DOCUMENTS else "measured on few documents"
    row = Row(phase.index, f"{phase.labels[0]}: {phase.step}", documents, source=source)
    row.core_seconds = [seconds * count / max(total, 1.0) for count in documents]
    row.gpu_seconds = [0.0] * len(documents)
    return row, left, source
