"""Commands that remove things from a run: documents that somebody asks for, and files that nothing needs."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenmill.cli.options import JsonOption

removal_app = typer.Typer()
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only show what would be removed")]


@removal_app.command()
def forget(
    run: Annotated[str, typer.Argument(help="folder of a finished run")],
    url: Annotated[list[str] | None, typer.Option("--url", help="an address, in any equivalent form")] = None,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", help="a domain, with all hosts below it (repeatable)")
    ] = None,
    id: Annotated[list[str] | None, typer.Option("--id", help="a record id or doc_id (repeatable)")] = None,
    list: Annotated[
        str | None, typer.Option("--list", help="a file of domains, addresses and sha256: digests, one a line")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="kept in the tombstone; no personal data, please")] = "",
    time: Annotated[str, typer.Option("--time", help="when it was asked for (ISO 8601); default: now")] = "",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Remove documents from a run: from data, lists of dropped documents, intermediate files, tokens and the report.

    Killed anywhere, the same command goes on. The removal stays: a tombstone keeps the run from making them again.
    """
    from tokenmill.cli.forget import forget_documents
    from tokenmill.executors.forget import ForgetRequest

    request = ForgetRequest(
        urls=tuple(url or ()),
        domains=tuple(domain or ()),
        ids=tuple(id or ()),
        list=list,
        reason=reason,
        time=time,
        dry_run=dry_run,
    )
    forget_documents(run, request, as_json=json)


@removal_app.command()
def gc(
    run: Annotated[str, typer.Argument(help="folder of a run that nobody works on")],
    orphans: Annotated[
        bool, typer.Option("--orphans", help="also files among the results that no manifest names")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Remove what nothing needs: leavings of killed processes, and intermediate files of finished deduplications."""
    from tokenmill.cli.gc import collect

    collect(run, orphans=orphans, dry_run=dry_run, as_json=json)
