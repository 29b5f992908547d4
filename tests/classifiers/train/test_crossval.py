"""Cross-validation with a learner that remembers what it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.classifiers.train.support import labelled
from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.answers import Affine, fit_affine
from tokenmill.classifiers.train.crossval import cross_validate
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.settings import TrainSettings

SETTINGS = TrainSettings(encoder="none", label="grade", folds=4, inner_folds=3)


class Witness:
    """Ridge-like models of one number per document, shrunk by the candidate; asserts that no group is on both sides."""

    def __init__(self, data: Labelled, candidates: tuple[float, ...], nested: bool = True) -> None:
        self.nested = nested
        generator = np.random.default_rng(0)
        self.data, self.candidates = data, candidates
        self.values = data.labels + generator.normal(size=len(data.labels))
        self.asked: list[tuple[Ints, Ints]] = []

    def fit(self, members: Ints, candidates: Sequence[float], seed: int) -> list[tuple[Ints, float]]:
        return [(members, candidate) for candidate in candidates]

    def outputs(self, model: tuple[Ints, float], members: Ints) -> Floats:
        seen = {self.data.groups[place] for place in model[0]}
        assert not seen & {self.data.groups[place] for place in members}
        self.asked.append((model[0], members))
        # a candidate is the share of noise: 0 is best
        return (self.data.labels[members] + model[1] * (self.values - self.data.labels)[members])[:, None] * 0.5

    def outputs_of(self, model: tuple[Ints, float], texts: Sequence[str]) -> Floats:
        raise AssertionError

    def save(self, folder: Path, model: tuple[Ints, float], affine: Affine) -> None:
        raise AssertionError


def documents() -> Labelled:
    generator = np.random.default_rng(1)
    return labelled(
        generator.integers(0, 4, 120).tolist(), [f"host{place}" for place in generator.integers(0, 40, 120)], 4
    )


def test_every_document_is_judged_once_by_a_model_without_its_group() -> None:
    data = documents()
    learner = Witness(data, (0.0, 1.0))
    found = cross_validate(learner, data, SETTINGS, 0)
    assert found.chosen == (0.0,) * 4
    assert np.isfinite(found.calibrated).all()
    assert (found.decided == data.labels).mean() > 0.9
    for group in set(data.groups):
        assert len({int(fold) for fold, name in zip(found.folds, data.groups, strict=True) if name == group}) == 1
    # the choice and the calibration of a fold never ask about its documents
    tests = [set(np.flatnonzero(found.folds == fold).tolist()) for fold in range(4)]
    inner = [pair for pair in learner.asked if set(pair[1].tolist()) not in tests]
    assert len(inner) == 4 * 3 * 2


def test_one_candidate_is_calibrated_on_inner_folds_too() -> None:
    data = documents()
    learner = Witness(data, (0.5,))
    found = cross_validate(learner, data, SETTINGS, 0)
    for fold in range(SETTINGS.folds):
        # no model whose outputs fit the calibration of a fold has seen the fold
        inside = set(np.flatnonzero(found.folds == fold).tolist())
        inner = [pair for pair in learner.asked if not inside & {*pair[0].tolist(), *pair[1].tolist()}]
        assert sum(len(members) for _, members in inner) >= len(data.labels) - len(inside)


def test_models_without_inner_folds_are_calibrated_on_the_other_folds() -> None:
    data = documents()
    found = cross_validate(Witness(data, (0.5,), nested=False), data, SETTINGS, 0)
    for fold, affine in enumerate(found.affines):
        outside = found.folds != fold
        assert affine == fit_affine(found.outputs[outside], data.labels[outside], "ordinal")


def test_another_seed_makes_other_folds() -> None:
    data = documents()
    first, second = (cross_validate(Witness(data, (0.5,)), data, SETTINGS, seed).folds for seed in (0, 1))
    assert (first != second).any()
