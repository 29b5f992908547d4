"""How well labels agree: kappa, figures per class, ranks, curves, and intervals by resampling whole hosts.

Classes are integers from 0. Arrays have one dimension, one entry per document; ConfigError where lengths differ.
A figure that the data cannot give (a kappa of one class, a rank correlation of a constant) is NaN, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

PERCENTS = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True)
class ClassFigures:
    """One class: precision and recall are 0 where nothing was predicted or nothing was there."""

    label: int
    precision: float
    recall: float
    f1: float
    support: int
    """Documents that truly have the class."""


@dataclass(frozen=True)
class ClassReport:
    """Figures per class, for the classes that occur among the truths or the predictions."""

    classes: tuple[ClassFigures, ...]
    accuracy: float
    macro_f1: float
    """Mean of the F1 of `classes`, each counted once."""

    @property
    def worst(self) -> ClassFigures | None:
        """The class with the lowest recall among those that truly occur; of equals the one with the lower F1."""
        present = [one for one in self.classes if one.support]
        return min(present, key=lambda one: (one.recall, one.f1, one.label), default=None)


@dataclass(frozen=True)
class BinaryFigures:
    """A decision `score >= threshold` against the truth; precision is 0 where nothing is selected."""

    threshold: float
    precision: float
    recall: float
    f1: float
    selected: int
    positives: int


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap interval; `draws` counts the resamples that gave a number."""

    value: float
    low: float
    high: float
    level: float
    draws: int


@dataclass(frozen=True)
class Agreement:
    """Two sets of labels of the same documents."""

    count: int
    equal: float
    """Share of documents with the same label."""
    within_one: float
    """Share whose labels differ by at most 1; of no meaning where classes have no order."""
    kappa: float
    """Cohen's kappa, unweighted."""
    quadratic_kappa: float
    """Quadratic-weighted kappa; of no meaning where classes have no order."""


def confusion(truth: npt.ArrayLike, predicted: npt.ArrayLike, classes: int | None = None) -> Ints:
    """Counts [classes, classes]: rows are true classes, columns predicted ones. Default: as many as occur."""
    first, second = _labels(truth, predicted)
    size = classes if classes is not None else 1 + int(max(first.max(initial=-1), second.max(initial=-1)))
    if first.size and max(first.max(), second.max()) >= size:
        raise ConfigError(f"a label is beyond the {size} classes", fix="count the classes from 0")
    flat = np.bincount(first * size + second, minlength=size * size)
    return flat.reshape(size, size).astype(np.int64)


