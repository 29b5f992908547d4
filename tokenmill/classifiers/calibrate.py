"""From scores to probabilities and grades: isotonic and Platt calibration, reliability, and cut points for grades.

Everything here is fitted on some documents and used on others: fit on training folds only (`cross_fitted_grades`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.core.errors import ConfigError

_PASSES = 100


@dataclass(frozen=True)
class Isotonic:
    """A function that never falls: straight between its knots, constant outside them."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, scores: npt.ArrayLike) -> Floats:
        """Calibrated values, one per score."""
        found: Floats = np.interp(np.asarray(scores, dtype=np.float64), self.knots, self.values)
        return found

    def to_fields(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"kind": "isotonic", "knots": list(self.knots), "values": list(self.values)}

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> Isotonic:
        return Isotonic(tuple(fields["knots"]), tuple(fields["values"]))


@dataclass(frozen=True)
class Platt:
    """A logistic curve: 1 / (1 + exp(-(slope * score + intercept)))."""

    slope: float
    intercept: float

    def __call__(self, scores: npt.ArrayLike) -> Floats:
        """Probabilities, one per score."""
        return _logistic(self.slope * np.asarray(scores, dtype=np.float64) + self.intercept)

    def to_fields(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"kind": "platt", "slope": self.slope, "intercept": self.intercept}

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> Platt:
        return Platt(float(fields["slope"]), float(fields["intercept"]))


