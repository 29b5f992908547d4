"""The learning rate of every step, as a share of its peak: a pure function of the settings and the step.

wsd       warm-up, stable, and a linear decay over the last `decay_steps` (Hu et al. 2024, arXiv:2404.06395; linear as
          in Hägele et al. 2024, arXiv:2405.18392)
cosine    warm-up, then half a cosine to the end
linear    warm-up, then a straight line to the end
constant  warm-up, then 1

Step i is the i-th from 0. The decay reaches `final_lr` one step behind the last, so that no step is trained with a rate
of zero. A branch is the same wsd with other `steps` and `decay_steps`, begun from a checkpoint of the stable part.
"""

from __future__ import annotations

import math

from tokenmill.train.settings import TrainSettings


def multiplier(settings: TrainSettings, step: int) -> float:
    """Share of the peak learning rate at a step, 0 to `steps` - 1; above 0 until `final_lr` is."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    left = settings.steps - step
    if settings.schedule == "constant":
        height = 1.0
    elif settings.schedule == "wsd":
        height = min(1.0, left / settings.decay_steps) if settings.decay_steps else 1.0
    else:
        share = left / max(settings.steps - settings.warmup_steps, 1)
        height = share if settings.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * share))
    return settings.final_lr + (1 - settings.final_lr) * height


def stable_until(settings: TrainSettings) -> int:
    """Steps after which a checkpoint is still of the part with the peak rate: where branches may begin."""
    if settings.schedule == "wsd":
        return settings.steps - settings.decay_steps
    return settings.steps if settings.schedule == "constant" else settings.warmup_steps
