"""Commands that publish a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tokenmill.cli.options import JsonOption

publish_app = typer.Typer()


class Extra(StrEnum):
    """What may be published beside the data."""

    dropped = "dropped"
    quarantine = "quarantine"
    dedup = "dedup"
    tokens = "tokens"
    rephrased = "rephrased"
    report = "report"
    recipe = "recipe"


@publish_app.command()
def push(
    run: Annotated[str, typer.Argument(help="folder of a finished run")],
    repository: Annotated[str, typer.Argument(help="data set on the hub: owner/name; made where there is none")],
    private: Annotated[bool, typer.Option("--private", help="make it private; refused where it is public")] = False,
    revision: Annotated[str, typer.Option("--revision", help="branch; made where there is none")] = "main",
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="another hub (default: HF_ENDPOINT, or huggingface.co)")
    ] = None,
    include: Annotated[
        list[Extra] | None,
        typer.Option("--include", help="publish this too, beside data/ and the card (repeatable)"),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="remove files of earlier runs from the folders that are pushed")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="push into a repository with files of another origin, which stay")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would be sent and what is there")] = False,
    json: JsonOption = False,
) -> None:
    """Publish a run on the Hugging Face Hub: data, card, recipe. Run it again to resume."""
    from tokenmill.cli.push import PushRequest, push_run

    request = PushRequest(
        run=run,
        repository=repository,
        private=private,
        revision=revision,
        endpoint=endpoint,
        include=tuple(extra.value for extra in include or ()),
        prune=prune,
        force=force,
        dry_run=dry_run,
        as_json=json,
    )
    raise typer.Exit(push_run(request))
