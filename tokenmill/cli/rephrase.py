"""`tokenmill rephrase`: a model writes new texts from documents that are there; pilot, forecast, run, summary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.cli.console import make_table, output_console, safe_line
from tokenmill.cli.recipes import import_stages
from tokenmill.cli.run import RunRequest, run_spec
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import canonical_json, make_plan
from tokenmill.core.schema import DOC_ID
from tokenmill.core.settings import build_stage, parse_assignment
from tokenmill.core.stage import InputShard, Source
from tokenmill.executors.documents import documents_of
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs, open_binary
from tokenmill.io.parquet import ReadParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines import REPHRASING, recipe
from tokenmill.rephrase.asking import LEDGER, check_destination, destination
from tokenmill.rephrase.forecast import SAMPLE, Figure, Forecast, Prices, Sample, Volume, forecast, volume
from tokenmill.rephrase.ledger import read_entries
from tokenmill.rephrase.stage import PLACE, WriteRephrased
from tokenmill.report.rephrased import CORPUS

PILOT = "pilot"
"""Folder of the output with the pilot's documents and run."""


@dataclass(frozen=True)
class RephraseRequest:
    """The arguments of `tokenmill rephrase`."""

    input: str
    """Folder of a finished run, or files with documents (Parquet, JSON Lines)."""
    output: str
    recipe: str = ""
    """Name of a recipe that rephrases: its last stage is used; or empty: `settings` name the styles."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of WriteRephrased that options name."""
    assignments: tuple[str, ...] = ()
    """`field=value` of WriteRephrased, or `stage.field=value`."""
    pilot: int = 0
    """Documents that are rephrased first for a forecast, which is all that is done; 0: none."""
    dry_run: bool = False
    """Tell the volume, and make no request."""
    workers: int = -1
    executor: str = "local"
    ray_address: str | None = None
    log_json: str | None = None
    preflight: bool = True
    as_json: bool = False


def rephrase(request: RephraseRequest) -> int:
    """Forecast, or rephrase and tell what came of it; returns the exit code."""
    import_stages()
    sink = _sink(request)
    check_destination(sink)
    if sink.retry and RunFolder(request.output).exists(CORPUS):
        raise ConfigError(
            f"{request.output} is finished, and what is published never changes",
            fix=f"--output NEW --ledger {sink.ledger or f'{request.output}/{LEDGER}'} --retry {','.join(sink.retry)}",
        )
    location, inputs, source = _documents(request, sink)
    spec = _spec(source, sink, inputs, location)
    if request.dry_run or request.pilot:
        drawn = _draw(inputs, source, max(SAMPLE, request.pilot), sink.seed)
        would = volume(drawn, sink.all_styles, sink.router, sink.counter, sink.seed)
        if request.dry_run:
            _tell_volume(would, sink, request.as_json)
            return 0
        return _pilot(request, sink, drawn, would)
    code = run_spec(_run_request(request, request.output), spec)
    if code == 0 and request.as_json:
        print(json.dumps(RunFolder(request.output).read_json(CORPUS), indent=1))
    return code


def _sink(request: RephraseRequest) -> WriteRephrased:
    """The stage with all settings."""
    base = WriteRephrased()
    if request.recipe:
        if request.recipe not in REPHRASING:
            raise ConfigError(f"no recipe {request.recipe!r} rephrases", fix=f"one of {', '.join(REPHRASING)}")
        if "styles" in request.settings:
            raise ConfigError("--recipe and --style are two ways to say which styles", fix="leave one out")
        found = recipe(request.recipe).stages[-1]
        assert isinstance(found, WriteRephrased)
        base = found
    config = {**base.config(), **request.settings}
    for text in request.assignments:
        _, name, value = parse_assignment(text if "." in text.partition("=")[0] else f"write_rephrased.{text}")
        config[name] = value
    built = build_stage(WriteRephrased, config)
    assert isinstance(built, WriteRephrased)
    return built


def _documents(request: RephraseRequest, sink: WriteRephrased) -> tuple[str, list[InputShard], Source]:
    tags = list(dict.fromkeys(name for name in (sink.by, *sink.carry) if name))
    return documents_of(request.input, tags)


def _spec(source: Source, sink: WriteRephrased, inputs: Sequence[InputShard], location: str) -> RunSpec:
    return RunSpec.of(make_plan(Pipeline("rephrase", [source, sink]), inputs), Options(), location)


def _run_request(request: RephraseRequest, output: str) -> RunRequest:
    return RunRequest(
        recipe="rephrase",
        input=request.input,
        output=output,
        workers=request.workers,
        executor=request.executor,
        ray_address=request.ray_address,
        log_json=request.log_json,
        preflight=request.preflight,
    )


class _Ignored:
    """A source tells what it leaves out; a forecast needs no list of it."""

    def __call__(self, reason: str, **about: Any) -> None:
        pass

    def covered(self, first: int, end: int) -> None:
        pass


def _draw(inputs: Sequence[InputShard], source: Source, size: int, seed: int) -> Sample:
    sample = Sample(size, seed)
    for shard in inputs:
        for batch in source.read(shard, _Ignored()):
            for row in batch.to_pylist():
                sample.add(row)
    return sample


