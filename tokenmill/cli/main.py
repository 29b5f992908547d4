"""The `tokenmill` command.

Exit codes: 0 done, 2 bad configuration, 3 finished but too much quarantined, 75 stopped and resumable.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Optional

import typer

from tokenmill.cli.ablate_commands import ablate_app
from tokenmill.cli.explore_commands import explore_app
from tokenmill.cli.options import (
    Engine,
    ExecutorOption,
    JsonOption,
    LogOption,
    PreflightOption,
    RayAddressOption,
    SetOption,
    WorkersOption,
    complete_recipe,
    complete_stage,
)
from tokenmill.cli.publish_commands import publish_app
from tokenmill.cli.removal_commands import removal_app
from tokenmill.cli.rephrase_commands import rephrase_app
from tokenmill.cli.score_commands import scores
from tokenmill.cli.token_commands import token_app
from tokenmill.core.errors import TokenmillError


class Mode(StrEnum):
    """What filters do with a document."""

    filter = "filter"
    annotate = "annotate"


app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Raw web archives in, training tokens out, and the proof that they are good tokens.",
)

RecipeArgument = Annotated[
    str,
    typer.Argument(
        help="a built-in recipe (fineweb, gopher, c4), my.py:name, or a run.json / YAML file",
        autocompletion=complete_recipe,
    ),
]
InputOption = Annotated[Optional[str], typer.Option("--input", help="folder, file or quoted pattern; any fsspec path")]


@app.command()
def run(
    recipe: RecipeArgument,
    output: Annotated[str, typer.Option("--output", help="folder of the run; a run in it is resumed")],
    input: InputOption = None,
    set: SetOption = None,
    workers: WorkersOption = -1,
    executor: ExecutorOption = Engine.local,
    ray_address: RayAddressOption = None,
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
    split: Annotated[
        Optional[str], typer.Option("--split", help="cut larger archives into spans of this size, such as 64MB")
    ] = None,
    log_json: LogOption = None,
    metrics_port: Annotated[
        Optional[int], typer.Option("--metrics-port", help="serve Prometheus metrics on this port (extra `metrics`)")
    ] = None,
    preflight: PreflightOption = True,
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
        log_json=log_json,
        metrics_port=metrics_port,
        preflight=preflight,
        executor=executor.value,
        ray_address=ray_address,
        split=split,
    )
    raise typer.Exit(run_recipe(request))


@app.command()
def refilter(
    run: Annotated[str, typer.Argument(help="folder of a finished run in annotate mode")],
    output: Annotated[str, typer.Option("--output", help="folder of the new run; a run in it is resumed")],
    set: SetOption = None,
    workers: WorkersOption = -1,
    executor: ExecutorOption = Engine.local,
    ray_address: RayAddressOption = None,
    preflight: PreflightOption = True,
) -> None:
    """Apply other thresholds to an annotated run: the data that a fresh run with them would give, in seconds."""
    from tokenmill.cli.refilter import refilter_run

    raise typer.Exit(
        refilter_run(run, output, tuple(set or ()), workers, executor.value, ray_address, preflight=preflight)
    )


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="folder of a run, live, dead or finished")], json: JsonOption = False
) -> None:
    """Write report.html and README.md of a run again from its manifests, and print the tables."""
    from tokenmill.cli.status import show_report

    show_report(run, as_json=json)


@app.command()
def plan(
    recipe: RecipeArgument,
    input: InputOption = None,
    set: SetOption = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="run it on a sample in a temporary folder, and tell what all would cost")
    ] = False,
    sample: Annotated[float, typer.Option("--sample", help="share of the input's bytes; 16 MiB at least")] = 0.001,
    total_bytes: Annotated[
        Optional[str], typer.Option("--total-bytes", help="multiply to so many bytes of input (90TB)")
    ] = None,
    total_files: Annotated[Optional[float], typer.Option("--total-files", help="... to so many such files")] = None,
    total_documents: Annotated[
        Optional[float], typer.Option("--total-documents", help="... to so many documents of the source")
    ] = None,
    cores: Annotated[int, typer.Option("--cores", help="for the wall clock")] = 1000,
    rate: Annotated[
        Optional[list[str]],
        typer.Option("--rate", help="dollars: core_hour=0.03, gpu_hour, tb_month, put_1000 (repeatable)"),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="processes that work on the sample")] = 1,
    json: JsonOption = False,
) -> None:
    """Check a recipe and show what would run: stages, columns, inputs; with --estimate, what it would cost.

    Of a mixture (tokenmill mix): what would be taken of which source, and how often it would be seen. Of an ablation
    (tokenmill ablate): arms, protocol and cost.
    """
    from tokenmill.cli.mixture_files import is_ablation, is_mixture

    settings = tuple(set or ())
    if is_ablation(recipe):
        from tokenmill.cli.ablate import read_ablation, show_ablation_plan

        show_ablation_plan(read_ablation(recipe, settings), as_json=json)
        return
    if is_mixture(recipe):
        from tokenmill.cli.mix import show_mixture_plan
        from tokenmill.tokens.mix.spec import load_mixture

        show_mixture_plan(load_mixture(recipe), as_json=json)
        return
    if not estimate:
        from tokenmill.cli.plan import show_plan

        show_plan(recipe, input, settings, as_json=json)
        return
    from tokenmill.cli.estimate import EstimateRequest, show_estimate

    rates = tuple(rate or ())
    totals = {"total_bytes": total_bytes, "total_files": total_files, "total_documents": total_documents}
    show_estimate(
        EstimateRequest(
            recipe, input, settings, sample, **totals, cores=cores, rates=rates, workers=workers, as_json=json
        )
    )


@app.command()
def status(
    run: Annotated[str, typer.Argument(help="folder of a run, live, dead or finished")],
    funnel: Annotated[
        Optional[bool],
        typer.Option("--funnel/--no-funnel", help="with the funnel, which reads every manifest (default: not of many)"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show how far a run is, whether it is alive, what to do next, and its funnel so far."""
    from tokenmill.cli.status import show_status

    show_status(run, funnel=funnel, as_json=json)


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
    json: JsonOption = False,
) -> None:
    """Browse what deduplication has put together: members, differences, and why."""
    from tokenmill.cli.clusters import show_clusters

    show_clusters(run, id, stage=stage, top=top, members=members, diff=diff, as_json=json)


@app.command()
def stages(
    name: Annotated[
        Optional[str], typer.Argument(help="a stage; without it, all are listed", autocompletion=complete_stage)
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the stages, or show one with its settings, rules and sources."""
    from tokenmill.cli.stages import show_stage, show_stages

    if name is None:
        show_stages(as_json=json)
    else:
        show_stage(name, as_json=json)


@app.command()
def doctor(
    ray_address: Annotated[
        Optional[str], typer.Option("--ray-address", help="look at every node of this Ray cluster too (auto: this one)")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check this machine, or a cluster: libraries, models, lists, disk and memory."""
    from tokenmill.cli.doctor import examine

    raise typer.Exit(examine(ray_address, as_json=json))


app.add_typer(scores)  # its commands are commands of this one
app.add_typer(token_app)
app.add_typer(ablate_app)
app.add_typer(rephrase_app)
app.add_typer(removal_app)
app.add_typer(publish_app)
app.add_typer(explore_app)


def main() -> None:
    """Entry point: errors become messages and exit codes."""
    try:
        app(standalone_mode=True)
    except TokenmillError as error:
        from tokenmill.cli.console import print_error  # commands that end well need not load it

        print_error(error)
        sys.exit(error.exit_code)
