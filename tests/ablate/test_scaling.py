"""Laws of scaling: planted coefficients come back, intervals hold them, and what is too little is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tokenmill.ablate.scaling import Points, _least, fit_scaling, law
from tokenmill.core.errors import ConfigError

N = np.repeat([1e6, 4e6, 16e6, 64e6], 3)
D = N * np.tile([5.0, 20.0, 80.0], 4)
TRUTH = np.array([1.7, 400.0, 410.0, 0.34, 0.28])


def points(truth: np.ndarray = TRUTH, noise: float = 0.0, seed: int = 0) -> Points:
    return Points(N, D, law(truth, N, D) * np.exp(np.random.default_rng(seed).normal(0, noise, N.size)))


def arm(**changes: float) -> np.ndarray:
    names = ("e", "a", "b", "alpha", "beta")
    return np.array([changes.get(name, value) for name, value in zip(names, TRUTH, strict=True)])


def test_planted_coefficients_without_noise() -> None:
    found = fit_scaling({"a": points(), "b": points(arm(b=450.0, e=1.6))}, draws=5)
    assert found.common[0].coefficients == pytest.approx(TRUTH, rel=1e-3)
    assert found.common[1].coefficients == pytest.approx(arm(b=450.0, e=1.6), rel=1e-3)
    assert found.free[0].coefficients == pytest.approx(TRUTH, rel=1e-3)
    assert found.holdout == pytest.approx(0, abs=1e-4)


def test_with_noise() -> None:
    found = fit_scaling({"a": points(noise=0.002), "b": points(arm(b=430.0), 0.002, 1)}, draws=200)
    goal = found.target
    assert found.extrapolation == pytest.approx(10)
    assert found.predicted == pytest.approx([law(TRUTH, *goal), law(arm(b=430.0), *goal)], rel=0.005)
    assert found.p_best[0] > 0.9
    assert found.p_best.sum() == pytest.approx(1)
    assert found.caveats == ()
    assert (found.intervals[:, 0] <= found.predicted).all()
    assert (found.predicted <= found.intervals[:, 1]).all()


def test_the_active_set_is_the_best_that_is_not_negative() -> None:
    """Against a search over all points of a fine lattice."""
    random = np.random.default_rng(0)
    design = random.uniform(0.5, 1.5, (1, 6, 3))
    loss = 2 - 0.8 * design[0, :, 1] + design[0, :, 2] + random.normal(0, 0.05, 6)
    found, error = _least(design, loss)
    lattice = np.stack(np.meshgrid(*[np.linspace(0, 3, 61)] * 3), axis=-1).reshape(-1, 3)
    errors = ((1 - lattice @ design[0].T / loss) ** 2).sum(axis=1)
    assert (found >= 0).all()
    assert error[0] <= errors.min() + 1e-12
    assert error[0] == pytest.approx(errors.min(), abs=0.01)


def test_crossover() -> None:
    """The arm with the larger coefficient of N is behind while models are small, and ahead by its lower floor."""
    late = arm(a=460.0, e=1.5)
    found = fit_scaling({"a": points(), "b": points(late)}, (6.4e8, 1.3e10), draws=5)
    ahead = [law(TRUTH, n, 20 * n) - law(late, n, 20 * n) for n in (1e6, 6.4e8)]
    assert ahead[0] * ahead[1] < 0
    assert found.crossover is not None
    assert found.common[1].loss(6.4e8, 1.3e10) < found.common[0].loss(6.4e8, 1.3e10)
    same = fit_scaling({"a": points(), "b": points(arm(e=1.5))}, draws=5)
    assert same.crossover is None


def test_an_outlier_moves_little() -> None:
    """Huber: one run that went wrong by 10 % does not decide."""
    loss = points(noise=0.001).loss.copy()
    loss[4] *= 1.1
    found = fit_scaling({"a": Points(N, D, loss)}, draws=5)
    assert found.common[0].loss(2e8, 4e9) == pytest.approx(float(law(TRUTH, 2e8, 4e9)), rel=0.01)


def test_refused_and_warned() -> None:
    few = Points(N[:5], D[:5], points().loss[:5])
    with pytest.raises(ConfigError, match="no law is fitted to 5 points"):
        fit_scaling({"a": few})
    with pytest.raises(ConfigError, match="other sizes"):
        fit_scaling({"a": points(), "b": Points(N * 2, D, points().loss)})
    with pytest.raises(ConfigError, match="not above 0"):
        fit_scaling({"a": Points(N, D, -points().loss)})
    far = fit_scaling({"a": points()}, (1e9, 1e11), draws=5)
    assert any("is a guess" in one for one in far.caveats)
    ratio = np.array([1e6, 2e6, 4e6, 8e6, 16e6, 32e6])
    narrow = fit_scaling({"a": Points(ratio, 20 * ratio, law(TRUTH, ratio, 20 * ratio))}, draws=5)
    assert any("ratios of tokens" in one for one in narrow.caveats)
    assert narrow.common[0].loss(6.4e7, 1.28e9) == pytest.approx(float(law(TRUTH, 6.4e7, 1.28e9)), rel=0.02)


def branches(seed: int, share: float = 0.8, noise: float = 0.003) -> dict[str, Points]:
    """Two equal arms whose runs of one size are branches of one trunk."""
    random = np.random.default_rng(seed)
    trunks = np.repeat(np.arange(4), 3)
    found = {}
    for name in ("a", "b"):
        error = np.sqrt(share) * random.normal(0, noise, 4)[trunks] + np.sqrt(1 - share) * random.normal(0, noise, 12)
        found[name] = Points(N, D, law(TRUTH, N, D) * np.exp(error), trunks)
    return found


@pytest.mark.ci
def test_branches_of_a_trunk_say_less_than_runs_of_their_own() -> None:
    together = branches(0)
    apart = {name: Points(one.parameters, one.tokens, one.loss) for name, one in together.items()}
    one, other = (fit_scaling(points, draws=60) for points in (together, apart))
    assert np.array_equal(one.predicted, other.predicted)
    assert (np.ptp(one.intervals, axis=1) > 1.3 * np.ptp(other.intervals, axis=1)).all()
    assert one.p_best.max() < other.p_best.max()
    assert any("branches of 4 trunks: 80 %" in caveat for caveat in one.caveats)
    assert not any("branches" in caveat for caveat in other.caveats)


@pytest.mark.slow
def test_intervals_of_branches_cover() -> None:
    held, sure = 0, 0
    for seed in range(40):
        found = fit_scaling(branches(seed), draws=150)
        held += int((found.intervals[:, 0] <= law(TRUTH, *found.target)).sum())
        held -= int((found.intervals[:, 1] < law(TRUTH, *found.target)).sum())
        sure += found.p_best.max() > 0.95
    assert 0.8 <= held / 80
    assert sure <= 8  # of equal arms 10 %, and 2 deviations


def test_deterministic() -> None:
    one, other = (fit_scaling({"a": points(noise=0.01)}, draws=20, seed=3) for _ in range(2))
    assert np.array_equal(one.common[0].draws, other.common[0].draws)


@pytest.mark.slow
def test_intervals_cover() -> None:
    """90 % intervals of coefficients and prediction, over 40 ladders; 80 % is 2 deviations below."""
    held, predicted = np.zeros(5), 0
    for seed in range(40):
        found = fit_scaling(
            {"a": points(noise=0.003, seed=seed), "b": points(noise=0.003, seed=1000 + seed)}, draws=200
        )
        intervals = found.common[0].intervals()
        held += (intervals[:, 0] <= TRUTH) & (intervals[:, 1] >= TRUTH)
        low, high = found.intervals[0]
        predicted += low <= law(TRUTH, *found.target) <= high
    assert (held / 40 >= 0.8).all()
    assert 0.8 <= predicted / 40
