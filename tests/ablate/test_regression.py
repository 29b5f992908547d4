"""Mixtures: proposals within their limits, planted functions found, errors of left-out mixtures by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.ablate.regression import best_mixture, fit_mixtures, random_mixtures, weight_limits
from tokenmill.core.errors import ConfigError

SOURCES = ("web", "books", "code")
NATURAL = (0.7, 0.2, 0.1)


def planted(weights: np.ndarray) -> np.ndarray:
    """Best at 30 % web, 50 % books, 20 % code."""
    return 0.2 + ((weights - [0.3, 0.5, 0.2]) ** 2).sum(axis=1)


@settings(max_examples=20)
@given(st.lists(st.floats(0.05, 10), min_size=2, max_size=6), st.integers(1, 40), st.integers(0, 99))
def test_random_mixtures(natural: list[float], count: int, seed: int) -> None:
    found = random_mixtures(natural, count, seed=seed)
    assert found.shape == (count, len(natural))
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found >= 0).all()
    assert found[0] == pytest.approx(np.array(natural) / sum(natural))
    assert np.array_equal(found, random_mixtures(natural, count, seed=seed))


def test_limits() -> None:
    limits = weight_limits([1e6, 0.2e6, 0.1e6], 1e6, 4)
    assert limits == pytest.approx([1.0, 0.8, 0.4])
    found = random_mixtures((1, 1, 1), 50, limits=[0.5, 0.4, 0.4])
    assert (found <= np.array([0.5, 0.4, 0.4]) + 1e-9).all()
    with pytest.raises(ConfigError, match="too few tokens"):
        weight_limits([1e5, 1e5], 1e6, 4)
    with pytest.raises(ConfigError, match="add up to 1"):
        random_mixtures((1, 1), 3, limits=[0.3, 0.3])


def test_a_planted_line() -> None:
    weights = random_mixtures(NATURAL, 20)
    slopes = np.array([0.3, 0.1, 0.2])
    found = fit_mixtures(SOURCES, weights, weights @ slopes)
    assert found.predict(np.eye(3)) == pytest.approx(slopes, abs=1e-4)
    assert found.rank == pytest.approx(1)
    assert found.explained > 0.999
    best = best_mixture(found, weights, NATURAL, draws=20)
    assert best.weights[1] > 0.85
    assert best.predicted < best.natural
    capped = best_mixture(found, weights, NATURAL, limits=[1, 0.5, 1], draws=20)
    assert capped.weights[1] <= 0.5 + 1e-9
    assert capped.weights[1] > 0.4


def test_a_planted_optimum_needs_the_quadratic_form() -> None:
    weights = random_mixtures((1, 1, 1), 30, strength=3)
    random = np.random.default_rng(0)
    targets = planted(weights) + random.normal(0, 0.003, 30)
    curved = fit_mixtures(SOURCES, weights, targets, "quadratic")
    straight = fit_mixtures(SOURCES, weights, targets)
    assert curved.error < 0.5 * straight.error
    best = best_mixture(curved, weights, (1, 1, 1), draws=40)
    assert best.weights == pytest.approx([0.3, 0.5, 0.2], abs=0.06)
    assert best.gain[0] > 0
    assert (best.spread[:, 0] <= best.weights + 0.03).all()
    assert (best.weights <= best.spread[:, 1] + 0.03).all()


def test_left_out_predictions_by_brute_force() -> None:
    weights = random_mixtures(NATURAL, 10)
    targets = planted(weights) + np.random.default_rng(1).normal(0, 0.01, 10)
    found = fit_mixtures(SOURCES, weights, targets)
    for out in range(10):
        kept = np.arange(10) != out
        x, y = weights[kept], targets[kept]
        centred = x - x.mean(axis=0)
        slopes = np.linalg.solve(centred.T @ centred + found.ridge * np.eye(3), centred.T @ (y - y.mean()))
        expected = y.mean() + (weights[out] - x.mean(axis=0)) @ slopes
        # the shortcut takes the mean of all mixtures off, not of those that are left: the same where ridge is small
        assert found.left_out[out] == pytest.approx(expected, abs=0.02 * np.ptp(targets) + 1e-9)


def test_noise_explains_nothing() -> None:
    weights = random_mixtures(NATURAL, 24)
    found = fit_mixtures(SOURCES, weights, np.random.default_rng(2).normal(0, 1, 24))
    assert found.explained < 0.35
    best = best_mixture(found, weights, NATURAL, draws=40)
    assert best.gain[0] < 0.8


def test_refused() -> None:
    with pytest.raises(ConfigError, match="no regression on 4 mixtures"):
        fit_mixtures(SOURCES, np.ones((4, 3)) / 3, np.ones(4))
    with pytest.raises(ConfigError, match="has no score"):
        fit_mixtures(SOURCES, np.ones((6, 3)) / 3, np.full(6, np.nan))
    with pytest.raises(ConfigError, match="natural shares"):
        random_mixtures((1.0, 0.0), 3)