def _pilot(request: RephraseRequest, sink: WriteRephrased, drawn: Sample, would: Volume) -> int:
    """Rephrase some documents with the real model, and tell what all would take. Its answers are used again later."""
    if "://" in request.output:
        raise ConfigError(f"a pilot cannot be written to {request.output}", fix="a folder of this machine")
    place = Path(request.output) / PILOT
    rows = drawn.rows(request.pilot)
    if not rows:
        raise ConfigError(f"{request.input} holds no documents", fix="check the path")
    place.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([{name: value for name, value in row.items() if name != DOC_ID} for row in rows])
    digest = hashlib.sha256(canonical_json(table.to_pylist())).hexdigest()[:12]
    file = place / f"documents-{digest}.parquet"
    if not file.is_file():  # the same pilot again is the same run, which resumes
        pq.write_table(table, file)
    tags = tuple(dict.fromkeys(name for name in (sink.by, *sink.carry) if name))
    asked = replace(sink, ledger=sink.ledger or str(Path(request.output) / LEDGER), judge_share=0.0)
    numbers = [name for name in tags if isinstance(rows[0].get(name), int | float)]
    source = ReadParquet(signals=tuple(numbers), tags=tuple(name for name in tags if name not in numbers))
    spec = _spec(source, asked, list_inputs(str(file), ReadParquet.suffixes), str(place))
    output = place / f"run-{spec.plan.fingerprint[:12]}-{digest}"
    code = run_spec(_run_request(request, str(output)), spec)
    if code:
        return code
    made = list(_output_rows(str(output)))
    doc_ids = [f"{file.name}#{number}" for number in range(len(rows))]
    found = forecast(
        made,
        doc_ids,
        drawn.documents,
        seconds=_seconds(asked.ledger, {key for row in made for key in row["request_keys"]}),
        prices=Prices(sink.price_in, sink.price_out, sink.price_hour),
        seed=sink.seed,
    )
    _tell_forecast(found, would, sink, request.as_json)
    return 0


def _seconds(ledger: str, keys: set[str]) -> float:
    """Seconds in which any of these requests was under way, as the ledger has it: breaks do not count."""
    rows = [row for row in (entry.row for entry in read_entries(ledger, keys=keys)[0].values()) if row["response"]]
    busy, end = 0.0, 0.0
    for start, stop in sorted((row["time"] - row["latency_s"], row["time"]) for row in rows):
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return busy


_FORECAST = ["parent_doc_id", "style", "attempts", "tokens_in", "tokens_out", "request_keys", "kept_tokens"]


def _output_rows(run: str) -> Iterator[Mapping[str, Any]]:
    for kind, more in (("data", []), ("rejected", ["reason"])):
        for path in sorted(Path(run, PLACE, kind).glob("*.parquet")):
            with open_binary(str(path)) as stream:
                yield from pq.read_table(stream, columns=[*_FORECAST, *more]).to_pylist()


def _tell_volume(found: Volume, sink: WriteRephrased, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asdict(found), "destination": destination(sink)}, indent=1))
        return
    console = output_console()
    table = make_table(title=f"{found.documents:,} documents, estimated from {found.sampled:,}")
    for name in ("style", "documents", "requests", "characters", "tokens in", "tokens out, at most"):
        table.add_column(name, justify="left" if name == "style" else "right")
    for name, counts in found.styles.items():
        cells = [counts.get(key, 0) for key in ("documents", "passages", "chars", "tokens_in", "tokens_out_most")]
        table.add_row(safe_line(name), *(f"{value:,.0f}" for value in cells))
    console.print(table)
    console.print(safe_line(destination(sink)), highlight=False, soft_wrap=True)
    if sink.price_in + sink.price_out:
        most = found.total("tokens_in") * sink.price_in + found.total("tokens_out_most") * sink.price_out
        console.print(f"at most {most / 1e6:,.2f} dollars, if every answer were as long as it may be", highlight=False)
    console.print("--pilot 200 measures accept rate, length and speed with the real model.", highlight=False)


_FIGURES = {
    "requests": ("requests", "{:,.0f}", 1),
    "tokens_in": ("tokens of prompts", "{:,.0f}", 1),
    "tokens_out": ("tokens of answers", "{:,.0f}", 1),
    "accept_rate": ("accepted", "{:.1f} %", 100),
    "kept_tokens": ("kept tokens", "{:,.0f}", 1),
    "hours": ("hours, as fast as the pilot", "{:,.2f}", 1),
    "dollars": ("dollars", "{:,.2f}", 1),
    "dollars_per_billion_kept": ("dollars per billion kept tokens", "{:,.0f}", 1),
}


def _tell_forecast(found: Forecast, would: Volume, sink: WriteRephrased, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asdict(found), "volume": asdict(would), "destination": destination(sink)}, indent=1))
        return
    console = output_console()
    table = make_table(title=f"{found.documents:,} documents, from a pilot of {found.pilot_documents:,}")
    for name in ("", "estimate", "95 % interval"):
        table.add_column(name, justify="right" if name else "left")
    for key, (label, form, factor) in _FIGURES.items():
        if key in found.figures:
            table.add_row(label, *_shown(found.figures[key], form, factor))
    for style, figure in found.accept_rates.items():
        table.add_row(f"accepted, {safe_line(style)}", *_shown(figure, "{:.1f} %", 100))
    console.print(table)
    if not found.figures["kept_tokens"].value:
        console.print("nothing of the pilot was kept: there is no price of a kept token", highlight=False)
    for reason, count in list(found.reasons.items())[:10]:
        console.print(f"rejected  {safe_line(reason)} {count:,}", highlight=False)
    console.print(safe_line(destination(sink)), highlight=False, soft_wrap=True)
    console.print("The answers of the pilot stay in the ledger: the run does not ask for them again.", highlight=False)


def _shown(figure: Figure, form: str, factor: float) -> tuple[str, str]:
    high = "no bound" if figure.high is None else form.format(figure.high * factor)
    return form.format(figure.value * factor), f"{form.format(figure.low * factor)} to {high}"
