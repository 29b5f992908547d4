"""The command that decides between recipes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Optional

import typer

from tokenmill.cli.options import JsonOption

ablate_app = typer.Typer()


class StudyName(StrEnum):
    """What is trained to find out."""

    compare = "compare"
    ladder = "ladder"
    mix = "mix"
    anneal = "anneal"


class Device(StrEnum):
    """Where models are trained."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class FailOn(StrEnum):
    """When the exit code is 1."""

    never = "never"
    worse = "worse"
    not_better = "not-better"


@ablate_app.command()
def ablate(
    ablation: Annotated[str, typer.Argument(help="YAML file with the arms (docs/ablation.md)")],
    output: Annotated[
        Optional[str], typer.Option("--output", help="folder of the ablation; one that is there is resumed")
    ] = None,
    study: Annotated[
        StudyName,
        typer.Option(
            "--study",
            help="compare: all arms and seeds; ladder: sizes and a scaling law; mix: the best mixture of the arms;"
            " anneal: arms in the decay of one run",
        ),
    ] = StudyName.compare,
    plan: Annotated[bool, typer.Option("--plan", help="only show the protocol and what it would cost")] = False,
    report: Annotated[bool, typer.Option("--report", help="only write the report of what is there again")] = False,
    set: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="change a key of the file: seeds=5, train.lr=0.004 (repeatable)"),
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="auto: CUDA where it is")] = Device.auto,
    minutes: Annotated[
        Optional[float], typer.Option("--minutes", help="begin no run that would not end in time; exit code 75 if left")
    ] = None,
    fail_on: Annotated[
        FailOn,
        typer.Option("--fail-on", help="exit code 1 where --candidate is worse than the baseline, or not better"),
    ] = FailOn.never,
    candidate: Annotated[
        Optional[str], typer.Option("--candidate", help="the arm that --fail-on is about (default: the only other one)")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", help="processes for recipes and tokenizing; -1: one per core; 0: this process")
    ] = -1,
    json: JsonOption = False,
) -> None:
    """Which recipe is better, and how sure: train small models on each arm and compare. Run it again to resume."""
    from tokenmill.cli.ablate import AblateRequest, run_ablation

    request = AblateRequest(
        ablation=ablation,
        output=output,
        study=study.value,
        plan_only=plan,
        report_only=report,
        assignments=tuple(set or ()),
        device=device.value,
        minutes=minutes,
        fail_on=fail_on.value,
        candidate=candidate,
        workers=workers,
        as_json=json,
    )
    raise typer.Exit(run_ablation(request))
