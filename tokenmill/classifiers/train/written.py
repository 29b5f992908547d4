"""Whether a model's folder, as the stages read it, gives the scores of the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tokenmill.classifiers.encoder.folder import resolve
from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.answers import Affine, scores
from tokenmill.classifiers.train.crossval import Learner
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.fasttext import FastTextLearner
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.core.errors import TokenmillError
from tokenmill.text.linear import LinearModel, texts_array

_CHECKED = 16
_LONGEST = 4
_CLOSE = 1e-3
"""Largest difference between the folder's scores (float32) and those of the training (float64)."""


@dataclass(frozen=True)
class Final:
    """The model on all documents."""

    model: Any
    chosen: float
    """Its candidate."""
    affine: Affine
    outputs: Floats
    """Raw outputs for the `checked_members`."""


def check_written(folder: Path, learner: Learner, data: Labelled, settings: TrainSettings, final: Final) -> None:
    """TokenmillError where the folder and the training disagree, on the first texts and the longest ones."""
    texts = [data.texts[place] for place in checked_members(data).tolist()]
    expected = scores(final.affine(final.outputs), settings.problem)
    if isinstance(learner, FastTextLearner):
        expected, found = _fasttext(folder, settings, final.model, expected, texts)
    else:
        found = _encoder(folder, settings, texts)
    difference = float(np.abs(found - expected).max(initial=0.0))
    if not difference < _CLOSE:
        raise TokenmillError(
            "the written model gives other scores than the trained one",
            where=str(folder),
            why=f"they differ by up to {difference:.2g}",
            fix="nothing was kept; report it with the command and the versions of the libraries",
        )


def checked_members(data: Labelled) -> Ints:
    """The first documents and the longest ones, which are read in part or in windows."""
    sizes = np.array([len(text) for text in data.texts])
    longest = np.argsort(-sizes, kind="stable")[:_LONGEST]
    return np.unique(np.concatenate([np.arange(min(_CHECKED, len(sizes))), longest]))


def _encoder(folder: Path, settings: TrainSettings, texts: list[str]) -> Floats:
    from tokenmill.classifiers.encoder.engine import Encoder

    model = resolve(str(folder))
    tokens, long_documents = settings.max_tokens, settings.long_documents
    if model.heads_path:  # heads.json says both, and stages believe it
        tokens, long_documents = model.default_tokens, model.default_long_documents
    engine = Encoder(model, max_tokens=tokens, long_documents=long_documents, dtype="float32")
    (found,) = engine.score(texts).values()
    return np.asarray(found, dtype=np.float64)


def _fasttext(
    folder: Path, settings: TrainSettings, model: LinearModel, grades: Floats, texts: list[str]
) -> tuple[Floats, Floats]:
    """Expected and found: grades, or the probabilities of the labels. Texts without words have no score."""
    from tokenmill.classifiers.fasttext.stage import FastTextScore

    chances, judged = model.score(texts_array(texts), "dclm")
    if settings.problem == "ordinal":
        expected = grades
        stages = [FastTextScore(model=str(folder), grade=True, text="dclm")]
    else:
        expected = np.minimum(np.asarray(chances, dtype=np.float64), 1.0)
        stages = [FastTextScore(model=str(folder), label=label, text="dclm") for label in model.labels]
    columns = [stage.score(texts)[stage.column].to_pylist() for stage in stages]
    found = np.array(columns, dtype=np.float64).T
    return expected[judged], found[judged]
