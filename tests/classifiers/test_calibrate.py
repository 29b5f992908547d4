"""Calibration against its definitions: brute force on small cases, known curves on larger ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.classifiers.calibrate import (
    Isotonic,
    Platt,
    Thresholds,
    cross_fitted_grades,
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    fit_thresholds,
    reliability,
)
from tokenmill.classifiers.evaluate import quadratic_weighted_kappa
from tokenmill.core.errors import ConfigError

POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=25)


@given(POINTS)
def test_isotonic_is_the_max_min_of_means(points: list[tuple[int, int]]) -> None:
    """The textbook's other form of the same answer: max over starts, min over ends, of the means between."""
    scores, targets = (list(side) for side in zip(*points, strict=True))
    fitted = fit_isotonic(scores, targets)
    for score in set(scores):
        wanted = max(
            min(
                float(np.mean([t for s, t in points if start <= s <= end]))
                for end in sorted(set(scores))
                if end >= score
            )
            for start in sorted(set(scores))
            if start <= score
        )
        assert float(fitted([score])[0]) == pytest.approx(wanted)
    assert (np.diff(fitted(np.linspace(-1, 9, 101))) >= -1e-12).all()
    assert Isotonic.from_fields(fitted.to_fields()) == fitted


def test_platt_finds_the_curve_that_made_the_outcomes() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(50, 10, 20_000)
    chance = 1 / (1 + np.exp(-(0.2 * scores - 9)))
    fitted = fit_platt(scores, rng.random(20_000) < chance)
    assert fitted.slope == pytest.approx(0.2, rel=0.05)
    assert fitted.intercept == pytest.approx(-9, rel=0.05)
    assert Platt.from_fields(fitted.to_fields()) == fitted


def test_platt_stays_finite() -> None:
    assert np.isfinite(fit_platt([1, 2, 3, 4], [0, 0, 1, 1])([0, 5])).all()
    assert fit_platt([1.0, 1.0], [1, 1])([1.0])[0] == pytest.approx(0.75)  # (2 + 1) / (2 + 2)


def test_reliability_and_its_error() -> None:
    chance = [0.05, 0.15, 0.15, 0.95, 1.0]
    outcome = [0, 0, 1, 1, 1]
    curve = reliability(chance, outcome)
    assert [one.count for one in curve] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert curve[1].predicted == pytest.approx(0.15)
    assert curve[1].observed == 0.5
    assert expected_calibration_error(chance, outcome) == pytest.approx((0.05 + 2 * 0.35 + 2 * 0.025) / 5)
    assert [one.count for one in reliability(chance, outcome, bins=2, by="count")] == [1, 4]
    assert sum(one.count for one in reliability([0.3] * 7, [1] * 7, by="count")) == 7


def test_calibration_lowers_the_error_on_other_documents() -> None:
    rng = np.random.default_rng(2)
    chance = rng.random(4000)
    outcome = rng.random(4000) < chance**3  # the score promises too much
    fitted = fit_isotonic(chance[:2000], outcome[:2000])
    assert expected_calibration_error(chance[2000:], outcome[2000:]) > 0.15
    assert expected_calibration_error(fitted(chance[2000:]), outcome[2000:]) < 0.05


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=4, max_size=12))
def test_two_cut_points_against_all_pairs(points: list[tuple[int, int]]) -> None:
    scores, grades = (np.array(side) for side in zip(*points, strict=True))
    fitted = fit_thresholds(scores, grades, 3)

    def kappa(cuts: Thresholds) -> float:
        found = quadratic_weighted_kappa(grades, cuts(scores))
        return 1.0 if np.isnan(found) else found  # one grade only, and rightly so

    pairs = itertools.combinations_with_replacement(np.arange(-0.5, 7), 2)
    best = max(kappa(Thresholds((float(low), float(high)))) for low, high in pairs)
    found = kappa(fitted)
    assert list(fitted.cuts) == sorted(fitted.cuts)
    # coordinate ascent promises a local optimum: no worse than rounding, and never above the best
    assert kappa(Thresholds((0.5, 1.5))) - 1e-9 <= found <= best + 1e-9


def test_cut_points_repair_a_shifted_score() -> None:
    rng = np.random.default_rng(4)
    grades = rng.integers(0, 6, 1500)
    scores = 1.2 + 0.4 * grades + rng.normal(0, 0.15, 1500)  # a regression that draws to the mean
    folds = np.arange(1500) % 5
    rounded = quadratic_weighted_kappa(grades, np.clip(np.round(scores), 0, 5).astype(int))
    decided = cross_fitted_grades(scores, grades, folds, 6)
    assert quadratic_weighted_kappa(grades, decided) > 0.95 > rounded


def test_a_document_has_no_say_in_its_own_grade() -> None:
    rng = np.random.default_rng(5)
    scores, grades, folds = rng.normal(size=120), rng.integers(0, 3, 120), np.arange(120) % 4
    before = cross_fitted_grades(scores, grades, folds, 3)
    changed = grades.copy()
    changed[folds == 2] = (changed[folds == 2] + 1) % 3
    after = cross_fitted_grades(scores, changed, folds, 3)
    assert (before[folds == 2] == after[folds == 2]).all()


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="nothing to calibrate"):
        fit_isotonic([], [])
    with pytest.raises(ConfigError, match="not finite"):
        fit_isotonic([np.nan], [1])
    with pytest.raises(ConfigError, match="0 or 1"):
        fit_platt([1.0], [2])
    with pytest.raises(ConfigError, match="within 0 and 1"):
        reliability([1.5], [1])
    with pytest.raises(ConfigError, match="integers of 0 to 2"):
        fit_thresholds([1.0], [3], 3)
