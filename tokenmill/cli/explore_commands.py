"""Commands that look into runs: why a page was kept or dropped, and how two runs differ."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenmill.cli.options import JsonOption, SetOption, complete_recipe
from tokenmill.core.errors import ConfigError

explore_app = typer.Typer()


@explore_app.command()
def explain(
    page: Annotated[str, typer.Argument(help="with --run a URL, record id or doc_id; else an HTML file, or -")],
    run: Annotated[str | None, typer.Option("--run", help="folder of the run in which the page is looked up")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", help="what to replay (default: the run's, else fineweb)", autocompletion=complete_recipe
        ),
    ] = None,
    set: SetOption = None,
    url: Annotated[str | None, typer.Option("--url", help="address of a page that is a file")] = None,
    archives: Annotated[
        list[str] | None, typer.Option("--archives", help="folder of archives that have moved (repeatable)")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="whole texts and all columns")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="execute stages whose code came with the run (recipe/); read it first")
    ] = False,
    blocks: Annotated[bool, typer.Option("--blocks", help="of a file: the blocks that skim keeps and cuts")] = False,
    focus: Annotated[str | None, typer.Option("--focus", help="with --blocks: balanced, precision or recall")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="with --blocks: another model of blocks (a file)")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="with --blocks: print only the text that is kept")] = False,
    json: JsonOption = False,
) -> None:
    """Why one page was kept or dropped: every stage's decision, its numbers and its changes of the text.

    With --set or --recipe: what other settings would say.
    """
    if blocks:
        from tokenmill.cli.explain_blocks import explain_blocks

        for name, given in (("--run", run), ("--recipe", recipe), ("--set", set), ("--archives", archives)):
            if given:
                raise ConfigError(f"{name} does not go with --blocks", why="--blocks shows the blocks of a page's file")
        explain_blocks(page, focus=focus or "balanced", model=model, url=url, text=text, as_json=json)
        return
    for name, value in (("--focus", focus), ("--model", model), ("--text", text)):
        if value:
            raise ConfigError(f"{name} is for the blocks of a page", fix=f"give --blocks too: explain --blocks {name}")
    from tokenmill.cli.explain import ExplainRequest
    from tokenmill.cli.explain import explain as explain_one

    explain_one(
        ExplainRequest(
            page,
            run,
            recipe,
            tuple(set or ()),
            url,
            tuple(archives or ()),
            full=full,
            trust_code=trust_code,
            as_json=json,
        )
    )


@explore_app.command()
def diff(
    run_a: Annotated[str, typer.Argument(help="folder of a finished run")],
    run_b: Annotated[str, typer.Argument(help="folder of another one")],
    samples: Annotated[int, typer.Option("--samples", help="changed texts, and documents of a change, to show")] = 5,
    stage: Annotated[
        str | None, typer.Option("--stage", help="only documents whose verdict of this stage is another one")
    ] = None,
    json: JsonOption = False,
) -> None:
    """How two runs differ: settings, funnels, documents with another verdict and why, and texts that changed."""
    from tokenmill.cli.diff import show_diff

    show_diff(run_a, run_b, samples=samples, stage=stage, as_json=json)
