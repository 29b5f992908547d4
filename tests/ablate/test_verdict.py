"""Verdicts: identical arms tie, planted effects win, and what turns a WIN into a LEAN."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from tests.ablate.simulate import NOISE, experiment, without
from tokenmill.ablate.noise import Kind, prior_noise
from tokenmill.ablate.statistics import Panel
from tokenmill.ablate.verdict import ALL_PAIRS, LEAN_LEVEL, judge, turned, two_sided, verdict_of

DESIGNS = [(2, 2), (2, 3), (4, 2), (4, 3)]


def outcomes(count: int, arms: int, seeds: int, **options: float) -> Counter[str]:
    """The strongest verdict of each experiment."""
    random = np.random.default_rng([arms, seeds])
    found: Counter[str] = Counter()
    for number in range(count):
        panel = experiment(random, arms, seeds, **options)  # type: ignore[arg-type]
        verdicts = {pair.verdict for pair in judge(panel, NOISE, draws=200, seed=number).pairs}
        found["WIN" if "WIN" in verdicts else "LEAN" if "LEAN" in verdicts else "TIE"] += 1
    return found


@pytest.mark.parametrize(
    ("arms", "seeds"), [*DESIGNS[:2], *(pytest.param(*design, marks=pytest.mark.ci) for design in DESIGNS[2:])]
)
def test_identical_arms_tie(arms: int, seeds: int) -> None:
    """In 95 of 100 experiments no pair at all gets another verdict, at the noise that is measured."""
    assert outcomes(100, arms, seeds)["TIE"] >= 95


@pytest.mark.parametrize(
    ("arms", "seeds"),
    [
        pytest.param(*design, marks=pytest.mark.slow if number else pytest.mark.ci)
        for number, design in enumerate(DESIGNS)
    ],
)
def test_identical_arms_tie_in_the_long_run(arms: int, seeds: int) -> None:
    """False verdicts in at most 5 % of 2,000 experiments, by the upper limit of what was counted (95 %)."""
    found = outcomes(2000, arms, seeds)
    wrong = 1 - found["TIE"] / 2000
    assert wrong + 1.645 * math.sqrt(wrong * (1 - wrong) / 2000) <= 0.05
    assert found["WIN"] / 2000 <= 0.02


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["text", "task"])
def test_identical_arms_tie_at_the_noise_that_was_measured(kind: Kind) -> None:
    """Of the smallest preset, as `tokenmill ablate` takes it: 100 experiments with two arms and two seeds."""
    noise = prior_noise("smoke", kind)
    ties = 0
    for number in range(100):
        panel = experiment(np.random.default_rng([9, number]), 2, 2, sigma=noise.sigma)
        ties += judge(panel, noise, draws=200, seed=number).pairs[0].verdict == "TIE"
    assert ties >= 95


@pytest.mark.ci  # sample: identical arms tie
def test_noise_that_is_larger_than_believed() -> None:
    """A sigma of 1.5 times the prior's: verdicts are too bold, but not much, as the runs measure it as well."""
    assert outcomes(1000, 2, 2, sigma=1.5 * NOISE.sigma)["TIE"] >= 930


def test_power() -> None:
    """An effect of 2 % at a noise of 0.3 % is a WIN with 2 seeds."""
    random = np.random.default_rng(8)
    wins = 0
    for number in range(100):
        panel = experiment(random, 2, 2, effect=0.02, units=(400,))
        (pair,) = judge(panel, NOISE, draws=200, seed=number).pairs
        wins += pair.verdict == "WIN" and pair.better == "arm 0"
    assert wins >= 95


def test_lr_check() -> None:
    random = np.random.default_rng(1)
    panel = experiment(random, 2, 3, effect=0.03)
    flipped = Panel(panel.arms, panel.values[::-1, :1], tuple(u[::-1, :1] for u in panel.units))
    same = Panel(panel.arms, panel.values[:, :1], tuple(u[:, :1] for u in panel.units))
    level = Panel(panel.arms, np.array([[0.3], [0.299]]))
    (win,) = judge(panel, NOISE, lr=same).pairs
    (sensitive,) = judge(panel, NOISE, lr=flipped).pairs
    (unclear,) = judge(panel, NOISE, lr=level).pairs
    (alone,) = judge(panel, NOISE).pairs
    assert (win.verdict, win.lr_check) == ("WIN", "agrees")
    assert (sensitive.verdict, sensitive.lr_check) == ("LEAN", "flips")
    assert "LR-sensitive" in sensitive.notes[0]
    assert (unclear.verdict, unclear.lr_check) == ("WIN", "unclear")
    assert alone.lr_check == "not run"


def test_margin_and_equivalence() -> None:
    random = np.random.default_rng(2)
    panel = experiment(random, 2, 3, effect=0.02, units=(400,))
    assert judge(panel, NOISE, margin=0.005).pairs[0].verdict == "WIN"
    (pair,) = judge(panel, NOISE, margin=0.05).pairs
    assert pair.verdict == "TIE"
    assert pair.better is None
    assert "equivalent" in pair.notes[0]


