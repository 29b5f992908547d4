"""Experiments that are drawn: arms, seeds and items with known effects and known noise."""

from __future__ import annotations

import numpy as np

from tokenmill.ablate.noise import Noise
from tokenmill.ablate.statistics import Panel

SIGMA = 0.003
NOISE = Noise(SIGMA, 6.0, "test")


def experiment(
    random: np.random.Generator,
    arms: int,
    seeds: int,
    *,
    effect: float = 0.0,
    sigma: float = SIGMA,
    units: tuple[int, ...] = (60,),
    item: float = 0.02,
    arm_item: float = 0.02,
) -> Panel:
    """The first arm is better by `effect`.

    A seed moves all arms alike by 0.5 %, and each by `sigma`; items differ by a factor, each from run to run by `item`,
    and from arm to arm by `arm_item`, with no effect on average.
    """
    run = random.normal(0, sigma, (arms, seeds)) + random.normal(0, 0.005, seeds)
    run[0] -= effect
    values = np.zeros((arms, seeds))
    nats = []
    for count in units:
        ease = random.lognormal(3, 0.6, count)
        noise = random.normal(0, item, (arms, seeds, count)) + random.normal(0, arm_item, (arms, 1, count))
        found = ease * np.exp(run[:, :, None] + noise)
        nats.append(found)
        values += np.log(found.sum(axis=2) / ease.sum()) / len(units)
    return Panel(tuple(f"arm {at}" for at in range(arms)), values, tuple(nats))


def without(panel: Panel, arm: int, seeds: slice = slice(None)) -> Panel:
    """The same without some runs of an arm."""
    values, units = panel.values.copy(), tuple(nats.copy() for nats in panel.units)
    values[arm, seeds] = np.nan
    for nats in units:
        nats[arm, seeds] = np.nan
    return Panel(panel.arms, values, units)
