"""All that can be told of an ablation before any work: what `--plan` shows, and what every study begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tokenmill.ablate import prepare
from tokenmill.ablate.anneal import anneal_jobs, asked_anneal
from tokenmill.ablate.compare import compare_jobs
from tokenmill.ablate.decision import exit_code
from tokenmill.ablate.ladder import asked_ladder, ladder_jobs
from tokenmill.ablate.measure import Questions, read_questions
from tokenmill.ablate.mixing import NATURAL, PROPOSAL, asked_mixing, mixing_jobs
from tokenmill.ablate.noise import prior_noise
from tokenmill.ablate.protocol import make_protocol
from tokenmill.ablate.runner import Job
from tokenmill.ablate.spec import Ablation
from tokenmill.ablate.study import KINDS, Outline
from tokenmill.core.errors import ConfigError, did_you_mean

_JOBS: Mapping[str, Callable[[Outline], list[Job]]] = {
    "compare": compare_jobs,
    "ladder": lambda study: ladder_jobs(study, asked_ladder(study)),
    "mix": mixing_jobs,
    "anneal": lambda study: anneal_jobs(study, asked_anneal(study.ablation)),
}
_SECTIONS: Mapping[str, Callable[[Outline], object]] = {
    "ladder": asked_ladder,
    "mix": asked_mixing,
    "anneal": lambda study: asked_anneal(study.ablation),
}


@dataclass(frozen=True)
class Checked:
    """An ablation that can be, as far as can be told."""

    outline: Outline
    questions: Questions
    jobs: tuple[Job, ...]
    """All runs of the study, in order. None can be run: there is no data yet."""

    @property
    def tokens(self) -> int:
        """Trained tokens of all runs, each counted once where runs begin from others."""
        return sum(job.tokens for job in self.jobs)

    @property
    def flops(self) -> float:
        """Of the training of all runs."""
        return sum(job.flops for job in self.jobs)


def check(ablation: Ablation, kind: str = "compare", device: str = "cpu") -> Checked:
    """Read all that the ablation names and derive all runs of a study. Nothing is run or written.

    ConfigError where recipes, documents, token sets, the tokenizer, benchmarks, texts, settings of the training or of
    any study are wrong.
    """
    check_kind(kind)
    questions = read_questions(ablation.evaluate)
    vocab_size, tokenizer = prepare.tokenizer_facts(ablation)
    protocol = make_protocol(ablation, vocab_size=vocab_size, tokenizer=tokenizer, device=device)
    outline = Outline(kind, ablation, protocol)
    questions.tasks(protocol.model.parameters)
    prior_noise(protocol.size, "text", ablation.sections.get("noise"))
    for section, read in _SECTIONS.items():
        if section in ablation.sections:
            read(outline)
    jobs = _JOBS[kind](outline)
    prepare.check(ablation)
    return Checked(outline, questions, tuple(jobs))


def check_kind(kind: str) -> None:
    """ConfigError for a study that there is not."""
    if kind not in KINDS:
        raise ConfigError(f"there is no study {kind!r}", where="--study", why=did_you_mean(kind, KINDS))


def check_gate(ablation: Ablation, kind: str, fail_on: str, candidate: str | None) -> None:
    """ConfigError where a study can never open or shut this gate (`tokenmill.ablate.decision.exit_code`)."""
    if kind == "mix":
        names, baseline = [NATURAL, PROPOSAL], NATURAL
    elif kind == "anneal":
        asked = asked_anneal(ablation)
        names, baseline = [asked.base, *asked.candidates], asked.base
    else:
        names, baseline = list(ablation.arms), ablation.baseline
    if len(names) < 2:
        raise ConfigError(
            f"--fail-on {fail_on} needs two arms",
            where="arms",
            why=f"there is only {baseline}, and a gate compares a candidate with the baseline",
            fix="add the arm that the gate is about",
        )
    exit_code({"pairs": [], "p_best": dict.fromkeys(names, 0), "baseline": baseline}, fail_on, candidate)
