"""Tiny runs for tests of the loop: a model of 10,000 weights, and documents that have something to learn."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.tokens.support import make_set
from tokenmill.tokens.views import TokenView, WholeView
from tokenmill.train.config import ModelConfig
from tokenmill.train.loop import Progress, TrainResult, train
from tokenmill.train.model import Decoder
from tokenmill.train.results import StepLog
from tokenmill.train.settings import TrainSettings

VOCABULARY = 64
CONTEXT = 16
CONFIG = ModelConfig(vocab_size=VOCABULARY, layers=2, width=16, heads=2, hidden=32, context=CONTEXT)
SETTINGS = TrainSettings(
    steps=6,
    batch_tokens=8 * CONTEXT,
    micro_tokens=4 * CONTEXT,
    lr=0.02,
    warmup_steps=2,
    decay_steps=2,
    checkpoint_every=1,
    log_every=2,
)
TIMES = ("tokens_per_second", "mfu", "memory", "seconds", "peak_bytes", "folder")
"""What two runs of the same may differ in."""


def make_view(folder: Path, seed: int = 0, documents: int = 60) -> TokenView:
    """Documents that count upwards from a random id: the next id can be learned."""
    random = np.random.default_rng(seed)
    texts = [
        ((random.integers(0, VOCABULARY) + np.arange(random.integers(5, 60))) % (VOCABULARY - 1) + 1).tolist()
        for _ in range(documents)
    ]
    return WholeView(make_set(folder, [texts], vocab_size=VOCABULARY))


def make_settings(**changes: Any) -> TrainSettings:
    return dataclasses.replace(SETTINGS, **changes)


def make_model(**changes: Any) -> Decoder:
    return Decoder(dataclasses.replace(CONFIG, **changes))


def evaluate(model: Decoder, progress: Progress) -> Mapping[str, float]:
    """Something that depends on all weights: the mean log-probability of a fixed row."""
    ids = (torch.arange(CONTEXT)[None] * 7 + 3) % VOCABULARY
    return {"logp": float(model(ids).log_softmax(-1).mean()), "step": progress.step}


def run(view: TokenView, folder: Path, settings: TrainSettings = SETTINGS, **options: Any) -> TrainResult:
    """A run with a new model, unless one is given."""
    options = {"model": None, "seed": 0, "evaluate": evaluate, "eval_steps": (0, 2, 3, settings.steps), **options}
    model = options.pop("model") or make_model()
    return train(model, settings, view, folder, **options)


def traces(folder: Path) -> dict[str, Any]:
    """All that a run leaves, times left out: weights of the last checkpoint as bytes, log, evaluations, result."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    state = json.loads((newest / "state.json").read_text())
    optimizer = torch.load(newest / "optimizer.pt", weights_only=True)
    return {
        "model": (newest / "model.safetensors").read_bytes(),
        "optimizer": bytes_of(optimizer),
        "state": {name: value for name, value in state.items() if name not in (*TIMES, "settings")},
        "log": untimed((folder / "log.jsonl").read_text()),
        "evals": (folder / "evals.jsonl").read_text(),
        "result": untimed((folder / "result.json").read_text().replace("\n", "")),
    }


def untimed(lines: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in lines.splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def bytes_of(value: Any) -> Any:
    """Tensors in nested lists and mappings as bytes, to be compared."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: bytes_of(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [bytes_of(one) for one in value]
    return value


def lines_of(found: list[StepLog]) -> list[int]:
    return [line.step for line in found]
