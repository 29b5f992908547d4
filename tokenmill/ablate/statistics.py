"""How sure a difference between arms is: moderated t over paired seeds and items, and a two-level paired bootstrap.

Seed s fixes initialisation and order for all arms, so arms are compared within seeds. The score is ln(bits per byte),
averaged over tasks: differences are relative, and lower is better. An *effect* of A over B is ln(B) - ln(A), so that it
is positive where A is better; 0.01 means 1 % fewer bits.

With two or three seeds the bootstrap is far too narrow (2 seeds have 3 resamples) and a plain t with one degree
of freedom far too wide. So the variance is moderated: what is left of the layout arms x seeds without its row and
column means (Fisher), pooled with a prior variance (Smyth 2004, Statistical Applications in Genetics 3, 3). What the
choice of items adds comes on top; degrees of freedom of the sum are Satterthwaite's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenmill.ablate.noise import Noise
from tokenmill.ablate.scores import Floats
from tokenmill.ablate.student import f_above, t_cdf, t_quantile

DRAWS = 2000
CONFIDENCE = 0.95
POWER = 0.80
MOST_SEEDS = 1000
UNLIKELY = 0.05
"""P of a ratio of measured to prior variance from which on the prior is not believed."""
_LEAST = 1e-20
"""Least variance of an effect: identical runs without a prior have none, and nothing is then divided by it."""


@dataclass(frozen=True, eq=False)
class Panel:
    """What is compared."""

    arms: tuple[str, ...]
    values: Floats
    """(arms, seeds): ln(bits per byte), mean over tasks; NaN where a run is missing."""
    units: tuple[Floats, ...] = ()
    """Per task (arms, seeds, units): nats summed within units; empty: items are not resampled."""

    @property
    def complete(self) -> Floats:
        """(arms, complete seeds): values of the seeds that all arms have."""
        found: Floats = self.values[:, np.isfinite(self.values).all(axis=0)]
        return found

    def of(self, arms: Sequence[int]) -> Panel:
        """Some arms only."""
        chosen = list(arms)
        return Panel(tuple(self.arms[a] for a in chosen), self.values[chosen], tuple(u[chosen] for u in self.units))


@dataclass(frozen=True)
class Spread:
    """A variance and how well it is known."""

    variance: float
    df: float


@dataclass(frozen=True)
class Estimate:
    """An effect of one arm over another, with what is known about it."""

    effect: float
    """ln(other) - ln(this), paired over seeds: positive = this one is better."""
    error: float
    """Standard error."""
    df: float
    seeds: int
    """Seeds that both have."""
    seed_error: float
    """The part of the error that more seeds make smaller."""
    item_error: float
    """The part that only more items make smaller."""
    p_moderated: float
    """P(effect > margin) by the moderated t."""
    p_bootstrap: float
    """P(effect > margin) by the bootstrap; NaN where no seed is complete."""
    moderated: tuple[float, float]
    """95 % interval of the moderated t."""
    bootstrap: tuple[float, float]
    """95 % interval of the bootstrap: too narrow for few seeds, shown for comparison."""
    p_equivalent: float
    """P(|effect| < margin) by the moderated t; 0 without a margin."""
    margin: float = 0.0
    level: float = 1 - CONFIDENCE
    """Two-sided level at which something is found: of a verdict, divided by the number of comparisons."""

    @property
    def p_better(self) -> float:
        """The more cautious of both: the one nearer to one half; one half where they contradict each other."""
        if math.isnan(self.p_bootstrap):
            return self.p_moderated
        pair = (self.p_moderated - 0.5, self.p_bootstrap - 0.5)
        return 0.5 + (min(pair, key=abs) if pair[0] * pair[1] > 0 else 0.0)

    @property
    def detectable(self) -> float:
        """Smallest true effect that such an experiment finds in 80 % of cases at `level`, beyond the margin."""
        return self.margin + self._factor * self.error

    @property
    def _factor(self) -> float:
        return t_quantile(1 - self.level / 2, self.df) + t_quantile(POWER, self.df)

    @property
    def seeds_needed(self) -> int | None:
        """Seeds with which the observed effect would be found in 80 % of cases; None where more seeds do not suffice
        (the items are too few, or the effect is within the margin) or more than 1000 are needed. A plan, not a
        promise: the effect itself is uncertain.
        """
        beyond = max(0.0, abs(self.effect) - self.margin)
        room = (beyond / self._factor) ** 2 - self.item_error**2
        if room <= 0:
            return None
        needed = max(1, math.ceil(self.seeds * self.seed_error**2 / room - 1e-9))
        return needed if needed <= MOST_SEEDS else None


def residual_spread(values: Floats) -> Spread:
    """Variance of one run after arms and seeds are taken out, of an (arms, seeds) array that may have gaps (NaN).

    (A - 1)(S - 1) degrees of freedom without gaps; 0 where nothing is left, and then the variance is 0.
    """
    arm, seed = np.nonzero(np.isfinite(values))
    if not arm.size:
        return Spread(0.0, 0.0)
    design = np.zeros((arm.size, values.shape[0] + values.shape[1]))
    design[np.arange(arm.size), arm] = 1
    design[np.arange(arm.size), values.shape[0] + seed] = 1
    fitted, _, rank, _ = np.linalg.lstsq(design, values[arm, seed], rcond=None)
    df = arm.size - int(rank)
    left = values[arm, seed] - design @ fitted
    return Spread(float(left @ left) / df, float(df)) if df > 0 else Spread(0.0, 0.0)


def moderate(measured: Spread, noise: Noise, by_run: float = 0.0) -> Spread:
    """The measured variance drawn towards the prior one, each weighing as many degrees of freedom as it has.

    by_run: `ItemNoise.by_run` (`tokenmill.ablate.items`), on top of the prior: that was measured on many items, and few
    are noisier. Without it 95 % intervals over 60 items held the truth in 91 % of simulated experiments.
    """
    df = measured.df + noise.df
    prior = noise.sigma**2 + by_run
    if df <= 0:
        return Spread(prior, 1.0)
    if contradicted(measured, noise, by_run):
        return measured
    return Spread((measured.df * measured.variance + noise.df * prior) / df, df)


def contradicted(measured: Spread, noise: Noise, by_run: float = 0.0) -> bool:
    """Whether the runs are noisier than the prior can explain: beyond the 95 % quantile of F.

    Pooling with a prior of half the true sigma or less makes false verdicts; then only what was measured counts.
    """
    prior = noise.sigma**2 + by_run
    return prior > 0 and f_above(measured.variance / prior, measured.df, noise.df) < UNLIKELY


def compare(
    panel: Panel,
    first: int,
    second: int,
    spread: Spread,
    items: Floats,
    drawn: Floats,
    margin: float = 0.0,
    level: float = 1 - CONFIDENCE,
) -> Estimate | None:
    """The effect of arm `first` over arm `second`. None where they have no seed in common.

    spread: variance of one run (`moderate`); items: `ItemNoise.covariance`; drawn: `PairDraws.of`, may be empty.
    margin: the smallest effect that matters; probabilities are then those of exceeding it in the direction of the
    effect. level: see `Estimate.level`.
    """
    difference = panel.values[second] - panel.values[first]
    known = difference[np.isfinite(difference)]
    if not known.size:
        return None
    effect = float(known.mean())
    by_seed = max(2 * spread.variance / known.size, _LEAST)
    by_item = max(0.0, float(items[first, first] + items[second, second] - 2 * items[first, second]))
    units = min((u.shape[2] for u in panel.units), default=2)
    variance = by_seed + by_item
    df = variance**2 / (by_seed**2 / spread.df + by_item**2 / max(1, units - 1))
    error = math.sqrt(variance)
    beyond = math.copysign(margin, effect) if margin else 0.0
    half = t_quantile((1 + CONFIDENCE) / 2, df) * error
    sample = drawn[:, second] - drawn[:, first] if drawn.size else np.zeros(0)
    inside = t_cdf((margin - effect) / error, df) - t_cdf((-margin - effect) / error, df) if margin else 0.0
    return Estimate(
        effect=effect,
        error=error,
        df=df,
        seeds=int(known.size),
        seed_error=math.sqrt(by_seed),
        item_error=math.sqrt(by_item),
        p_moderated=t_cdf((effect - beyond) / error, df),
        p_bootstrap=_share_above(sample, beyond),
        moderated=(effect - half, effect + half),
        bootstrap=_interval(sample),
        p_equivalent=inside,
        margin=margin,
        level=level,
    )


def joint_draws(panel: Panel, spread: Spread, items: Floats, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """(draws, arms): scores as they may be in truth, by the moderated t, jointly for all arms: for ranks and P(best).

    A multivariate t with the covariance of seeds and items. Arms without a run are NaN.
    """
    random = np.random.default_rng([seed, 0x701D])
    count = np.isfinite(panel.values).sum(axis=1)
    # seeds are common: an arm's mean over the seeds it has, relative to what these seeds do to the other arms
    centre = arm_means(panel.values)
    scale = np.sqrt(spread.df / random.chisquare(spread.df, draws))[:, None]
    noise = random.standard_normal((draws, count.size)) * np.sqrt(spread.variance / np.maximum(count, 1))
    level, axes = np.linalg.eigh(items)
    noise_items = random.standard_normal((draws, count.size)) @ (axes * np.sqrt(np.clip(level, 0, None))).T
    found: Floats = np.where(count > 0, centre + scale * noise + noise_items, np.nan)
    return found


def rank_shares(drawn: Floats) -> Floats:
    """(arms, ranks): share of the draws in which an arm has a rank, the best (lowest) first. Rows and columns add to 1.

    Arms without a score (NaN) have no rank: their rows are 0.
    """
    known = np.isfinite(drawn).all(axis=0)
    found = np.zeros((drawn.shape[1], drawn.shape[1]))
    ranks = np.argsort(np.argsort(drawn[:, known], axis=1, kind="stable"), axis=1, kind="stable")
    for place, arm in enumerate(np.flatnonzero(known)):
        counts = np.bincount(ranks[:, place], minlength=drawn.shape[1])
        found[arm] = counts / max(1, len(drawn))
    return found


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's step-down method (1979): the chance of any false finding stays."""
    order = sorted(range(len(p)), key=lambda at: p[at])
    adjusted, highest = [0.0] * len(p), 0.0
    for place, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[at]))
        adjusted[at] = highest
    return adjusted


def arm_means(values: Floats) -> Floats:
    """(arms,): means of the arms over seeds, each freed of the seeds that it has or lacks (additive layout).

    The plain means where there are no gaps.
    """
    known = np.isfinite(values)
    if known.all():
        means: Floats = values.mean(axis=1)
        return means
    arm, seed = np.nonzero(known)
    design = np.zeros((arm.size, sum(values.shape)))
    design[np.arange(arm.size), arm] = 1
    design[np.arange(arm.size), values.shape[0] + seed] = 1
    fitted = np.linalg.lstsq(design, values[arm, seed], rcond=None)[0]
    found: Floats = fitted[: values.shape[0]] + (fitted[values.shape[0] :][known.any(axis=0)].mean() if arm.size else 0)
    return found


def _share_above(sample: Floats, limit: float) -> float:
    """P(sample > limit), ties counted half, so that arms that are the same have one half."""
    if not sample.size:
        return math.nan
    return float((sample > limit).mean() + 0.5 * (sample == limit).mean())


def _interval(sample: Floats) -> tuple[float, float]:
    if not sample.size:
        return (math.nan, math.nan)
    low, high = np.quantile(sample, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return (float(low), float(high))
