"""The command that has a language model rewrite documents."""

from __future__ import annotations

import json as json_module
from enum import StrEnum
from typing import Annotated, Any, Optional

import typer

from tokenmill.cli.options import (
    AllowHttpOption,
    Engine,
    ExecutorOption,
    JsonOption,
    LogOption,
    PreflightOption,
    RayAddressOption,
    WorkersOption,
)
from tokenmill.core.errors import ConfigError

rephrase_app = typer.Typer()


class WhenSpent(StrEnum):
    """What happens at a limit of money or tokens."""

    stop = "stop"
    publish = "publish"


@rephrase_app.command()
def rephrase(
    input: Annotated[
        Optional[str], typer.Argument(help="a finished run, or documents as Parquet or JSON Lines")
    ] = None,
    output: Annotated[Optional[str], typer.Option("--output", help="folder; a run that is there is resumed")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="nemotron-cc, wrap, finephrase, cosmopedia or prox")] = "",
    style: Annotated[
        Optional[list[str]], typer.Option("--style", help="a style for every document, or a prompt file (repeatable)")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="column that decides on styles, with --route")] = "",
    route: Annotated[
        Optional[list[str]], typer.Option("--route", help="VALUE=STYLE,STYLE for a value of that column (repeatable)")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="as the server knows it; with --local a folder or name")] = "",
    base_url: Annotated[str, typer.Option("--base-url", help="a server that runs: http://localhost:8000/v1")] = "",
    serve: Annotated[str, typer.Option("--serve", help='start one: "vllm serve {model} --port {port}"')] = "",
    local: Annotated[bool, typer.Option("--local", help="run a small model in this process (transformers)")] = False,
    api_key_env: Annotated[str, typer.Option("--api-key-env", help="environment variable with the API key")] = "",
    allow_http: AllowHttpOption = False,
    sampling: Annotated[
        Optional[list[str]], typer.Option("--sampling", help="temperature=0.7 and the like (repeatable)")
    ] = None,
    concurrency: Annotated[Optional[int], typer.Option("--concurrency", help="most requests at once (256)")] = None,
    price_in: Annotated[Optional[float], typer.Option("--price-in", help="dollars per million prompt tokens")] = None,
    price_out: Annotated[Optional[float], typer.Option("--price-out", help="dollars per million answer tokens")] = None,
    price_hour: Annotated[
        Optional[float], typer.Option("--price-hour", help="dollars per hour of your machines, for --pilot")
    ] = None,
    max_cost: Annotated[Optional[float], typer.Option("--max-cost", help="dollars at which the run stops")] = None,
    max_tokens: Annotated[Optional[int], typer.Option("--max-tokens", help="tokens at which the run stops")] = None,
    when_spent: Annotated[
        WhenSpent, typer.Option("--when-spent", help="stop: to go on with a larger limit; publish: what is there")
    ] = WhenSpent.stop,
    ledger: Annotated[str, typer.Option("--ledger", help="folder of answers, shared by runs (OUTPUT/ledger)")] = "",
    retry: Annotated[
        str, typer.Option("--retry", help="ask again what has failed so: length,parse,refusal,... (new --output)")
    ] = "",
    pilot: Annotated[int, typer.Option("--pilot", help="rephrase N documents and forecast the rest; then stop")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="tell what would be sent where, and stop")] = False,
    styles: Annotated[
        bool, typer.Option("--styles", help="list the styles, or show and check those of --style; then stop")
    ] = False,
    set: Annotated[
        Optional[list[str]], typer.Option("--set", help="another setting of write_rephrased: FIELD=VALUE (repeatable)")
    ] = None,
    workers: WorkersOption = -1,
    executor: ExecutorOption = Engine.local,
    ray_address: RayAddressOption = None,
    log_json: LogOption = None,
    preflight: PreflightOption = True,
    json: JsonOption = False,
) -> None:
    """Have a language model rewrite documents: checked, resumable, priced. Run it again to resume."""
    if styles:
        from tokenmill.cli.rephrase_styles import show_styles

        show_styles(tuple(style or ()), as_json=json)
        return
    if input is None or output is None:
        missing = "no documents are named" if input is None else "no --output is given"
        raise ConfigError(missing, fix="tokenmill rephrase DOCUMENTS --output FOLDER ...")
    if not (recipe or style or route):
        fix = "--style NAME (--styles lists them), --recipe NAME, or --by with --route"
        raise ConfigError("no style is named", fix=fix)
    if not model:
        raise ConfigError("no model is named", fix="--model NAME, as the server knows it")
    if max_cost and not (price_in or price_out):
        raise ConfigError("--max-cost without prices stops nothing", fix="--price-in, --price-out: dollars per million")
    from tokenmill.cli.rephrase import RephraseRequest
    from tokenmill.cli.rephrase import rephrase as run

    settings: dict[str, Any] = {
        "styles": tuple(style) if style else None,
        "by": by or None,
        "routes": _routes(route) if route else None,
        "model": model or None,
        "base_url": base_url or None,
        "serve": serve or None,
        "engine": "serve" if serve else "local" if local else None,
        "api_key_env": api_key_env or None,
        "allow_http": allow_http or None,
        "sampling": _assignments(sampling) if sampling else None,
        "concurrency": concurrency,
        "price_in": price_in,
        "price_out": price_out,
        "price_hour": price_hour,
        "max_cost": max_cost,
        "max_tokens": max_tokens,
        "when_spent": when_spent.value,
        "ledger": ledger or None,
        "retry": tuple(part.strip() for part in retry.split(",") if part.strip()) or None,
    }
    request = RephraseRequest(
        input=input,
        output=output,
        recipe=recipe,
        settings={name: value for name, value in settings.items() if value is not None},
        assignments=tuple(set or ()),
        pilot=pilot,
        dry_run=dry_run,
        workers=workers,
        executor=executor.value,
        ray_address=ray_address,
        log_json=log_json,
        preflight=preflight,
        as_json=json,
    )
    raise typer.Exit(run(request))


def _routes(parts: list[str]) -> dict[str, list[str]]:
    found = {}
    for part in parts:
        value, equals, names = part.partition("=")
        if not equals:
            raise ConfigError(f"cannot read the route {part!r}", fix="--route low=wikipedia --route high=distill,faq")
        found[value.strip()] = [name.strip() for name in names.split(",") if name.strip()]
    return found


def _assignments(parts: list[str]) -> dict[str, Any]:
    found = {}
    for part in parts:
        name, equals, raw = part.partition("=")
        if not (equals and name.strip()):
            raise ConfigError(f"cannot read the setting {part!r}", fix="--sampling temperature=0.7")
        try:
            found[name.strip()] = json_module.loads(raw)
        except json_module.JSONDecodeError:
            found[name.strip()] = raw
    return found
