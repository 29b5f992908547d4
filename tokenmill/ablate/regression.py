"""From random mixtures to a better one: proposals, a regression of the loss on the weights, and the predicted best.

As in RegMix (arXiv 2407.01492): many small models on random mixtures, a regression of the log loss, the best of many
simulated mixtures. The regression is ridge over the weights, linear or with their products; how good it is, is
measured by leaving each mixture out. What it predicts is a proposal, to be trained and checked against the natural
shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tokenmill.ablate.gates import spearman
from tokenmill.ablate.scores import Floats
from tokenmill.core.errors import ConfigError

Form = Literal["linear", "quadratic"]
_RIDGES = 10.0 ** np.arange(-8.0, 3.0)
_CANDIDATES = 4096
_TOP = 64
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Regression:
    """A fit of ln(bits per byte) on the weights of a mixture."""

    sources: tuple[str, ...]
    form: Form
    mean: Floats
    """(features,) means taken off the features."""
    slopes: Floats
    """(features,)"""
    level: float
    ridge: float
    left_out: Floats
    """(mixtures,) predictions of each mixture by a fit without it."""
    targets: Floats
    """(mixtures,)"""

    def predict(self, weights: npt.ArrayLike) -> Floats:
        """(mixtures,) ln(bits per byte) for (mixtures, sources) weights."""
        features = _features(np.atleast_2d(np.asarray(weights, np.float64)), self.form)
        found: Floats = self.level + (features - self.mean) @ self.slopes
        return found

    @property
    def error(self) -> float:
        """Root mean square error of the predictions of mixtures that were left out, in ln(bits per byte)."""
        return float(np.sqrt(np.mean((self.left_out - self.targets) ** 2)))

    @property
    def explained(self) -> float:
        """Share of the variance explained in mixtures that were left out; 0 or less: no better than the mean."""
        spread = float(np.var(self.targets))
        return 1 - self.error**2 / spread if spread > 0 else 0.0

    @property
    def rank(self) -> float:
        """Rank correlation of these predictions with what was seen."""
        return spearman(self.left_out, self.targets)


@dataclass(frozen=True, eq=False)
class Proposal:
    """The mixture that the regression believes in."""

    sources: tuple[str, ...]
    weights: Floats
    """(sources,) adds up to 1."""
    predicted: float
    """ln(bits per byte)"""
    natural: float
    """Prediction for the natural shares."""
    gain: tuple[float, float]
    """90 % interval of natural - predicted over the bootstrap: below 0 = the proposal may be worse.

    Optimistic: the mixture was chosen by the same scores, and without any effect of the weights this is above 0 far too
    often. What counts is the comparison of trained runs.
    """
    spread: Floats
    """(sources, 2): 5 % and 95 % of the best weights over the bootstrap: wide where the source does not matter."""


def random_mixtures(
    natural: Sequence[float], count: int, *, strength: float = 4.0, seed: int = 0, limits: Sequence[float] | None = None
) -> Floats:
    """(count, sources) weights from a Dirichlet distribution around the natural shares, the first the natural ones.

    strength: sum of its parameters; 1 gives nearly pure sources, 100 nearly the natural shares. limits: most weight of
    each source (see `weight_limits`); what lies above is drawn again. ConfigError where the limits leave no room.
    """
    shares = _shares(natural)
    top = _limits(limits, shares)
    random = np.random.default_rng([seed, 0xD1])
    found = [np.minimum(shares, top) / np.minimum(shares, top).sum()]
    for _ in range(1000):
        if len(found) >= count:
            break
        drawn = random.dirichlet(np.maximum(shares * strength, 1e-3), 64)
        found.extend(_within(drawn, top))
    if len(found) < count:
        raise ConfigError("the limits leave no room for random mixtures", fix="allow more epochs, or raise `strength`")
    return np.array(found[:count])


def weight_limits(unique_tokens: Sequence[float], tokens: float, max_epochs: float = 4.0) -> list[float]:
    """Most weight of each source such that none of its documents is seen more than `max_epochs` times in `tokens`."""
    found = [min(1.0, max_epochs * unique / tokens) for unique in unique_tokens]
    if sum(found) < 1:
        raise ConfigError(
            f"the sources have too few tokens for {tokens:,.0f}",
            why=f"at most {max_epochs:g} epochs of each fill {sum(found):.0%} of them",
            fix="train on fewer tokens, or allow more epochs",
        )
    return found


def fit_mixtures(
    sources: Sequence[str], weights: npt.ArrayLike, targets: npt.ArrayLike, form: Form = "linear"
) -> Regression:
    """Ridge regression whose strength is the one with the least error on mixtures left out.

    weights (mixtures, sources); targets (mixtures,) ln(bits per byte). ConfigError with fewer than sources + 2
    mixtures.
    """
    x, y = np.asarray(weights, np.float64), np.asarray(targets, np.float64)
    if x.ndim != 2 or x.shape != (y.size, len(sources)) or y.size < len(sources) + 2:
        raise ConfigError(
            f"no regression on {y.size} mixtures of {len(sources)} sources",
            why=f"it needs at least {len(sources) + 2}",
            fix="train more random mixtures",
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigError("a mixture has no score", fix="finish all mixtures first")
    features = _features(x, form)
    mean, level = features.mean(axis=0), float(y.mean())
    left, values, right = np.linalg.svd(features - mean, full_matrices=False)
    best: tuple[float, float, Floats] | None = None
    scale = float(values[0] ** 2) or 1.0
    for ridge in _RIDGES * scale:
        shrink = values**2 / (values**2 + ridge)
        fitted = level + left @ (shrink * (left.T @ (y - level)))
        leverage = 1 / y.size + (left**2) @ shrink
        without = y - (y - fitted) / np.maximum(1 - leverage, 1e-9)
        error = float(np.mean((without - y) ** 2))
        if best is None or error < best[0]:
            best = (error, float(ridge), without)
    assert best is not None
    _, ridge, without = best
    slopes = right.T @ (values / (values**2 + ridge) * (left.T @ (y - level)))
    return Regression(tuple(sources), form, mean, slopes, level, ridge, without, y)


def best_mixture(
    fitted: Regression,
    weights: npt.ArrayLike,
    natural: Sequence[float],
    *,
    limits: Sequence[float] | None = None,
    chosen: Sequence[float] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Proposal:
    """The mean of the 64 best of 4,096 random mixtures within the limits, with a bootstrap over the fitted mixtures.

    The mean of many, for the very best is the one whose error flatters it most. weights: those that were fitted.
    chosen: a mixture that has been proposed already, of which all is then said.
    """
    x = np.asarray(weights, np.float64)
    shares = _shares(natural)
    top = _limits(limits, shares)
    candidates = _candidates(shares, top, seed)
    base = np.minimum(shares, top) / np.minimum(shares, top).sum()
    mixture = _best(fitted, candidates) if chosen is None else np.asarray(chosen, np.float64)
    random = np.random.default_rng([seed, 0xB357])
    found, gains = [], []
    for _ in range(draws):
        rows = random.integers(0, len(x), len(x))
        again = _refit(fitted, x[rows], fitted.targets[rows])
        found.append(_best(again, candidates))
        gains.append(float((again.predict(base) - again.predict(mixture))[0]))
    spread = np.quantile(np.array(found), [0.05, 0.95], axis=0).T if found else np.stack([mixture, mixture], axis=1)
    low, high = np.quantile(gains, [0.05, 0.95]) if gains else (math.nan, math.nan)
    return Proposal(
        fitted.sources,
        mixture,
        float(fitted.predict(mixture)[0]),
        float(fitted.predict(base)[0]),
        (float(low), float(high)),
        spread,
    )


def _refit(fitted: Regression, x: Floats, y: Floats) -> Regression:
    """The same ridge on other rows."""
    features = _features(x, fitted.form)
    mean, level = features.mean(axis=0), float(y.mean())
    centred = features - mean
    slopes = np.linalg.solve(centred.T @ centred + fitted.ridge * np.eye(mean.size), centred.T @ (y - level))
    return Regression(fitted.sources, fitted.form, mean, slopes, level, fitted.ridge, y, y)


def _best(fitted: Regression, candidates: Floats) -> Floats:
    order = np.argsort(fitted.predict(candidates), kind="stable")[:_TOP]
    found: Floats = candidates[order].mean(axis=0)
    return found


def _candidates(shares: Floats, top: Floats, seed: int) -> Floats:
    """Mixtures within the limits: half around the natural shares, half all over the simplex."""
    random = np.random.default_rng([seed, 0xCAFD])
    found = [(np.minimum(shares, top) / np.minimum(shares, top).sum())[None]]
    count = 1
    for turn in range(200):
        alpha = np.maximum(shares * 4, 1e-3) if turn % 2 else np.ones(shares.size)
        found.append(_within(random.dirichlet(alpha, 512), top))
        count += len(found[-1])
        if count >= _CANDIDATES:
            break
    return np.concatenate(found)[:_CANDIDATES]


def _within(drawn: Floats, top: Floats) -> Floats:
    return drawn[(drawn <= top + 1e-12).all(axis=1)]


def _features(weights: Floats, form: Form) -> Floats:
    """Weights, and for the quadratic form the products of every two (squares follow, as weights add up to 1)."""
    if form == "linear":
        return weights
    first, second = np.triu_indices(weights.shape[1], 1)
    return np.concatenate([weights, weights[:, first] * weights[:, second]], axis=1)


def _shares(natural: Sequence[float]) -> Floats:
    shares = np.asarray(natural, np.float64)
    if shares.ndim != 1 or shares.size < 2 or not (shares > 0).all() or not np.isfinite(shares).all():
        raise ConfigError("natural shares are numbers above 0, of at least 2 sources")
    found: Floats = shares / shares.sum()
    return found


def _limits(limits: Sequence[float] | None, shares: Floats) -> Floats:
    top = np.ones(shares.size) if limits is None else np.asarray(limits, np.float64)
    if top.shape != shares.shape or not (top > 0).all() or top.sum() < 1:
        raise ConfigError("limits are one number above 0 per source, and add up to 1 or more")
    return top
