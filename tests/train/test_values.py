"""Types of settings, and what is refused before there are data: by derive, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.train.config import ModelConfig
from tokenmill.train.presets import Derived, derive
from tokenmill.train.settings import TrainSettings

GIVEN: dict[str, Any] = {"steps": 10, "batch_tokens": 64, "micro_tokens": 32, "lr": 0.01}
SHAPE: dict[str, Any] = {"vocab_size": 64, "layers": 2, "width": 16, "heads": 2, "hidden": 32, "context": 16}


def smoke(**overrides: Any) -> Derived:
    return derive("smoke", vocab_size=256, overrides=overrides)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", True),
        ("steps", 10.0),
        ("steps", "10"),
        ("warmup_steps", 0.1),
        ("log_every", None),
        ("lr", "fast"),
        ("lr", True),
        ("lr", "nan"),
        ("clip", [1]),
        ("compile", "nope"),
        ("shard", 1),
        ("schedule", 3),
        ("optimizer", None),
        ("optimizer", ":soap"),
        ("optimizer", "mine.py:"),
        ("track", ["wandb"]),
        ("keep_steps", [-1, "a"]),
        ("keep_steps", [-1]),
        ("keep_steps", [11]),
        ("keep_steps", 3),
        ("keep_steps", "3"),
    ],
)
def test_a_setting_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        TrainSettings(**GIVEN | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", True),
        ("layers", 2.0),
        ("experts", 0.5),
        ("norm_eps", float("nan")),
        ("norm_eps", float("inf")),
        ("rope_theta", float("nan")),
        ("init_std", "x"),
        ("z_loss", float("nan")),
        ("tied", "nope"),
        ("activation", None),
        ("expert_hidden", 1.5),
    ],
)
def test_a_shape_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        ModelConfig(**SHAPE | {name: value})


def test_what_yaml_and_numpy_give_is_understood() -> None:
    settings = TrainSettings(
        **GIVEN | {"lr": "4e-3", "weight_decay": 0, "steps": np.int64(10), "clip": np.float32(0.5)}
    )
    assert (settings.lr, settings.weight_decay, settings.steps, settings.clip) == (0.004, 0.0, 10, 0.5)
    assert [type(one) for one in (settings.lr, settings.weight_decay, settings.steps)] == [float, float, int]
    assert settings.digest == TrainSettings(**GIVEN | {"lr": 0.004, "weight_decay": 0.0, "clip": 0.5}).digest
    found = smoke(lr="4e-3", batch_tokens="8k", context=500, micro_tokens="1k", steps=1e2, warmup_steps="0")
    assert found.settings.lr == 0.004
    assert (found.settings.batch_tokens, found.settings.micro_tokens) == (8000, 1000)
    assert (found.settings.steps, found.settings.warmup_steps) == (100, 0)
    assert derive("smoke", vocab_size=256, tokens="1M").settings.steps == 244  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "overrides",
    [{"warmup_steps": 0.1}, {"warmup_steps": "-1"}, {"compile": "nope"}, {"batch_tokens": "8q"}, {"norm_eps": "nan"}],
)
def test_overrides_of_another_type_are_refused_by_name(overrides: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(overrides))):
        smoke(**overrides)


def test_what_divides_and_what_is_there_is_looked_at_by_derive(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import torch\ndef soap(named, settings): ...\n")
    smoke(optimizer=f"{file}:soap")
    smoke(optimizer="json:loads")
    smoke(optimizer="torch.optim:AdamW")
    for overrides, said in (
        ({"batch_tokens": 4097}, "cannot be shared out"),
        ({"micro_tokens": 300}, "does not divide"),
        ({"optimizer": f"{file}:sopa"}, "has no sopa"),
        ({"optimizer": f"{tmp_path}/other.py:soap"}, "cannot be imported"),
        ({"optimizer": "not_a_module_of_anyone:soap"}, "cannot be imported"),
        ({"optimizer": "torch.nothing.of.this:soap"}, "cannot be imported"),
    ):
        with pytest.raises(ConfigError, match=said):
            smoke(**overrides)
    with pytest.raises(ConfigError, match="cannot be shared out"):
        derive("smoke", vocab_size=256, gpus=2, overrides={"batch_tokens": 256 * 3})
    file.write_text("def soap(:\n")
    with pytest.raises(ConfigError, match="cannot be imported"):
        smoke(optimizer=f"{file}:soap")


def test_a_tracker_that_is_not_there_is_told_of_by_derive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="track=wandb needs the package wandb"):
        smoke(track="wandb")


@pytest.mark.ci
def test_looking_does_not_import(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torch\ndef soap(named, settings): ...\n")
    code = (
        "import sys; from tokenmill.train.presets import derive\n"
        "for place in ('mine:soap', 'mine.py:soap', 'torch.optim:AdamW'):\n"
        "    derive('smoke', vocab_size=4096, overrides={'optimizer': place})\n"
        "assert 'torch' not in sys.modules and 'mine' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=tmp_path)
