"""`tokenmill label`: a sample of documents, judged by a language model after a rubric."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tokenmill.classifiers.label.ledger import Ledger, read_entries
from tokenmill.classifiers.label.result import Estimate, estimate, label_table, publish, summary
from tokenmill.classifiers.label.rubric import load_rubric
from tokenmill.classifiers.label.sample import Sample, SampleSettings, draw
from tokenmill.classifiers.label.session import LabelSettings, Progress, ask_all, plan
from tokenmill.cli.console import error_console, make_table, output_console, safe_line
from tokenmill.core.errors import ConfigError
from tokenmill.io.chat.client import ChatClient
from tokenmill.io.chat.endpoint import Endpoint

_STEPS = 50


def label_documents(
    input: str,
    output: str,
    *,
    rubric: str,
    model: str,
    base_url: str,
    documents: int,
    strata: str | None = None,
    edges: str = "",
    allocation: Literal["equal", "proportional"] = "equal",
    id_column: str = "id",
    text_column: str = "text",
    min_chars: int = 1,
    passes: int = 1,
    seed: int = 0,
    concurrency: int = 16,
    max_chars: int = 4000,
    sampling: Sequence[str] = (),
    api_key_env: str | None = None,
    allow_http: bool = False,
    timeout: float = 120.0,
    tries: int = 8,
    price_in: float = 0.0,
    price_out: float = 0.0,
    max_cost: float | None = None,
    retry_failed: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """Draw the sample, ask what the ledger in `output` lacks, and write labels.parquet and labels.json there.

    dry_run: print what it would cost, and make no request. edges: "0.5,1.5"; sampling: ["temperature=0.7"].
    allow_http: send texts without encryption to a host that is not this machine.
    """
    asked = load_rubric(rubric)
    endpoint = Endpoint(
        base_url=base_url, model=model, key_env=api_key_env, timeout=timeout, tries=tries, allow_http=allow_http
    )
    settings = LabelSettings(
        passes=passes,
        seed=seed,
        concurrency=concurrency,
        max_chars=max_chars,
        sampling=_assignments(sampling),
        retry_failed=retry_failed,
        price_in=price_in,
        price_out=price_out,
        max_cost=max_cost,
    )
    sample_settings = SampleSettings(
        input=input,
        documents=documents,
        seed=seed,
        strata=strata,
        edges=_edges(edges),
        allocation=allocation,
        id_column=id_column,
        text_column=text_column,
        min_chars=min_chars,
    )
    if "://" in output:
        raise ConfigError(f"labels cannot be written to {output}", fix="a folder of this machine; copy it afterwards")
    if not dry_run:
        ChatClient(endpoint)  # tells of a missing key before the input is read
    folder = Path(output)
    sample = draw(sample_settings)
    if not as_json:
        _print_left_out(sample)
    tasks, chars = plan(sample.documents, asked, model, settings)
    if dry_run:
        _print_estimate(estimate(tasks, chars, read_entries(folder / "ledger.jsonl"), settings), settings, as_json)
        return
    with Ledger(folder / "ledger.jsonl") as ledger:
        if not as_json:
            _print_estimate(estimate(tasks, chars, ledger.entries, settings), settings, False)
        try:
            ask_all(tasks, asked, endpoint, settings, ledger, None if as_json else _tell)
        finally:
            told = summary(sample, asked, tasks, ledger.entries, endpoint, settings)
            if told["answered"]:  # of a run that was stopped too: its answers are paid for
                publish(folder, label_table(sample, asked, tasks, ledger.entries), told)
    if as_json:
        print(json.dumps(told, indent=1))
    else:
        _print_summary(told, folder)


def _tell(progress: Progress) -> None:
    step = max(1, progress.total // _STEPS)
    if progress.done % step == 0 or progress.done == progress.total:
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        print(f"label: {progress.done:,} of {progress.total:,} requests{failed}", file=sys.stderr)


def _print_left_out(sample: Sample) -> None:
    if sample.skipped:
        told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(sample.skipped.items()))
        error_console().print(f"rows of the input that are left out: {told}", highlight=False)


def _print_estimate(found: Estimate, settings: LabelSettings, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(found), indent=1))
        return
    how = "as measured so far" if found.measured else "4 characters a token, 60 tokens an answer"
    cost = f", {found.dollars:,.2f} dollars" if settings.price_in + settings.price_out else ""
    error_console().print(
        f"{found.requests:,} requests to make, {found.answered:,} answered before; about {found.tokens_in:,} tokens in "
        f"and {found.tokens_out:,} out ({how}){cost}",
        highlight=False,
    )


def _print_summary(told: dict[str, Any], folder: Path) -> None:
    console = output_console()
    for question, counts in told["counts"].items():
        table = make_table(title=f"{question} by {safe_line(told['model'])}")
        for name in ("", *counts):
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
        for option in next(iter(counts.values())):
            if any(counts[number][option] for number in counts):
                table.add_row(option, *(f"{counts[number][option]:,}" for number in counts))
        console.print(table)
        for pair, figures in told["agreement"][question].items():
            kappa = figures.get("quadratic_kappa", figures["kappa"])
            shown = "no kappa (one class)" if kappa is None else f"kappa {kappa:.3f}"
            weighted = ", quadratic-weighted" if "quadratic_kappa" in figures and kappa is not None else ""
            console.print(f"{pair}: {figures['equal']:.1%} equal, {shown}{weighted}", highlight=False)
    failures = ", ".join(f"{kind} {count:,}" for kind, count in told["failures"].items()) or "none"
    console.print(f"failures: {safe_line(failures)}", highlight=False)
    tokens = told["tokens"]
    cost = f", {told['dollars']:,.2f} dollars" if any(told["prices_per_million"].values()) else ""
    console.print(f"{tokens['in']:,} tokens in, {tokens['out']:,} out{cost}", highlight=False)
    console.print(f"labels: {safe_line(str(folder / 'labels.parquet'))}", highlight=False)


def _edges(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"cannot read the edges {text!r}", why=str(error), fix="--edges 0.5,1.5,2.5") from error


def _assignments(parts: Sequence[str]) -> dict[str, Any]:
    found = {}
    for part in parts:
        name, equals, raw = part.partition("=")
        if not (equals and name.strip()):
            raise ConfigError(f"cannot read the setting {part!r}", fix="--sampling temperature=0.7")
        try:
            found[name.strip()] = json.loads(raw)
        except json.JSONDecodeError:
            found[name.strip()] = raw
    return found
