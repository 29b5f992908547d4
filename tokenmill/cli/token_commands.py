"""Commands from documents to training batches."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Optional

import typer

from tokenmill.cli.options import (
    Engine,
    ExecutorOption,
    JsonOption,
    LogOption,
    PreflightOption,
    RayAddressOption,
    SetOption,
    WorkersOption,
)
from tokenmill.core.errors import ConfigError

token_app = typer.Typer()


class Order(StrEnum):
    """The order of documents in token shards."""

    shuffled = "shuffled"
    source = "source"


class Action(StrEnum):
    """What becomes of a document with benchmark items."""

    drop = "drop"
    mask = "mask"
    find = "find"


@token_app.command()
def tokenize(
    run: Annotated[str, typer.Argument(help="folder of a finished run, or documents: a folder or pattern of files")],
    output: Annotated[
        Optional[str], typer.Option("--output", help="folder of the token set; one that is there is resumed")
    ] = None,
    tokenizer: Annotated[
        Optional[str], typer.Option("--tokenizer", help="tokenizer.json, a folder with one, or a name on the hub")
    ] = None,
    train_bpe: Annotated[
        Optional[int], typer.Option("--train-bpe", help="train a byte-level BPE of so many tokens on the documents")
    ] = None,
    train_bytes: Annotated[str, typer.Option("--train-bytes", help="with --train-bpe: text to train on")] = "1G",
    pretokenizer: Annotated[
        str, typer.Option("--pretokenizer", help="with --train-bpe: what a word is (gpt2, gpt4, gpt4o)")
    ] = "gpt4",
    reference: Annotated[
        str, typer.Option("--reference", help="with --train-bpe: a tokenizer to compare with, such as gpt2")
    ] = "",
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
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="data/ has the texts too: the data set with token_count filled in")
    ] = False,
    tag: Annotated[
        Optional[list[str]],
        typer.Option("--tag", help="column to carry into the tables of documents (default: all numbers and texts)"),
    ] = None,
    set: SetOption = None,
    workers: WorkersOption = -1,
    executor: ExecutorOption = Engine.local,
    ray_address: RayAddressOption = None,
    log_json: LogOption = None,
    preflight: PreflightOption = True,
    decontaminate: Annotated[
        Optional[list[str]],
        typer.Option("--decontaminate", help="benchmark files, folder or pattern: documents with their items go"),
    ] = None,
    decontaminate_action: Annotated[
        Action, typer.Option("--decontaminate-action", help="drop documents, mask items, or find them only")
    ] = Action.drop,
    verify: Annotated[
        bool, typer.Option("--verify", help="look through a finished set instead: files, digests, EOS, ids, tables")
    ] = False,
    no_digests: Annotated[
        bool, typer.Option("--no-digests", help="with --verify: leave the SHA-256 of the files out, most of the work")
    ] = False,
) -> None:
    """Turn documents into token shards, shuffled, with lineage. Run it again to resume."""
    if verify:
        from tokenmill.cli.verify_tokens import verify_command

        raise typer.Exit(verify_command(run, digests=not no_digests))
    if no_digests:
        raise ConfigError("--no-digests is for looking through a finished set", fix="give --verify too")
    if output is None:
        raise ConfigError("no output given", fix="--output FOLDER for the token set")
    from tokenmill.cli.tokenize import TokenizeRequest
    from tokenmill.cli.tokenize import tokenize as tokenize_documents
    from tokenmill.core.amounts import parse_amount

    train = None
    if train_bpe is not None:
        from tokenmill.cli.train_bpe import TrainRequest
        from tokenmill.tokens.bpe import BpeSettings

        settings_of_bpe = {"pretokenizer": pretokenizer, "sample_bytes": parse_amount(train_bytes, "bytes of text")}
        if eos:
            settings_of_bpe["special_tokens"] = (eos,)
        train = TrainRequest(BpeSettings(vocab_size=train_bpe, **settings_of_bpe), reference)
    settings = {
        "eos": eos or "",
        "revision": revision,
        "add_eos": not no_eos,
        "format": format,
        "order": order.value,
        "keep_text": keep_text,
        "seed": seed,
        "shard_tokens": parse_amount(shard_tokens, "a number of tokens"),
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
        train=train,
        against=tuple(decontaminate or ()),
        action=decontaminate_action.value,
    )
    raise typer.Exit(tokenize_documents(request))


@token_app.command()
def origin(
    target: Annotated[
        str, typer.Argument(help="shard: a file of ids or SET/NAME; with --id or --url a set or a shard")
    ],
    offset: Annotated[Optional[int], typer.Argument(help="offset of a token in the shard, from 0, in tokens")] = None,
    id: Annotated[
        Optional[str], typer.Option("--id", help="where are the tokens of the document with this id?")
    ] = None,
    url: Annotated[Optional[str], typer.Option("--url", help="... of the documents with this address?")] = None,
    text: Annotated[bool, typer.Option("--text", help="show the text around the token")] = False,
    record: Annotated[bool, typer.Option("--record", help="show the archived record")] = False,
    archives: Annotated[
        Optional[list[str]], typer.Option("--archives", help="folder of archives that have moved (repeatable)")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="for programs, one line per document")] = False,
) -> None:
    """Which document and archived record does a token come from; or where are a document's tokens."""
    from tokenmill.cli.origin import show_origin

    show_origin(target, offset, id=id, url=url, text=text, record=record, archives=tuple(archives or ()), as_json=json)


