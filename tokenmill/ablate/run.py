"""`tokenmill ablate` without its command line: from an ablation to a decision."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmill.ablate.analysis import analyse
from tokenmill.ablate.anneal import anneal
from tokenmill.ablate.compare import compare
from tokenmill.ablate.decision import decide
from tokenmill.ablate.ladder import ladder
from tokenmill.ablate.measure import Measures
from tokenmill.ablate.mixing import mixing
from tokenmill.ablate.prepare import prepare
from tokenmill.ablate.protocol import Protocol, make_protocol
from tokenmill.ablate.runner import Observer, Runner
from tokenmill.ablate.scores import load
from tokenmill.ablate.spec import Ablation
from tokenmill.ablate.study import KINDS, RECORD, Study
from tokenmill.core.errors import ConfigError, did_you_mean
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
    if kind not in KINDS:
        raise ConfigError(f"there is no study {kind!r}", why=did_you_mean(kind, KINDS))
    return output if kind == "compare" else output / kind


def show_protocol(ablation: Ablation, device: str) -> Protocol:
    """The protocol before any work: of the tokenizer that is named, or that will be trained."""
    if ablation.train_tokenizer is not None:
        return make_protocol(ablation, vocab_size=int(ablation.train_tokenizer["vocab_size"]), device=device)
    if ablation.tokenizer:
        from tokenmill.tokens.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(ablation.tokenizer)
        return make_protocol(ablation, vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.sha256, device=device)
    from tokenmill.tokens.mix.spec import load_mixture
    from tokenmill.tokens.tokenset import TokenSet

    ready = next(arm for arm in ablation.arms.values() if arm.kind in ("tokens", "mixture"))
    sources = load_mixture(ready.mixture).sources.values() if ready.mixture else ()
    place = ready.tokens or next(source.tokens for source in sources if source.tokens)
    info = TokenSet.open(place).manifest.tokenizer
    return make_protocol(ablation, vocab_size=info.vocab_size, tokenizer=info.sha256, device=device)


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
    show_protocol(ablation, device)
    check_evaluation(ablation)
    with RunFolder(str(output / "data")).locked():
        prepared = prepare(ablation, output, workers=workers, observe=tell)
        for note in prepared.notes:
            (tell or _quiet)(note)
        tokenizer = prepared.tokenizer
        protocol = make_protocol(ablation, vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.sha256, device=device)
        held_out = {name: arm.held_out for name, arm in prepared.arms.items()}
        measures = Measures(ablation.evaluate, held_out, tokenizer, protocol.model.parameters)
        runner = Runner(folder, measures, device=device, deadline=deadline, observer=observer)
        complete = STUDIES[kind](Study(kind, ablation, prepared, runner, protocol))
        return report(output, kind, complete=complete)


def check_evaluation(ablation: Ablation) -> None:
    """ConfigError where texts or benchmarks are not there: before recipes run for an hour."""
    if not ablation.evaluate.texts and not ablation.evaluate.kit:
        raise ConfigError(
            "nothing says which arm is better",
            where="evaluate",
            why="there is neither a neutral text nor a benchmark; documents held out of an arm favour that arm",
            fix="evaluate: {texts: {NAME: FILE}}, or kit: FOLDER",
        )
    for path in (*ablation.evaluate.texts.values(), ablation.evaluate.kit):
        if path and not os.path.exists(path):
            raise ConfigError(f"there is nothing at {path}", where="evaluate", fix="paths are relative to the file")


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
