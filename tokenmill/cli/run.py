"""`tokenmill run`: plan, execute, report, and an exit code that tells how it went."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from tokenmill.cli.console import (
    counted,
    error_console,
    error_text,
    funnel_table,
    output_console,
    overlap_table,
    safe,
    safe_line,
)
from tokenmill.cli.engine import choose_executor
from tokenmill.cli.recipes import load_recipe
from tokenmill.cli.rephrased import tell_rephrased
from tokenmill.cli.watch import Watch
from tokenmill.core.errors import ConfigError, FatalError, TokenmillError
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import InputShard, Source, Stage
from tokenmill.executors.host import Limits
from tokenmill.executors.preflight import check_space
from tokenmill.executors.run import RunOutcome, execute
from tokenmill.executors.runspec import RUN_JSON, Options, RunSpec, input_differences
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.units import parse_size, split
from tokenmill.report.funnel import Funnel, fold
from tokenmill.report.rephrased import CORPUS
from tokenmill.report.write import write_report

EXIT_QUARANTINE = 3
"""The run is finished, and more documents are in quarantine than the user allows."""
LARGE_BYTES = 128 << 20
"""Input files above this are worth cutting where workers would be idle."""
EXIT_RESUMABLE = 75
"""The run is not finished; the same command goes on with it (EX_TEMPFAIL of sysexits)."""


@dataclass(frozen=True)
class RunRequest:
    """The arguments of `tokenmill run`."""

    recipe: str
    input: str | None
    output: str
    settings: tuple[str, ...] = ()
    workers: int = -1
    max_quarantined: float = 0.05
    document_seconds: float = 8.0
    memory_limit_gib: float = 4.0
    sample_dropped: float | None = None
    mode: str | None = None
    enforce: tuple[str, ...] = ()
    log_json: str | None = None
    metrics_port: int | None = None
    preflight: bool = True
    split: str | None = None
    executor: str = "local"
    ray_address: str | None = None


class _Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM: stop in order. No library takes it for an error of its own, and event loops let it through
    (uvloop prints any other BaseException and goes on)."""


def run_recipe(request: RunRequest) -> int:
    """Run, write the report, tell the user; returns the exit code."""
    return run_spec(request, _specify(request))


def run_spec(request: RunRequest, spec: RunSpec) -> int:
    """Execute what has been specified; the place, the workers and the limits come from the request."""
    folder = RunFolder(request.output)
    limits = Limits(document_seconds=request.document_seconds, memory_bytes=int(request.memory_limit_gib * (1 << 30)))
    executor = choose_executor(request.executor, request.workers, request.ray_address)
    if request.preflight:
        for warning in check_space(spec, folder, workers=executor.workers):
            error_console().print(f"warning: {safe(warning)}", highlight=False, soft_wrap=True)
    if not folder.exists(RUN_JSON):
        for stage in spec.plan.pipeline.stages:
            stage.ready(folder.location)
    for line in (line for stage in spec.plan.pipeline.stages for line in stage.announces()):
        error_console().print(f"note: {safe(line)}", highlight=False, soft_wrap=True)
    _hint(spec, executor.workers)
    watch = Watch(spec, folder, executor, log_json=request.log_json, metrics_port=request.metrics_port)
    previous = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with watch:
            outcome = execute(spec, folder, executor, limits=limits, observer=watch.observe)
            watch.ended(*_ending(request, outcome))
        if outcome.failures:
            return _tell_failures(outcome)
        return _tell_success(request, folder, outcome)
    except _Stopped:
        print(
            "stopped. What is committed stays; run the same command again to resume.",
            file=sys.stderr,
        )
        return EXIT_RESUMABLE
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _hint(spec: RunSpec, workers: int) -> None:
    """Say how a few large files could keep all workers busy."""
    inputs = spec.plan.inputs
    large = max((shard.bytes for shard in inputs), default=0)
    if len(inputs) < workers and large > LARGE_BYTES and spec.plan.source.splittable and not spec.options.split_bytes:
        few = f"{counted(len(inputs), 'file')} for {workers} workers"
        error_console().print(f"note: {few}; --split 64MB (in a new --output) keeps more of them busy", highlight=False)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped


def _specify(request: RunRequest) -> RunSpec:
    _check_numbers(request)
    recipe = load_recipe(request.recipe, request.settings)
    source = recipe.pipeline.stages[0]
    named = source.inputs() if isinstance(source, Source) else None
    location = request.input or recipe.location or ("" if named is not None else None)
    if location is None:
        raise ConfigError("no input given", fix="--input FOLDER")
    options = Options(**recipe.recorded.get("options", {}))
    if request.sample_dropped is not None:
        options = replace(options, sample_dropped=request.sample_dropped)
    if request.split is not None:
        options = replace(options, split_bytes=parse_size(request.split))
    suffixes = source.suffixes if isinstance(source, Source) else ()
    inputs = named if named is not None else list_inputs(location, suffixes, sizes=bool(options.split_bytes))
    _check_places(request, location, [shard.path for shard in inputs])
    plan = make_plan(recipe.pipeline, _units(inputs, source, options), _annotation(request, recipe.recorded))
    spec = RunSpec.of(plan, options, location)
    same = recipe.recorded.get("mode") == plan.mode  # a refiltered run is run again from its archives
    if recipe.recorded and same and not request.input and not request.settings:
        _check_same(recipe.recorded, spec)
    return spec