@dataclass(frozen=True)
class Bin:
    """Documents whose predicted probabilities lie together. Means are NaN in an empty bin."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Thresholds:
    """Cut points of a score: the grade is the number of cut points that the score reaches (score >= cut)."""

    cuts: tuple[float, ...]
    """Never falling; one less than there are grades."""

    def __call__(self, scores: npt.ArrayLike) -> Ints:
        """Grades from 0, one per score."""
        return np.searchsorted(self.cuts, np.asarray(scores, dtype=np.float64), side="right").astype(np.int64)


def fit_isotonic(scores: npt.ArrayLike, targets: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Isotonic:
    """The never falling function with the least squared error, by pooling adjacent violators.

    Documents with equal scores are one point. targets: outcomes 0 and 1, or grades. ConfigError without documents
    or where a number is not finite. Source: Ayer et al. 1955; for probabilities Zadrozny and Elkan 2002.
    """
    score, target = _finite(scores, targets)
    weight = np.ones(score.shape) if weights is None else _finite(scores, weights)[1]
    if (weight <= 0).any():
        raise ConfigError("a weight of the calibration is not positive")
    unique, place = np.unique(score, return_inverse=True)
    mass = np.bincount(place, weight)
    mean = np.bincount(place, weight * target) / mass
    levels: list[list[float]] = []  # mean, mass, first and last point of each pool
    for point in range(unique.size):
        levels.append([float(mean[point]), float(mass[point]), point, point])
        while len(levels) > 1 and levels[-2][0] >= levels[-1][0]:
            value, heavy, _, last = levels.pop()
            before = levels[-1]
            total = before[1] + heavy
            before[:] = [(before[0] * before[1] + value * heavy) / total, total, before[2], last]
    knots: list[float] = []
    values: list[float] = []
    for value, _, first, last in levels:
        for point in sorted({int(first), int(last)}):
            knots.append(float(unique[point]))
            values.append(value)
    return Isotonic(tuple(knots), tuple(values))


def fit_platt(scores: npt.ArrayLike, positive: npt.ArrayLike) -> Platt:
    """A logistic curve by Newton's method on targets drawn in as Platt does: (n+ + 1) / (n+ + 2) and 1 / (n- + 2).

    The targets keep the fit finite where a score separates the classes. ConfigError for outcomes other than 0 and 1.
    Source: Platt 1999; Lin, Lin and Weng 2007 for the damping.
    """
    score, truth = _finite(scores, positive)
    _check_outcomes(truth)
    count = float(truth.sum())
    target = np.where(truth == 1, (count + 1) / (count + 2), 1 / (truth.size - count + 2))
    centre, scale = float(score.mean()), float(score.std()) or 1.0
    design = np.stack([(score - centre) / scale, np.ones(score.size)], axis=1)
    fitted = np.array([0.0, np.log((count + 1) / (truth.size - count + 1))])
    loss = _log_loss(design @ fitted, target)
    for _ in range(_PASSES):
        chance = _logistic(design @ fitted)
        gradient = design.T @ (chance - target)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-12 * np.eye(2)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while size > 1e-10 and _log_loss(design @ (fitted - size * step), target) > loss:
            size /= 2
        fitted = fitted - size * step
        before, loss = loss, _log_loss(design @ fitted, target)
        if before - loss < 1e-12 * max(1.0, abs(loss)):
            break
    slope = float(fitted[0]) / scale
    return Platt(slope, float(fitted[1]) - slope * centre)


def reliability(
    probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, *, bins: int = 10, by: Literal["width", "count"] = "width"
) -> list[Bin]:
    """The curve of predicted against observed shares. by: bins of equal width in [0, 1], or of about equal counts.

    ConfigError for probabilities outside [0, 1] or outcomes other than 0 and 1.
    """
    chance, outcome = _finite(probabilities, outcomes)
    if bins < 1 or chance.min() < 0 or chance.max() > 1:
        raise ConfigError("no reliability curve", why="probabilities lie within 0 and 1, and there is at least 1 bin")
    _check_outcomes(outcome)
    if by == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
    else:
        edges = np.unique(np.quantile(chance, np.linspace(0, 1, bins + 1)))
        edges = np.array([edges[0], edges[0]]) if edges.size == 1 else edges
    place = np.clip(np.searchsorted(edges, chance, side="right") - 1, 0, len(edges) - 2)
    found = []
    for number in range(len(edges) - 1):
        inside = place == number
        count = int(inside.sum())
        predicted = float(chance[inside].mean()) if count else float("nan")
        observed = float(outcome[inside].mean()) if count else float("nan")
        found.append(Bin(float(edges[number]), float(edges[number + 1]), count, predicted, observed))
    return found


def expected_calibration_error(
    probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, *, bins: int = 10, by: Literal["width", "count"] = "width"
) -> float:
    """Mean distance of predicted and observed share over the bins, weighted by their counts. Unit: probability."""
    curve = reliability(probabilities, outcomes, bins=bins, by=by)
    total = sum(one.count for one in curve)
    return sum(one.count * abs(one.predicted - one.observed) for one in curve if one.count) / total


def fit_thresholds(scores: npt.ArrayLike, grades: npt.ArrayLike, classes: int) -> Thresholds:
    """Cut points that maximise the quadratic-weighted kappa of `classes` grades on these documents.

    Each cut point is moved to its best place between its neighbours until none moves, from two starts: halves
    (0.5, 1.5, ...) and the scores that give each grade as many documents as the truth has. A local optimum, exact in
    each coordinate. Cut points stand midway between neighbouring scores. Fit on training folds only.
    """
    score, truth = _finite(scores, grades)
    if classes < 2 or truth.min() < 0 or truth.max() > classes - 1 or (truth != np.round(truth)).any():
        raise ConfigError(f"grades are not all integers of 0 to {classes - 1}", fix="give the number of classes")
    order = np.argsort(score, kind="stable")
    score, truth = score[order], truth[order]
    halves = np.searchsorted(score, np.arange(classes - 1) + 0.5, side="left")
    shares = np.searchsorted(np.sort(truth), np.arange(1, classes), side="left")
    shares = np.searchsorted(score, score[np.minimum(shares, score.size - 1)], side="left")
    allowed = np.concatenate([[0], np.flatnonzero(np.diff(score)) + 1, [score.size]])
    results = [_ascend(truth, start.astype(np.int64), allowed) for start in (halves, shares)]
    _, places = max(results, key=lambda one: one[0])
    edges = np.concatenate([[score[0] - 0.5], (score[1:] + score[:-1]) / 2, [score[-1] + 0.5]])
    # two neighbouring floats have no middle: the upper one then is the cut, which says the same
    edges[1:-1] = np.where(edges[1:-1] > score[:-1], edges[1:-1], score[1:])
    return Thresholds(tuple(float(edge) for edge in edges[places]))


def cross_fitted_grades(
    scores: npt.ArrayLike, grades: npt.ArrayLike, folds: Sequence[int] | npt.NDArray[Any], classes: int
) -> Ints:
    """Grades of every document by cut points that were fitted on the other folds: none has seen its own label."""
    score, truth = _finite(scores, grades)
    fold = np.asarray(folds)
    if fold.shape != score.shape or np.unique(fold).size < 2:
        raise ConfigError("cut points are fitted across at least 2 folds", why=f"folds have the shape {fold.shape}")
    decided = np.zeros(score.shape, dtype=np.int64)
    for held in np.unique(fold):
        inside = fold == held
        decided[inside] = fit_thresholds(score[~inside], truth[~inside], classes)(score[inside])
    return decided


def _ascend(truth: Floats, places: Ints, allowed: Ints) -> tuple[float, Ints]:
    """(kappa, places) after coordinate ascent. A place is the number of sorted documents below a cut point."""
    places = np.maximum.accumulate(places)
    cumulated = np.concatenate([[0.0], np.cumsum(truth)])
    best = -np.inf
    for _ in range(_PASSES):
        before = best
        for cut in range(places.size):
            low = places[cut - 1] if cut else 0
            high = places[cut + 1] if cut + 1 < places.size else truth.size
            options = allowed[(allowed >= low) & (allowed <= high)]
            if not options.size:
                continue
            kappas = _kappas(truth, cumulated, places, cut, options)
            choice = int(np.argmax(kappas))
            if kappas[choice] > best:
                best, places[cut] = float(kappas[choice]), options[choice]
        if best <= before:
            break
    return best, places


def _kappas(truth: Floats, cumulated: Floats, places: Ints, cut: int, options: Ints) -> Floats:
    """Kappa for every option of one cut point, from sums: p is the grade given, g the true one.

    sum (g - p)^2 and its expectation need sum p, sum p^2 and sum g p only; a document at or above k cut points
    adds 1 to p for each of them, so all three are sums over cut points. Where all
    grades, true and given, are one, agreement is whole: 1.
    """
    count = truth.size
    others = np.delete(places, cut)
    above = count - others
    odd = 2 * np.delete(np.arange(places.size), cut) + 1  # p^2 grows by 2k + 1 at the cut point k
    sum_p = above.sum() + (count - options)
    sum_pp = (above * odd).sum() + (count - options) * (2 * cut + 1)
    sum_gp = (cumulated[-1] - cumulated[others]).sum() + (cumulated[-1] - cumulated[options])
    sum_g, sum_gg = cumulated[-1], float((truth * truth).sum())
    observed = sum_gg + sum_pp - 2 * sum_gp
    expected = sum_gg + sum_pp - 2 * sum_g * sum_p / count
    found: Floats = np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1.0), 1.0)
    return found


def _logistic(values: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0.0, -values))
    return found


def _log_loss(logits: Floats, target: Floats) -> float:
    return float((np.logaddexp(0.0, logits) - target * logits).sum())


def _check_outcomes(truth: Floats) -> None:
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ConfigError("outcomes of a calibration are 0 or 1", fix="compare grades with a threshold first")


def _finite(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Floats, Floats]:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape or not one.size:
        raise ConfigError("nothing to calibrate on", why=f"shapes {one.shape} and {two.shape}")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ConfigError("a score or label is not finite", fix="leave out documents without a score")
    return one, two
