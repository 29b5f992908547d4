"""`tokenmill decontaminate`: keep benchmark items out of a data set, report which ones leak, test the detector."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from tokenmill.cli.console import error_console, make_table, output_console, safe_line
from tokenmill.core.errors import ConfigError

EXIT_BELOW_TARGET = 1
"""The self-test has missed a target."""
_SHOWN, _EXCERPT = 20, 80
_FORMS = {"items": ",", "findable": ",", "leaked": ",", "share": ".2%", "questions": ",", "finds": ","}


@dataclass(frozen=True)
class DecontaminateRequest:
    """The arguments of `tokenmill decontaminate`."""

    input: str | None
    against: tuple[str, ...]
    output: str | None = None
    action: str = "drop"
    fields: tuple[str, ...] = ()
    text_column: str = "text"
    report: bool = False
    self_test: bool = False
    documents: str | None = None
    per_task: int = 100
    seed: int = 0
    min_share: float | None = None
    min_13grams: int | None = None
    workers: int = -1
    executor: str = "local"
    ray_address: str | None = None
    preflight: bool = True
    json: bool = False


def decontaminate(request: DecontaminateRequest) -> int:
    """Do what the arguments ask for; returns the exit code."""
    if not request.against:
        raise ConfigError("no benchmarks given", fix="--against FOLDER of JSON Lines files, or --against FILE")
    _check_thresholds(request)
    _tell_skipped(request.against)
    if request.self_test:
        return _self_test(request)
    if request.input is None:
        raise ConfigError("no documents given", fix="tokenmill decontaminate INPUT --against PATH --output FOLDER")
    if request.report:
        return _report(request)
    if request.output is None:
        raise ConfigError("no output given", fix="--output FOLDER, or --report to see which benchmark items leak")
    return _run(request, request.input, request.output)


def _check_thresholds(request: DecontaminateRequest) -> None:
    if request.min_share is not None and not 0 < request.min_share <= 1:
        raise ConfigError(f"--min-share {request.min_share:g} is no share", fix="a number above 0, at most 1")
    if request.min_13grams is not None and request.min_13grams < 1:
        raise ConfigError(f"--min-13grams {request.min_13grams} would find everything", fix="a number from 1")
    if request.per_task < 1:
        raise ConfigError(f"--per-task {request.per_task} plants nothing", fix="a number from 1")


def _tell_skipped(against: tuple[str, ...]) -> None:
    from tokenmill.tokens.decontaminate.benchmarks import skipped_files

    if skipped := skipped_files(against):
        names = ", ".join(skipped[:3]) + (f" and {len(skipped) - 3:,} more" if len(skipped) > 3 else "")
        told = (
            f"warning: not read as benchmarks, for only JSON Lines are: {names}. Convert them, or mind what they hold"
        )
        error_console().print(safe_line(told), highlight=False, soft_wrap=True)


def _tell_uncovered(request: DecontaminateRequest) -> None:
    from tokenmill.tokens.decontaminate.index import load_index

    for task, (items, found) in load_index(request.against, request.fields).coverage().items():
        if not found:
            told = (
                f"warning: not one of the {items:,} items of {task} can be found: they are shorter than what is looked"
            )
            error_console().print(safe_line(f"{told} for (docs/decontamination.md)"), highlight=False, soft_wrap=True)


def _run(request: DecontaminateRequest, location: str, output: str) -> int:
    """A pipeline of its own: documents in, without benchmark items out."""
    from tokenmill.cli.run import RunRequest, run_spec
    from tokenmill.cli.tokenize import documents_of
    from tokenmill.core.pipeline import Pipeline
    from tokenmill.core.plan import make_plan
    from tokenmill.executors.runspec import Options, RunSpec
    from tokenmill.io.parquet import WriteParquet
    from tokenmill.tokens.decontaminate.stage import decontamination

    if "://" not in location + output and Path(output).resolve().is_relative_to(Path(location).resolve()):
        raise ConfigError("the output lies in the input", fix="choose an --output beside it")
    if request.action == "find" and (request.min_share is not None or request.min_13grams is not None):
        raise ConfigError("thresholds have no meaning with --action find", fix="leave out --min-share, --min-13grams")
    place, inputs, source = documents_of(location, ())
    source = replace(source, text_column=request.text_column)
    stages = decontamination(
        request.against,
        request.action,
        request.fields,
        min_share=request.min_share,
        min_13grams=request.min_13grams,
    )
    plan = make_plan(Pipeline("decontaminate", [source, *stages, WriteParquet()]), inputs)
    _tell_uncovered(request)
    spec = RunSpec.of(plan, Options(sample_dropped=1.0), place)
    run = RunRequest(
        recipe="decontaminate",
        input=place,
        output=output,
        workers=request.workers,
        executor=request.executor,
        ray_address=request.ray_address,
        preflight=request.preflight,
    )
    return run_spec(run, spec)


def _report(request: DecontaminateRequest) -> int:
    from tokenmill.tokens.decontaminate.documents import find_documents, input_of
    from tokenmill.tokens.decontaminate.index import load_index
    from tokenmill.tokens.decontaminate.report import make_report
    from tokenmill.tokens.decontaminate.runs import has_searched
    from tokenmill.tokens.decontaminate.stage import MIN_13GRAMS, MIN_SHARE

    index = load_index(request.against, request.fields)
    least, runs = request.min_share or MIN_SHARE, request.min_13grams or MIN_13GRAMS
    documents = find_documents(str(request.input), request.text_column)
    same = has_searched(documents.searched, request.against, request.fields, min_share=least, min_13grams=runs)
    report = make_report(documents, index, min_share=least, min_13grams=runs, same=same)
    if report.unknown and (before := input_of(str(request.input))) is not None:
        report = make_report(before, index, min_share=least, min_13grams=runs)
        error_console().print("note: the input of the run was searched, which has the whole texts", highlight=False)
    paths = report.write(Path(request.output)) if request.output else []
    if request.json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
        return 0
    console = output_console()
    console.print(f"{report.contaminated:,} of {report.documents:,} documents hold benchmark items", highlight=False)
    if report.unknown:
        console.print(
            f"{report.unknown:,} more were dropped as contaminated, and too little of their text is kept to say what"
            " they hold: report on the documents as they were before.",
            highlight=False,
        )
    console.print(
        _table(
            ("task", *_FORMS),
            (
                (row["task"], *("-" if row[name] is None else f"{row[name]:{form}}" for name, form in _FORMS.items()))
                for row in report.tasks_table()
            ),
        )
    )
    console.print(
        _table(
            ("item", "documents", "share", "first document", "excerpt"),
            _items(report.items_table()),
        )
    )
    console.print(_table(("host", "documents"), ((host, f"{count:,}") for host, count in report.top_hosts(10))))
    for path in paths:
        console.print(f"report   {path}", highlight=False, soft_wrap=True)
    return 0


def _items(rows: Iterator[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The first items that leak; those that were found in the same place share a line."""
    shown: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        place = row["first_document"], row["excerpt"]
        if place not in shown and len(shown) == _SHOWN:
            break
        shown.setdefault(place, []).append(row)
    return [
        (
            rows[0]["item"] + (f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""),
            f"{rows[0]['documents']:,}",
            f"{rows[0]['share']:.2f}",
            document,
            excerpt[:_EXCERPT],
        )
        for (document, excerpt), rows in shown.items()
    ]


