"""`tokenmill ablate` without its command line: from an ablation to a decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmill.ablate.analysis import analyse
from tokenmill.ablate.anneal import anneal
from tokenmill.ablate.check import check, check_kind
from tokenmill.ablate.compare import compare
from tokenmill.ablate.decision import decide
from tokenmill.ablate.ladder import ladder
from tokenmill.ablate.measure import Measures
from tokenmill.ablate.mixing import mixing
from tokenmill.ablate.prepare import prepare
from tokenmill.ablate.protocol import make_protocol
from tokenmill.ablate.runner import Observer, Runner
from tokenmill.ablate.scores import load
from tokenmill.ablate.spec import Ablation
from tokenmill.ablate.study import RECORD, Study
from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder

STUDIES: Mapping[str, Callable[[Study], bool]] = {
    "compare": compare,
    "ladder": ladder,
    "mix": mixing,
    "anneal": anneal,
}


@dataclass(frozen=True)
class Outcome:
    """What an ablation came to."""

    folder: Path
    """Of the study."""
    complete: bool
    decision: Mapping[str, Any]
    reports: tuple[Path, ...]


def study_folder(output: Path, kind: str) -> Path:
    """Where a study of an ablation lies: the comparison in the output itself, others below it."""
    check_kind(kind)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file", where="--output", fix="give a folder, which is made if needed")
    return output if kind == "compare" else output / kind


def run(
    ablation: Ablation,
    output: Path,
    kind: str = "compare",
    *,
    device: str = "cpu",
    workers: int = -1,
    minutes: float | None = None,
    observer: Observer | None = None,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Prepare the arms, train, measure, judge, report; what is there already is not done again.

    device: cpu or cuda. workers: processes for recipes and tokenizing. minutes: from now; no run is begun that would
    not end before. tell: is told what is being done, a line at a time. ConfigError before any work where the ablation
    cannot be; FatalError and TokenmillError where work fails: the same call goes on.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    folder = study_folder(output, kind)
    checked = check(ablation, kind, device)
    with RunFolder(str(output / "data")).locked():
        prepared = prepare(ablation, output, workers=workers, observe=tell)
        for note in prepared.notes:
            (tell or _quiet)(note)
        tokenizer = prepared.tokenizer
        protocol = make_protocol(ablation, vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.sha256, device=device)
        held_out = {name: arm.held_out for name, arm in prepared.arms.items()}
        measures = Measures(checked.questions, held_out, tokenizer, protocol.model.parameters)
        runner = Runner(folder, measures, device=device, deadline=deadline, observer=observer)
        complete = STUDIES[kind](Study(kind, ablation, protocol, prepared, runner))
        return report(output, kind, complete=complete)


def report(output: Path, kind: str = "compare", *, complete: bool = True) -> Outcome:
    """Judge what is there and write report and decision; ConfigError where nothing is."""
    from tokenmill.ablate.report.write import write_analysis

    folder = study_folder(output, kind)
    if not (folder / RECORD).is_file():
        raise ConfigError(
            f"there is no {kind} study in {output}", why=f"it has no {RECORD}", fix="run it first: tokenmill ablate"
        )
    analysis = analyse(load(folder))
    reports = write_analysis(analysis, folder)
    return Outcome(folder, complete and not analysis.everything.missing, decide(analysis), tuple(reports))


def _quiet(line: str) -> None:
    pass
