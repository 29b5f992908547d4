"""The noise to begin with: presets, the user's own, and what is refused."""

from __future__ import annotations

import pytest

from tokenmill.ablate.noise import prior_noise
from tokenmill.core.errors import ConfigError


def test_presets_are_quieter_the_larger_they_are() -> None:
    sigmas = [prior_noise(name, "text").sigma for name in ("smoke", "laptop", "h200", "confirm")]
    assert sigmas == sorted(sigmas, reverse=True)
    assert prior_noise("smoke", "text").sigma == 0.006


def test_an_unknown_preset_is_as_noisy_as_the_smallest() -> None:
    found = prior_noise("12M", "text")
    assert found.sigma == prior_noise("smoke", "text").sigma
    assert "no measurement for '12M'" in found.source


def test_tasks_are_noisier_and_less_trusted() -> None:
    text, task = prior_noise("laptop", "text"), prior_noise("laptop", "task")
    assert task.sigma > text.sigma
    assert task.df < text.df
    assert "assumed" in task.source


def test_given() -> None:
    assert (prior_noise("smoke", "task", 0.01).sigma, prior_noise("smoke", "task", 0.01).df) == (0.01, 10.0)
    assert prior_noise("smoke", "text", {"sigma": 0.002, "df": 3}).df == 3


@pytest.mark.parametrize("given", [0, -1, 1.5, "much", {"df": 3}, {"sigma": 0.1, "fd": 3}, {"sigma": 0.1, "df": -1}])
def test_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="is not a standard deviation"):
        prior_noise("smoke", "text", given)
