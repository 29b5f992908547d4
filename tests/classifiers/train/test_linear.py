"""Heads against the textbook: the normal equations, and gradients that vanish."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tokenmill.classifiers.train import linear
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
    assert head.weight[0, 2] == 0


def test_large_constant_inputs_do_no_harm() -> None:
    """The mean of many equal numbers is rounded: that must not become an input."""
    vectors, labels = data(33, 5)
    vectors[:, 2] = 1e7 / 3
    vectors[::2, 3] = np.nextafter(np.float32(1e7), np.float32(2e7), dtype=np.float32)
    vectors[1::2, 3] = 1e7
    (head,) = fit_linear(vectors, labels, "ordinal", 4, (1e-6,))
    assert np.abs(head.weight[0, 2:4]).max() == 0
    assert np.abs(head(vectors)).max() < 100


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = data(60, 7)
    (whole,) = fit_linear(vectors, labels, "ordinal", 4, (1.0,))
    monkeypatch.setattr(linear, "_BLOCK", 7)
    (parts,) = fit_linear(vectors, labels, "ordinal", 4, (1.0,))
    assert np.allclose(whole.weight, parts.weight, atol=1e-12)
    assert np.allclose(whole(vectors), parts(vectors), atol=1e-10)


def test_memory_is_that_of_blocks() -> None:
    vectors = np.random.default_rng(0).normal(size=(20_000, 50)).astype(np.float32)
    tracemalloc.start()
    fit_linear(vectors, np.arange(20_000) % 4, "ordinal", 4, (1.0,))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * vectors.nbytes


def test_fractions_of_grades_are_learned() -> None:
    vectors, labels = data(60, 7)
    (head,) = fit_linear(vectors, labels + 0.25, "ordinal", 4, (1.0,))
    (whole,) = fit_linear(vectors, labels, "ordinal", 4, (1.0,))
    assert np.allclose(head(vectors), whole(vectors) + 0.25)


@pytest.mark.ci
def test_two_classes_have_two_logits() -> None:
    pytest.importorskip("torch")
    vectors, labels = data(40, 3, classes=2)
    (head,) = fit_linear(vectors, labels, "classes", 2, (1.0,))
    assert head(vectors).shape == (40, 2)
    (one,) = fit_linear(vectors, labels, "binary", 2, (0.5,))
    logits = head(vectors)
    # two opposite logits share the work, so their penalty is half of that of one
    assert np.allclose(logits[:, 1] - logits[:, 0], one(vectors)[:, 0], atol=1e-4)


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
