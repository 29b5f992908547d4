"""fastText models as learners: the baseline without an encoder."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.fasttext.train import train_fasttext
from tokenmill.classifiers.train.answers import Affine
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.core.errors import ConfigError
from tokenmill.text.linear import LinearModel, read_linear, texts_array

_LEAST = 1e-6
"""Smallest probability of which a logarithm is taken."""


class FastTextLearner:
    """Models of word n-grams. One candidate. Grades are classes in training; the output is the expected grade."""

    candidates = (0.0,)
    nested = False

    def __init__(self, data: Labelled, settings: TrainSettings) -> None:
        self.data = data
        self.settings = settings
        self.labels = _labels(data.names)

    def fit(self, members: Ints, candidates: Sequence[float], seed: int) -> list[LinearModel]:
        """The library has one seed, so `seed` changes nothing but the folds."""
        with tempfile.TemporaryDirectory(prefix="tokenmill-fasttext-") as scratch:
            self._write(Path(scratch), members)
            return [read_linear(str(Path(scratch, "model.bin")))] * len(candidates)

    def _write(self, folder: Path, members: Ints) -> None:
        texts = [self.data.texts[place] for place in members]
        labels = [self.labels[self.data.labels[place]] for place in members]
        train_fasttext(texts, labels, folder, self.settings.fasttext)

    def outputs(self, model: LinearModel, members: Ints) -> Floats:
        return self.outputs_of(model, [self.data.texts[place] for place in members])

    def outputs_of(self, model: LinearModel, texts: Sequence[str]) -> Floats:
        """Expected grade [n, 1], logit of class 1 [n, 1], or logarithms of probabilities [n, classes]."""
        found, _ = model.score(texts_array(list(texts)), "dclm")
        chances = np.full((len(texts), len(self.labels)), _LEAST)
        for place, label in enumerate(model.labels):
            chances[:, self.labels.index(label)] = np.clip(found[:, place], _LEAST, 1 - _LEAST)
        chances /= chances.sum(axis=1, keepdims=True)
        if self.settings.problem == "ordinal":
            return np.asarray(chances @ np.arange(len(self.labels), dtype=np.float64))[:, None]
        logs = np.log(chances)
        return np.asarray(logs if self.settings.problem == "classes" else logs[:, 1:] - logs[:, :1])

    def save(self, folder: Path, model: LinearModel, affine: Affine) -> None:
        """model.bin and its linear form, trained once more on all documents (the same bits as `model`).

        The calibration cannot be part of the file; it is in calibration.json.
        """
        self._write(folder, np.arange(len(self.data.labels)))


def _labels(names: Sequence[str]) -> tuple[str, ...]:
    """The labels in the model's file, one per class: white space becomes `_`. ConfigError where two would be one."""
    labels = tuple(re.sub(r"\s+", "_", name) for name in names)
    for label in labels:
        same = [name for name, one in zip(names, labels, strict=True) if one == label]
        if len(same) > 1:
            raise ConfigError(
                f"{' and '.join(map(repr, same))} would be one label of fastText, {label!r}",
                why="its labels have no white space, which becomes _",
                fix="name the classes otherwise",
            )
    return labels
