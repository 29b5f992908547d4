"""The `tokenmill` command.

Exit codes: 0 done, 2 bad configuration, 3 finished but too much quarantined, 75 stopped and resumable.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Optional

import typer

from tokenmill.core.errors import TokenmillError


class Mode(StrEnum):
    """What filters do with a document."""

    filter = "filter"
    annotate = "annotate"


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Raw web archives in, training tokens out, and the proof that they are good tokens.",
)

RecipeArgument = Annotated[
    str, typer.Argument(help="a built-in recipe (fineweb, gopher, c4), my.py:name, or a run.json / YAML file")
]
InputOption = Annotated[Optional[str], typer.Option("--input", help="folder, file or quoted pattern; any fsspec path")]
SetOption = Annotated[
    Optional[list[str]], typer.Option("--set", help="change a setting: stage.field=value (repeatable)")
]


@app.command()
def run(
    recipe: RecipeArgument,
    output: Annotated[str, typer.Option("--output", help="folder of the run; a run in it is resumed")],
    input: InputOption = None,
    set: SetOption = None,
    workers: Annotated[
        int, typer.Option("--workers", help="processes; -1: one per core; 0: all in this one (debugger)")
    ] = -1,
    max_quarantined: Annotated[
        float, typer.Option("--max-quarantined", help="share of documents above which the exit code is 3")
    ] = 0.05,
    document_seconds: Annotated[
        float, typer.Option("--document-seconds", help="CPU seconds after which one document is given up")
    ] = 8.0,
    memory_limit: Annotated[
        float, typer.Option("--memory-limit", help="GiB of address space of a worker's child process")
    ] = 4.0,
    sample_dropped: Annotated[
        Optional[float], typer.Option("--sample-dropped", help="share of dropped documents whose text is kept (0.05)")
    ] = None,
    mode: Annotated[
        Optional[Mode],
        typer.Option("--mode", help="filter (default): drop documents; annotate: store every signal and verdict"),
    ] = None,
    enforce: Annotated[
        Optional[list[str]], typer.Option("--enforce", help="with annotate: a filter that drops all the same")
    ] = None,
) -> None:
    """Run a recipe: archives in, clean Parquet and a report out. Run it again to resume."""
    from tokenmill.cli.run import RunRequest, run_recipe

    request = RunRequest(
        recipe=recipe,
        input=input,
        output=output,
        settings=tuple(set or ()),
        workers=workers,
        max_quarantined=max_quarantined,
        document_seconds=document_seconds,
        memory_limit_gib=memory_limit,
        sample_dropped=sample_dropped,
        mode=mode.value if mode else None,
        enforce=tuple(enforce or ()),
    )
    raise typer.Exit(run_recipe(request))


@app.command()
def refilter(
    run: Annotated[str, typer.Argument(help="folder of a finished run in annotate mode")],
    output: Annotated[str, typer.Option("--output", help="folder of the new run; a run in it is resumed")],
    set: SetOption = None,
    workers: Annotated[
        int, typer.Option("--workers", help="processes; -1: one per core; 0: all in this one (debugger)")
    ] = -1,
) -> None:
    """Apply other thresholds to an annotated run: the data that a fresh run with them would give, in seconds."""
    from tokenmill.cli.refilter import refilter_run

    raise typer.Exit(refilter_run(run, output, tuple(set or ()), workers))


@app.command()
def report(run: Annotated[str, typer.Argument(help="folder of a run, live, dead or finished")]) -> None:
    """Write report.html and README.md of a run again from its manifests, and print the tables."""
    from tokenmill.cli.status import show_report

    show_report(run)


@app.command()
def plan(recipe: RecipeArgument, input: InputOption = None, set: SetOption = None) -> None:
    """Check a recipe and show what would run: stages, columns, inputs. Nothing is written."""
    from tokenmill.cli.plan import show_plan

    show_plan(recipe, input, tuple(set or ()))


@app.command()
def status(run: Annotated[str, typer.Argument(help="folder of a run, live, dead or finished")]) -> None:
    """Show how far a run is and its funnel so far, from its manifests alone."""
    from tokenmill.cli.status import show_status

    show_status(run)


@app.command()
def clusters(
    run: Annotated[str, typer.Argument(help="folder of a run with deduplication")],
    id: Annotated[
        Optional[str],
        typer.Argument(help="a doc_id, cluster, record id or URL, or a part of one; without it, the largest"),
    ] = None,
    stage: Annotated[
        Optional[str], typer.Option("--stage", help="which deduplication; default: the last, or the one that has ID")
    ] = None,
    top: Annotated[int, typer.Option("--top", help="how many of the largest clusters are listed")] = 20,
    members: Annotated[int, typer.Option("--members", help="how many documents of a cluster are listed")] = 20,
    diff: Annotated[
        Optional[int], typer.Option("--diff", help="of how many members the differences are shown (3); 0: none")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Browse what deduplication has put together: members, differences, and why."""
    from tokenmill.cli.clusters import show_clusters

    show_clusters(run, id, stage=stage, top=top, members=members, diff=diff, as_json=json)


@app.command()
def stages(name: Annotated[Optional[str], typer.Argument(help="a stage; without it, all are listed")] = None) -> None:
    """List the stages, or show one with its settings, rules and sources."""
    from tokenmill.cli.stages import show_stage, show_stages

    if name is None:
        show_stages()
    else:
        show_stage(name)


@app.command()
def doctor() -> None:
    """Check this machine: libraries, models, lists, disk and memory."""
    from tokenmill.cli.doctor import examine

    raise typer.Exit(examine())


def main() -> None:
    """Entry point: errors become messages and exit codes."""
    try:
        app(standalone_mode=True)
    except TokenmillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
