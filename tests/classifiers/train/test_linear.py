"""Heads against the textbook: the normal equations, and gradients that vanish."""

from __future__ import annotations

import numpy as np
import pytest

from tokenmill.classifiers.train.linear import fit_linear


def data(count: int, inputs: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(count)
    vectors = (generator.normal(size=(count, inputs)) * generator.uniform(0.1, 5, inputs) + 3).astype(np.float32)
    labels = (vectors[:, 0] + generator.normal(size=count) > 3).astype(np.int64) + generator.integers(
        0, classes - 1, count
    )
    return vectors, labels


@pytest.mark.parametrize(("count", "inputs"), [(60, 7), (20, 45)])
def test_ridge_is_the_normal_equations(count: int, inputs: int) -> None:
    vectors, labels = data(count, inputs)
    z = vectors.astype(np.float64)
    mean, spread = z.mean(axis=0), z.std(axis=0)
    z = (z - mean) / spread
    for strength, head in zip((0.1, 2.0), fit_linear(vectors, labels, "ordinal", 4, (0.1, 2.0)), strict=True):
        weights = np.linalg.solve(z.T @ z + strength * inputs * np.eye(inputs), z.T @ (labels - labels.mean()))
        assert np.allclose(head(vectors)[:, 0], z @ weights + labels.mean(), atol=1e-8)


def test_constant_inputs_do_no_harm() -> None:
    vectors, labels = data(30, 5)
    vectors[:, 2] = 1.5
    (head,) = fit_linear(vectors, labels, "ordinal", 4, (1.0,))
    assert np.isfinite(head.weight).all()
    assert abs(head.weight[0, 2]) < 1e-12


@pytest.mark.ci
def test_logistic_heads_are_where_the_gradient_vanishes() -> None:
    pytest.importorskip("torch")
    vectors, labels = data(80, 6)
    z = (vectors - vectors.mean(axis=0, dtype=np.float64)) / vectors.std(axis=0, dtype=np.float64)
    (many,) = fit_linear(vectors, labels, "classes", 4, (1.0,))
    logits = many(vectors)
    chances = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)) - np.eye(4)[labels]
    weights = many.weight * vectors.std(axis=0, dtype=np.float64)
    assert np.abs(chances.T @ z + 0.6 * weights).max() < 1e-3
    assert np.abs(chances.sum(axis=0)).max() < 1e-3
    (one,) = fit_linear(vectors, (labels > 1).astype(np.int64), "binary", 2, (1.0,))
    residual = 1 / (1 + np.exp(-one(vectors)[:, 0])) - (labels > 1)
    assert np.abs(residual @ z + 0.6 * one.weight[0] * vectors.std(axis=0, dtype=np.float64)).max() < 1e-3
