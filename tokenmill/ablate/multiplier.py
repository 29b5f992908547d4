"""How many tokens an arm is worth: "A reaches this loss with k times fewer tokens than B", from curves of one size.

The loss asked for is the one that the worse of both has at the end of the stable phase of the schedule: while the
learning rate decays, the loss falls for another reason than tokens, and a curve read there would say 1 for everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenmill.ablate.noise import Noise
from tokenmill.ablate.scores import Floats
from tokenmill.ablate.statistics import Spread, moderate
from tokenmill.ablate.student import t_quantile

MOST = 1000.0
"""Ends of intervals beyond this, or its inverse, are cut: no curve that was seen reaches as far."""
CLEAR_FALL = 2.0
"""Least fall of the curves over the half that is looked at, in sigma: a flatter curve does not tell tokens apart."""


@dataclass(frozen=True)
class Multiplier:
    """Tokens of the second arm for the loss of the first, per token of the first."""

    value: float
    """Above 1: the first arm is worth more. Geometric mean over seeds."""
    interval: tuple[float, float]
    """95 %, moderated t over seeds."""
    loss: float
    """ln(bits per byte) at which it was read, mean over seeds."""
    seeds: int


def effective_data(
    tokens: npt.ArrayLike, first: Floats, second: Floats, noise: Noise, *, stable_tokens: float = math.inf
) -> Multiplier | None:
    """The multiplier of two arms from their curves, (seeds, evaluations) of ln(bits per byte), paired by seed.

    stable_tokens: trained tokens at which the learning rate begins to fall. Curves are made monotone first (running
    minimum). None where fewer than 3 evaluations are known before that, where the curves do not overlap, or where they
    are flat: where they fall by less than the noise, a loss says nothing about tokens.
    """
    trained = np.asarray(tokens, np.float64)
    inside = (trained > 0) & (trained <= stable_tokens)
    if inside.sum() < 3:
        return None
    x = np.log(trained[inside])
    ratios, slopes, losses = [], [], []
    for a, b in zip(first[:, inside], second[:, inside], strict=True):
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            continue
        a, b = np.minimum.accumulate(a), np.minimum.accumulate(b)
        loss = max(a[-1], b[-1])
        at_a, at_b = _reaches(x, a, loss), _reaches(x, b, loss)
        slope = (a[-1] + b[-1] - a[len(x) // 2] - b[len(x) // 2]) / 2 / (x[-1] - x[len(x) // 2])
        if at_a is None or at_b is None or not slope < 0:
            continue
        ratios.append(at_b - at_a)
        slopes.append(-slope)
        losses.append(loss)
    if not ratios or float(np.mean(slopes)) * (x[-1] - x[len(x) // 2]) < CLEAR_FALL * noise.sigma:
        return None
    count, mean = len(ratios), float(np.mean(ratios))
    measured = Spread(float(np.var(ratios, ddof=1)), count - 1.0) if count > 1 else Spread(0.0, 0.0)
    # noise of a loss is noise of tokens by the slope of the curve; a difference has it twice
    prior = Noise(math.sqrt(2) * noise.sigma / float(np.mean(slopes)), noise.df, noise.source)
    spread = moderate(measured, prior)
    half = t_quantile(0.975, spread.df) * math.sqrt(spread.variance / count)
    return Multiplier(math.exp(mean), (_capped(mean - half), _capped(mean + half)), float(np.mean(losses)), count)


def _capped(exponent: float) -> float:
    return math.exp(min(max(exponent, -math.log(MOST)), math.log(MOST)))


def _reaches(x: Floats, curve: Floats, loss: float) -> float | None:
    """ln(tokens) at which a falling curve first has the loss, straight between evaluations; None outside of them."""
    below = np.flatnonzero(curve <= loss)
    if not below.size:
        return None
    at = int(below[0])
    if at == 0:
        return float(x[0]) if curve[0] == loss else None
    share = (curve[at - 1] - loss) / (curve[at - 1] - curve[at])
    return float(x[at - 1] + share * (x[at] - x[at - 1]))
