"""Heads: what turns a text's vector into scores. Linear, or small perceptrons, any number in one folder.

A folder of heads holds `heads.json` and `heads.safetensors`. The encoder is in the same folder, or named:

    {"format": 1, "encoder": {"model": "../minilm", "revision": "", "hub": false, "sha256": "9f86d0..."},
     "pooling": "mean", "normalize": true, "layers": [3, 6], "max_tokens": 512, "long_documents": "prefix",
     "heads": [{"name": "edu", "problem": "regression", "labels": ["edu"], "layers": 1, "activation": "relu"}]}

`encoder.hub` says that the model is a hub id, `encoder.sha256` is `folder.encoder_digest`, without which any encoder
is taken. `layers` beside `pooling` numbers the hidden states that are pooled, one behind the other (0: the embeddings;
left out: the last only). `layers` of a head is how many it has itself. `max_tokens` and `long_documents` are those of
the training, which stages take over.

Weights are named `<head>.<layer>.weight` [outputs, inputs] and `<head>.<layer>.bias` [outputs], float32.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from tokenmill.classifiers.columns import slug
from tokenmill.classifiers.encoder.files import read_object
from tokenmill.classifiers.encoder.settings import LongDocuments, Pooling
from tokenmill.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

HEADS = "heads.json"
WEIGHTS = "heads.safetensors"
FORMAT = 1
"""Of heads.json."""
NATIVE = "classifier"
"""Name of the head of an `AutoModelForSequenceClassification`."""

Problem = Literal["regression", "sigmoid", "softmax"]
"""What becomes of the numbers of a head: nothing, a probability each, or probabilities that add up to 1."""
Activation = Literal["relu", "gelu", "tanh"]
_T = TypeVar("_T")
_TYPES = {str: "a string", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9_][\w.-]*", re.ASCII)


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


def is_hub_id(model: str) -> bool:
    """Whether a name has the form of a hub id: owner/name, or a name alone."""
    return bool(_HUB_ID.fullmatch(model)) and ".." not in model


@dataclass(frozen=True)
class EncoderName:
    """Which encoder a heads.json wants."""

    model: str
    """A path, relative to the folder of heads.json or absolute, or a hub id."""
    revision: str = ""
    hub: bool = False
    """Whether it is a hub id for certain."""
    sha256: str = ""
    """Its digest; empty where heads.json does not say."""

    @property
    def maybe_hub(self) -> bool:
        """Whether it can be a hub id: files that were written before there was `hub` say it by the form alone."""
        return self.hub or (is_hub_id(self.model) and "/" in self.model)


@dataclass(frozen=True)
class HeadsFile:
    """What a heads.json says; None, 0 and empty where it says nothing."""

    heads: tuple[Head, ...]
    encoder: EncoderName | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    layers: tuple[int, ...] = ()
    max_tokens: int = 0
    long_documents: LongDocuments | Literal[""] = ""


def read_heads(file: Path) -> HeadsFile:
    """The contents of a `heads.json`; ConfigError where it is not one."""
    entry = read_object(file)
    try:
        return _heads_file(entry)
    except ValueError as error:
        raise ConfigError(
            f"{file.name} cannot be read", where=str(file), why=str(error), fix="the form is in docs/encoders.md"
        ) from error


def _heads_file(entry: Mapping[str, Any]) -> HeadsFile:
    """The checked contents; ValueError for what is missing, or of another type than it should be."""
    if _get(entry, "format", int, FORMAT) != FORMAT:
        raise ValueError(f"format = {entry['format']}, and this version reads {FORMAT}; a newer tokenmill may read it")
    heads = tuple(_at(f"heads[{place}]", _head, one) for place, one in enumerate(_get(entry, "heads", list)))
    names = [head.name for head in heads]
    if not heads or len(set(names)) < len(names):
        raise ValueError(f"heads need names that differ: {names}")
    layers = _get(entry, "layers", list, [])
    if any(type(layer) is not int for layer in layers):
        raise ValueError(f"layers = {layers} must be whole numbers")
    max_tokens = _get(entry, "max_tokens", int, 0)
    if max_tokens < 0:
        raise ValueError(f"max_tokens = {max_tokens} must be 1 or more")
    return HeadsFile(
        heads,
        encoder=_at("encoder", _encoder_name, entry["encoder"]) if "encoder" in entry else None,
        pooling=_choice(entry, "pooling", Pooling) if "pooling" in entry else None,
        normalize=_get(entry, "normalize", bool) if "normalize" in entry else None,
        layers=tuple(layers),
        max_tokens=max_tokens,
        long_documents=_choice(entry, "long_documents", LongDocuments) if "long_documents" in entry else "",
    )


def _at(place: str, read: Callable[[Mapping[str, Any]], _T], entry: Any) -> _T:
    """What a part of the file says; a ValueError names the part."""
    try:
        return read(_of_type(entry, dict, "this"))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _encoder_name(entry: Mapping[str, Any]) -> EncoderName:
    found = EncoderName(
        _get(entry, "model", str),
        _get(entry, "revision", str, ""),
        _get(entry, "hub", bool, False),
        _get(entry, "sha256", str, "").lower(),
    )
    if not found.model or "\0" in found.model:
        raise ValueError(f"model = {found.model!r} is no path and no hub id")
    return found


def _head(entry: Mapping[str, Any]) -> Head:
    labels = _get(entry, "labels", list)
    head = Head(
        name=_get(entry, "name", str),
        problem=_choice(entry, "problem", Problem),
        labels=tuple(_of_type(label, str, "a label") for label in labels),
        layers=_get(entry, "layers", int, 1),
        activation=_choice(entry, "activation", Activation, "relu"),
    )
    if not head.labels or head.layers < 1 or (head.problem == "softmax" and len(head.labels) < 2):
        raise ValueError(f"{head.name} has {len(head.labels)} labels and {head.layers} layers")
    return head


def _get(entry: Mapping[str, Any], key: str, kind: type[_T], default: _T | None = None) -> _T:
    """The value of a key, which must be there unless there is a default."""
    if key not in entry and default is None:
        raise ValueError(f"{key} is missing")
    return _of_type(entry.get(key, default), kind, key)


def _of_type(value: Any, kind: type[_T], what: str) -> _T:
    if type(value) is not kind:  # a bool is no number here
        raise ValueError(f"{what} = {value!r:.80} must be {_TYPES[kind]}")
    return value


def _choice(entry: Mapping[str, Any], key: str, choices: Any, default: str | None = None) -> Any:
    """The value of a key, one of those of a Literal."""
    value = _get(entry, key, str, default)
    if value not in get_args(choices):
        raise ValueError(f"{key} = {value!r} is not known: one of {', '.join(get_args(choices))}")
    return value


def native_head(config: Mapping[str, Any], where: str = "config.json of the model") -> Head:
    """The head that a `config.json` of an `AutoModelForSequenceClassification` describes.

    `problem_type` decides, as in transformers' losses; without one, a single output is a regression, several a softmax.
    ConfigError where it is not known, or the labels cannot be read.
    """
    names, number = config.get("id2label"), config.get("num_labels", 2)
    try:
        labels = (
            tuple(str(names[key]) for key in sorted(names, key=int)) if names else tuple(map(_default, range(number)))
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "the labels of the model cannot be read",
            where=where,
            why=f"id2label = {names!r:.80}, num_labels = {number!r:.80}",
            fix='id2label is {"0": "first label", "1": "second label"}, or left out beside num_labels',
        ) from error
    count = len(labels)
    problems: dict[str | None, Problem] = {
        "regression": "regression",
        "multi_label_classification": "sigmoid",
        "single_label_classification": "softmax",
        None: "regression" if count == 1 else "softmax",
    }
    kind = config.get("problem_type")
    if not isinstance(kind, str | None) or kind not in problems or not count:
        raise ConfigError(
            f"problem_type = {kind!r} is not known" if count else "the model has no labels",
            where=where,
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
    max_tokens: int = 0,
    long_documents: LongDocuments | Literal[""] = "",
    encoder_sha256: str = "",
    hub: bool | None = None,
) -> None:
    """Write a folder of heads. `weights`: numpy float32 arrays, named as in the module docstring.

    `encoder` is a hub id, or a path (absolute, or relative to `folder`); empty where it is in the same folder. `hub`
    says which; None goes by the form: owner/name is an id unless there is such a folder in `folder`. `encoder_sha256`
    is `folder.encoder_digest` of it, `max_tokens` and `long_documents` are those of the training; what is 0 or empty
    is not written.
    """
    from safetensors.numpy import save_file

    if not all(math.isfinite(float(array.sum())) for array in weights.values()):
        raise ValueError("weights of heads must be finite")
    folder.mkdir(parents=True, exist_ok=True)
    entry: dict[str, Any] = {"format": FORMAT, "pooling": pooling, "normalize": normalize}
    if layers:
        entry["layers"] = list(layers)
    if encoder or encoder_sha256:
        marked = EncoderName(encoder).maybe_hub and not (folder / encoder).is_dir() if hub is None else hub
        entry["encoder"] = {"model": encoder or ".", "revision": revision, "hub": marked}
        if encoder_sha256:
            entry["encoder"]["sha256"] = encoder_sha256
    if max_tokens:
        entry["max_tokens"] = max_tokens
    if long_documents:
        entry["long_documents"] = long_documents
    entry["heads"] = [head.to_json() for head in heads]
    save_file(cast(dict[str, Any], dict(weights)), str(folder / WEIGHTS))
    (folder / HEADS).write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