def _units(inputs: Sequence[InputShard], source: Stage, options: Options) -> Sequence[InputShard]:
    """The inputs, cut into spans where that is asked for."""
    if options.split_bytes and not (isinstance(source, Source) and source.splittable):
        raise ConfigError(f"{type(source).name} cannot read spans of files", fix="leave out --split")
    return split(inputs, options.split_bytes)


def _annotation(request: RunRequest, recorded: Mapping[str, Any]) -> Annotation | None:
    """Annotate mode where it is asked for, or where the run that is run again had it."""
    mode = request.mode or recorded.get("mode", "filter")
    if mode == "annotate":
        enforce = request.enforce or (recorded.get("enforce", ()) if request.mode is None else ())
        return Annotation(tuple(enforce))
    if request.enforce:
        raise ConfigError("--enforce belongs to --mode annotate", why="filters always drop otherwise")
    return None


def _check_numbers(request: RunRequest) -> None:
    if request.sample_dropped is not None and not 0 <= request.sample_dropped <= 1:
        raise ConfigError(f"--sample-dropped {request.sample_dropped} is no share", fix="a number from 0 to 1")
    for name, value in (("document-seconds", request.document_seconds), ("memory-limit", request.memory_limit_gib)):
        if value <= 0:
            raise ConfigError(f"--{name} {value:g} is not above 0", fix="leave it out for the default")


def _check_places(request: RunRequest, location: str, paths: Sequence[str]) -> None:
    """Refuse outputs that workers cannot share, and outputs that would become input."""
    if request.output.startswith("memory://") and request.workers != 0:
        raise ConfigError("--output memory:// lives in one process", fix="add --workers 0, or use a real folder")
    if "://" not in location and "://" not in request.output:
        output = Path(request.output).resolve()
        if any(output in Path(path).resolve().parents for path in paths):
            raise ConfigError("the input lies in the output folder", fix="choose an --output beside the input")


def _check_same(recorded: Mapping[str, Any], spec: RunSpec) -> None:
    """`tokenmill run out/run.json` promises the same data set: refuse it when that cannot be."""
    wanted = spec.to_json()
    differences = input_differences(recorded["input"]["shards"], wanted["input"]["shards"])
    if differences:
        raise ConfigError(
            "the input of that run is no longer what it was",
            why="; ".join(differences[:5]),
            fix="give --input to run the recipe on something else",
        )
    if recorded["fingerprint"] != wanted["fingerprint"]:
        error_console().print(
            "note: libraries, models or lists are not those of that run; the bytes may differ", highlight=False
        )


def _ending(request: RunRequest, outcome: RunOutcome) -> tuple[str, int]:
    """How the run came out, for logs and the status file: a word and the exit code."""
    if outcome.failures:
        return "failed", EXIT_RESUMABLE
    return "finished", EXIT_QUARANTINE if _quarantined_share(outcome) > request.max_quarantined else 0


def _quarantined_share(outcome: RunOutcome) -> float:
    return outcome.quarantined / max(outcome.documents, 1)


def _tell_failures(outcome: RunOutcome) -> int:
    console = error_console()
    console.print(f"[bold]{counted(len(outcome.failures), 'shard')} failed[/]; the others are committed.")
    for slug, error in sorted(outcome.failures.items()):
        console.print(f"  {safe(slug)}: {safe(error_text(error))}")
    console.print("Run the same command again to try them again.")
    return EXIT_RESUMABLE


def _report(folder: RunFolder) -> Funnel:
    """Write the report. The data is committed: a report that cannot be written is no failure of the run."""
    try:
        return write_report(folder)
    except (ConfigError, FatalError):
        raise
    except Exception as error:
        what = error.what if isinstance(error, TokenmillError) else f"{type(error).__name__}: {error}"
        error_console().print(
            f"warning: the report could not be written ({safe_line(what)});"
            f" tokenmill report {safe_line(folder.location)} tries again",
            highlight=False,
            soft_wrap=True,
        )
        return fold(folder)


def _tell_success(request: RunRequest, folder: RunFolder, outcome: RunOutcome) -> int:
    funnel = _report(folder)
    if not funnel.complete or funnel.balance:
        raise TokenmillError(
            f"the manifests show {funnel.shards_done} of {funnel.shards} shards, {funnel.balance} records unaccounted",
            why="all shards were committed, so the output folder shows something else now",
            fix="run the same command again; if this stays, please report it",
        )
    console = output_console()
    console.print(funnel_table(funnel))
    if funnel.overlap is not None:
        console.print(overlap_table(funnel.overlap))
        console.print("Nothing was dropped by filters: data/ has every document with its signals and verdicts.")
        console.print(
            f"Try other thresholds: tokenmill refilter {folder.location} --set STAGE.FIELD=VALUE --output NEW"
        )
    console.print(f"data     {folder.path('data')}/*.parquet", highlight=False, soft_wrap=True)
    console.print(f"report   {folder.path('report.html')}", highlight=False, soft_wrap=True)
    if folder.exists(CORPUS):
        tell_rephrased(folder)
    share = _quarantined_share(outcome)
    if share > request.max_quarantined:
        error_console().print(
            f"{outcome.quarantined} documents ({share:.1%}) are in quarantine, more than --max-quarantined"
            f" {request.max_quarantined:g}: see quarantine/ for the causes."
        )
        return EXIT_QUARANTINE
    return 0
