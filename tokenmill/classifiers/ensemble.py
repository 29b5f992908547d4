"""Several scores made one: `Ensemble` by an expression, `fit_linear` finds weights for one from labels.

Nemotron-CC (arXiv:2412.02595): `max(a_bin, b_bin, c_bin)` of scores in 20 bins (`ScoreBins`). Classifiers disagree a
lot, so the maximum keeps what any of them finds good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.classifiers.decide import check_score, scores_in
from tokenmill.classifiers.expression import Expression, parse_expression
from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import Annotate


class Ensemble(Annotate):
    """Adds a score made of stored ones: `max(a_bin, b_bin)`, `mean(a, b)`, `0.7 * a + 0.3 * b`, `where(a > 3, a, b)`.

    Null where any column that the expression names is null or NaN, and where the result is not finite. No model runs.
    """

    derived = True

    expression: str
    """Columns, numbers, + - * /, comparisons (1 or 0), max, min, mean, where(condition, then, otherwise), sigmoid."""
    column: str = "ensemble_score"
    """Column that is added (float64)."""

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._parsed.names

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {self.column: pa.float64()}

    def digests(self) -> Mapping[str, str]:
        if self.column in self._parsed.names:
            raise ConfigError(
                f"{self.name}.column = {self.column!r} is a column that its expression reads",
                why="a score that is overwritten cannot be combined again",
                fix="give another name",
            )
        return {}

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        for name in self._parsed.names:
            check_score(self.name, name, types)

    @cached_property
    def _parsed(self) -> Expression:
        return parse_expression(self.expression, f"{self.name}.expression")

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        columns = {name: scores_in(batch, name, self.name) for name in self._parsed.names}
        values, valid = self._parsed(columns)
        return {self.column: pa.array(values, pa.float64(), mask=~valid)}


@dataclass(frozen=True)
class Linear:
    """A logistic model of scores: the probability is sigmoid(intercept + sum of weight * score).

    `loss`: mean cross-entropy in nats on the labels; `documents`: how many it was fitted on.
    """

    weights: Mapping[str, float]
    intercept: float
    loss: float
    documents: int

    @property
    def expression(self) -> str:
        """The model for `Ensemble`, with numbers that read back as they are."""
        terms = " + ".join(f"{weight!r} * {name}" for name, weight in self.weights.items())
        return f"sigmoid({terms} + {self.intercept!r})"


def fit_linear(
    scores: Mapping[str, npt.NDArray[np.float64]], labels: npt.NDArray[np.float64], *, penalty: float = 1e-3
) -> Linear:
    """Logistic weights of scores by Newton's method on standardised columns; deterministic.

    scores: (n,) each; labels: (n,) in [0, 1], 1 is good, shares of votes are allowed. Rows with NaN in a score or label
    are left out. penalty: L2 on the standardised weights, per document, so that separable labels have a solution.
    ConfigError where the labels lie elsewhere, are all equal, or the lengths differ.
    """
    names = list(scores)
    lengths = {name: len(scores[name]) for name in names}
    if not names or any(length != len(labels) for length in lengths.values()):
        raise ConfigError(f"{len(labels)} labels for scores of the lengths {lengths}", fix="one label per score")
    table = np.stack([np.asarray(scores[name], np.float64) for name in names], axis=1)
    wanted = np.asarray(labels, np.float64)
    whole = np.isfinite(table).all(axis=1) & ~np.isnan(wanted)
    table, wanted = table[whole], wanted[whole]
    if not len(wanted) or wanted.min() < 0 or wanted.max() > 1 or wanted.min() == wanted.max():
        raise ConfigError(
            "these labels cannot be learned from",
            why="they must lie in [0, 1] and differ; rows without a score or label do not count",
            fix="labels >= 3 make 0 and 1 of a scale from 0 to 5",
        )
    mean, spread = table.mean(axis=0), table.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    inputs = np.column_stack([(table - mean) / spread, np.ones(len(table))])
    found = _newton(inputs, wanted, penalty)
    weights = found[:-1] / spread
    logits = inputs @ found
    loss = float(np.mean(np.logaddexp(0.0, logits) - wanted * logits))
    intercept = float(found[-1] - weights @ mean)
    return Linear(dict(zip(names, weights.tolist(), strict=True)), intercept, loss, len(wanted))


def _newton(
    inputs: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], penalty: float
) -> npt.NDArray[np.float64]:
    """The weights with the least penalised cross-entropy: (n, k) inputs -> (k,); the last one is not penalised."""
    ridge = np.full(inputs.shape[1], penalty)
    ridge[-1] = 0.0

    def objective(weights: npt.NDArray[np.float64]) -> float:
        logits = inputs @ weights
        return float(np.mean(np.logaddexp(0.0, logits) - wanted * logits) + 0.5 * ridge @ weights**2)

    found = np.zeros(inputs.shape[1])
    for _ in range(100):
        shares = 0.5 * (1.0 + np.tanh(0.5 * (inputs @ found)))
        slope = inputs.T @ (shares - wanted) / len(wanted) + ridge * found
        curvature = (inputs * (shares * (1 - shares))[:, None]).T @ inputs / len(wanted) + np.diag(ridge)
        step = np.linalg.lstsq(curvature, slope, rcond=None)[0]
        size, now = 1.0, objective(found)
        while size > 1e-6 and objective(found - size * step) > now:
            size /= 2
        if size <= 1e-6 or np.abs(size * step).max() < 1e-12:
            break
        found = found - size * step
    return found
