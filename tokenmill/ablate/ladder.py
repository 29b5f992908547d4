"""The ladder: arms at several sizes and lengths, for a law of scaling.

A size is trained once, on the most tokens; shorter runs branch off from checkpoints of its stable part and only decay
(warm-up, stable, decay: Hägele et al. 2024, arXiv:2405.18392), so a point costs a fifth of a run of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.ablate.protocol import Protocol
from tokenmill.ablate.runner import Job
from tokenmill.ablate.sections import Section
from tokenmill.ablate.study import Outline, Study, seed_major, steps_for
from tokenmill.core.errors import ConfigError
from tokenmill.train.schedule import stable_until

DECAY = 0.2
"""Share of a branch that is its decay, as in the presets."""
CPU_SIZES = ("400k", "800k", "1.6M", "3M")
GPU_SIZES = ("4M", "8M", "16M", "32M")
RATIOS = (5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Ladder:
    """The section `ladder` of an ablation."""

    sizes: tuple[str, ...]
    """Numbers of parameters, smallest first."""
    ratios: tuple[float, ...] = RATIOS
    """Trained tokens per parameter."""
    seeds: int = 1
    target: Mapping[str, float] | None = None
    """{parameters, tokens} to predict; None: ten times the compute of the largest run."""


def read_ladder(data: Any, device: str) -> Ladder:
    """The section, with its defaults. ConfigError names what is wrong."""
    section = Section("ladder", data, ("sizes", "ratios", "seeds", "target"))
    sizes = _sizes(section, CPU_SIZES if device == "cpu" else GPU_SIZES)
    ratios = sorted(section.numbers("ratios", RATIOS))
    if len(sizes) * len(ratios) < 6:
        raise ConfigError(
            f"{len(sizes)} sizes and {len(ratios)} lengths are too few for a law of scaling",
            where="ladder",
            why="a law has five numbers to find; below six points it says nothing",
            fix="four sizes or more that span a factor of 16 in compute, and three ratios",
        )
    target = section.mapping("target", ("parameters", "tokens"))
    wanted = {key: float(section.amount_of(value, key)) for key, value in target.items()} if target else None
    return Ladder(tuple(sizes), tuple(ratios), section.count("seeds", 1), wanted)


def _sizes(section: Section, default: Sequence[str]) -> list[str]:
    """Smallest first. 100k and 0.1M are one size, and would be runs in two places."""
    found: dict[int, str] = {}
    for size in section.texts("sizes", default):
        number = section.amount_of(size, "sizes")
        if number in found:
            raise ConfigError(
                f"{found[number]} and {size} are the same size", where="ladder.sizes", fix="a list of different sizes"
            )
        found[number] = size
    return [found[number] for number in sorted(found)]


def asked_ladder(study: Outline) -> Ladder:
    """The section of an ablation. ConfigError names what is wrong."""
    return read_ladder(study.ablation.sections.get("ladder"), study.protocol.device)


def ladder(study: Study) -> bool:
    """Make all runs that are not made yet; False where the time did not suffice."""
    asked = asked_ladder(study)
    jobs = ladder_jobs(study, asked)
    # the longest run of a size comes last: it stands for its size where one value per arm and seed is shown
    listed = sorted(jobs, key=lambda job: (job.facts["parameters"], job.protocol.settings.steps))
    study.record(listed, target=dict(asked.target) if asked.target else None)
    return study.runner.run_all(jobs)


def ladder_jobs(study: Outline, asked: Ladder) -> list[Job]:
    """The runs of a ladder, in order: sizes from the smallest, a trunk before its branches."""
    jobs: list[Job] = []
    for size in asked.sizes:
        trunk, branches = protocols(study, size, asked.ratios)
        facts = {"parameters": trunk.model.matmul_parameters, "size": size}
        for arm, seed in seed_major(study.arms, range(asked.seeds)):
            place = f"runs/{size}/{arm}/seed-{seed}"
            starts = tuple(stable_until(one.settings) for one in branches)
            view = study.view(arm, seed)
            jobs.append(
                Job(
                    arm=arm,
                    seed=seed,
                    protocol=trunk,
                    view=view,
                    folder=f"{place}/whole",
                    keep_steps=starts,
                    facts=facts,
                )
            )
            for one, begins in zip(branches, starts, strict=True):
                folder = f"{place}/{one.settings.steps}-steps"
                jobs.append(
                    Job(
                        arm=arm,
                        seed=seed,
                        protocol=one,
                        view=view,
                        folder=folder,
                        start=(f"{place}/whole", begins, "continue"),
                        facts=facts,
                    )
                )
    return jobs


def protocols(study: Outline, size: str, ratios: Sequence[float]) -> tuple[Protocol, list[Protocol]]:
    """(the longest run of a size, its branches): all with one learning rate and batch, that of the longest."""
    shape = study.derive(size=size, tokens=1 << 20).model
    whole = study.derive(size=size, tokens=round(max(ratios) * shape.parameters))
    settings = whole.settings
    branches = []
    for ratio in sorted(ratios)[:-1]:
        steps = steps_for(ratio * shape.parameters, settings.batch_tokens)
        decay = max(1, round(DECAY * steps))
        if steps - decay <= settings.warmup_steps or steps >= settings.steps:
            raise ConfigError(
                f"{ratio:g} tokens per parameter are too few for {size}",
                where="ladder.ratios",
                why=f"{steps} steps of {settings.batch_tokens:,} tokens, of which {settings.warmup_steps} warm up",
                fix="larger ratios, or a smaller train.batch_tokens",
            )
        branches.append(whole.with_settings(steps=steps, decay_steps=decay))
    return whole, branches
