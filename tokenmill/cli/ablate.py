"""`tokenmill ablate`: shows the plan, follows the runs, tells the verdict."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tokenmill.ablate.check import Checked, check, check_gate
from tokenmill.ablate.decision import exit_code
from tokenmill.ablate.runner import Job, Observer
from tokenmill.ablate.spec import Ablation, parse_ablation
from tokenmill.cli.console import error_console, make_table, output_console, safe, safe_line
from tokenmill.cli.run import EXIT_RESUMABLE
from tokenmill.core.errors import ConfigError
from tokenmill.io.settings_file import read_yaml

if TYPE_CHECKING:
    from tokenmill.ablate.run import Outcome
    from tokenmill.train.loop import StepLog, TrainResult

_WORTH_TELLING = 10.0
"""Seconds between lines on a run that is under way, where nobody watches a terminal."""


@dataclass(frozen=True)
class AblateRequest:
    """The arguments of `tokenmill ablate`."""

    ablation: str
    output: str | None
    study: str = "compare"
    plan_only: bool = False
    report_only: bool = False
    assignments: tuple[str, ...] = ()
    device: str = "auto"
    minutes: float | None = None
    fail_on: str = "never"
    candidate: str | None = None
    workers: int = -1
    as_json: bool = False


class _Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM: stop in order."""


def run_ablation(request: AblateRequest) -> int:
    """Do what was asked for; returns the exit code."""
    ablation = read_ablation(request.ablation, request.assignments)
    _check(request, ablation)
    if request.plan_only:
        show_ablation_plan(ablation, request.device, request.study, as_json=request.as_json)
        return 0
    if request.output is None:
        raise ConfigError("no output given", fix="--output FOLDER, or --plan to see what would be done")
    from tokenmill.ablate.run import report, run
    from tokenmill.train.create import choose_device

    output = Path(request.output)
    if request.report_only:
        return _tell(request, report(output, request.study))
    observer = _Telling()
    previous = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        outcome = run(
            ablation,
            output,
            request.study,
            device=choose_device(request.device),
            workers=request.workers,
            minutes=request.minutes,
            observer=observer,
            tell=_line,
        )
    except _Stopped:
        print("stopped. What is finished stays; run the same command again to go on.", file=sys.stderr)
        return EXIT_RESUMABLE
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return _tell(request, outcome)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped


def _line(text: str) -> None:
    error_console().print(safe_line(text), highlight=False, soft_wrap=True)


def read_ablation(path: str, assignments: Sequence[str] = ()) -> Ablation:
    """The ablation of a file with `key=value` changes; values are YAML, keys may have dots."""
    import yaml

    data = read_yaml(Path(path), "ablation")
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text!r} is no key=value", fix="such as --set seeds=5 or --set train.lr=0.004")
        *folders, last = _keys(key)
        place = data
        for name in folders:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ConfigError(f"--set {text!r}: {'.'.join(folders)} has no keys below it")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text!r} cannot be read", why=str(error)) from error
    return parse_ablation(data, path, Path(path).absolute().parent)


def _keys(path: str) -> list[str]:
    """The keys on the way to a setting. What an arm has below `set` is one key: arms.A.set.gopher_quality.min_words."""
    keys = path.split(".")
    of_arm = keys[0] == "arms" and keys[2:3] == ["set"] and len(keys) > 3
    return [*keys[:3], ".".join(keys[3:])] if of_arm else keys


def _check(request: AblateRequest, ablation: Ablation) -> None:
    """What can be told before hours of work."""
    if request.minutes is not None and not request.minutes > 0:
        raise ConfigError(f"--minutes {request.minutes:g} is not above 0")
    if request.candidate is not None and request.fail_on == "never":
        raise ConfigError("--candidate belongs to --fail-on", fix="add --fail-on worse or --fail-on not-better")
    if request.fail_on != "never":
        check_gate(ablation, request.study, request.fail_on, request.candidate)


def show_ablation_plan(
    ablation: Ablation, device: str = "auto", study: str = "compare", *, as_json: bool = False
) -> None:
    """Print arms, protocol and cost. ConfigError where the ablation cannot be."""
    from tokenmill.train.create import choose_device

    checked = check(ablation, study, choose_device(device))
    protocol = checked.outline.protocol
    console = output_console()
    if as_json:
        jobs = [job.entry() | {"steps": job.steps, "tokens": job.tokens, "flops": job.flops} for job in checked.jobs]
        cost = {"runs": len(jobs), "tokens": checked.tokens, "flops": checked.flops, "jobs": jobs}
        found = {"ablation": ablation.to_json(), "study": study, "protocol": protocol.to_json(), **cost}
        console.print_json(json.dumps(found))
        return
    table = make_table(title=f"{safe(ablation.name)} · protocol {protocol.to_json()['hash'][:12]}")
    table.add_column("arm", overflow="fold")
    table.add_column("what", overflow="fold")
    for name, arm in ablation.arms.items():
        table.add_row(safe(name) + (" (baseline)" if name == ablation.baseline else ""), safe(arm.what()))
    console.print(table)
    # a ladder has sizes of its own, and its largest run says most
    shown = max(checked.jobs, key=lambda job: job.flops).protocol if study == "ladder" else protocol
    for line in (*shown.lines, *_cost(checked)):
        console.print(safe(line), highlight=False, soft_wrap=True)
    console.print(f"evaluations in a run: steps {', '.join(map(str, shown.eval_steps))}", highlight=False)


