"""Linear heads on vectors: ridge regression for grades, logistic regression for classes, in float64.

Inputs are standardised on the documents of the fit, and the standardisation is folded into the weights. The penalty of
a head is strength * inputs on the squared weights of standardised inputs, so a strength means the same for any encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.settings import Problem

_TINY = 1e-10
"""Directions with less than this share of the largest variance are left out: they are rounding."""
_CONSTANT = 1e-6
"""Inputs that spread by less than this share of their mean are constant: the rest is the rounding of float32."""
_BLOCK = 4096
"""Rows that are float64 at a time."""


@dataclass(frozen=True)
class Linear:
    """A linear head: raw scores are vectors @ weight.T + bias."""

    weight: Floats
    """float64 [outputs, inputs]."""
    bias: Floats
    """float64 [outputs]."""

    def __call__(self, vectors: npt.NDArray[np.float32]) -> Floats:
        """Raw scores, float64 [n, outputs]."""
        found = np.empty((len(vectors), len(self.bias)))
        for start in range(0, len(vectors), _BLOCK):
            found[start : start + _BLOCK] = vectors[start : start + _BLOCK].astype(np.float64) @ self.weight.T
        return found + self.bias


def fit_linear(
    vectors: npt.NDArray[np.float32],
    labels: Ints | Floats,
    problem: Problem,
    classes: int,
    strengths: Sequence[float],
) -> list[Linear]:
    """One head per strength. vectors: [n, inputs]; labels: [n], classes from 0, or grades that may be fractions.

    Outputs: 1 for grades (the grade) and binary (the logit of class 1), `classes` logits for classes. Memory beside
    the vectors: inputs * inputs * 24 bytes; for classes and binary up to n * inputs * 8 more.
    """
    mean, spread = _moments(vectors)
    axes, squares = _principal(vectors, mean, spread)
    ordinal = problem == "ordinal"
    target = labels.astype(np.float64)
    projected = axes.T @ _correlated(vectors, mean, spread, target - target.mean()) if ordinal else None
    rotated = None if ordinal else _rotated(vectors, mean, spread, axes)
    heads = []
    for strength in strengths:
        penalty = strength * vectors.shape[1]
        if projected is not None:
            inner, bias = (projected / (squares + penalty))[None, :], np.array([target.mean()])
        else:
            assert rotated is not None
            outputs = 1 if problem == "binary" else classes
            inner, bias = _logistic(rotated, labels.astype(np.int64), outputs, penalty / 10)
        weight = (inner @ axes.T) / spread
        heads.append(Linear(weight, bias - weight @ mean))
    return heads


def _moments(vectors: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each input; infinity of constant ones, which become 0 and have no weight then."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for start in range(0, len(vectors), _BLOCK):
        squares += ((vectors[start : start + _BLOCK] - mean) ** 2).sum(axis=0)
    spread = np.sqrt(squares / len(vectors))
    spread[spread <= _CONSTANT * np.abs(mean)] = np.inf
    return mean, spread


def _blocks(vectors: npt.NDArray[np.float32], mean: Floats, spread: Floats) -> Iterator[tuple[slice, Floats]]:
    """Standardised inputs, some rows at a time: all of them in float64 would be more than the vectors themselves."""
    for start in range(0, len(vectors), _BLOCK):
        part = slice(start, start + _BLOCK)
        values = vectors[part].astype(np.float64)
        values -= mean
        values /= spread
        yield part, values


def _principal(vectors: npt.NDArray[np.float32], mean: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Orthonormal axes [inputs, r] of the standardised inputs, and the sums of squares along them [r]."""
    count, inputs = vectors.shape
    small = count < inputs
    if small:
        values = (vectors - mean) / spread
        gram = values @ values.T
    else:
        gram = np.zeros((inputs, inputs))
        for _, values in _blocks(vectors, mean, spread):
            gram += values.T @ values
    squares, axes = np.linalg.eigh(gram)
    kept = squares > _TINY * max(float(squares[-1]), _TINY)
    squares, axes = squares[kept], axes[:, kept]
    return (values.T @ (axes / np.sqrt(squares)) if small else axes), squares


def _rotated(vectors: npt.NDArray[np.float32], mean: Floats, spread: Floats, axes: Floats) -> Floats:
    found = np.empty((len(vectors), axes.shape[1]))
    for part, values in _blocks(vectors, mean, spread):
        found[part] = values @ axes
    return found


def _correlated(vectors: npt.NDArray[np.float32], mean: Floats, spread: Floats, target: Floats) -> Floats:
    """Sums of products with the target [inputs]."""
    found = np.zeros(vectors.shape[1])
    for part, values in _blocks(vectors, mean, spread):
        found += values.T @ target[part]
    return found


def _logistic(rotated: Floats, labels: Ints, outputs: int, penalty: float) -> tuple[Floats, Floats]:
    """Weights and bias of the least penalised cross-entropy, by L-BFGS in float64. outputs: 1 is a logit of class 1."""
    import torch

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
