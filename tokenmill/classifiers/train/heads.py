"""Heads on the vectors of a frozen encoder: every text goes through the encoder once, whatever is tried after that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.classifiers.encoder.folder import EncoderFolder, checked_vector, encoder_digest, resolve
from tokenmill.classifiers.encoder.heads import Head, save_heads
from tokenmill.classifiers.encoder.heads import Problem as Output
from tokenmill.classifiers.encoder.tokens import TextTokenizer
from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.answers import Affine
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.linear import Linear, fit_linear
from tokenmill.classifiers.train.settings import Problem, TrainSettings
from tokenmill.core.errors import ConfigError

_COPIED = ("*.safetensors", "*.json", "*.txt")
OUTPUTS: dict[Problem, Output] = {"ordinal": "regression", "binary": "sigmoid", "classes": "softmax"}


def spread_layers(depth: int) -> tuple[int, ...]:
    """Hidden states at a third, two thirds and the end of an encoder with `depth` layers.

    The last states of sentence encoders are made for telling meanings apart, and have lost much of style and structure;
    on the annotations of this project's crawl, kappa rises from 0.75 to 0.85 with them (docs/classifiers.md).
    """
    return tuple(sorted({max(1, round(depth / 3)), max(1, round(2 * depth / 3)), depth}))


class HeadLearner:
    """Linear heads on vectors that are computed once. `candidates` are strengths of regularisation."""

    nested = True

    def __init__(self, data: Labelled, settings: TrainSettings) -> None:
        self.settings = settings
        self.data = data
        self.candidates = tuple(sorted(settings.strengths))
        self.folder = _checked(resolve(settings.encoder, settings.revision), settings)
        _check_tokens(self.folder, settings)

    @cached_property
    def encoder(self) -> Any:
        return self._encoder(self.settings.max_tokens)

    def _encoder(self, max_tokens: int | None) -> Any:
        from tokenmill.classifiers.encoder.engine import Encoder

        return Encoder(self.folder, max_tokens=max_tokens, long_documents=self.settings.long_documents, dtype="float32")

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32]:
        """Vectors of all documents, float32 [n, width]."""
        found: npt.NDArray[np.float32] = self.encoder.embed(self.data.texts)
        return found

    @cached_property
    def halves(self) -> npt.NDArray[np.float32]:
        """Vectors of the first halves of all documents, float32 [n, width]."""
        found: npt.NDArray[np.float32] = self._encoder(self.encoder.max_tokens // 2).embed(self.data.texts)
        return found

    def fit(self, members: Ints, candidates: Sequence[float], seed: int) -> list[Linear]:
        parts = [self.vectors, *([self.halves] if self.settings.half else [])]
        # filled part by part: copies of the parts beside it would need as much memory again
        seen = np.empty((len(parts) * len(members), parts[0].shape[1]), dtype=np.float32)
        for part, start in zip(parts, range(0, len(seen), len(members)), strict=True):
            np.take(part, members, axis=0, out=seen[start : start + len(members)])
        targets = np.tile(self.data.targets[members], len(parts))
        # a document that is there twice weighs twice: so must the penalty
        strengths = [strength * len(parts) for strength in candidates]
        return fit_linear(seen, targets, self.settings.problem, len(self.data.names), strengths)

    def outputs(self, model: Linear, members: Ints) -> Floats:
        return model(self.vectors[members])

    def outputs_of(self, model: Linear, texts: Sequence[str]) -> Floats:
        """Raw outputs for other texts, float64 [n, outputs]."""
        return model(self.encoder.embed(texts))

    def save(self, folder: Path, model: Linear, affine: Affine) -> None:
        """heads.json and heads.safetensors, the calibration folded into the weights; the encoder named or copied."""
        name = self.settings.label
        labels = self.data.names if self.settings.problem == "classes" else (name,)
        local = self.settings.copy_encoder or not self.folder.hub
        folder.mkdir(parents=True, exist_ok=True)
        save_heads(
            folder,
            [Head(name, OUTPUTS[self.settings.problem], labels)],
            {
                f"{name}.0.weight": (affine.scale * model.weight).astype(np.float32),
                f"{name}.0.bias": affine(model.bias).astype(np.float32),
            },
            pooling=self.folder.pooling,
            normalize=self.folder.normalize,
            layers=self.folder.layers,
            encoder=self._named(folder),
            revision="" if local else self.folder.commit or self.settings.revision,
            max_tokens=self.encoder.max_tokens,
            long_documents=self.settings.long_documents,
            encoder_sha256=encoder_digest(self.folder),
            hub=not local,
        )

    def _named(self, folder: Path) -> str:
        """How heads.json names the encoder: by its hub id, or the path from the folder."""
        if self.settings.copy_encoder:
            copy = folder / "encoder"
            copy.mkdir(exist_ok=True)
            for file in sorted({file for pattern in _COPIED for file in self.folder.path.glob(pattern)}):
                shutil.copyfile(file, copy / file.name)
            return "encoder"
        return self.folder.hub or os.path.relpath(self.folder.path, folder.resolve())


def _checked(folder: EncoderFolder, settings: TrainSettings) -> EncoderFolder:
    """The encoder with the pooling and layers of the settings."""
    if folder.native:
        raise ConfigError(
            "the encoder has a head of its own",
            where=str(folder.path),
            why="a head is trained on an encoder's vectors",
            fix="name an encoder without a head, or --kind finetune",
        )
    layers = spread_layers(folder.depth) if settings.layers is None else settings.layers
    return checked_vector(
        EncoderFolder(
            path=folder.path,
            config=folder.config,
            heads=(),
            heads_path=None,
            pooling=settings.pooling,
            normalize=False,
            layers=layers,
            hub=folder.hub,
            sha256=folder.sha256,
        )
    )


def _check_tokens(folder: EncoderFolder, settings: TrainSettings) -> None:
    """ConfigError where `max_tokens`, or half of it, cannot be read: now, and not when all texts have been encoded."""
    tokens = settings.max_tokens or folder.default_tokens
    if tokens > folder.longest:
        raise ConfigError(
            f"max_tokens = {tokens} is more than the encoder can", fix=f"--max-tokens {folder.longest} or less"
        )
    for least in (tokens, *([tokens // 2] if settings.half else [])):
        try:
            TextTokenizer(folder.path, least, settings.long_documents)
        except ConfigError as error:
            half = f", half of {tokens}," if least < tokens else ""
            raise ConfigError(
                f"{least} tokens{half} leave no room for a text",
                why=error.why,
                fix="more --max-tokens, or --set half=false",
            ) from error