@token_app.command()
def export(
    tokens: Annotated[str, typer.Argument(help="finished token set")],
    format: Annotated[str, typer.Option("--format", help="mds (MosaicML streaming) or litdata")],
    output: Annotated[str, typer.Option("--output", "-o", help="new folder")],
    sequence_length: Annotated[
        int, typer.Option("--sequence-length", help="tokens of a sample; 0: a sample is a document")
    ] = 0,
    file_size: Annotated[str, typer.Option("--file-size", help="about the bytes of a file")] = "64MB",
) -> None:
    """Write a token set as samples, in the layout of another library."""
    from tokenmill.cli.export_tokens import export_command

    export_command(tokens, output, format=format, sequence_length=sequence_length, file_size=file_size)


@token_app.command()
def decontaminate(
    against: Annotated[list[str], typer.Option("--against", help="benchmark files, folder or pattern (repeatable)")],
    input: Annotated[Optional[str], typer.Argument(help="run, or Parquet or JSON Lines files")] = None,
    output: Annotated[Optional[str], typer.Option("--output", help="folder of the new run, or of the report")] = None,
    action: Annotated[
        Action, typer.Option("--action", help="drop documents, mask items, or find them only")
    ] = Action.drop,
    report: Annotated[bool, typer.Option("--report", help="tell which items leak, and how often")] = False,
    self_test: Annotated[bool, typer.Option("--self-test", help="plant items and look for them")] = False,
    documents: Annotated[Optional[str], typer.Option("--documents", help="clean documents for the self-test")] = None,
    field: Annotated[
        Optional[list[str]], typer.Option("--field", help="field of benchmark objects (repeatable)")
    ] = None,
    text_column: Annotated[str, typer.Option("--text-column", help="column of the texts")] = "text",
    per_task: Annotated[int, typer.Option("--per-task", help="items that the self-test plants of each task")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="of the self-test")] = 0,
    min_share: Annotated[Optional[float], typer.Option("--min-share", help="share of an item's 8-grams (0.5)")] = None,
    min_13grams: Annotated[Optional[int], typer.Option("--min-13grams", help="13-grams in common (16)")] = None,
    workers: WorkersOption = -1,
    executor: ExecutorOption = Engine.local,
    ray_address: RayAddressOption = None,
    preflight: PreflightOption = True,
    json: JsonOption = False,
) -> None:
    """Keep benchmark items out of a data set, see which ones leak, or test how well they are found."""
    from tokenmill.cli.decontaminate import DecontaminateRequest
    from tokenmill.cli.decontaminate import decontaminate as command

    request = DecontaminateRequest(
        input,
        tuple(against),
        output,
        action.value,
        tuple(field or ()),
        text_column,
        report,
        self_test,
        documents,
        per_task,
        seed,
        min_share,
        min_13grams,
        workers,
        executor.value,
        ray_address,
        preflight,
        json,
    )
    raise typer.Exit(command(request))


@token_app.command()
def mix(
    mixture: Annotated[str, typer.Argument(help="YAML file, or my.py:name (docs/mixtures.md)")],
    output: Annotated[
        Optional[str], typer.Option("--output", help="folder of the new token set; one that is there is resumed")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="only show what would be taken of what, and how often it is seen")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="the plan for programs")] = False,
    workers: WorkersOption = -1,
    executor: ExecutorOption = Engine.local,
    ray_address: RayAddressOption = None,
    log_json: LogOption = None,
    preflight: PreflightOption = True,
) -> None:
    """Put token sets together by weights, stages and tags. Run it again to resume."""
    from tokenmill.cli.mix import MixRequest
    from tokenmill.cli.mix import mix as mix_sets

    request = MixRequest(mixture, output, plan, json, workers, executor.value, ray_address, log_json, preflight)
    raise typer.Exit(mix_sets(request))
