"""Tokens that an arm is worth: planted multipliers are found, decays are left out, and what cannot be said is not."""

from __future__ import annotations

import numpy as np
import pytest

from tokenmill.ablate.multiplier import MOST, effective_data
from tokenmill.ablate.noise import Noise

NOISE = Noise(0.001, 6, "test")
TOKENS = np.linspace(0, 1e6, 21)


def curve(worth: float, seeds: int = 3, noise: float = 0.0) -> np.ndarray:
    """ln(bits per byte) of an arm whose tokens count `worth` times."""
    random = np.random.default_rng(round(worth * 10))
    clean = np.log(1.2 + 5 * (TOKENS * worth + 1e4) ** -0.15)
    return clean + random.normal(0, noise, (seeds, TOKENS.size))


def test_planted() -> None:
    found = effective_data(TOKENS, curve(1.4), curve(1.0), NOISE)
    assert found is not None
    assert found.value == pytest.approx(1.4, rel=0.02)
    assert found.interval[0] < 1.4 < found.interval[1]
    turned = effective_data(TOKENS, curve(1.0), curve(1.4), NOISE)
    assert turned is not None
    assert turned.value == pytest.approx(1 / found.value)


def test_intervals_cover_noise() -> None:
    held = 0
    for number in range(60):
        random = np.random.default_rng(number)
        first = curve(1.2) + random.normal(0, 0.001, (3, 1))
        second = curve(1.0) + random.normal(0, 0.001, (3, 1))
        found = effective_data(TOKENS, first, second, NOISE)
        assert found is not None
        held += found.interval[0] <= 1.2 <= found.interval[1]
    assert held >= 52


def test_the_decay_is_left_out() -> None:
    """A fall of the loss that both arms have at the end brings their tokens together; the stable phase does not."""
    fall = np.where(TOKENS > 8e5, -(TOKENS - 8e5) / 1e6, 0.0)
    found = effective_data(TOKENS, curve(1.4) + fall, curve(1.0) + fall, NOISE, stable_tokens=8e5)
    whole = effective_data(TOKENS, curve(1.4) + fall, curve(1.0) + fall, NOISE)
    assert found is not None
    assert whole is not None
    assert found.value == pytest.approx(1.4, rel=0.02)
    assert whole.value < 1.15


@pytest.mark.parametrize("drop", [1e-3, 1e-4, 1e-6])
def test_flat_curves_say_nothing(drop: float) -> None:
    """Repeated data: the loss rises again, and by its running minimum hardly falls."""
    tokens = np.linspace(0, 6e5, 13)
    base = np.array([[1.5, 1.0, 0.8, 0.75, 0.74, 0.74, 0.75, 0.76, 0.77, 0.78, 0.78, 0.78, 0.78]])
    first, second = base.copy(), base.copy()
    first[0, 9] -= 0.04 + 1.1 * drop
    second[0, 9] -= 0.04 + drop
    assert effective_data(tokens, first, second, NOISE) is None


def test_ends_of_intervals_are_cut() -> None:
    found = effective_data(TOKENS, curve(1.4, 1), curve(1.0, 1), Noise(0.015, 0.2, "hardly known"))
    assert found is not None
    assert found.interval == pytest.approx((1 / MOST, MOST))


def test_nothing_to_say() -> None:
    assert effective_data(TOKENS[:2], curve(1.0)[:, :2], curve(1.2)[:, :2], NOISE) is None
    assert effective_data(TOKENS, curve(1.0), curve(1.0) + 3, NOISE) is None
    assert effective_data(TOKENS, np.full((2, 21), np.nan), curve(1.0, 2), NOISE) is None
    assert effective_data(TOKENS, np.zeros((2, 21)), np.zeros((2, 21)), NOISE) is None