def _cost(checked: Checked) -> list[str]:
    """What is run, in groups that are alike, and what it takes."""
    study, total = checked.outline, f"{checked.tokens:,} tokens, {checked.flops:.3g} FLOPs"
    if study.kind == "compare":
        arms, seeds = len(study.arms), len(study.protocol.seeds)
        checks = f" and {arms} at a quarter of the learning rate" if len(checked.jobs) > arms * seeds else ""
        return [f"runs: {arms} arms x {seeds} seeds{checks}: {total}"]
    alike: dict[tuple[str, ...], list[Job]] = {}
    for job in checked.jobs:
        settings = job.protocol.settings
        size = f"{job.protocol.model.parameters:,} parameters, lr {settings.lr:.3g}"
        begins = f"from step {job.start[1]:,} of {job.start[0]}" if job.start else "from the beginning"
        kind = "trunk" if job.role != "main" else "run"
        shared = begins if study.kind == "anneal" or not job.start else f"from step {job.start[1]:,} of its trunk"
        alike.setdefault((kind, size, f"{settings.steps:,} steps", shared), []).append(job)
    lines = [
        f"{len(jobs)} x {', '.join(kind)}: {sum(job.tokens for job in jobs):,} tokens" for kind, jobs in alike.items()
    ]
    note = " (the weights of the proposal follow from the other runs)" if study.kind == "mix" else ""
    return [*lines, f"runs of {study.kind}: {len(checked.jobs)}{note}: {total}"]


class _Telling(Observer):
    """A line when a run begins and ends, and now and then between; on stderr."""

    def __init__(self) -> None:
        self._number, self._of, self._told = 0, 0, 0.0

    def began(self, job: Job, number: int, of: int) -> None:
        self._number, self._of, self._told = number, of, time.monotonic()

    def stepped(self, job: Job, log: StepLog) -> None:
        now = time.monotonic()
        if now - self._told < _WORTH_TELLING:
            return
        self._told = now
        speed = "" if log.tokens_per_second is None else f", {log.tokens_per_second:,.0f} tokens/s"
        steps = job.protocol.settings.steps
        _line(f"{self._place(job)}: step {log.step:,} of {steps:,}, loss {log.loss:.3f}{speed}")

    def ended(self, job: Job, result: TrainResult, *, reused: bool) -> None:
        if reused:
            _line(f"{self._place(job)}: done before")
            return
        _line(f"{self._place(job)}: {result.tokens:,} tokens in {result.seconds:,.0f} s, loss {result.final_loss:.3f}")

    def stopped(self, left: Sequence[Job]) -> None:
        _line(f"the time is over: {len(left)} runs are left, first {left[0].name}. The same command goes on.")

    def _place(self, job: Job) -> str:
        return f"run {self._number}/{self._of} {job.name}"


def _tell(request: AblateRequest, outcome: Outcome) -> int:
    decision = outcome.decision
    if request.as_json:
        output_console().print_json(json.dumps(dict(decision)))
    else:
        _tell_decision(decision)
        console = output_console()
        for path in outcome.reports:
            if path.name in ("report.html", "report.md"):
                console.print(f"report   {safe(str(path))}", highlight=False, soft_wrap=True)
        console.print(f"decision {safe(str(outcome.folder / 'decision.json'))}", highlight=False, soft_wrap=True)
    if not outcome.complete:
        return EXIT_RESUMABLE
    return exit_code(decision, request.fail_on, request.candidate)


def _tell_decision(decision: Mapping[str, Any]) -> None:
    console = output_console()
    pairs = decision["pairs"]
    if pairs:
        table = make_table(title="who is better (effect: relative difference of bits per byte, 95 % interval)")
        for name in ("pair", "verdict", "effect", "P(better)", "seeds needed"):
            table.add_column(name, overflow="fold")
        for pair in pairs:
            low, high = pair["interval"]
            effect = f"{_percent(pair['effect'])} ({_percent(low)} to {_percent(high)})"
            needed = "" if pair["seeds_needed"] is None else str(pair["seeds_needed"])
            verdict = f"{pair['verdict']} {safe(str(pair['better']))}" if pair["verdict"] != "TIE" else "TIE"
            names = f"{safe(pair['first'])} against {safe(pair['second'])}"
            p = "" if pair["p_better"] is None else f"{pair['p_better']:.3f}"
            table.add_row(names, verdict, effect, p, needed)
        console.print(table)
    for line in decision["caveats"]:
        console.print(f"note: {safe(str(line))}", highlight=False, soft_wrap=True)


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:+.2f} %"
