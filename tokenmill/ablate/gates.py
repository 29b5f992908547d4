"""Which tasks say something at this size: four gates per task, two of which decide.

Gates 1 and 2 look at the baseline arm alone, and decide what is in the aggregate. Gates 3 and 4 look at differences
between arms. They are shown and decide nothing: choosing the tasks on which arms differ would make identical arms
differ. Criteria: FineWeb-2's early-signal tasks (above random, monotone, low noise, consistent ranking) and the ratio
of signal to noise of arXiv 2508.13144.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenmill.ablate.scores import Floats, Scores
from tokenmill.ablate.statistics import residual_spread

ERRORS_ABOVE = 3.0
MONOTONE = 0.5
SIGNAL = 2.0
STABLE = 0.5
STABLE_SHARE = 0.3
"""Share of the evaluations, the last ones, over which the ranking is looked at."""


@dataclass(frozen=True)
class Gate:
    """One criterion: None where it could not be measured, which does not shut it."""

    name: str
    value: float
    passed: bool | None
    reason: str
    decides: bool


@dataclass(frozen=True)
class TaskGates:
    """All gates of a task."""

    task: str
    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether the task is in the aggregate: no deciding gate is shut."""
        return all(gate.passed is not False for gate in self.gates if gate.decides)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not, in words."""
        return tuple(gate.reason for gate in self.gates if gate.decides and gate.passed is False)


def task_gates(scores: Scores, task: str) -> TaskGates:
    """The gates of one task, on its bits per byte (lower is better)."""
    tokens, curves = scores.curve(f"task/{task}/bpb")
    baseline = scores.arms.index(scores.baseline)
    curve = _mean(curves[baseline])
    final = scores.final(f"task/{task}/bpb")
    return TaskGates(
        task,
        (
            _above_random(scores, task, tokens, curve, final[baseline]),
            _monotone(tokens, curve),
            _signal(final),
            _stable(curves),
        ),
    )


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Rank correlation with mean ranks for ties; NaN below 3 points or where one side is constant."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = np.isfinite(one) & np.isfinite(two)
    if known.sum() < 3:
        return math.nan
    a, b = _ranks(one[known]), _ranks(two[known])
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def kendall(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Kendall's tau-b of two short lists; NaN below 2 points or where one side is constant."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    upper = np.triu_indices(one.size, 1)
    a = np.sign(one[:, None] - one[None])[upper]
    b = np.sign(two[:, None] - two[None])[upper]
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    found: Floats = (last - (count - 1) / 2)[place]
    return found


def _mean(values: Floats) -> Floats:
    """Mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    found: Floats = np.where(count > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return found


def _above_random(scores: Scores, task: str, tokens: npt.NDArray[np.int64], curve: Floats, final: Floats) -> Gate:
    """Bits per byte against the untrained model of the first evaluation; 3 standard errors over units and seeds."""
    name = "above random"
    known = final[np.isfinite(final)]
    start = curve[np.isfinite(curve)][:1]
    if not known.size or not start.size or curve.size < 2:
        return Gate(name, math.nan, None, "not measured: no evaluation before the final one", True)
    gain = float(np.log(start[0]) - np.log(known).mean())
    error = _level_error(scores, task)
    ratio = gain / error if error > 0 else math.copysign(math.inf, gain) if gain else 0.0
    untrained = "the untrained model" if tokens[0] == 0 else f"the first evaluation ({int(tokens[0]):,} tokens)"
    passed = bool(ratio > ERRORS_ABOVE)
    words = "above" if passed else "not above"
    reason = (
        f"{words} {untrained} by {ERRORS_ABOVE:g} standard errors: {100 * gain:.2f} % fewer bits, {ratio:.1f} errors"
    )
    return Gate(name, ratio, passed, reason, True)


def _level_error(scores: Scores, task: str) -> float:
    """Standard error of ln(bits per byte) of the baseline arm, from which units were asked (ratio estimator)."""
    units = scores.units(f"task/{task}")
    if units is None:
        return 0.0
    nats = units.nats[scores.arms.index(scores.baseline)]
    nats = nats[np.isfinite(nats).all(axis=1)]
    if not len(nats) or nats.shape[1] < 2:
        return 0.0
    share = nats.mean(axis=0) / nats.mean(axis=0).sum() - units.bytes / units.bytes.sum()
    size = share.size
    return math.sqrt(float(share @ share) * size / (size - 1))


def _monotone(tokens: npt.NDArray[np.int64], curve: Floats) -> Gate:
    value = spearman(tokens, -curve)
    if math.isnan(value):
        return Gate("monotone", value, None, "not measured: fewer than 3 evaluations", True)
    passed = value >= MONOTONE
    reason = f"rank correlation of tokens and score is {value:.2f}, {'at least' if passed else 'below'} {MONOTONE:g}"
    return Gate("monotone", value, passed, reason, True)


def _signal(final: Floats) -> Gate:
    values = np.log(final)
    spread = residual_spread(values)
    means = _mean(values.T)
    means = means[np.isfinite(means)]
    if means.size < 2 or spread.df <= 0:
        return Gate("signal to noise", math.nan, None, "not measured: it needs 2 arms and 2 seeds", False)
    noise = math.sqrt(spread.variance)
    spread_of_arms = float(means.std(ddof=1))
    value = spread_of_arms / noise if noise > 0 else math.inf if spread_of_arms > 0 else 0.0
    passed = value >= SIGNAL
    reason = f"spread of the arms is {value:.1f} of the noise between seeds" + (
        "" if passed else ": uninformative here"
    )
    return Gate("signal to noise", value, passed, reason, False)


def _stable(curves: Floats) -> Gate:
    """Mean Kendall tau of consecutive rankings of the arms over the last evaluations."""
    means = np.stack([_mean(one) for one in curves]) if len(curves) else np.zeros((0, 0))
    means = means[:, np.isfinite(means).all(axis=0)] if means.size else means
    count = max(2, math.ceil(STABLE_SHARE * means.shape[1])) if means.size else 0
    if len(means) < 2 or means.shape[1] < 2:
        return Gate("stable ranking", math.nan, None, "not measured: it needs 2 arms and 2 evaluations", False)
    last = means[:, -count:]
    taus = [kendall(last[:, at], last[:, at + 1]) for at in range(last.shape[1] - 1)]
    known = [tau for tau in taus if not math.isnan(tau)]
    if not known:
        return Gate("stable ranking", math.nan, None, "not measured: the arms are equal", False)
    value = sum(known) / len(known)
    passed = value >= STABLE
    reason = f"rankings at the last {count} evaluations agree with tau {value:.2f}"
    return Gate("stable ranking", value, passed, reason + ("" if passed else ": unstable"), False)
