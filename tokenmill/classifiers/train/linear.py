"""Linear heads on vectors: ridge regression for grades, logistic regression for classes, in float64.

Inputs are standardised on the documents of the fit, and the standardisation is folded into the weights. The penalty of
a head is strength * inputs on the squared weights of standardised inputs, so a strength means the same for any encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.settings import Problem

_TINY = 1e-10
"""Directions with less than this share of the largest variance are left out: they are rounding."""


@dataclass(frozen=True)
class Linear:
    """A linear head: raw scores are vectors @ weight.T + bias."""

    weight: Floats
    """float64 [outputs, inputs]."""
    bias: Floats
    """float64 [outputs]."""

    def __call__(self, vectors: npt.NDArray[np.float32]) -> Floats:
        """Raw scores, float64 [n, outputs]."""
        found: Floats = vectors.astype(np.float64) @ self.weight.T + self.bias
        return found


def fit_linear(
    vectors: npt.NDArray[np.float32], labels: Ints, problem: Problem, classes: int, strengths: Sequence[float]
) -> list[Linear]:
    """One head per strength. vectors: [n, inputs]; labels: [n], from 0.

    Outputs: 1 for grades (the grade) and binary (the logit of class 1), `classes` logits for classes.
    """
    values = vectors.astype(np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread < 1e-12] = 1.0
    rotated, axes, variances = _principal((values - mean) / spread)
    heads = []
    for strength in strengths:
        penalty = strength * values.shape[1]
        if problem == "ordinal":
            inner, bias = _ridge(rotated, variances, labels, penalty)
        else:
            inner, bias = _logistic(rotated, labels, classes, penalty / 10)
        weight = (inner @ axes.T) / spread
        heads.append(Linear(weight, bias - weight @ mean))
    return heads


def _principal(values: Floats) -> tuple[Floats, Floats, Floats]:
    """values [n, d] as rotated [n, r] @ axes[d, r].T, and the sums of squares [r]; from the smaller Gram matrix."""
    count, inputs = values.shape
    small = count < inputs
    squares, vectors = np.linalg.eigh(values @ values.T if small else values.T @ values)
    kept = squares > _TINY * max(float(squares[-1]), _TINY)
    squares, vectors = squares[kept], vectors[:, kept]
    if not small:
        return values @ vectors, vectors, squares
    roots = np.sqrt(squares)
    return vectors * roots, values.T @ (vectors / roots), squares


def _ridge(rotated: Floats, squares: Floats, labels: Ints, penalty: float) -> tuple[Floats, Floats]:
    target = labels.astype(np.float64)
    weights = rotated.T @ (target - target.mean()) / (squares + penalty)
    return weights[None, :], np.array([target.mean()])


def _logistic(rotated: Floats, labels: Ints, classes: int, penalty: float) -> tuple[Floats, Floats]:
    """Weights and bias of the least penalised cross-entropy, by L-BFGS in float64."""
    import torch

    outputs = 1 if classes == 2 else classes
    inputs, target = torch.from_numpy(np.ascontiguousarray(rotated)), torch.from_numpy(labels)
    weight = torch.zeros(outputs, inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(outputs, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = inputs @ weight.T + bias
        if outputs == 1:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target.double(), reduction="sum")
        else:
            loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        loss = loss + penalty / 2 * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), bias.detach().numpy()
