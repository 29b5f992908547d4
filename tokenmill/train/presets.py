"""One dial: the name of a preset, or a number of parameters. All else is derived from it, and said with its formula.

Learning rate and batch follow the formulas of OLMo's ladder, on which DataDecide trained 25 corpora at 14 sizes
(arXiv:2504.11393): lr = 0.0047 (N / 108M)^(-1/3), halved for wsd as in OLMo-core, and 160 (N / 108M)^(2/3) sequences of
2,048 tokens, N being the weights in matrix products with the output matrix. Rates are fitted to sizes, so muP (one rate
for all widths) is not needed, and not there.

Muon is the default on a CPU as well. Measured with `smoke` on WikiText (0.6M tokens, vocabulary 4,096): 2.02 bits per
byte where AdamW has 2.35, at 5 % more time. AdamW has hardly left the plateau of word pairs there, and a text with
repeated boilerplate, from which copying is learned, comes out as better than the clean one (2.22); with Muon as worse
(2.04).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenmill.core.amounts import parse_amount
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.train.check import check_settings
from tokenmill.train.config import ModelConfig
from tokenmill.train.devices import memory_bytes
from tokenmill.train.settings import TrainSettings
from tokenmill.train.shapes import Shape, shape_for
from tokenmill.train.values import from_words

_EARLY = ("lambada", "sciq", "arc_easy", "hellaswag")
_USUAL = (*_EARLY, "piqa", "commonsense_qa", "social_iqa", "mmlu")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model and how long it is trained, for a kind of machine."""

    name: str
    what: str
    shape: Shape
    vocab_size: int
    """Of the tokenizer that it is meant for."""
    context: int
    batch_tokens: int
    tokens: int
    """Trained tokens of a run."""
    seeds: int
    lr: float | None = None
    """Where it was measured; None: by the formula."""
    minimum_tasks: tuple[str, ...] = _EARLY
    """Tasks of the early-signal kit that say something at this size, by bits per byte."""
    usual_tasks: tuple[str, ...] = _USUAL
    """Those that are reported."""


PRESETS: Mapping[str, Preset] = {
    one.name: one
    for one in (
        Preset(
            name="smoke",
            what="2 CPU cores, under a minute a run: the direction of gross effects",
            shape=Shape(4, 128, 4, 320, True),
            vocab_size=4096,
            context=256,
            batch_tokens=4096,
            tokens=150 * 4096,
            seeds=2,
            lr=6e-3,
            usual_tasks=_EARLY,
        ),
        Preset(
            name="laptop",
            what="a GPU with 8 to 24 GB; several arms in ten minutes of an H200",
            shape=Shape(10, 448, 7, 1216, True),
            vocab_size=16_384,
            context=1024,
            batch_tokens=128 * 1024,
            tokens=75_000_000,
            seeds=3,
        ),
        Preset(
            name="h200",
            what="one run in about ten minutes of an H200",
            shape=Shape(12, 576, 9, 1536, True),
            vocab_size=16_384,
            context=1024,
            batch_tokens=256 * 1024,
            tokens=240_000_000,
            seeds=3,
        ),
        Preset(
            name="confirm",
            what="135M parameters (110M in products), an hour of an H200 a run",
            shape=Shape(12, 768, 12, 2048, False),
            vocab_size=32_768,
            context=1024,
            batch_tokens=512 * 1024,
            tokens=1_000_000_000,
            seeds=3,
            usual_tasks=(*_USUAL, "arc_challenge", "openbookqa", "winogrande"),
        ),
    )
}

TOKENS_PER_PARAMETER = 20
"""Of a size without a preset (Hoffmann et al. 2022, arXiv:2203.15556)."""
MIN_STEPS = 150
"""The batch is made smaller where a run would have fewer steps."""
UNKNOWN_MEMORY = 8 << 30
"""Bytes that a GPU is taken to have when it is not at hand."""


@dataclass(frozen=True)
class Derived:
    """What a size means."""

    model: ModelConfig
    settings: TrainSettings
    lines: list[str]
    """Every derived value with its formula, for printing."""


