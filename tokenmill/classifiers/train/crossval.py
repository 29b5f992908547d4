"""Cross-validation by group: every document is judged by a model that has seen no document of its group.

Within the training folds, inner folds pick the candidate and fit the calibration, so nothing about a test fold is used.
Models that take minutes have no inner folds (`Learner.nested`): they have one candidate, and the calibration of a fold
is fitted on the predictions for the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.splits import folds_by_group
from tokenmill.classifiers.train.answers import Affine, concordance, decide, figure, fit_affine
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.settings import TrainSettings


class Learner(Protocol):
    """What can be trained on some of the documents and asked about others."""

    @property
    def candidates(self) -> tuple[float, ...]:
        """Settings to choose from."""
        ...

    @property
    def nested(self) -> bool:
        """Whether fits are cheap enough for inner folds; else there is one candidate."""
        ...

    def fit(self, members: Ints, candidates: Sequence[float], seed: int) -> list[Any]:
        """One model per candidate, trained on these documents only."""
        ...

    def outputs(self, model: Any, members: Ints) -> Floats:
        """Raw outputs of a model for documents, float64 [n, outputs]."""
        ...

    def outputs_of(self, model: Any, texts: Sequence[str]) -> Floats:
        """Raw outputs of a model for other texts, float64 [n, outputs]."""
        ...

    def save(self, folder: Path, model: Any, affine: Affine) -> None:
        """Write the model that was trained on all documents; the calibration in its weights, where that can be."""
        ...


@dataclass(frozen=True)
class Validated:
    """One cross-validation. All arrays have one row per document."""

    folds: Ints
    outputs: Floats
    """Raw outputs of the model that did not see the document."""
    calibrated: Floats
    """The same, calibrated without the document's fold."""
    decided: Ints
    chosen: tuple[float, ...]
    """Candidate of each fold."""
    models: tuple[Any, ...]
    affines: tuple[Affine, ...]


def cross_validate(learner: Learner, data: Labelled, settings: TrainSettings, seed: int) -> Validated:
    """Out-of-fold outputs, scores and decisions for all documents."""
    folds = folds_by_group(data.groups, data.labels.tolist(), settings.folds, seed=seed)
    everyone = np.arange(len(data.labels))
    parts: list[tuple[Ints, Floats]] = []
    models, chosen, affines = [], [], []
    for fold in range(settings.folds):
        train, test = everyone[folds != fold], everyone[folds == fold]
        candidate, affine = pick(learner, data, settings, train, seed)
        (model,) = learner.fit(train, [candidate], seed)
        parts.append((test, learner.outputs(model, test)))
        models.append(model)
        chosen.append(candidate)
        affines.append(affine)
    outputs = np.empty((len(everyone), parts[0][1].shape[1]))
    for members, found in parts:
        outputs[members] = found
    calibrated = np.empty_like(outputs)
    for fold in range(settings.folds):
        inside = folds == fold
        affine = affines[fold] or fit_affine(outputs[~inside], data.targets[~inside], settings.problem)
        affines[fold] = affine
        calibrated[inside] = affine(outputs[inside])
    decided = decide(calibrated, settings.problem, len(data.names))
    known = tuple(affine for affine in affines if affine is not None)
    return Validated(folds, outputs, calibrated, decided, tuple(chosen), tuple(models), known)


def pick(
    learner: Learner, data: Labelled, settings: TrainSettings, members: Ints, seed: int
) -> tuple[float, Affine | None]:
    """The candidate that is best across inner folds of the members, with its calibration; None without inner folds."""
    if not learner.nested:
        return learner.candidates[0], None
    labels = data.labels[members]
    groups = [data.groups[place] for place in members]
    folds = folds_by_group(groups, labels.tolist(), settings.inner_folds, seed=seed + 1)
    outputs: list[Floats] = [np.empty(0)] * len(learner.candidates)
    for fold in range(settings.inner_folds):
        inside = folds == fold
        for place, model in enumerate(learner.fit(members[~inside], learner.candidates, seed)):
            found = learner.outputs(model, members[inside])
            if not outputs[place].size:
                outputs[place] = np.empty((len(members), found.shape[1]))
            outputs[place][inside] = found
    affines = [fit_affine(found, data.targets[members], settings.problem) for found in outputs]
    figures = [_worth(affine(found), labels, settings, data) for affine, found in zip(affines, outputs, strict=True)]
    best = int(np.argmax(figures))
    return learner.candidates[best], affines[best]


def _worth(calibrated: Floats, labels: Ints, settings: TrainSettings, data: Labelled) -> float:
    """How good a candidate is; the greater the better."""
    if settings.picked_by == "qwk":
        return concordance(labels, calibrated[:, 0])
    return figure(settings.picked_by, labels, decide(calibrated, settings.problem, len(data.names)))
