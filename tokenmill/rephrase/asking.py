"""From the settings of `WriteRephrased` to what asks: engine, ledger, limits; and what is told before."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tokenmill.core.barrier import Work
from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.engines.base import Engine, Identity
from tokenmill.rephrase.meter import Meter, Spent, spent_in

if TYPE_CHECKING:
    from tokenmill.io.chat.endpoint import Endpoint
    from tokenmill.rephrase.stage import WriteRephrased

LEDGER = "ledger"
"""Folder of the output with the answers, unless the settings name another."""


def identity_of(stage: WriteRephrased) -> Identity:
    """Which model answers, without a request. Of a model that lies here, the digests of its files."""
    if stage.engine != "server":
        return engine_of(stage).identity
    from tokenmill.rephrase.engines.openai import model_digests

    weights, template = model_digests(Path(stage.weights)) if stage.weights else ("", "")
    return Identity(stage.model, stage.revision, weights, template)


def endpoint_of(stage: WriteRephrased, model: str = "") -> Endpoint:
    """The server of the settings. ConfigError where texts must not go there."""
    from tokenmill.io.chat.endpoint import Endpoint

    if not stage.base_url:
        raise ConfigError("no server is named", fix="--base-url http://localhost:8000/v1, or --serve COMMAND")
    return Endpoint(
        base_url=stage.base_url,
        model=model or stage.model,
        key_env=stage.api_key_env or None,
        timeout=stage.timeout,
        tries=stage.tries,
        allow_hosts=stage.allow_hosts,
        allow_http=stage.allow_http,
    )


def engine_of(stage: WriteRephrased, *, judge: bool = False, alive: Callable[[], None] = lambda: None) -> Engine:
    """What answers; it is opened as an async context manager. alive: called now and then while a server starts."""
    model = stage.judge_model if judge and stage.judge_model else stage.model
    if stage.engine == "local":
        from tokenmill.rephrase.engines.local import LocalEngine

        return LocalEngine(model, device=stage.device, revision=stage.revision)
    if stage.engine == "serve":
        from tokenmill.rephrase.engines.server import ServerEngine, ServerSettings

        def tell(line: str) -> None:
            print(line, file=sys.stderr)
            alive()

        settings = ServerSettings(
            command=stage.serve, model=model, env=stage.serve_env, ready_seconds=stage.serve_seconds
        )
        return ServerEngine(
            settings, revision=stage.revision, timeout=stage.timeout, concurrency=stage.concurrency, tell=tell
        )
    from tokenmill.rephrase.engines.openai import OpenAIEngine

    return OpenAIEngine(
        endpoint_of(stage, model), revision=stage.revision, weights=stage.weights, concurrency=stage.concurrency
    )


def destination(stage: WriteRephrased) -> str:
    """Where texts go, in a sentence."""
    if stage.engine == "local":
        return f"texts stay in this process: {stage.model} runs here"
    if stage.engine == "serve":
        return f"texts stay on this machine: `{stage.serve}` is started here"
    if not stage.base_url:
        return "no server is named yet"
    host = urlsplit(stage.base_url).hostname
    whose = f"of the documents that {stage.by} decides on" if stage.by else "of all documents that reach the last stage"
    styles = ", ".join(style.name for style in stage.all_styles.values())
    return f"the texts {whose} go to {host} (model {stage.model}), once for each style: {styles}"


def ready(stage: WriteRephrased, run: str) -> None:
    """Ask the server something short, so that a wrong address, key, model or setting is told before documents are read.

    Where a ledger has answers already the run may need no server: then only the settings are looked at.
    """
    answers = ledger_folder(stage, run) / "segments"
    check_destination(stage)
    if stage.engine != "server" or answers.is_dir():
        return
    style = next(iter(stage.all_styles.values()))
    sampling = {**style.sampling, **stage.sampling, "seed": 0, "max_tokens": 16}

    async def ask() -> None:
        async with engine_of(stage) as engine:
            await engine.check({name: value for name, value in sampling.items() if value is not None})

    asyncio.run(ask())


def check_destination(stage: WriteRephrased) -> None:
    """ConfigError where texts must not go to the server that the settings name; no request is made."""
    if stage.engine == "server":
        endpoint_of(stage)


def amount(stage: WriteRephrased, work: Work) -> str:
    """How much text goes there, in a sentence, once it is known and before any of it has gone."""
    sums: Counter[str] = Counter()
    for shard in work.shards:
        for counts in shard.facts["styles"].values():
            sums.update(counts)
    host = (urlsplit(stage.base_url).hostname or "nowhere") if stage.engine == "server" else "the model here"
    return (
        f"{sums['asked']:,} passages, {sums['chars']:,} characters in all (about {sums['tokens']:,} tokens), go to"
        f" {host}, but for those that the ledger has answers about"
    )


def ledger_folder(stage: WriteRephrased, run: str) -> Path:
    """Where the answers are kept. ConfigError where that is no folder of a file system."""
    place = stage.ledger or f"{run}/{LEDGER}"
    if "://" in place:
        raise ConfigError(
            f"answers cannot be kept in {place}",
            why="a ledger is appended to and locked, which object stores cannot",
            fix="--ledger FOLDER on a disk that all workers see",
        )
    return Path(place)


def run_of(run: str, fingerprint: str) -> str:
    """The name of a run in a ledger that others use too: the same recipe in another folder has a budget of its own."""
    return hashlib.sha256(f"{run}\0{fingerprint}".encode()).hexdigest()[:12]


def meter_of(stage: WriteRephrased, run: str, name: str, fingerprint: str) -> Meter:
    """What this run has spent, in all its processes."""
    return Meter(
        ledger_folder(stage, run) / "spent",
        run_of(run, fingerprint),
        name,
        price_in=stage.price_in,
        price_out=stage.price_out,
        max_tokens=stage.max_tokens or None,
        max_cost=stage.max_cost or None,
    )


def told_spent(stage: WriteRephrased, run: str, fingerprint: str) -> str:
    """What has been answered and spent so far, for the live display."""
    spent = spent_in(ledger_folder(stage, run) / "spent", run_of(run, fingerprint))
    return spent_line(spent) if spent.settled or spent.requests else ""


def spent_line(spent: Spent) -> str:
    """A line of what has been spent."""
    failed = sum(spent.failed.values())
    dollars = f" · {spent.dollars:,.2f} dollars" if spent.dollars else ""
    trouble = f" · {failed:,} failed" if failed else ""
    return (
        f"{spent.answers:,} answers{trouble} · {spent.requests:,} requests ·"
        f" {spent.tokens_in:,} tokens in, {spent.tokens_out:,} out{dollars}"
    )
