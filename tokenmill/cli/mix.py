"""`tokenmill mix`: token sets put together by weights, stages and tags."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from tokenmill.cli.console import error_console, make_table, output_console, safe, safe_line
from tokenmill.cli.run import EXIT_QUARANTINE, RunRequest, run_spec
from tokenmill.cli.tokenize import TokenizeRequest, documents_of, tell_set, tokenize
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import make_plan
from tokenmill.executors.runspec import RUN_JSON, Options, RunSpec
from tokenmill.report.units import human_bytes
from tokenmill.tokens.mix.measure import tokenizer_of
from tokenmill.tokens.mix.plan import MixturePlan, PlanRow, plan_mixture
from tokenmill.tokens.mix.source import inputs_of, open_sets
from tokenmill.tokens.mix.spec import Mixture, MixtureSource, load_mixture
from tokenmill.tokens.mix.write import mixture_pipeline
from tokenmill.tokens.tokenset import MANIFEST_JSON, TOKENS_FOLDER, TokenSet

SOURCES = "sources"
"""Folder of the output that holds the token sets of sources that were runs."""


@dataclass(frozen=True)
class MixRequest:
    """The arguments of `tokenmill mix`."""

    mixture: str
    """YAML file, or my.py:name."""
    output: str | None = None
    plan_only: bool = False
    as_json: bool = False
    workers: int = -1
    executor: str = "local"
    ray_address: str | None = None
    log_json: str | None = None
    preflight: bool = True


def mix(request: MixRequest) -> int:
    """Show the plan and, unless only that is wanted, make the mixture; returns the exit code."""
    mixture = load_mixture(request.mixture)
    if request.as_json and not request.plan_only and request.output is not None:
        raise ConfigError(
            "--json shows the plan and writes nothing, but --output is given",
            fix="leave --json out to make the mixture, or add --plan if only the plan is wanted",
        )
    if request.plan_only or request.as_json:
        show_mixture_plan(mixture, output=request.output, as_json=request.as_json)
        return 0
    if request.output is None:
        raise ConfigError("no output given", fix="--output FOLDER, or --plan to see what would be written")
    plan = _planned(mixture, request.output, check=True)
    tell_plan(plan)
    tokenized, code = tokenized_sources(mixture, request)
    if tokenized is None:
        return code
    if any(row.estimated for row in plan.rows):
        plan = plan_mixture(tokenized)  # now all is known exactly
        tell_plan(plan)
        plan.check()
    if request.preflight:
        _check_space(plan, request.output)
    code = run_spec(_run_request(request, mixture.name), mixture_spec(tokenized))
    if (Path(request.output) / TOKENS_FOLDER / MANIFEST_JSON).is_file():
        tell_set(TokenSet.open(request.output))
    return code


def show_mixture_plan(mixture: Mixture, *, output: str | None = None, as_json: bool = False) -> None:
    """Print the plan of a mixture. ConfigError, after the plan, where it must not be made.

    output: where it would be written, for sources that have been tokenized there already.
    """
    plan = _planned(mixture, output)
    if as_json:
        output_console().print_json(json.dumps(plan.to_json()))
    else:
        tell_plan(plan)
    plan.check()


def _planned(mixture: Mixture, output: str | None, *, check: bool = False) -> MixturePlan:
    sources = dict(mixture.sources)
    for name, source in mixture.sources.items():
        made = _place(mixture, name, output or "")
        if output and source.run and (made / TOKENS_FOLDER / MANIFEST_JSON).is_file():
            sources[name] = replace(source, run="", tokenizer="", tokens=str(made.absolute()))
        elif source.run:
            documents_of(source.run)  # ConfigError where tokenizing would end in one: it takes its turn much later
    plan = plan_mixture(replace(mixture, sources=sources))
    if check and plan.errors:
        tell_plan(plan)
        plan.check()
    return plan


def tokenized_sources(mixture: Mixture, request: MixRequest) -> tuple[Mixture | None, int]:
    """(the mixture with token sets in place of runs, 0), or (None, exit code) where a run could not be tokenized."""
    sources = dict(mixture.sources)
    ready = [source for source in sources.values() if source.tokens]
    ends = not ready or TokenSet.open(ready[0].tokens).eos_id is not None
    for name, source in mixture.sources.items():
        if not source.run:
            continue
        tokenizer, eos = tokenizer_of(mixture, name)
        made = _place(mixture, name, str(request.output))
        if made.name == name:
            output_console().print(f"tokenizing {safe_line(name)}", highlight=False)
            code = tokenize(
                TokenizeRequest(
                    input=source.run,
                    output=str(made),
                    tokenizer=tokenizer,
                    settings={"eos": eos, "add_eos": ends, "seed": mixture.seed, "shard_tokens": mixture.shard_tokens},
                    workers=request.workers,
                    executor=request.executor,
                    ray_address=request.ray_address,
                    preflight=request.preflight,
                )
            )
            if code not in (0, EXIT_QUARANTINE):
                return None, code
        sources[name] = replace(source, run="", tokenizer="", tokens=str(made))
    return replace(mixture, sources=sources), 0


def _place(mixture: Mixture, name: str, output: str) -> Path:
    """Where the tokens of a run go: with those of the first source of the same run."""
    asked = mixture.sources[name]
    same = (other for other, source in mixture.sources.items() if _run_of(source) == _run_of(asked))
    return Path(output).absolute() / SOURCES / next(same)


def _run_of(source: MixtureSource) -> tuple[str, str]:
    return source.run, source.tokenizer


def mixture_spec(mixture: Mixture) -> RunSpec:
    """What `tokenmill mix` runs. ConfigError where the sets cannot be mixed."""
    sets = open_sets(mixture)
    plan = make_plan(mixture_pipeline(mixture), inputs_of(sets))
    return RunSpec.of(plan, Options(), str(sets[0].tokens.folder))


def _run_request(request: MixRequest, name: str) -> RunRequest:
    return RunRequest(
        recipe=name,
        input=None,
        output=str(request.output),
        workers=request.workers,
        executor=request.executor,
        ray_address=request.ray_address,
        log_json=request.log_json,
        preflight=request.preflight,
    )


def _check_space(plan: MixturePlan, output: str) -> None:
    """ConfigError where the shards have no room; a run that has begun goes on as far as it can."""
    if "://" in output or (Path(output) / RUN_JSON).is_file():
        return
    place = Path(output).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < plan.bytes:
        raise ConfigError(
            "there is no room for this mixture",
            why=f"its shards take {human_bytes(plan.bytes)}, {human_bytes(free)} are free at {place}",
            fix="free space, choose another --output, or add --no-preflight if you know better",
        )


def tell_plan(plan: MixturePlan) -> None:
    """The plan as tables, then what is to be known of it."""
    console = output_console()
    for stage, tokens in plan.stages.items():
        rows = [row for row in plan.rows if row.stage == stage]
        console.print(_table(f"stage {stage}: {tokens:,} tokens", rows))
    console.print(_total_table(plan))
    for note in plan.notes:
        console.print(f"note: {safe(note)}", highlight=False, soft_wrap=True)
    for warning in plan.warnings:
        error_console().print(f"warning: {safe(warning)}", highlight=False, soft_wrap=True)


def _table(title: str, rows: Sequence[PlanRow]) -> Table:
    table = make_table(title=title)
    columns = ("source", "share", "natural", "tokens", "unique tokens", "epochs", "epochs so far", "used")
    for name in columns:
        table.add_column(name, justify="left" if name == "source" else "right", overflow="fold")
    for row in rows:
        mark = "~" if row.estimated else ""
        unknown = row.estimated and not row.unique_tokens  # none is in the sample
        table.add_row(
            safe_line(row.stream) + (" (synthetic)" if row.synthetic else ""),
            f"{row.share:.2%}",
            f"{mark}{row.natural:.2%}",
            f"{row.tokens:,}",
            f"{mark}{row.unique_tokens:,}",
            "?" if unknown else f"{mark}{row.epochs:.3g}",
            "?" if unknown else f"{mark}{row.epochs_so_far:.3g}",
            "?" if unknown else f"{mark}{row.used:.1%}",
        )
    return table


def _total_table(plan: MixturePlan) -> Table:
    size = f", {human_bytes(plan.bytes)} of ids" if plan.bytes else ""
    table = make_table(title=f"{safe_line(plan.name)}: {plan.tokens:,} tokens in {len(plan.stages)} stages{size}")
    for name in ("source", "share", "tokens", "documents", "unique tokens", "epochs", "used"):
        table.add_column(name, justify="left" if name == "source" else "right", overflow="fold")
    for total in plan.totals:
        mark = "~" if total.estimated else ""
        table.add_row(
            safe_line(total.source),
            f"{total.share:.2%}",
            f"{total.tokens:,}",
            f"{mark}{total.documents:,}",
            f"{mark}{total.unique_tokens:,}",
            f"{mark}{total.epochs:.3g}",
            f"{mark}{total.used:.1%}",
        )
    return table
