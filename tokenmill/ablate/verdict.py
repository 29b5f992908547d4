"""WIN, LEAN or TIE for every pair of arms.

The limits are two-sided levels of the Holm-adjusted p = 2 (1 - P(better)): WIN at 1 %, LEAN at 2.5 %. Why so strict:
identical arms must give TIE in 95 of 100 experiments. A LEAN from P(better) = 0.8 on would call 40 % of such
experiments, and at a level of 5 % just 5 in 100 on average, so that every third series of 100 has more; at 2.5 % it is
one series in twenty-five even where the noise is known exactly. P(better) is the more cautious of moderated t and
bootstrap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from tokenmill.ablate.items import PairDraws, item_noise
from tokenmill.ablate.noise import Noise
from tokenmill.ablate.scores import Floats
from tokenmill.ablate.statistics import (
    DRAWS,
    Estimate,
    Panel,
    Spread,
    compare,
    contradicted,
    holm,
    joint_draws,
    moderate,
    rank_shares,
    residual_spread,
)
from tokenmill.ablate.student import t_cdf

Verdict = Literal["WIN", "LEAN", "TIE"]
WIN_LEVEL = 0.01
LEAN_LEVEL = 0.025
FLIP = 0.95
"""P at which the ranking at the lower learning rate counts as reversed."""
EQUIVALENT = 0.95
ALL_PAIRS = 6
"""Most arms of which all pairs are shown; with more, those of the baseline and of the arm that seems best."""

LrCheck = Literal["agrees", "flips", "unclear", "not run"]


@dataclass(frozen=True)
class Pair:
    """Two arms. The effect is that of `first` over `second`."""

    first: str
    second: str
    estimate: Estimate
    p: float
    """Two-sided, adjusted by Holm over all pairs."""
    verdict: Verdict
    lr_check: LrCheck = "not run"
    notes: tuple[str, ...] = ()

    @property
    def better(self) -> str | None:
        """The arm that the verdict names, None for a tie."""
        if self.verdict == "TIE":
            return None
        return self.first if self.estimate.effect > 0 else self.second


@dataclass(frozen=True, eq=False)
class Judgement:
    """All that is said about the arms."""

    arms: tuple[str, ...]
    pairs: tuple[Pair, ...]
    ranks: Floats
    """(arms, ranks): probabilities."""
    spread: Spread
    """Variance of one run, moderated."""
    measured: Spread
    """Variance of one run as these runs say alone."""
    noise: Noise
    margin: float = 0.0
    loud: bool = False
    """The runs are noisier than the prior can explain; only what was measured counts."""

    @property
    def best(self) -> str:
        """The arm that is most probably the best; the first of those that are equal."""
        return self.arms[int(np.argmax(self.p_best))]

    @property
    def unscored(self) -> tuple[str, ...]:
        """Arms of which no run has a score: they have no rank and are in no pair."""
        return tuple(arm for arm, ranks in zip(self.arms, self.ranks, strict=True) if not ranks.any())

    @property
    def p_best(self) -> Floats:
        """(arms,): probability to be the best."""
        found: Floats = self.ranks[:, 0]
        return found

    def pair(self, first: str, second: str) -> Pair | None:
        """The pair in this direction, turned around where it is held the other way."""
        for one in self.pairs:
            if (one.first, one.second) == (first, second):
                return one
            if (one.second, one.first) == (first, second):
                return turned(one)
        return None


def judge(
    panel: Panel,
    noise: Noise,
    *,
    margin: float = 0.0,
    lr: Panel | None = None,
    baseline: int = 0,
    draws: int = DRAWS,
    seed: int = 0,
) -> Judgement:
    """Verdicts over the arms of a panel.

    lr: the same arms at the lower learning rate; where it ranks a pair the other way beyond noise, WIN becomes LEAN.
    margin: smallest effect that matters. Deterministic for a seed.
    """
    measured = residual_spread(panel.values)
    from_items = item_noise(panel)
    spread = moderate(measured, noise, from_items.by_run)
    items = from_items.covariance
    ranks = rank_shares(joint_draws(panel, spread, items, draws=draws, seed=seed))
    drawn = PairDraws(panel, draws=draws, seed=seed)
    both = np.isfinite(panel.values)
    every = [(a, b) for a, b in combinations(range(len(panel.arms)), 2) if (both[a] & both[b]).any()]
    level = LEAN_LEVEL / max(1, len(every))
    found = []
    for first, second in every:
        estimate = compare(panel, first, second, spread, items, drawn.of(first, second), margin, level)
        if estimate is not None:
            found.append((first, second, estimate))
    # any arm could have come out as the best, so that all pairs count also where some are not shown
    adjusted = holm([two_sided(estimate) for _, _, estimate in found])
    shown = _shown(ranks, baseline)
    pairs = []
    for (first, second, estimate), p in zip(found, adjusted, strict=True):
        if shown is not None and not {first, second} & shown:
            continue
        check = _lr_check(estimate, lr, first, second, spread, items)
        pair = _pair(panel.arms[first], panel.arms[second], estimate, p, check, margin)
        pairs.append(turned(pair) if shown is not None and first == baseline else pair)
    loud = contradicted(measured, noise, from_items.by_run)
    return Judgement(panel.arms, tuple(pairs), ranks, spread, measured, noise, margin, loud)


def two_sided(estimate: Estimate) -> float:
    """The two-sided p value: twice the probability that the effect has the other sign, or is within the margin."""
    against = 1 - estimate.p_better if estimate.effect > 0 else estimate.p_better
    return min(1.0, 2 * against)


def verdict_of(p: float) -> Verdict:
    return "WIN" if p <= WIN_LEVEL else "LEAN" if p <= LEAN_LEVEL else "TIE"


def turned(pair: Pair) -> Pair:
    """The same pair seen from the other arm."""
    e = pair.estimate
    estimate = replace(
        e,
        effect=-e.effect,
        p_moderated=1 - e.p_moderated,
        p_bootstrap=1 - e.p_bootstrap,
        moderated=(-e.moderated[1], -e.moderated[0]),
        bootstrap=(-e.bootstrap[1], -e.bootstrap[0]),
    )
    return replace(pair, first=pair.second, second=pair.first, estimate=estimate)


def _shown(ranks: Floats, baseline: int) -> set[int] | None:
    """Of which arms all pairs are shown; None: of all."""
    return None if len(ranks) <= ALL_PAIRS else {baseline, int(np.argmax(ranks[:, 0]))}


def _pair(first: str, second: str, estimate: Estimate, p: float, check: LrCheck, margin: float) -> Pair:
    verdict, notes = verdict_of(p), []
    if verdict == "WIN" and check == "flips":
        verdict = "LEAN"
        notes.append("LR-sensitive: at the lower learning rate the ranking is reversed")
    if margin and estimate.p_equivalent >= EQUIVALENT:
        notes.append(f"equivalent: the effect is within {100 * margin:.2g} % with P {estimate.p_equivalent:.3f}")
    if estimate.seeds == 1:
        notes.append("one seed: the noise between seeds is assumed, not measured")
    return Pair(first, second, estimate, p, verdict, check, tuple(notes))


def _lr_check(estimate: Estimate, lr: Panel | None, first: int, second: int, spread: Spread, items: Floats) -> LrCheck:
    """Whether the runs at the lower learning rate rank the pair the other way beyond noise."""
    if lr is None:
        return "not run"
    found = compare(lr, first, second, spread, items, np.zeros((0, len(lr.arms))))
    if found is None:
        return "not run"
    same = t_cdf(math.copysign(1.0, estimate.effect) * found.effect / found.error, found.df)
    return "flips" if same <= 1 - FLIP else "agrees" if same >= 0.5 else "unclear"
