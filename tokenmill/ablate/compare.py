"""The comparison: every arm trained on equal tokens with every seed, and the check on the learning rate."""

from __future__ import annotations

from dataclasses import replace

from tokenmill.ablate.protocol import LOW_LR
from tokenmill.ablate.runner import Job
from tokenmill.ablate.study import Outline, Study, seed_major

LR_CHECK = "lr_check"
CHECKED_SEEDS = 1
"""Seeds with which the check is made: it looks for flips, not for small differences."""


def compare(study: Study) -> bool:
    """Make all runs that are not made yet; False where the time did not suffice."""
    jobs = compare_jobs(study)
    study.record(jobs)
    return study.runner.run_all(jobs)


def compare_jobs(study: Outline) -> list[Job]:
    """The runs of a comparison, in order."""
    protocol, arms = study.protocol, study.arms
    jobs = [
        Job(arm=arm, seed=seed, protocol=protocol, view=study.view(arm, seed))
        for arm, seed in seed_major(arms, protocol.seeds)
    ]
    if study.ablation.lr_check and len(arms) > 1:
        settings = protocol.settings
        muon = None if settings.muon_lr is None else settings.muon_lr * LOW_LR
        low = replace(protocol, settings=replace(settings, lr=settings.lr * LOW_LR, muon_lr=muon))
        jobs += [
            Job(arm=arm, seed=seed, protocol=low, view=study.view(arm, seed), role=LR_CHECK)
            for arm, seed in seed_major(arms, protocol.seeds[:CHECKED_SEEDS])
        ]
    return jobs
