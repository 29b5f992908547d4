"""Training of a whole encoder with a head of its own, written as an `AutoModelForSequenceClassification`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenmill.classifiers.encoder.folder import resolve
from tokenmill.classifiers.encoder.tokens import Ids, TextTokenizer
from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.answers import Affine
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_TYPES = {
    "ordinal": "regression",
    "binary": "multi_label_classification",  # one output with a sigmoid
    "classes": "single_label_classification",
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_FRESH = {"classifier", "head", "pooler", "pre_classifier", "score"}
"""Parts of a model that an encoder may lack: they are trained from the start."""
_HEAD_RATE = 10.0
_WARM = 0.1
_BLOCK = 64
"""Batches whose texts are sorted by length together, so that little is padded and the order stays random."""


class FinetuneLearner:
    """Whole encoders. One candidate: the learning rate."""

    nested = False

    def __init__(self, data: Labelled, settings: TrainSettings) -> None:
        self.data = data
        self.settings = settings
        self.candidates = (settings.finetune.learning_rate,)
        self.folder = resolve(settings.encoder, settings.revision)
        if settings.long_documents not in ("prefix", "start_middle_end"):
            raise ConfigError(
                f"long_documents = {settings.long_documents!r} cannot be fine-tuned",
                why="every text is one sequence in training",
                fix="long_documents = 'prefix' or 'start_middle_end'",
            )
        tokens = min(512, self.folder.longest) if settings.max_tokens is None else settings.max_tokens
        if tokens > self.folder.longest:
            raise ConfigError(f"max_tokens = {tokens} is more than the model can", fix=f"{self.folder.longest} or less")
        self._tokenizer = TextTokenizer(self.folder.path, tokens, settings.long_documents)
        self._fresh(np.arange(len(data.labels)))  # now: weights that do not fit are no news for after the tokenising

    @cached_property
    def _sequences(self) -> list[Ids]:
        return self.encode(self.data.texts)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text."""
        rows = self._tokenizer.rows(texts)
        return [rows.ids[start:end] for start, end in zip(rows.offsets, rows.offsets[1:], strict=False)]

    def fit(self, members: Ints, candidates: Sequence[float], seed: int) -> list[Any]:
        """Bit for bit the same for the same seed, documents and number of threads, on a CPU."""
        import torch

        with torch.random.fork_rng(devices=[]):
            found = []
            for rate in candidates:
                torch.manual_seed(seed)
                found.append(self._train(self._fresh(members), members, rate, seed))
        return found

    def _fresh(self, members: Ints) -> Any:
        """The encoder with a new head whose regression begins at the mean of the labels.

        ConfigError where the weights are not those of the whole encoder: random numbers would take their place.
        """
        import torch
        from transformers import AutoModelForSequenceClassification

        from tokenmill.classifiers.encoder.loading import _quiet

        problem = self.settings.problem
        names = list(self.data.names) if problem == "classes" else [self.settings.label]
        with _quiet():
            try:
                model, found = AutoModelForSequenceClassification.from_pretrained(
                    str(self.folder.path),
                    num_labels=len(names),
                    problem_type=_TYPES[problem],
                    id2label=dict(enumerate(names)),
                    label2id={name: place for place, name in enumerate(names)},
                    dtype=torch.float32,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
            except Exception as error:  # settings that are out of range, damaged files: many classes
                raise _unusable(self.folder.path, f"{type(error).__name__}: {error}") from error
        for what in ("missing", "mismatched"):
            wrong = _of_encoder(found[f"{what}_keys"])
            if wrong:
                raise _unusable(self.folder.path, f"{len(wrong)} tensors are {what}, such as {', '.join(wrong[:3])}")
        with torch.no_grad():
            last_layer(model).bias.fill_(float(self.data.targets[members].mean()) if problem == "ordinal" else 0.0)
        return model

    def _train(self, model: Any, members: Ints, rate: float, seed: int) -> Any:
        import torch

        settings = self.settings.finetune
        head = {id(parameter) for parameter in last_layer(model).parameters()}
        own = [parameter for parameter in model.parameters() if id(parameter) in head]
        rest = [parameter for parameter in model.parameters() if id(parameter) not in head]
        optimizer = torch.optim.AdamW(
            [{"params": rest, "lr": rate}, {"params": own, "lr": rate * _HEAD_RATE}],
            weight_decay=settings.weight_decay,
        )
        steps = settings.epochs * -(-len(members) // settings.batch)
        warm = max(1, round(_WARM * steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
        )
        generator = np.random.default_rng(seed)
        model.train()
        for _ in range(settings.epochs):
            for batch in self._shuffled(members, generator):
                loss = self._loss(model, batch)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
        return model.eval()

    def _shuffled(self, members: Ints, generator: np.random.Generator) -> Iterator[Ints]:
        size = self.settings.finetune.batch
        order = generator.permutation(members)
        batches = []
        for start in range(0, len(order), size * _BLOCK):
            block = order[start : start + size * _BLOCK]
            block = block[np.argsort([len(self._sequences[place]) for place in block], kind="stable")]
            batches += [block[place : place + size] for place in range(0, len(block), size)]
        yield from (batches[place] for place in generator.permutation(len(batches)))

    def _loss(self, model: Any, batch: Ints) -> torch.Tensor:
        import torch
        from torch.nn import functional

        logits = model(**self._inputs([self._sequences[place] for place in batch])).logits
        target = torch.from_numpy(self.data.targets[batch])
        if self.settings.problem == "classes":
            return functional.cross_entropy(logits, target.long())
        if self.settings.problem == "binary":
            return functional.binary_cross_entropy_with_logits(logits[:, 0], target.float())
        return functional.mse_loss(logits[:, 0], target.float())

    def _inputs(self, sequences: Sequence[Ids]) -> dict[str, torch.Tensor]:
        import torch

        width = max(map(len, sequences))
        ids = np.full((len(sequences), width), int(self.folder.config.get("pad_token_id") or 0), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def outputs(self, model: Any, members: Ints) -> Floats:
        return self._predict(model, [self._sequences[place] for place in members])

    def outputs_of(self, model: Any, texts: Sequence[str]) -> Floats:
        """Raw outputs for other texts, float64 [n, outputs]."""
        return self._predict(model, self.encode(texts))

    def _predict(self, model: Any, sequences: Sequence[Ids]) -> Floats:
        import torch

        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        found = np.empty((len(sequences), last_layer(model).out_features))
        with torch.inference_mode():
            for start in range(0, len(order), 16):
                part = order[start : start + 16]
                found[part] = model(**self._inputs([sequences[place] for place in part])).logits.double().numpy()
        return found

    def save(self, folder: Path, model: Any, affine: Affine) -> None:
        """config.json, model.safetensors (the calibration in the last layer) and the tokenizer."""
        import torch

        folder.mkdir(parents=True, exist_ok=True)
        layer = last_layer(model)
        with torch.no_grad():
            layer.weight.mul_(affine.scale)
            layer.bias.mul_(affine.scale).add_(affine.shift)
        model.save_pretrained(str(folder), safe_serialization=True)
        for name in _TOKENIZER:
            if (self.folder.path / name).is_file():
                shutil.copyfile(self.folder.path / name, folder / name)


def last_layer(model: Any) -> Any:
    """The linear layer whose outputs are the logits: `classifier`, or its `out_proj`."""
    head = model.classifier
    return head.out_proj if hasattr(head, "out_proj") else head


def _of_encoder(keys: Iterable[Any]) -> list[str]:
    """Names of tensors that belong to the encoder; keys: names, or tuples that begin with one."""
    names = sorted(key if isinstance(key, str) else str(key[0]) for key in keys)
    return [name for name in names if not _FRESH & set(name.split(".")) and not name.endswith("position_ids")]


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "the encoder cannot be fine-tuned",
        where=str(path),
        why=(why.strip().splitlines() or [""])[0],
        fix="config.json and the weights must be of the same model; download it again",
    )
