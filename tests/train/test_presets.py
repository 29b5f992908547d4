"""Presets and sizes: the numbers of the protocol, and that shapes follow what is asked for."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError
from tokenmill.train.config import ModelConfig
from tokenmill.train.presets import PRESETS, derive
from tokenmill.train.shapes import Shape, parameters_of, shape_for


@pytest.mark.parametrize(
    ("name", "parameters", "batch", "steps"),
    [
        ("smoke", 1_279_360, 4096, 150),
        ("laptop", 31_721_920, 131_072, 572),
        ("h200", 57_228_864, 262_144, 916),
        ("confirm", 135_287_040, 524_288, 1907),
    ],
)
def test_presets(name: str, parameters: int, batch: int, steps: int) -> None:
    found = derive(name, vocab_size=PRESETS[name].vocab_size)
    assert found.model.parameters == parameters
    assert (found.settings.batch_tokens, found.settings.steps) == (batch, steps)
    assert found.settings.batch_tokens % found.settings.micro_tokens == 0
    assert found.settings.micro_tokens % found.model.context == 0
    assert found.settings.decay_steps == round(0.2 * steps)
    assert set(PRESETS[name].minimum_tasks) <= set(PRESETS[name].usual_tasks)


def test_the_formulas_are_datadecides() -> None:
    """The published table: 150M with lr 4.2e-3 and 192 sequences, 20M with 8.4e-3 and 64, before halving for wsd."""
    for millions, lr, sequences in ((150, 4.2e-3, 192), (20, 8.4e-3, 64)):
        found = derive(millions * 1_000_000, vocab_size=32_768, tokens=10**10, overrides={"schedule": "cosine"})
        size = found.model.matmul_parameters / (millions * 1e6)
        assert found.settings.lr * size ** (1 / 3) == pytest.approx(lr, rel=0.03)
        assert abs(math.log2(found.settings.batch_tokens / 2048 / sequences)) <= 1
    wsd = derive("150M", vocab_size=32_768, tokens=10**10)
    assert wsd.settings.lr == pytest.approx(
        derive("150M", vocab_size=32_768, tokens=10**10, overrides={"schedule": "cosine"}).settings.lr / 2
    )


def test_every_derived_value_is_said() -> None:
    found = derive("12M", vocab_size=8192, tokens=200_000_000, device="cuda", gpus=2, overrides={"clip": 0.5})
    said = "\n".join(found.lines)
    for name in (
        "batch_tokens",
        "steps",
        "lr",
        "micro_tokens",
        "optimizer",
        "warmup_steps",
        "decay_steps",
        "precision",
    ):
        value = getattr(found.settings, name)
        shown = f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else value
        assert f"{name} = {shown}: " in said
    assert "clip=0.5" in said
    assert (found.settings.optimizer, found.settings.precision, found.settings.compile) == ("muon", "bf16", True)
    assert found.settings.clip == 0.5
    assert found.settings.batch_tokens % (2 * found.model.context) == 0


def test_overrides_carry_what_depends_on_them() -> None:
    found = derive("smoke", vocab_size=256, overrides={"batch_tokens": 2048, "context": 64, "width": 64, "heads": 2})
    assert found.settings.steps == 300
    assert found.settings.micro_tokens == 2048
    assert (found.model.vocab_size, found.model.context, found.model.width) == (256, 64, 64)
    assert derive("smoke", vocab_size=256, overrides={"steps": 7}).settings.steps == 7


def test_wrong_names_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        derive("smok", vocab_size=4096)
    assert "smoke" in caught.value.why
    with pytest.raises(ConfigError) as caught:
        derive("smoke", vocab_size=4096, overrides={"learning_rate": 1})
    assert "learning_rate" in caught.value.what
    with pytest.raises(ConfigError) as caught:
        derive("smoke", vocab_size=4096, overrides={"warmup_step": 1})
    assert "warmup_steps" in caught.value.why
    with pytest.raises(ConfigError, match="vocab_size"):
        derive("smoke", vocab_size=4096, overrides={"vocab_size": 1})
    with pytest.raises(ConfigError, match="no model of about"):
        derive(10_000, vocab_size=50_000)


@given(st.integers(2_000_000, 3_000_000_000), st.floats(1, 3))
def test_shapes_are_near_and_never_shrink(wanted: int, more: float) -> None:
    shape = shape_for(wanted, 4096)
    assert 1 / 1.3 <= parameters_of(shape, 4096) / wanted <= 1.3
    assert parameters_of(shape_for(int(wanted * more), 4096), 4096) >= parameters_of(shape, 4096)
    assert shape.width == 64 * shape.heads
    assert shape.hidden % 64 == 0
    assert 0 <= shape.hidden - 8 / 3 * shape.width < 64
    assert shape.tied == (parameters_of(shape, 4096) <= 60_000_000)


def test_from_four_million_on_shapes_are_within_an_eighth() -> None:
    for wanted in (4e6, 12e6, 32e6, 57e6, 110e6, 350e6, 1e9):
        assert abs(math.log(parameters_of(shape_for(int(wanted), 16_384), 16_384) / wanted)) < 0.125


def test_parameters_are_those_of_the_config() -> None:
    shape = Shape(3, 128, 2, 384, False)
    config = ModelConfig(vocab_size=300, layers=3, width=128, heads=2, hidden=384, context=8, tied=False)
    assert parameters_of(shape, 300) == config.parameters


def test_plans_need_no_torch() -> None:
    code = (
        "import sys; from tokenmill.train.presets import derive; derive('smoke', vocab_size=4096); "
        "import tokenmill.train.schedule, tokenmill.train.results; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
