"""The figures of a card, all from out-of-fold predictions: no document is judged by a model that saw its group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.classifiers.calibrate import expected_calibration_error, fit_isotonic, reliability
from tokenmill.classifiers.evaluate import (
    Floats,
    Interval,
    Ints,
    accuracy,
    at_threshold,
    average_precision,
    bootstrap,
    class_report,
    confusion,
    percentile_table,
    quadratic_weighted_kappa,
    roc_auc,
    spearman,
)
from tokenmill.classifiers.train.answers import figure, scores
from tokenmill.classifiers.train.crossval import Validated
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.settings import TrainSettings

PERCENTS = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0)
TOP = 0.1
"""Share of the documents that two scorers would keep, for their overlap."""
_BINS = 10


def figures_of(data: Labelled, settings: TrainSettings, repeats: Sequence[Validated]) -> dict[str, Any]:
    """Everything that the card says about the first cross-validation, and the spread over all, as plain values."""
    first = repeats[0]
    labels, decided = data.labels, first.decided
    score = one_score(first, settings)
    report = class_report(labels, decided)
    found: dict[str, Any] = {
        "figures": _intervals(data, settings, decided, score),
        "repeats": _spread(data, settings, repeats),
        "classes": [
            {"name": data.names[one.label], "precision": one.precision, "recall": one.recall, "f1": one.f1}
            | {"support": one.support}
            for one in report.classes
        ],
        "confusion": confusion(labels, decided, len(data.names)).tolist(),
        "percentiles": _percentiles(data, score),
        "calibration": _calibration(data, settings, first, score),
        "others": {name: _compared(data, settings, score, other) for name, other in data.others.items()},
    }
    return found


def one_score(validated: Validated, settings: TrainSettings) -> Floats:
    """The one number of a document: grade, P(class 1), or the probability of its likeliest class. [n]"""
    found = scores(validated.calibrated, settings.problem)
    return found.max(axis=1) if settings.problem == "classes" else found[:, 0]


def _intervals(data: Labelled, settings: TrainSettings, decided: Ints, score: Floats) -> dict[str, Any]:
    figures: dict[str, tuple[Callable[..., float], tuple[npt.ArrayLike, ...]]] = {
        "macro_f1": (lambda truth, said: figure("macro_f1", truth, said), (data.labels, decided)),
        "worst_class_f1": (lambda truth, said: figure("worst_f1", truth, said), (data.labels, decided)),
        "accuracy": (accuracy, (data.labels, decided)),
    }
    if settings.problem == "ordinal":
        good, kept = data.labels >= settings.threshold, decided >= settings.threshold
        figures = {"qwk": (quadratic_weighted_kappa, (data.labels, decided)), **figures}
        figures["spearman"] = (spearman, (data.labels, score))
        figures["threshold_f1"] = (lambda truth, said: at_threshold(truth, said, 1.0).f1, (good, kept))
        figures["threshold_precision"] = (lambda truth, said: at_threshold(truth, said, 1.0).precision, (good, kept))
        figures["threshold_recall"] = (lambda truth, said: at_threshold(truth, said, 1.0).recall, (good, kept))
    if settings.problem == "binary":
        figures["roc_auc"] = (roc_auc, (data.labels, score))
        figures["average_precision"] = (average_precision, (data.labels, score))
    return {
        name: _fields(bootstrap(call, arrays, data.groups, draws=settings.draws, seed=settings.seed))
        for name, (call, arrays) in figures.items()
    }


def _fields(found: Interval) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _spread(data: Labelled, settings: TrainSettings, repeats: Sequence[Validated]) -> dict[str, Any]:
    """Mean and standard deviation of the picking figures over cross-validations with other folds."""
    names = ["macro_f1", "worst_f1"] + (["qwk"] if settings.problem == "ordinal" else [])
    found: dict[str, Any] = {"count": len(repeats)}
    for name in names:
        values = [figure(name, data.labels, one.decided) for one in repeats]
        found[name] = {"mean": float(np.mean(values)), "std": float(np.std(values)), "values": values}
    return found


def _percentiles(data: Labelled, score: Floats) -> list[dict[str, Any]]:
    """Percentiles of the scores: of all, per value of the split column, and per quarter of the lengths."""
    sizes = np.array([len(text) for text in data.texts])
    parts: list[tuple[str, npt.NDArray[np.bool_]]] = [("all", np.ones(len(score), dtype=bool))]
    splits = np.array(data.splits)
    parts += [(f"split {name}", splits == name) for name in sorted(set(data.splits)) if name]
    edges = np.unique(np.quantile(sizes, [0.0, 0.25, 0.5, 0.75, 1.0]).astype(np.int64))
    for low, high in pairwise(edges.tolist()):
        last = high == edges[-1]
        inside = (sizes >= low) & ((sizes <= high) if last else (sizes < high))
        parts.append((f"{low} to {high if last else high - 1} characters", inside))
    return [
        {"part": name, "documents": int(inside.sum())}
        | {f"p{percent:g}": value for percent, value in percentile_table(score[inside], None, PERCENTS)}
        for name, inside in parts
        if inside.any()
    ]


def _calibration(data: Labelled, settings: TrainSettings, first: Validated, score: Floats) -> dict[str, Any]:
    """Curves of what is predicted against what is so; probabilities of "good" are fitted across the folds."""
    found: dict[str, Any] = {}
    chance, outcome = score, (data.labels == first.decided).astype(np.int64)
    if settings.problem == "ordinal":
        found["scores"] = _score_curve(score, data.labels)
        outcome = (data.labels >= settings.threshold).astype(np.int64)
        chance = np.empty_like(score)
        for fold in np.unique(first.folds):
            inside = first.folds == fold
            chance[inside] = np.clip(fit_isotonic(score[~inside], outcome[~inside])(score[inside]), 0.0, 1.0)
    elif settings.problem == "binary":
        outcome = data.labels
    curve = reliability(chance, outcome, bins=_BINS)
    found["probabilities"] = [
        {"low": one.low, "high": one.high, "count": one.count, "predicted": one.predicted, "observed": one.observed}
        for one in curve
        if one.count
    ]
    found["expected_calibration_error"] = expected_calibration_error(chance, outcome, bins=_BINS)
    return found


def _score_curve(score: Floats, labels: Ints) -> list[dict[str, float]]:
    """Mean score and mean label in bins of about equal counts."""
    order = np.argsort(score, kind="stable")
    return [
        {
            "low": float(score[part[0]]),
            "high": float(score[part[-1]]),
            "count": len(part),
            "predicted": float(score[part].mean()),
            "observed": float(labels[part].mean()),
        }
        for part in np.array_split(order, min(_BINS, len(order)))
    ]


def _compared(data: Labelled, settings: TrainSettings, score: Floats, other: Floats) -> dict[str, float]:
    """How the score agrees with another scorer, and how that one does against the labels."""
    known = np.isfinite(other)
    mine, theirs, labels = score[known], other[known], data.labels[known]
    kept = max(1, round(TOP * len(mine)))
    if not len(mine):
        return {"documents": 0}
    top = set(np.argsort(-mine, kind="stable")[:kept].tolist())
    overlap = len(top & set(np.argsort(-theirs, kind="stable")[:kept].tolist())) / kept
    found = {
        "documents": len(mine),
        "spearman": spearman(mine, theirs),
        "top_overlap": overlap,
        "labels_spearman": spearman(labels, theirs),
    }
    if settings.problem == "ordinal":
        highest = len(data.names) - 1
        first, second = (np.clip(np.rint(values), 0, highest).astype(np.int64) for values in (mine, theirs))
        found["qwk"] = quadratic_weighted_kappa(first, second)
        found["labels_qwk"] = quadratic_weighted_kappa(labels, second)
    return found


def probability_curves(data: Labelled, settings: TrainSettings, validated: Validated) -> Mapping[str, Any]:
    """Isotonic functions from the calibrated score to the chance of being good, on all out-of-fold scores."""
    if settings.problem == "classes":
        return {}
    score = one_score(validated, settings)
    tops = range(1, len(data.names)) if settings.problem == "ordinal" else (1,)
    return {
        f"at_least_{grade}": fit_isotonic(score, (data.labels >= grade).astype(np.int64)).to_fields() for grade in tops
    }
