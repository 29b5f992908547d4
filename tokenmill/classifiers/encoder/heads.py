"""Heads: what turns a text's vector into scores. Linear, or small perceptrons, any number in one folder.

A folder of heads holds `heads.json` and `heads.safetensors`. The encoder is in the same folder, or named:

    {"format": 1, "encoder": {"model": "../minilm", "revision": ""}, "pooling": "mean", "normalize": true,
     "layers": [3, 6],
     "heads": [{"name": "edu", "problem": "regression", "labels": ["edu"], "layers": 1, "activation": "relu"}]}

`layers` beside `pooling` numbers the hidden states that are pooled, one behind the other (0: the embeddings; left out:
the last only). `layers` of a head is how many it has itself.

Weights are named `<head>.<layer>.weight` [outputs, inputs] and `<head>.<layer>.bias` [outputs], float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from tokenmill.classifiers.columns import slug
from tokenmill.classifiers.encoder.settings import Pooling
from tokenmill.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

HEADS = "heads.json"
WEIGHTS = "heads.safetensors"
NATIVE = "classifier"
"""Name of the head of an `AutoModelForSequenceClassification`."""

Problem = Literal["regression", "sigmoid", "softmax"]
"""What becomes of the numbers of a head: nothing, a probability each, or probabilities that add up to 1."""
Activation = Literal["relu", "gelu", "tanh"]


@dataclass(frozen=True)
class Head:
    """A head as its folder describes it; the weights are apart."""

    name: str
    problem: Problem
    labels: tuple[str, ...]
    """One per output."""
    layers: int = 1
    """1 is linear; more are a perceptron with `activation` between the layers."""
    activation: Activation = "relu"
    native: bool = False
    """Whether it is the model's own head."""

    def columns(self, prefix: str, alone: bool) -> tuple[str, ...]:
        """Column names: the prefix, the head's name unless it is alone, and the label where there are several."""
        base = prefix if alone else f"{prefix}_{slug(self.name)}"
        return (base,) if len(self.labels) == 1 else tuple(f"{base}_{slug(label)}" for label in self.labels)

    def to_json(self) -> dict[str, Any]:
        fields = {"name": self.name, "problem": self.problem, "labels": list(self.labels)}
        return {**fields, "layers": self.layers, "activation": self.activation}


