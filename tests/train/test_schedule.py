"""Learning rates by hand, and what holds of all schedules."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.train.schedule import multiplier, stable_until
from tokenmill.train.settings import SCHEDULES, TrainSettings


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings(**{"steps": 10, "batch_tokens": 1, "micro_tokens": 1, "lr": 1.0, **changes})


@pytest.mark.parametrize(
    ("changes", "table"),
    [
        ({"warmup_steps": 2, "decay_steps": 4}, [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        ({"warmup_steps": 2, "decay_steps": 4, "final_lr": 0.2}, [0.5, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4]),
        ({"schedule": "constant", "warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "linear"}, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"schedule": "cosine", "steps": 4, "final_lr": 0.1}, [1, 0.868198, 0.55, 0.231802]),
        ({"schedule": "wsd", "steps": 3}, [1, 1, 1]),
    ],
)
def test_by_hand(changes: dict[str, Any], table: list[float]) -> None:
    given = settings(**changes)
    assert [multiplier(given, step) for step in range(given.steps)] == pytest.approx(table, abs=1e-6)


@given(
    schedule=st.sampled_from(SCHEDULES),
    warm=st.integers(0, 20),
    stable=st.integers(0, 20),
    decay=st.integers(0, 20),
    final=st.floats(0, 1),
)
def test_up_then_never_up_again(schedule: str, warm: int, stable: int, decay: int, final: float) -> None:
    steps = warm + stable + decay + 1
    given = settings(schedule=schedule, steps=steps, warmup_steps=warm, decay_steps=decay, final_lr=final)
    rates = [multiplier(given, step) for step in range(steps)]
    assert all(0 < rate <= 1 + 1e-12 for rate in rates)
    assert all(one < other for one, other in pairwise(rates[:warm]))
    assert all(one >= other - 1e-12 for one, other in pairwise(rates[warm:]))
    assert rates[warm] == pytest.approx(1)
    assert min(rates[warm:]) >= final - 1e-12


def test_a_branch_goes_on_at_the_rate_of_its_trunk() -> None:
    trunk = settings(steps=20, warmup_steps=3, decay_steps=4)
    assert stable_until(trunk) == 16
    branch = dataclasses.replace(trunk, steps=12, decay_steps=4)
    assert [multiplier(branch, step) for step in range(8)] == [multiplier(trunk, step) for step in range(8)]
    assert [multiplier(branch, step) for step in range(8, 12)] == [1, 0.75, 0.5, 0.25]
