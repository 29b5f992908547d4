"""Commands from documents to training batches."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Optional

import typer

token_app = typer.Typer()


class Order(StrEnum):
    """The order of documents in token shards."""

    shuffled = "shuffled"
    source = "source"


class Engine(StrEnum):
    """Where the shards are done."""

    local = "local"
    ray = "ray"


@token_app.command()
def tokenize(
    run: Annotated[str, typer.Argument(help="folder of a finished run, or documents: a folder or pattern of files")],
    output: Annotated[str, typer.Option("--output", help="folder of the token set; one that is there is resumed")],
    tokenizer: Annotated[
        Optional[str], typer.Option("--tokenizer", help="tokenizer.json, a folder with one, or a name on the hub")
    ] = None,
    format: Annotated[str, typer.Option("--format", help="ds, megatron, olmo, llmc or nanogpt")] = "ds",
    order: Annotated[
        Order, typer.Option("--order", help="shuffled: one random order of all documents; source: as they come")
    ] = Order.shuffled,
    seed: Annotated[int, typer.Option("--seed", help="of the order")] = 0,
    shard_tokens: Annotated[str, typer.Option("--shard-tokens", help="tokens of a shard, about: 250M")] = "250M",
    eos: Annotated[
        Optional[str], typer.Option("--eos", help="token that ends a document (default: the tokenizer's own)")
    ] = None,
    no_eos: Annotated[bool, typer.Option("--no-eos", help="nothing between documents")] = False,
    revision: Annotated[str, typer.Option("--revision", help="of a tokenizer on the hub")] = "",
    tag: Annotated[
        Optional[list[str]],
        typer.Option("--tag", help="column to carry into the tables of documents (default: all numbers and texts)"),
    ] = None,
    set: Annotated[
        Optional[list[str]], typer.Option("--set", help="change a setting: stage.field=value (repeatable)")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="processes; -1: one per core; 0: all in this process")] = -1,
    executor: Annotated[Engine, typer.Option("--executor", help="local or ray")] = Engine.local,
    ray_address: Annotated[Optional[str], typer.Option("--ray-address", help="as with tokenmill run")] = None,
    log_json: Annotated[
        Optional[str], typer.Option("--log-json", help="file to append one JSON object per event to; - for stderr")
    ] = None,
    preflight: Annotated[
        bool, typer.Option("--preflight/--no-preflight", help="look at the free disk space before the run")
    ] = True,
) -> None:
    """Turn documents into token shards, shuffled, with lineage. Run it again to resume."""
    from tokenmill.cli.tokenize import TokenizeRequest
    from tokenmill.cli.tokenize import tokenize as tokenize_documents
    from tokenmill.core.amounts import parse_amount

    settings = {
        "eos": eos or "",
        "revision": revision,
        "add_eos": not no_eos,
        "format": format,
        "order": order.value,
        "seed": seed,
        "shard_tokens": parse_amount(shard_tokens),
    }
    request = TokenizeRequest(
        input=run,
        output=output,
        tokenizer=tokenizer or "",
        settings=settings,
        tags=None if tag is None else tuple(tag),
        assignments=tuple(set or ()),
        workers=workers,
        executor=executor.value,
        ray_address=ray_address,
        log_json=log_json,
        preflight=preflight,
    )
    raise typer.Exit(tokenize_documents(request))