def derive(
    size: str | int,
    *,
    vocab_size: int,
    tokens: int | None = None,
    device: str = "cpu",
    gpus: int = 1,
    overrides: Mapping[str, Any] | None = None,
) -> Derived:
    """The model and the settings of a size.

    size: a name of PRESETS, or about how many parameters the model has ("12M"). tokens: to train on, None: as the
    preset says, or 20 per parameter. device: as torch writes it. gpus: how many share a batch. overrides: values of
    fields of ModelConfig or TrainSettings, numbers also as text (`4e-3`, `8k`); what depends on them follows, unless
    it is given too. ConfigError for names that are no fields, and for what cannot work (check.py).
    """
    given = _checked(dict(overrides or {}))
    if tokens is not None:
        tokens = parse_amount(tokens, "a number of tokens to train on")
    preset = _preset(size)
    lines: list[str] = []
    model = _model(size, preset, vocab_size, given, lines)
    settings = _settings(model, preset, tokens, device, gpus, given, lines)
    check_settings(model, settings, gpus)
    if unused := sorted(given):
        lines.append(f"given: {', '.join(f'{name}={given[name]}' for name in unused)}")
    return Derived(model, settings, lines)


def _names(of: type[ModelConfig] | type[TrainSettings]) -> set[str]:
    return {one.name for one in dataclasses.fields(of)}


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    known = (_names(ModelConfig) | _names(TrainSettings)) - {"vocab_size"}
    for name in given:
        if name == "vocab_size":
            raise ConfigError("vocab_size is no override", why="the tokenizer has it", fix="choose another tokenizer")
        if name not in known:
            raise ConfigError(f"there is no setting {name!r} of models or training", why=did_you_mean(name, known))
    return from_words(ModelConfig, given) | from_words(TrainSettings, given)


def _preset(size: str | int) -> Preset | None:
    if isinstance(size, str) and not size[:1].isdigit():
        if size not in PRESETS:
            raise ConfigError(
                f"there is no preset {size!r}",
                why=did_you_mean(size, PRESETS),
                fix="choose one of them, or a number of parameters such as 12M",
            )
        return PRESETS[size]
    return None


def _model(
    size: str | int, preset: Preset | None, vocab_size: int, given: Mapping[str, Any], lines: list[str]
) -> ModelConfig:
    if preset is not None:
        shape, context = preset.shape, preset.context
        lines.append(f"preset {preset.name}: {preset.what}")
    else:
        wanted = parse_amount(size, "a number of parameters")
        shape = shape_for(wanted, vocab_size)
        context = 256 if wanted < 5_000_000 else 1024 if wanted < 500_000_000 else 2048
        lines.append(f"shape: nearest to {wanted:,} parameters; heads of 64, hidden = 8/3 width, width/layers 32 to 64")
        lines.append(f"context {context}: 256 below 5M parameters, 1024 below 500M, 2048 from there on")
    if preset is not None and vocab_size != preset.vocab_size:
        lines.append(f"vocabulary {vocab_size}, as the tokenizer has; the preset is meant for {preset.vocab_size}")
    fields = {
        "layers": shape.layers,
        "width": shape.width,
        "heads": shape.heads,
        "hidden": shape.hidden,
        "tied": shape.tied,
        "context": context,
        **{name: value for name, value in given.items() if name in _names(ModelConfig)},
    }
    model = ModelConfig(vocab_size=vocab_size, **fields)
    lines.append(
        f"model: {model.layers} layers, width {model.width}, {model.heads} heads, hidden {model.hidden}, vocabulary "
        f"{vocab_size}, context {model.context}, {'tied' if model.tied else 'untied'}: {model.parameters:,} "
        f"parameters, {model.matmul_parameters:,} (N) in products of a token"
    )
    return model


class _Choices:
    """Values with their formulas; what the user gave goes before them."""

    def __init__(self, given: Mapping[str, Any], lines: list[str]) -> None:
        self.given, self.lines = given, lines

    def take(self, name: str, value: Any, formula: str) -> Any:
        if name in self.given:
            self.lines.append(f"{name} = {self.given[name]} (given)")
            return self.given[name]
        shown = f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else value
        self.lines.append(f"{name} = {shown}: {formula}")
        return value