def test_many_arms_show_the_pairs_of_the_baseline_and_of_the_best() -> None:
    panel = experiment(np.random.default_rng(3), ALL_PAIRS + 2, 2, effect=0.05)
    found = judge(panel, NOISE, baseline=4)
    assert found.best == "arm 0"
    assert all({"arm 0", "arm 4"} & {pair.first, pair.second} for pair in found.pairs)
    assert len(found.pairs) == 2 * (ALL_PAIRS + 1) - 1
    assert all(found.pair("arm 0", arm) is not None for arm in panel.arms[1:])
    assert {p.first for p in found.pairs if "arm 4" in (p.first, p.second)} == {*panel.arms} - {"arm 4"}
    assert found.p_best.sum() == pytest.approx(1)
    assert found.pair("arm 1", "arm 2") is None
    # the best could have been any of them: all 28 pairs count
    least = min(found.pairs, key=lambda pair: pair.p)
    assert least.p == pytest.approx(28 * two_sided(least.estimate))
    assert least.estimate.level == pytest.approx(LEAN_LEVEL / 28)


def test_one_of_many_equal_arms_is_no_winner() -> None:
    """All but the baseline are equal and better: an arm that beats the baseline has not beaten the others."""
    random = np.random.default_rng(1)
    for _ in range(8):
        panel = experiment(random, ALL_PAIRS + 1, 3)
        panel.values[3] += 0.06
        found = judge(panel, NOISE, baseline=3, draws=200)
        best = [found.pair(found.best, arm) for arm in panel.arms if arm not in (found.best, "arm 3")]
        assert all(pair is not None and pair.verdict == "TIE" for pair in best)


@pytest.mark.parametrize("seeds", [slice(None), slice(1, None)])
def test_a_missing_run_takes_no_noise_from_other_pairs(seeds: slice) -> None:
    whole = experiment(np.random.default_rng(7), 3, 3)
    gaps = judge(without(whole, 2, seeds), NOISE, draws=200).pair("arm 0", "arm 1")
    alone = judge(whole.of([0, 1]), NOISE, draws=200).pair("arm 0", "arm 1")
    assert gaps is not None
    assert alone is not None
    assert gaps.estimate.item_error == pytest.approx(alone.estimate.item_error, rel=0.15)
    assert gaps.estimate.item_error > 0.002
    assert gaps.estimate.bootstrap == pytest.approx(alone.estimate.bootstrap)


@pytest.mark.parametrize("seeds", [slice(None), slice(1, None)])
def test_identical_arms_tie_where_runs_are_missing(seeds: slice) -> None:
    random = np.random.default_rng(11)
    wrong = 0
    for number in range(100):
        found = judge(without(experiment(random, 3, 3), 2, seeds), NOISE, draws=100, seed=number)
        wrong += any(pair.verdict != "TIE" for pair in found.pairs)
    assert wrong <= 5


def test_runs_that_are_noisier_than_believed_speak_for_themselves() -> None:
    panel = experiment(np.random.default_rng(3), 3, 4, sigma=0.012)
    found = judge(panel, NOISE)
    assert found.loud
    assert found.spread == found.measured
    quiet = judge(experiment(np.random.default_rng(3), 3, 4), NOISE)
    assert not quiet.loud
    assert quiet.spread.df == quiet.measured.df + NOISE.df


def test_a_pair_from_both_sides() -> None:
    found = judge(experiment(np.random.default_rng(4), 3, 2, effect=0.03), NOISE, draws=200)
    one, other = found.pair("arm 0", "arm 2"), found.pair("arm 2", "arm 0")
    assert one is not None
    assert other is not None
    assert other.estimate.effect == -one.estimate.effect
    assert other.estimate.p_better == pytest.approx(1 - one.estimate.p_better)
    assert other.better == one.better == "arm 0"
    assert turned(other) == one


def test_one_arm_and_one_seed() -> None:
    single = judge(experiment(np.random.default_rng(5), 1, 2), NOISE)
    assert single.pairs == ()
    assert single.p_best.tolist() == [1.0]
    pair = judge(experiment(np.random.default_rng(5), 2, 1, effect=0.1), NOISE).pairs[0]
    assert pair.verdict == "WIN"
    assert any("assumed" in note for note in pair.notes)


def test_levels() -> None:
    assert [verdict_of(p) for p in (0.01, 0.0101, 0.025, 0.0251, 1.0)] == ["WIN", "LEAN", "LEAN", "TIE", "TIE"]


def test_deterministic() -> None:
    panel = experiment(np.random.default_rng(6), 3, 3)
    assert judge(panel, NOISE, seed=4).pairs == judge(panel, NOISE, seed=4).pairs
