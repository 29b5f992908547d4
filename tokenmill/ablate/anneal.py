"""`anneal`: candidates are judged in the decay of one run, against the same decay on its own data.

A model is trained on the base arm to the end of its stable phase, once; from that checkpoint the learning rate decays
on a mix of base and candidate, and for the control on base alone, for equal tokens (micro-annealing, as in Blakeney et
al. 2024, arXiv:2406.03476, and OLMo 2, arXiv:2501.00656). It costs a fifth of a run for each candidate and suits small
sets of high quality; what it says holds for the end of a training, not for the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.ablate.blend import check_together
from tokenmill.ablate.runner import Job
from tokenmill.ablate.sections import Section
from tokenmill.ablate.spec import Ablation
from tokenmill.ablate.study import Outline, Study, arm_facts, seed_major, steps_for
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.train.schedule import stable_until

TRUNK = "trunk"
_LEAST_DECAY = 2
"""Steps: with one, all of the decay is a single step on a single batch."""


@dataclass(frozen=True)
class Anneal:
    """The section `anneal` of an ablation."""

    base: str
    """Arm of the stable phase and of the control."""
    candidates: tuple[str, ...]
    share: float = 0.5
    """Of the candidate in the decay; the rest is base. OLMo 2 took half."""
    tokens: int | None = None
    """Of a decay; None: as the preset has it, a fifth of a run."""


def read_anneal(data: Any, arms: Sequence[str], baseline: str) -> Anneal:
    """The section, with its defaults. ConfigError names what is wrong."""
    section = Section("anneal", data, ("base", "candidates", "share", "tokens"))
    base = section.one_of("base", list(arms), baseline)
    candidates = section.texts("candidates", [arm for arm in arms if arm != base])
    for name in candidates:
        if name not in arms or name == base:
            raise ConfigError(
                f"{name!r} is no candidate for the anneal",
                where="anneal.candidates",
                why="it is the base" if name == base else did_you_mean(name, [arm for arm in arms if arm != base]),
            )
    if not candidates:
        raise ConfigError("an anneal needs a candidate", where="anneal", fix="a second arm")
    return Anneal(base, tuple(candidates), section.number("share", 0.5, 0, 1.000001), section.amount("tokens"))


def asked_anneal(ablation: Ablation) -> Anneal:
    """The section of an ablation. ConfigError names what is wrong."""
    return read_anneal(ablation.sections.get("anneal"), list(ablation.arms), ablation.baseline)


def anneal(study: Study) -> bool:
    """Make all runs that are not made yet; False where the time did not suffice."""
    asked = asked_anneal(study.ablation)
    check_together({name: study.prepared.arms[name] for name in (asked.base, *asked.candidates)})
    jobs = anneal_jobs(study, asked)
    tokens = study.protocol.settings.tokens
    names = (asked.base, *asked.candidates)
    arms = {name: {**arm_facts(study.prepared.arms[name], tokens), "what": _what(asked, name)} for name in names}
    for name in names:  # a document is seen in the decay only, and for base in the stable phase before it
        arms[name]["epochs"] = _epochs(study, asked, jobs, name)
    study.record(jobs, arms, baseline=asked.base, anneal={"share": asked.share, "base": asked.base})
    return study.runner.run_all(jobs)


def anneal_jobs(study: Outline, asked: Anneal) -> list[Job]:
    """The stable phase, then the decays of all candidates and the control, seed by seed."""
    whole = study.protocol
    stable = stable_until(whole.settings)
    if whole.settings.schedule != "wsd" or stable <= whole.settings.warmup_steps:
        raise ConfigError(
            "an anneal begins in the stable part of a run",
            where="train",
            why=f"schedule {whole.settings.schedule}, warm-up {whole.settings.warmup_steps}, stable to step {stable}",
            fix="schedule wsd, and more steps",
        )
    batch = whole.settings.batch_tokens
    decay = whole.settings.decay_steps if asked.tokens is None else steps_for(asked.tokens, batch)
    if decay < _LEAST_DECAY:
        raise ConfigError(
            f"{asked.tokens or decay * batch:,} tokens are too few for a decay",
            where="anneal.tokens",
            why=f"a step takes {batch:,} tokens, and a decay has {_LEAST_DECAY} steps or more",
            fix=f"{_LEAST_DECAY * batch:,} tokens or more, or a smaller train.batch_tokens",
        )
    trunk = whole.with_settings(steps=stable, decay_steps=0)
    end = whole.with_settings(steps=stable + decay, decay_steps=decay)
    place = f"runs/{TRUNK}/{asked.base}/seed-0"
    jobs = [Job(arm=asked.base, seed=0, protocol=trunk, view=study.view(asked.base, 0), role=TRUNK, folder=place)]
    for arm, seed in seed_major([asked.base, *asked.candidates], whole.seeds):
        weights = {asked.base: 1.0} if arm == asked.base else {asked.base: 1 - asked.share, arm: asked.share}
        view = study.blend(weights, decay * batch, seed)
        # the stable phase had seed 0: decays begin from it in another order of their documents
        jobs.append(Job(arm=arm, seed=seed, protocol=end, view=view, start=(place, stable, "new")))
    return jobs


def _what(asked: Anneal, name: str) -> str:
    if name == asked.base:
        return f"control: {name} alone"
    return f"{asked.share:.0%} {name}, the rest {asked.base}"


def _epochs(study: Study, asked: Anneal, jobs: Sequence[Job], name: str) -> float:
    trunk, end = jobs[0].protocol.settings, jobs[1].protocol.settings
    decay = end.tokens - trunk.tokens
    seen = trunk.tokens + decay if name == asked.base else asked.share * decay
    return seen / max(study.prepared.arms[name].tokens, 1)