def read_heads(file: Path) -> tuple[Head, ...]:
    """The heads of a `heads.json`; ConfigError where it is not one."""
    try:
        heads = tuple(_head(entry) for entry in json.loads(file.read_text(encoding="utf-8"))["heads"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "the heads cannot be read",
            where=str(file),
            why=f"{type(error).__name__}: {error}",
            fix="the form is in docs/encoders.md",
        ) from error
    names = [head.name for head in heads]
    if not heads or len(set(names)) < len(names):
        raise ConfigError("heads need names that differ", where=str(file), why=f"their names are {names}")
    return heads


def _head(entry: Mapping[str, Any]) -> Head:
    head = Head(
        name=str(entry["name"]),
        problem=entry["problem"],
        labels=tuple(map(str, entry["labels"])),
        layers=int(entry.get("layers", 1)),
        activation=entry.get("activation", "relu"),
    )
    if head.problem not in get_args(Problem) or head.activation not in get_args(Activation):
        raise ValueError(f"{head.problem!r} is no problem, or {head.activation!r} no activation")
    if not head.labels or head.layers < 1 or (head.problem == "softmax" and len(head.labels) < 2):
        raise ValueError(f"{head.name} has {len(head.labels)} labels and {head.layers} layers")
    return head


def native_head(config: Mapping[str, Any]) -> Head:
    """The head that a `config.json` of an `AutoModelForSequenceClassification` describes.

    `problem_type` decides, as in transformers' losses; without one, a single output is a regression, several a softmax.
    """
    names = config.get("id2label")
    count = len(names) if names else int(config.get("num_labels", 2))
    labels = tuple(str(names[key]) for key in sorted(names, key=int)) if names else tuple(map(_default, range(count)))
    problems: dict[str | None, Problem] = {
        "regression": "regression",
        "multi_label_classification": "sigmoid",
        "single_label_classification": "softmax",
        None: "regression" if count == 1 else "softmax",
    }
    kind = config.get("problem_type")
    if kind not in problems:
        raise ConfigError(
            f"problem_type = {kind!r} is not known",
            where="config.json of the model",
            fix=f"one of {', '.join(name for name in problems if name)}",
        )
    problem = problems[kind]
    if problem == "softmax" and count == 1:
        problem = "sigmoid"  # a softmax over one output is always 1
    return Head(NATIVE, problem, labels, native=True)


def _default(number: int) -> str:
    return f"LABEL_{number}"


def scores_of(logits: torch.Tensor, problem: Problem) -> torch.Tensor:
    """Scores of logits [n, outputs], in float32."""
    logits = logits.float()
    if problem == "sigmoid":
        return logits.sigmoid()
    return logits.softmax(dim=-1) if problem == "softmax" else logits


def load_weights(
    file: Path, heads: Sequence[Head], hidden: int, device: torch.device
) -> dict[str, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Per head its layers as (weight [outputs, inputs], bias [outputs]), float32; ConfigError where shapes disagree."""
    from safetensors.torch import load

    stored = load(file.read_bytes())
    found: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for head in heads:
        inputs = hidden
        found[head.name] = []
        for layer in range(head.layers):
            weight, bias = (stored.get(f"{head.name}.{layer}.{part}") for part in ("weight", "bias"))
            last = layer == head.layers - 1
            if weight is None or bias is None or weight.ndim != 2 or weight.shape[1] != inputs:
                problem: Any = "is missing" if weight is None or bias is None else f"has the shape {[*weight.shape]}"
            elif bias.shape != weight.shape[:1] or (last and len(weight) != len(head.labels)):
                problem = f"gives {len(weight)} outputs, for {len(bias)} in the bias and {len(head.labels)} labels"
            else:
                found[head.name].append((weight.float().to(device), bias.float().to(device)))
                inputs = len(weight)
                continue
            raise ConfigError(
                f"layer {layer} of the head {head.name!r} {problem}",
                where=str(file),
                why=f"its inputs are {inputs} numbers",
                fix="train the head again for this encoder",
            )
    return found


def apply_layers(
    vectors: torch.Tensor, layers: Sequence[tuple[torch.Tensor, torch.Tensor]], activation: Activation
) -> torch.Tensor:
    """Logits [n, outputs] of vectors [n, hidden], float32."""
    from torch.nn import functional

    for number, (weight, bias) in enumerate(layers):
        if number:
            vectors = getattr(functional, activation)(vectors)
        vectors = functional.linear(vectors, weight, bias)
    return vectors


def save_heads(
    folder: Path,
    heads: Sequence[Head],
    weights: Mapping[str, Any],
    *,
    pooling: Pooling,
    normalize: bool,
    layers: Sequence[int] = (),
    encoder: str = "",
    revision: str = "",
) -> None:
    """Write a folder of heads. `weights`: numpy float32 arrays, named as in the module docstring.

    `encoder` is a hub id, or a path (absolute, or relative to `folder`); empty where it is in the same folder.
    """
    from safetensors.numpy import save_file

    if not all(math.isfinite(float(array.sum())) for array in weights.values()):
        raise ValueError("weights of heads must be finite")
    folder.mkdir(parents=True, exist_ok=True)
    entry: dict[str, Any] = {"format": 1, "pooling": pooling, "normalize": normalize}
    if layers:
        entry["layers"] = list(layers)
    if encoder:
        entry["encoder"] = {"model": encoder, "revision": revision}
    entry["heads"] = [head.to_json() for head in heads]
    save_file(cast(dict[str, Any], dict(weights)), str(folder / WEIGHTS))
    (folder / HEADS).write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