def _settings(
    model: ModelConfig,
    preset: Preset | None,
    tokens: int | None,
    device: str,
    gpus: int,
    given: Mapping[str, Any],
    lines: list[str],
) -> TrainSettings:
    choice = _Choices(given, lines)
    cuda = device.startswith("cuda")
    size = model.matmul_parameters / 108e6
    if tokens is None:
        tokens = preset.tokens if preset else TOKENS_PER_PARAMETER * model.parameters
        lines.append(f"tokens = {tokens:,}: {'of the preset' if preset else f'{TOKENS_PER_PARAMETER} per parameter'}")
    batch_tokens = choice.take("batch_tokens", *_batch(model, preset, tokens, gpus))
    if "steps" in given:
        steps = choice.take("steps", 0, "")
    else:
        steps = choice.take("steps", max(1, round(tokens / batch_tokens)), f"{tokens:,} tokens / batch")
    schedule = choice.take("schedule", "wsd", "warm-up, stable, linear decay; branches can begin in its stable part")
    peak = 0.0047 * size ** (-1 / 3)
    halved = schedule == "wsd"
    if preset is not None and preset.lr is not None:
        lr = choice.take("lr", preset.lr, f"measured for the preset (formula: {peak / (1 + halved):.3g})")
    else:
        lr = choice.take(
            "lr", peak / (1 + halved), f"0.0047 (N/108M)^(-1/3){' / 2 for wsd' if halved else ''}; DataDecide"
        )
    warm = min(max(model.parameters / batch_tokens, 0.02 * steps), 0.05 * steps)
    values = {
        "steps": steps,
        "batch_tokens": batch_tokens,
        "micro_tokens": choice.take("micro_tokens", *_micro(model, batch_tokens, device, gpus)),
        "lr": lr,
        "optimizer": choice.take("optimizer", "muon", "muon for hidden matrices, adamw for the rest"),
        "schedule": schedule,
        "warmup_steps": choice.take("warmup_steps", math.ceil(warm), "tokens = parameters, in 2 % to 5 % of steps"),
        "decay_steps": choice.take("decay_steps", round(0.2 * steps), "20 % of steps"),
        "precision": choice.take("precision", *_precision(cuda)),
        "compile": choice.take("compile", cuda, "on CUDA; on a CPU a short run does not earn its cost"),
        "checkpoint_every": choice.take(
            "checkpoint_every", 0 if model.parameters < 5_000_000 else max(200, steps // 5), "5 in a run, none below 5M"
        ),
    }
    shown = set(values)
    values |= {name: value for name, value in given.items() if name in _names(TrainSettings) - shown}
    return TrainSettings(**values)


def _precision(cuda: bool) -> tuple[str, str]:
    return ("bf16", "bf16 on CUDA") if cuda else ("fp32", "fp32 on a CPU: the same bits on more machines")


def _batch(model: ModelConfig, preset: Preset | None, tokens: int, gpus: int) -> tuple[int, str]:
    """Tokens of a step: a multiple of context and gpus."""
    wanted = 160 * (model.matmul_parameters / 108e6) ** (2 / 3) * 2048
    unit = model.context * gpus
    formula = f"160 (N/108M)^(2/3) sequences of 2048 = {wanted:,.0f}"
    if preset is not None:
        return max(unit, preset.batch_tokens // unit * unit), f"of the preset ({formula})"
    most = max(1, tokens // MIN_STEPS // unit)
    units = min(2 ** round(math.log2(max(wanted / unit, 1))), most)
    return units * unit, f"{formula}, as a power of two of sequences, at least {MIN_STEPS} steps"


def _micro(model: ModelConfig, batch_tokens: int, device: str, gpus: int) -> tuple[int, str]:
    """Tokens of a forward pass: the largest divisor of a device's share whose activations fit."""
    share = batch_tokens // gpus
    if not device.startswith("cuda"):
        most, why = 16_384, "at most 16,384 on a CPU"
    else:
        per_token = 2 * model.layers * (16 * model.width + 6 * model.hidden) + 8 * model.width
        memory = memory_bytes(device)
        most = int(0.4 * (memory or UNKNOWN_MEMORY)) // per_token
        known = f"{memory / 2**30:.0f} GiB" if memory else f"{UNKNOWN_MEMORY >> 30} GiB, for no such device is here"
        why = f"activations of {per_token:,} bytes a token in 40 % of {known}"
    rows = max(share // model.context, 1)
    fitting = [one for one in range(1, rows + 1) if rows % one == 0 and one * model.context <= most]
    return (fitting or [1])[-1] * model.context, why
