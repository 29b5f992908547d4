"""Calibrations, decisions and figures against plain computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.classifiers.train.answers import Affine, concordance, decide, figure, fit_affine, scores


@given(st.integers(0, 10_000))
def test_grades_get_the_mean_and_spread_of_the_labels(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, 50)
    calibrated = fit_affine(generator.normal(size=(50, 1)) + 7, labels, "ordinal")(np.empty((0, 1)))
    assert calibrated.shape == (0, 1)
    outputs = generator.normal(size=(50, 1)) * 0.2 + 7
    found = fit_affine(outputs, labels, "ordinal")(outputs)
    assert found.mean() == pytest.approx(labels.mean())
    assert found.std() == pytest.approx(labels.std())


def test_a_constant_output_is_moved_to_the_mean() -> None:
    assert fit_affine(np.full((4, 1), 9.0), np.array([0, 1, 2, 3]), "ordinal")(np.full((1, 1), 9.0))[0, 0] == 1.5


def test_the_temperature_is_the_best_of_many() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    outputs = 8 * np.eye(3)[labels] + generator.normal(size=(200, 3)) * 8

    def loss(scale: float) -> float:
        return float(-np.log(scores(scale * outputs, "classes")[np.arange(200), labels]).mean())

    found = fit_affine(outputs, labels, "classes")
    assert found.shift == 0
    assert loss(found.scale) <= min(loss(scale) for scale in np.geomspace(0.01, 10, 400)) + 1e-9


def test_probabilities_and_decisions() -> None:
    logits = np.array([[-2.0], [0.0], [3.0]])
    assert decide(logits, "binary", 2).tolist() == [0, 1, 1]
    assert scores(logits, "binary")[:, 0] == pytest.approx(1 / (1 + np.exp(-logits[:, 0])))
    many = np.array([[0.0, 1.0, -1.0], [5.0, 0.0, 0.0]])
    assert scores(many, "classes").sum(axis=1) == pytest.approx(1)
    assert decide(many, "classes", 3).tolist() == [1, 0]


def test_a_grade_is_the_rounded_score_as_python_rounds() -> None:
    values = [-3.0, -0.2, 0.5, 1.5, 2.5, 2.5001, 4.6, 9.0]
    expected = [min(4, max(0, round(value))) for value in values]
    assert decide(np.array(values)[:, None], "ordinal", 5).tolist() == expected


def test_a_classifier_that_knows_nothing_is_not_turned_round() -> None:
    affine = fit_affine(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([1, 1, 0, 0]), "binary")
    assert affine.scale > 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=40))
def test_concordance_is_the_kappa_of_whole_scores(pairs: list[tuple[int, int]]) -> None:
    truth, said = (np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
    assert concordance(truth, said.astype(np.float64)) == pytest.approx(figure("qwk", truth, said), abs=1e-12)


def test_figures() -> None:
    truth, said = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    assert figure("worst_f1", truth, said) == 0.0
    assert figure("macro_f1", truth, said) == pytest.approx((0.5 + 0.8 + 0) / 3)
    assert figure("qwk", truth, truth) == 1.0
    assert figure("qwk", np.zeros(3, np.int64), np.zeros(3, np.int64)) == 0.0
    assert Affine(2.0, 1.0)(np.array([[3.0]])).tolist() == [[7.0]]