def _self_test(request: DecontaminateRequest) -> int:
    from tokenmill.tokens.decontaminate.selftest import run_self_test

    result = run_self_test(
        request.against,
        _rows(request) if request.documents else None,
        fields=request.fields,
        per_task=request.per_task,
        seed=request.seed,
        min_share=request.min_share,
        min_13grams=request.min_13grams,
    )
    if request.output:
        Path(request.output).mkdir(parents=True, exist_ok=True)
        text = json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n"
        (Path(request.output) / "self-test.json").write_text(text, encoding="utf-8")
    if request.json:
        print(json.dumps(result.to_json(), ensure_ascii=False))
    else:
        _tell(result.to_json())
    for failure in result.failures():
        print(failure, file=sys.stderr)
    return EXIT_BELOW_TARGET if result.failures() else 0


def _rows(request: DecontaminateRequest) -> Iterator[Mapping[str, Any]]:
    from tokenmill.tokens.decontaminate.documents import find_documents

    for rows in find_documents(str(request.documents), request.text_column).rows():
        yield from rows


def _tell(found: Mapping[str, Any]) -> None:
    """The result of the self-test for people."""
    console = output_console()
    kinds = found["recall"]
    console.print(
        _table(
            ("planted", "recall", "95 %", "held-out tasks", "with items too short to find", "precision"),
            (
                (
                    kind,
                    _share(about["all"]),
                    f"{about['all']['low']:.4f} to {about['all']['high']:.4f}",
                    _share(about["held_out"]),
                    _share(about["short_items_included"]),
                    _share(found["precision"][kind]),
                )
                for kind, about in kinds.items()
            ),
        )
    )
    console.print(
        _table(
            ("task", "items", "findable", "half", *kinds),
            (
                (
                    task,
                    f"{about['items']:,}",
                    f"{about['findable']:,}",
                    "held out" if about["held_out"] else "tuned",
                    *(_share(about[kind]) for kind in kinds),
                )
                for task, about in found["tasks"].items()
            ),
        )
    )
    clean = found["false_positives"]
    made_up = " (made up: give --documents for a figure that means something)" if clean["generated_documents"] else ""
    console.print(
        f"{clean['hits']} of {clean['of']:,} clean documents flagged{made_up}: {clean['share'] or 0:.4%}"
        f" ({clean['low']:.4%} to {clean['high']:.4%})",
        highlight=False,
    )
    for row in found["flagged"]:
        line = f"  {row['contamination']} {row['contamination_share']:.2f} {row['document']}: {row['excerpt']}"
        console.print(safe_line(line), highlight=False)
    if not found["failures"]:
        error_console().print("all targets are met", highlight=False)


def _share(count: Mapping[str, Any]) -> str:
    return "-" if count["share"] is None else f"{count['share']:.4f}"


def _table(columns: tuple[str, ...], rows: Any) -> Table:
    table = make_table()
    for name in columns:
        table.add_column(name, justify="left" if name in ("task", "item", "planted", "host", "excerpt") else "right")
    for row in rows:
        table.add_row(*(safe_line(str(value)) for value in row))
    return table
