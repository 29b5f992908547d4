"""Options that several commands have, with one wording."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Optional

import typer


class Engine(StrEnum):
    """Where the shards are done."""

    local = "local"
    ray = "ray"


def complete_recipe(incomplete: str) -> list[str]:
    """Recipes for the shell; loaded only when it asks."""
    from tokenmill.cli.completion import recipes

    return recipes(incomplete)


def complete_stage(incomplete: str) -> list[str]:
    """Stages for the shell."""
    from tokenmill.cli.completion import stages

    return stages(incomplete)


def complete_setting(context: typer.Context, incomplete: str) -> list[str]:
    """Settings of the recipe or run on the command line, for the shell."""
    from tokenmill.cli.completion import settings

    return settings(context, incomplete)


SetOption = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="change a setting: stage.field=value (repeatable)", autocompletion=complete_setting),
]
WorkersOption = Annotated[
    int,
    typer.Option("--workers", help="processes, or shards at once with Ray; -1: one per core; 0: all in this process"),
]
ExecutorOption = Annotated[Engine, typer.Option("--executor", help="local: processes here; ray: a Ray cluster")]
RayAddressOption = Annotated[
    Optional[str],
    typer.Option("--ray-address", help="auto (default): the cluster of this machine or RAY_ADDRESS; local; ray://..."),
]
LogOption = Annotated[
    Optional[str], typer.Option("--log-json", help="file to append one JSON object per event to; - for stderr")
]
PreflightOption = Annotated[
    bool, typer.Option("--preflight/--no-preflight", help="look at the free disk space before the run")
]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]
AllowHttpOption = Annotated[
    bool, typer.Option("--allow-http", help="send texts unencrypted to a host that is not this machine")
]
