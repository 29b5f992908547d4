"""Settings: what is refused, what decides, and that they survive JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.train.settings import NOT_DECIDING, TrainSettings

GIVEN: dict[str, Any] = {"steps": 10, "batch_tokens": 64, "micro_tokens": 32, "lr": 0.01}


def test_json_gives_the_same_settings() -> None:
    settings = TrainSettings(**GIVEN, keep_steps=(3, 5), clip=None, muon_lr=0.5, optimizer="my.py:soap", track="wandb")
    assert TrainSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert settings.tokens == 640


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"lr": float("nan")},
        {"lr": -1.0},
        {"schedule": "wds"},
        {"optimizer": "adam"},
        {"precision": "fp16"},
        {"spikes": "ignore"},
        {"packing": "concat"},
        {"track": "tensorboard"},
        {"warmup_steps": 6, "decay_steps": 5},
        {"final_lr": 1.5},
        {"beta2": 1.0},
        {"clip": float("inf")},
    ],
)
def test_what_cannot_work_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)) if "warmup_steps" not in wrong else "6 steps of warm-up"):
        TrainSettings(**GIVEN | wrong)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="warmup_step") as caught:
        TrainSettings.from_json(GIVEN | {"warmup_step": 3})
    assert "warmup_steps" in caught.value.why


def test_the_digest_is_of_what_decides() -> None:
    settings = TrainSettings(**GIVEN)
    changed = {
        "checkpoint_every": 5,
        "log_every": 7,
        "keep_steps": (1,),
        "shard": True,
        "track": "wandb",
    }
    assert set(changed) == set(NOT_DECIDING)
    assert dataclasses.replace(settings, **changed).digest == settings.digest
    assert dataclasses.replace(settings, lr=0.011).digest != settings.digest
