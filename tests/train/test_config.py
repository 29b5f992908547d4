"""What follows from a shape, against the module that has it, and the shapes that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tokenmill.core.errors import ConfigError
from tokenmill.train.config import ModelConfig
from tokenmill.train.model import Decoder

SHAPE: dict[str, Any] = {"vocab_size": 100, "layers": 3, "width": 24, "heads": 4, "hidden": 40, "context": 16}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qk_norm": False},
        {"tied": False, "kv_heads": 2},
        {"activation": "relu2", "vocab_size": 128},
        {"experts": 6, "experts_per_token": 3, "expert_hidden": 8},
        {"experts": 4, "tied": False},
    ],
)
def test_counts_are_those_of_the_module(changes: dict[str, Any]) -> None:
    config = ModelConfig(**SHAPE | changes)
    with torch.device("meta"):
        model = Decoder(config)
    assert config.parameters == sum(parameter.numel() for parameter in model.parameters())
    matrices = sum(
        parameter.numel() * (config.experts_per_token if parameter.dim() == 3 else 1) // (config.experts or 1)
        if parameter.dim() == 3
        else parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and "embedding" not in name and "head" not in name
    )
    assert config.matmul_parameters == matrices + model.head_weight.numel()
    assert config.flops_per_token == 6 * config.matmul_parameters + 12 * 3 * 24 * 16


def test_counts_by_hand() -> None:
    config = ModelConfig(vocab_size=4096, layers=4, width=128, heads=4, hidden=320, context=256)
    layer = 4 * 128 * 128 + 3 * 128 * 320
    assert config.matmul_parameters == 4 * layer + 4096 * 128
    assert config.parameters == 4 * (layer + 2 * 128 + 2 * 32) + 4096 * 128 + 128
    assert config.flops_per_token == 6 * (4 * layer + 4096 * 128) + 12 * 4 * 128 * 256
    assert (config.head_width, config.key_heads, config.padded_vocab) == (32, 4, 4096)


@pytest.mark.parametrize(
    ("layers", "width", "heads", "hidden", "vocab_size", "millions", "flops"),
    [
        (8, 320, 5, 832, 8192, 12.3, 0.105e9),
        (10, 448, 7, 1216, 16384, 31.7, 0.245e9),
        (12, 768, 12, 2048, 32768, 110.1, 0.774e9),
    ],
)
def test_counts_are_those_of_the_table_of_the_protocol(
    layers: int, width: int, heads: int, hidden: int, vocab_size: int, millions: float, flops: float
) -> None:
    config = ModelConfig(vocab_size=vocab_size, layers=layers, width=width, heads=heads, hidden=hidden, context=1024)
    assert config.matmul_parameters / 1e6 == pytest.approx(millions, rel=0.01)
    assert config.flops_per_token == pytest.approx(flops, rel=0.01)


@pytest.mark.parametrize(("vocab_size", "padded"), [(1, 64), (64, 64), (65, 128), (50257, 50304)])
def test_rows_are_filled_up_to_64(vocab_size: int, padded: int) -> None:
    assert ModelConfig(**SHAPE | {"vocab_size": vocab_size}).padded_vocab == padded


def test_json_gives_the_same_back() -> None:
    config = ModelConfig(**SHAPE, kv_heads=2, experts=4, z_loss=0.5, document_mask=True)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        ModelConfig.from_json({**config.to_json(), "widht": 3})
    with pytest.raises(ConfigError, match="misses: layers, width"):
        ModelConfig.from_json({"vocab_size": 5, "heads": 1, "hidden": 4, "context": 8})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"layers": 0}, "layers=0"),
        ({"width": 24.0}, "width=24.0"),
        ({"hidden": True}, "hidden=True"),
        ({"width": 26}, "26 does not divide into 4 heads"),
        ({"width": 12}, "12 does not divide into 4 heads"),
        ({"kv_heads": 3}, "no multiple of kv_heads=3"),
        ({"activation": "swiglue"}, "swiglue"),
        ({"z_loss": -1e-4}, "z_loss"),
        ({"init_std": float("nan")}, "init_std"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"rope_theta": 1.0}, "rope_theta"),
        ({"experts": 2, "experts_per_token": 3}, "3 of 2 experts"),
        ({"experts": -1}, "-1 experts"),
        ({"experts": 4, "activation": "relu2"}, "experts have swiglu only"),
        ({"experts": 4, "expert_hidden": 0}, "expert_hidden=0"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        ModelConfig(**SHAPE | changes)
