"""`tokenmill run`: plan, execute, report, and an exit code that tells how it went."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from types import FrameType

from tokenmill.cli.console import error_console, funnel_table, output_console, safe
from tokenmill.cli.main import EXIT_QUARANTINE, EXIT_RESUMABLE
from tokenmill.cli.progress import ProgressView
from tokenmill.cli.recipes import load_recipe
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Source
from tokenmill.executors.base import Executor
from tokenmill.executors.host import Limits
from tokenmill.executors.local import InlineExecutor, LocalExecutor
from tokenmill.executors.run import RunOutcome, execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.write import write_report


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
    sample_dropped: float = 0.05


class _Stopped(BaseException):
    """SIGINT or SIGTERM: stop in order. A BaseException, so that no library takes it for an error of its own."""


def run_recipe(request: RunRequest) -> int:
    """Run, write the report, tell the user; returns the exit code."""
    spec = _specify(request)
    folder = RunFolder(request.output)
    limits = Limits(document_seconds=request.document_seconds, memory_bytes=int(request.memory_limit_gib * (1 << 30)))
    view = ProgressView(spec, folder)
    previous = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with view:
            outcome = execute(spec, folder, _executor(request.workers), limits=limits, observer=view.observe)
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


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped


def _specify(request: RunRequest) -> RunSpec:
    pipeline, recorded = load_recipe(request.recipe, request.settings)
    location = request.input or recorded
    if location is None:
        raise ConfigError("no input given", fix="--input FOLDER")
    if not 0 <= request.sample_dropped <= 1:
        raise ConfigError(f"--sample-dropped {request.sample_dropped} is no share", fix="a number from 0 to 1")
    source = pipeline.stages[0]
    suffixes = source.suffixes if isinstance(source, Source) else ()
    plan = make_plan(pipeline, list_inputs(location, suffixes))
    return RunSpec.of(plan, Options(sample_dropped=request.sample_dropped), location)


def _executor(workers: int) -> Executor:
    if workers == 0:
        return InlineExecutor()
    return LocalExecutor(workers if workers > 0 else available_cores())


def available_cores() -> int:
    """Cores that this process may use (containers and job schedulers often allow fewer than there are)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _tell_failures(outcome: RunOutcome) -> int:
    console = error_console()
    console.print(f"[bold]{len(outcome.failures)} shards failed[/]; the others are committed.")
    for slug, error in sorted(outcome.failures.items()):
        console.print(f"  {safe(slug)}: {safe(str(error))}")
    console.print("Run the same command again to try them again.")
    return EXIT_RESUMABLE


def _tell_success(request: RunRequest, folder: RunFolder, outcome: RunOutcome) -> int:
    funnel = write_report(folder)
    console = output_console()
    console.print(funnel_table(funnel))
    console.print(f"data     {folder.path('data')}/*.parquet", highlight=False, soft_wrap=True)
    console.print(f"report   {folder.path('report.html')}", highlight=False, soft_wrap=True)
    share = outcome.quarantined / max(outcome.documents, 1)
    if share > request.max_quarantined:
        error_console().print(
            f"{outcome.quarantined} documents ({share:.1%}) are in quarantine, more than --max-quarantined"
            f" {request.max_quarantined:g}: see quarantine/ for the causes."
        )
        return EXIT_QUARANTINE
    return 0
