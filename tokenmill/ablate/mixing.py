"""`mix`: random mixtures of the arms are trained, a regression proposes the best one, and that one is trained to see.

As in RegMix (Liu et al. 2024, arXiv:2407.01492): many small models on mixtures around the natural one, ln(bits per
byte) as a function of the weights. A regression is a guess; what counts is the comparison of its proposal with the
natural mixture, over all seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenmill.ablate.analysis import analyse
from tokenmill.ablate.blend import check_together
from tokenmill.ablate.regression import Proposal, random_mixtures, weight_limits
from tokenmill.ablate.runner import Job
from tokenmill.ablate.scores import load
from tokenmill.ablate.sections import Section
from tokenmill.ablate.study import Outline, Study, seed_major
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import canonical_json

NATURAL = "natural"
PROPOSAL = "proposal"
MOST_EPOCHS = 4.0
_FORMS = ("linear", "quadratic")


@dataclass(frozen=True)
class Mixing:
    """The section `mix` of an ablation."""

    mixtures: int
    """Random mixtures, the natural one among them."""
    strength: float = 4.0
    """How near they are to the natural shares (`random_mixtures`)."""
    form: str = "linear"
    """Of the regression, linear or quadratic."""
    max_epochs: float = MOST_EPOCHS
    """Most times that a document may be seen."""


def read_mixing(data: Any, sources: int) -> Mixing:
    """The section, with its defaults. ConfigError names what is wrong. sources: number of arms."""
    section = Section("mix", data, ("mixtures", "strength", "form", "max_epochs"))
    form = section.one_of("form", _FORMS, "linear")
    least = sources + 2 if form == "linear" else 2 + sources * (sources + 3) // 2
    mixtures = section.count("mixtures", max(16, 2 * least))
    if mixtures < least:
        raise ConfigError(
            f"{mixtures} mixtures of {sources} arms are too few for a {form} regression",
            where="mix.mixtures",
            fix=f"at least {least}",
        )
    strength = section.number("strength", 4.0, 0, 1e6)
    return Mixing(mixtures, strength, form, section.number("max_epochs", MOST_EPOCHS, 0, 1e6))


def mixing(study: Study) -> bool:
    """Make all runs that are not made yet; False where the time did not suffice."""
    arms = study.prepared.arms
    asked = asked_mixing(study)
    check_together(arms)
    natural, limits = _shares(study, asked)
    drawn = random_mixtures(
        list(natural.values()), asked.mixtures, strength=asked.strength, limits=list(limits.values())
    )
    weights = {
        name: dict(zip(arms, map(float, row), strict=True)) for name, row in zip(names(asked), drawn, strict=True)
    }
    facts = {"form": asked.form, "natural": natural, "limits": limits}
    jobs = [_job(study, name, share, 0) for name, share in weights.items()]
    _record(study, jobs, weights, facts)
    if not study.runner.run_all(jobs):
        return False
    proposal = _proposal(study)
    weights[PROPOSAL] = {name: float(share) for name, share in zip(proposal.sources, proposal.weights, strict=True)}
    jobs += check_jobs(study, weights)
    _record(study, jobs, weights, facts)
    return study.runner.run_all(jobs)


def asked_mixing(study: Outline) -> Mixing:
    """The section of an ablation. ConfigError names what is wrong."""
    if len(study.arms) < 2:
        raise ConfigError(
            "a mixture needs two arms or more", where="arms", why=f"there is only {study.arms[0]}", fix="add an arm"
        )
    return read_mixing(study.ablation.sections.get("mix"), len(study.arms))


def names(asked: Mixing) -> list[str]:
    """Of the random mixtures, the natural one first."""
    return [NATURAL, *(f"mixture-{number:02d}" for number in range(1, asked.mixtures))]


def mixing_jobs(study: Outline) -> list[Job]:
    """All runs, for a plan: shares are not known before the data is, and the proposal not before mixtures are run."""
    random = names(asked_mixing(study))
    unknown = {name: {study.arms[0]: 1.0} for name in (*random, PROPOSAL)}
    return [*(_job(study, name, unknown[name], 0) for name in random), *check_jobs(study, unknown)]


def _shares(study: Study, asked: Mixing) -> tuple[dict[str, float], dict[str, float]]:
    """(natural share of each arm, by its unique tokens; most share of it that repeats no document too often)."""
    arms = study.prepared.arms
    total = sum(arm.tokens for arm in arms.values())
    limits = weight_limits([arm.tokens for arm in arms.values()], study.protocol.settings.tokens, asked.max_epochs)
    return {name: arm.tokens / total for name, arm in arms.items()}, dict(zip(arms, limits, strict=True))


def _job(study: Outline, name: str, weights: Mapping[str, float], seed: int) -> Job:
    folder = ""
    if name == PROPOSAL:
        # more mixtures propose another one, which is another arm: what was trained on the old proposal stays
        digest = hashlib.sha256(canonical_json(dict(weights))).hexdigest()
        folder = f"runs/main/{PROPOSAL}-{digest[:12]}/seed-{seed}"
    view = study.blend(weights, study.protocol.settings.tokens, seed)
    return Job(arm=name, seed=seed, protocol=study.protocol, view=view, folder=folder)


def check_jobs(study: Outline, weights: Mapping[str, Mapping[str, float]]) -> list[Job]:
    """The proposal against the natural mixture, of which one run is there already."""
    pairs = seed_major([NATURAL, PROPOSAL], study.protocol.seeds)
    return [_job(study, name, weights[name], seed) for name, seed in pairs if (name, seed) != (NATURAL, 0)]


def _record(
    study: Study, jobs: list[Job], weights: Mapping[str, Mapping[str, float]], facts: Mapping[str, Any]
) -> None:
    tokens = study.protocol.settings.tokens
    arms = {
        name: {
            "what": ", ".join(f"{share:.1%} {arm}" for arm, share in shares.items()),
            "weights": dict(shares),
            "proposal": name == PROPOSAL,
            # the arm that is repeated most says how often documents are seen
            "epochs": max(share * tokens / study.prepared.arms[arm].tokens for arm, share in shares.items()),
        }
        for name, shares in weights.items()
    }
    study.record(jobs, arms, baseline=NATURAL, mix=dict(facts))


def _proposal(study: Study) -> Proposal:
    analysis = analyse(load(study.folder))
    if analysis.proposal is None:
        raise ConfigError(
            "no mixture can be proposed", where=str(study.folder), why="; ".join(analysis.notes), fix="more mixtures"
        )
    return analysis.proposal