def accuracy(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Share of equal labels; NaN without documents."""
    first, second = _labels(truth, predicted)
    return float((first == second).mean()) if first.size else float("nan")


def cohen_kappa(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, *, weights: Literal["none", "linear", "quadratic"] = "none"
) -> float:
    """Agreement beyond chance: 1 - observed / expected disagreement.

    Disagreement is 1 for different labels, or the distance of the labels, or its square. NaN where chance leaves
    no disagreement (all labels equal, or no documents). Source: Cohen 1960 and 1968.
    """
    table = confusion(truth, predicted).astype(np.float64)
    total = table.sum()
    if not total:
        return float("nan")
    places = np.arange(len(table))
    distance = np.abs(places[:, None] - places[None, :]).astype(np.float64)
    cost = {"none": (distance > 0).astype(np.float64), "linear": distance, "quadratic": distance**2}[weights]
    expected = float((cost * np.outer(table.sum(axis=1), table.sum(axis=0))).sum() / total)
    return 1.0 - float((cost * table).sum()) / expected if expected else float("nan")


def quadratic_weighted_kappa(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Cohen's kappa with squared distances: the measure for ordered grades. Symmetric; NaN as `cohen_kappa`."""
    return cohen_kappa(truth, predicted, weights="quadratic")


def class_report(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> ClassReport:
    """Precision, recall and F1 of every class that occurs, their mean F1, and the accuracy."""
    table = confusion(truth, predicted)
    hits, true, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    figures = tuple(
        ClassFigures(
            label=int(label),
            precision=_ratio(hits[label], said[label]),
            recall=_ratio(hits[label], true[label]),
            f1=_ratio(2 * hits[label], true[label] + said[label]),
            support=int(true[label]),
        )
        for label in np.flatnonzero(true + said)
    )
    total = int(table.sum())
    if not total:
        return ClassReport((), float("nan"), float("nan"))
    return ClassReport(figures, float(hits.sum() / total), float(np.mean([one.f1 for one in figures])))


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Rank correlation; equal values share the mean of their ranks. NaN where one side is constant."""
    one, two = _numbers(first, second)
    if one.size < 2:
        return float("nan")
    a, b = ranks(one), ranks(two)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread else float("nan")


def ranks(values: npt.ArrayLike) -> Floats:
    """Ranks from 1 upwards; equal values share the mean of their ranks."""
    array = np.asarray(values, dtype=np.float64)
    _, place, count = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    mean: Floats = last - (count - 1) / 2.0
    return mean[place.reshape(-1)]


def roc_auc(positive: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Chance that a positive document scores above a negative one, ties counted half. NaN where one kind is missing."""
    truth, score = _binary(positive, scores)
    count = int(truth.sum())
    others = truth.size - count
    if not count or not others:
        return float("nan")
    total = float(ranks(score)[truth].sum())
    return (total - count * (count + 1) / 2) / (count * others)


def average_precision(positive: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under precision against recall as a sum of steps, one per distinct score. NaN without positives.

    No interpolation between the steps, which would flatter; documents with equal scores enter together.
    """
    truth, score = _binary(positive, scores)
    count = int(truth.sum())
    if not count:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), truth.size - 1)
    hits = np.cumsum(truth[order])[ends]
    precision = hits / (ends + 1.0)
    return float((np.diff(hits, prepend=0) / count * precision).sum())


def at_threshold(positive: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> BinaryFigures:
    """Precision, recall and F1 of the decision `score >= threshold`."""
    truth, score = _binary(positive, scores)
    chosen = score >= threshold
    hits, selected, positives = int((truth & chosen).sum()), int(chosen.sum()), int(truth.sum())
    return BinaryFigures(
        threshold=float(threshold),
        precision=_ratio(hits, selected),
        recall=_ratio(hits, positives),
        f1=_ratio(2 * hits, selected + positives),
        selected=selected,
        positives=positives,
    )


def bootstrap(
    figure: Callable[..., float],
    arrays: Sequence[npt.ArrayLike],
    groups: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """`figure(*arrays)` with a percentile interval from resampling whole groups with replacement.

    Pages of one host are alike: resampling pages would claim more certainty than there is. Draws depend on the
    seed and the names of the groups, so the order of the documents does not matter (up to rounding). Resamples for
    which the figure is NaN are left out; without any other, the interval is NaN.
    """
    if draws < 1 or not 0 < level < 1:
        raise ConfigError(f"no interval from {draws} draws at level {level}", fix="draws >= 1, 0 < level < 1")
    columns = [np.asarray(array) for array in arrays]
    if any(len(column) != len(groups) for column in columns):
        raise ConfigError("arrays and groups differ in length", why=str([len(groups), *map(len, columns)]))
    value = float(figure(*columns))
    if not len(groups):
        return Interval(value, float("nan"), float("nan"), level, 0)
    _, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    order = np.argsort(member, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(member))[:-1])
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        picked = np.concatenate([rows[i] for i in generator.integers(0, len(rows), len(rows))])
        found.append(float(figure(*(column[picked] for column in columns))))
    known = np.array([one for one in found if one == one])
    if not known.size:
        return Interval(value, float("nan"), float("nan"), level, 0)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, int(known.size))


def agreement(first: npt.ArrayLike, second: npt.ArrayLike) -> Agreement:
    """How two raters, or two passes of one, agree on the same documents."""
    one, two = _labels(first, second)
    if not one.size:
        nan = float("nan")
        return Agreement(0, nan, nan, nan, nan)
    return Agreement(
        count=int(one.size),
        equal=float((one == two).mean()),
        within_one=float((np.abs(one - two) <= 1).mean()),
        kappa=cohen_kappa(one, two),
        quadratic_kappa=quadratic_weighted_kappa(one, two),
    )


def weighted_percentiles(values: npt.ArrayLike, weights: npt.ArrayLike | None, percents: Sequence[float]) -> Floats:
    """For each percent p the smallest value up to which at least p % of the weight lies (inverse distribution).

    weights: for example tokens or bytes of the documents; None: 1 each. Values are never interpolated, so every
    figure is a score that a document has. ConfigError for negative weights, no weight at all, or NaN values.
    """
    array = np.asarray(values, dtype=np.float64)
    weight = np.ones(array.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if array.ndim != 1 or array.shape != weight.shape:
        raise ConfigError("values and weights differ in shape", why=f"{array.shape} and {weight.shape}")
    if np.isnan(array).any() or not np.isfinite(weight).all() or (weight < 0).any() or not weight.sum() > 0:
        raise ConfigError("no percentiles", why="a value is NaN, a weight negative or not finite, or all are 0")
    if any(not 0 <= percent <= 100 for percent in percents):
        raise ConfigError(f"percents {list(percents)} are not all within 0 and 100")
    order = np.argsort(array, kind="stable")
    order = order[weight[order] > 0]
    cumulated = np.cumsum(weight[order])
    wanted = np.asarray(percents, dtype=np.float64) / 100 * cumulated[-1]
    # a hair less, so that 30 % of ten equal weights is the third value whatever the rounding of the sums
    places = np.searchsorted(cumulated, wanted * (1 - 1e-12), side="left")
    found: Floats = array[order][np.minimum(places, order.size - 1)]
    return found


def percentile_table(
    values: npt.ArrayLike, weights: npt.ArrayLike | None = None, percents: Sequence[float] = PERCENTS
) -> list[tuple[float, float]]:
    """(percent, value) rows of `weighted_percentiles`, for cards and reports."""
    found = weighted_percentiles(values, weights, percents)
    return [(float(percent), float(value)) for percent, value in zip(percents, found, strict=True)]


def _ratio(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else 0.0


def _labels(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Ints, Ints]:
    one, two = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != two.shape:
        raise ConfigError("two sets of labels differ in shape", why=f"{one.shape} and {two.shape}")
    for array in (one, two):
        whole = array.size == 0 or array.dtype.kind in "iub"
        if not whole or (array.size and array.min() < 0):
            raise ConfigError("labels are integers from 0", why=f"dtype {array.dtype}", fix="round scores first")
    return one.astype(np.int64), two.astype(np.int64)


def _numbers(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Floats, Floats]:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise ConfigError("two arrays differ in shape", why=f"{one.shape} and {two.shape}")
    if np.isnan(one).any() or np.isnan(two).any():
        raise ConfigError("a score is NaN", fix="leave out documents without a score")
    return one, two


def _binary(positive: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], Floats]:
    truth, score = _numbers(positive, scores)
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ConfigError("the truth of a binary figure is 0 or 1", fix="compare grades with a threshold first")
    return truth.astype(bool), score
