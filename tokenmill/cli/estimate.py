"""`tokenmill plan --estimate`: what a run would cost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tokenmill.cli.console import error_console, make_table, output_console, safe
from tokenmill.cli.recipes import load_recipe
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.stage import Source
from tokenmill.executors.estimate import Sample, measure
from tokenmill.executors.forecast import RATES, Forecast, Quantity, dollars, forecast, targeted
from tokenmill.io.filesystem import list_inputs

_UNITS = {"": 1, "B": 1, **{f"{p}B": 1000**i for i, p in enumerate("KMGTPE", 1)}}
_UNITS |= {f"{p}iB": 1024**i for i, p in enumerate("KMGTPE", 1)}


@dataclass(frozen=True)
class EstimateRequest:
    """The arguments of `tokenmill plan --estimate`."""

    recipe: str
    input: str | None
    settings: tuple[str, ...] = ()
    sample: float = 0.001
    total_bytes: str | None = None
    total_files: float | None = None
    total_documents: float | None = None
    cores: int = 1000
    rates: tuple[str, ...] = ()
    workers: int = 1
    as_json: bool = False


def show_estimate(request: EstimateRequest) -> None:
    """Run the recipe on a sample, multiply, print."""
    rates = parse_rates(request.rates)
    total_bytes = None if request.total_bytes is None else parse_bytes(request.total_bytes)
    if request.cores < 1:
        raise ConfigError(f"--cores {request.cores} is below 1")
    recipe = load_recipe(request.recipe, request.settings)
    location = request.input or recipe.location
    if location is None:
        raise ConfigError("an estimate needs input", fix="--input FOLDER")
    source = recipe.pipeline.stages[0]
    inputs = list_inputs(location, source.suffixes if isinstance(source, Source) else ())
    errors = error_console()
    sample = measure(
        recipe.pipeline,
        inputs,
        share=request.sample,
        workers=request.workers,
        tell=lambda text: errors.print(safe(text), highlight=False),
    )
    target = targeted(
        sample,
        inputs,
        total_bytes=total_bytes,
        total_files=request.total_files,
        total_documents=request.total_documents,
    )
    found = forecast(sample, target)
    if request.as_json:
        print(json.dumps(_values(request, sample, found, rates), indent=1))
        return
    _print(output_console(), request, sample, found, rates)


def parse_bytes(text: str) -> float:
    """90TB, 1.5 GiB or 1e12 as bytes; ConfigError for anything else."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+]?[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    units = {unit.lower(): size for unit, size in _UNITS.items()}
    try:
        if match and match[2].lower() in units:
            return float(match[1]) * units[match[2].lower()]
    except ValueError:
        pass
    raise ConfigError(f"{text!r} is no number of bytes", fix="for example 90TB, 1.5GiB or 1e12")


def parse_rates(settings: tuple[str, ...]) -> dict[str, float]:
    """`name=dollars` over the defaults."""
    rates = dict(RATES)
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in rates:
            raise ConfigError(f"no rate is named {name!r}", fix=did_you_mean(name, rates))
        try:
            rates[name] = float(value)
        except ValueError:
            raise ConfigError(f"--rate {setting} has no number", fix=f"--rate {name}=0.03") from None
        if not 0 <= rates[name] < float("inf"):
            raise ConfigError(f"--rate {setting} is below 0")
    return rates


