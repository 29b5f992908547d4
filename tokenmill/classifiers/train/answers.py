"""From raw outputs to calibrated scores and decisions, and the figure by which candidates are picked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tokenmill.classifiers.calibrate import fit_platt
from tokenmill.classifiers.evaluate import Floats, Ints, class_report, quadratic_weighted_kappa
from tokenmill.classifiers.train.settings import Problem


@dataclass(frozen=True)
class Affine:
    """The calibration: scale * output + shift, for every output. It can be part of a head's last layer."""

    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, outputs: Floats) -> Floats:
        return self.scale * outputs + self.shift


def fit_affine(outputs: Floats, labels: Ints | Floats, problem: Problem) -> Affine:
    """The calibration of raw outputs [n, outputs] of documents that the model was not trained on.

    labels: classes [n] from 0; grades may be fractions. Grades: mean and spread of the scores become those of the
    labels. A regression draws scores to their mean, so that rounding would give the highest grade to few; least squares
    would keep that. Binary: Platt's logistic curve.
    Classes: one temperature (Guo et al. 2017), by the least cross-entropy.
    """
    if problem == "ordinal":
        spread = float(outputs[:, 0].std())
        scale = float(labels.std()) / spread if spread > 1e-9 else 1.0
        return Affine(scale, float(labels.mean()) - scale * float(outputs[:, 0].mean()))
    if problem == "binary":
        curve = fit_platt(outputs[:, 0], labels.astype(np.int64))
        # a curve that falls would turn the classifier round: what it knows is noise then
        return Affine(max(curve.slope, 1e-6), curve.intercept)
    return Affine(_temperature(outputs, labels.astype(np.int64)))


def _temperature(outputs: Floats, labels: Ints) -> float:
    """The factor of logits with the least cross-entropy, by golden section on its logarithm: the loss is convex."""
    low, high, ratio = np.log(1e-3), np.log(1e3), (np.sqrt(5) - 1) / 2

    def loss(place: float) -> float:
        logits = np.exp(place) * outputs
        return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())

    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def scores(calibrated: Floats, problem: Problem) -> Floats:
    """What the stage's columns will hold: grades [n, 1], P(class 1) [n, 1], or probabilities [n, classes]."""
    if problem == "ordinal":
        return calibrated
    if problem == "binary":
        return np.asarray(np.exp(-np.logaddexp(0.0, -calibrated)))
    return np.asarray(np.exp(calibrated - np.logaddexp.reduce(calibrated, axis=1, keepdims=True)))


def decide(calibrated: Floats, problem: Problem, classes: int) -> Ints:
    """Classes [n]: the rounded score within the grades, P >= 1/2, or the likeliest class."""
    if problem == "ordinal":
        return np.asarray(np.clip(np.rint(calibrated[:, 0]), 0, classes - 1), dtype=np.int64)
    if problem == "binary":
        return np.asarray(calibrated[:, 0] >= 0, dtype=np.int64)
    return np.asarray(calibrated.argmax(axis=1), dtype=np.int64)


def concordance(labels: Ints, graded: Floats) -> float:
    """Quadratic-weighted kappa of scores that are not rounded [n]: 2 cov / (var + var + squared distance of means).

    Rounding makes the kappa of a candidate jump; this is what it jumps around. 0 where all are equal. Source: Lin 1989.
    """
    truth = labels.astype(np.float64)
    apart = float(truth.var() + graded.var() + (truth.mean() - graded.mean()) ** 2)
    return 2 * float(((truth - truth.mean()) * (graded - graded.mean())).mean()) / apart if apart else 0.0


def figure(name: str, labels: Ints, decided: Ints) -> float:
    """The figure `qwk`, `macro_f1` or `worst_f1`; the greater the better."""
    if name == "qwk":
        kappa = quadratic_weighted_kappa(labels, decided)
        return kappa if kappa == kappa else 0.0
    report = class_report(labels, decided)
    if name == "macro_f1":
        return report.macro_f1
    return min((one.f1 for one in report.classes if one.support), default=0.0)