def _print(
    console: Console, request: EstimateRequest, sample: Sample, found: Forecast, rates: Mapping[str, float]
) -> None:
    target = found.target
    what = "documents" if target.per == "documents" else "bytes of input"
    console.print(
        f"measured: {sum(sample.source_bytes) / 1e6:,.1f} MB in {len(sample.pieces)} pieces,"
        f" {sum(sample.documents):,.0f} documents, {sum(sample.kept):,.0f} kept; {sample.cpu_seconds:,.1f} CPU seconds,"
        f" of which starting a worker {sample.startup_seconds:.1f} (not multiplied); {sample.wall_seconds:,.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"multiplied to: {target.bytes / 1e12:,.4g} TB in {target.files:,.0f} files, {target.documents:,.4g} documents"
        f" (in proportion to {what})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_table(sample, found))
    for name, quantity, unit, divisor in _totals(found):
        console.print(f"{name:<26} {_interval(quantity.times(1 / divisor))} {unit}", highlight=False)
    hours = found.core_seconds.times(1 / 3600 / request.cores)
    console.print(f"{f'wall clock, {request.cores:,} cores':<26} {_interval(hours)} h", highlight=False)
    for name, cost in dollars(found, rates).items():
        if cost.value:
            console.print(f"{f'dollars, {name}':<26} {_interval(cost)}", highlight=False)
    for note in _notes(sample, found, rates):
        console.print(f"note: {safe(note)}", highlight=False, soft_wrap=True)


def _table(sample: Sample, found: Forecast) -> Table:
    gpus = any(any(row.gpu_seconds) for row in sample.rows)
    table = make_table(title="by stage")
    for name in ("phase", "stage", "documents in", "µs a document", "core-hours", "from", "to"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    if gpus:
        table.add_column("GPU-hours", justify="right")
    table.add_column("figures", overflow="fold")
    for row, documents, cores, gpu in found.rows:
        each = 1e6 * sum(row.core_seconds) / max(sum(row.documents), 1)
        numbers = [_short(q / 3600) for q in (cores.value, cores.low, cores.high)]
        extra = [_short(gpu.value / 3600)] if gpus else []
        cells = [str(row.phase + 1), safe(row.label), _short(documents.value), _short(each), *numbers, *extra]
        table.add_row(*cells, row.source)
    return table


def _totals(found: Forecast) -> list[tuple[str, Quantity, str, float]]:
    whole = Quantity(*[found.target.bytes] * 3)
    rows = [
        ("documents", found.documents, "", 1.0),
        ("documents kept", found.kept, "(upper bound where duplicates are dropped)", 1.0),
        ("core-hours", found.core_seconds, "", 3600.0),
        ("GPU-hours", found.gpu_seconds, "", 3600.0),
        ("bytes read", whole, "TB", 1e12),
        ("bytes between phases", found.intermediate, "TB", 1e12),
        ("bytes published", found.published, "TB", 1e12),
        ("files written", found.files, "", 1.0),
    ]
    return [row for row in rows if row[1].value]


def _notes(sample: Sample, found: Forecast, rates: Mapping[str, float]) -> list[str]:
    notes = [
        "the interval is that of the differences between pieces of the sample; cores of a cloud are often slower than"
        " those here, by a factor of up to two",
        "rates in dollars: " + ", ".join(f"{name} {value:g}" for name, value in rates.items()) + " (--rate NAME=VALUE)",
    ]
    if len(sample.pieces) < 2:
        notes.append("one piece only, so there is no interval")
    elif len({piece.of.name for piece in sample.pieces}) < len(sample.pieces):
        notes.append("several pieces are of one file, so the interval may be too narrow")
    if sample.busy < 0.9:
        notes.append(
            f"the machine was busy: stages got {sample.busy:.0%} of a core; times are CPU seconds all the same"
        )
    if sample.step_bytes:
        notes.append(f"steps of deduplication: per document, {sample.step_source}; the union-find runs on one core")
    if found.gpu_seconds.value:
        notes.append("GPU-hours are those of what this machine has; measure on a machine with the GPUs of the run")
    return notes


def _interval(quantity: Quantity) -> str:
    if quantity.low == quantity.high:
        return f"{_short(quantity.value):>10}"
    return f"{_short(quantity.value):>10}  ({_short(quantity.low)} to {_short(quantity.high)})"


def _short(value: float) -> str:
    """Three figures; thousands as they are."""
    if value == 0:
        return "0"
    if value >= 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _values(request: EstimateRequest, sample: Sample, found: Forecast, rates: Mapping[str, float]) -> dict[str, Any]:
    """What is printed, for programs; times in seconds."""
    return {
        "sample": {
            "bytes": sum(sample.source_bytes),
            "pieces": [
                {"file": piece.of.name, "start": int(piece.shard.etag or 0), "bytes": piece.source_bytes}
                for piece in sample.pieces
            ],
            "documents": sum(sample.documents),
            "kept": sum(sample.kept),
            "cpu_seconds": sample.cpu_seconds,
            "startup_seconds": sample.startup_seconds,
            "wall_seconds": sample.wall_seconds,
            "busy": sample.busy,
        },
        "target": vars(found.target),
        "stages": [
            {
                "phase": row.phase + 1,
                "stage": row.label,
                "figures": row.source,
                "documents": vars(documents),
                "core_seconds": vars(cores),
                "gpu_seconds": vars(gpu),
            }
            for row, documents, cores, gpu in found.rows
        ],
        **{
            name: vars(getattr(found, name))
            for name in ("core_seconds", "gpu_seconds", "documents", "kept", "intermediate", "published", "files")
        },
        "wall_seconds": {"cores": request.cores, **vars(found.core_seconds.times(1 / request.cores))},
        "rates": dict(rates),
        "dollars": {name: vars(cost) for name, cost in dollars(found, rates).items()},
        "notes": _notes(sample, found, rates),
    }
