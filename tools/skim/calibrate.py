"""What a page's confidence and route are made of: fitted on annotated pages, each judged by a model that never saw its
domain.

Confidence: F1 of kept text by annotated blocks, regressed on the page's features and corrected by a monotone curve.
Route: the
difference between trafilatura's F1 (fast) and ours, regressed on the same features, or where that wins nothing out of
fold, the expected loss of ours; the threshold is the one that at most MOST_ROUTED of the crawl's pages and of the
annotated ones pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.extract.skim import choose_kernel as k
from tokenmill.extract.skim.choose import measured
from tokenmill.extract.skim.model import Model, probabilities
from tokenmill.text.hosts import host_of
from tools.skim import fit
from tools.skim.data import TrainingPage
from tools.skim.labels import crawl_places

MOST_ROUTED = 0.04
"""Share of the crawl's pages above the threshold; the bound is 5 %."""
LEAST_BYTES, MOST_LINKED = 600, 0.5
"""Routed are only pages of which so much is kept, and no more is linked."""
RIDGE = 3.0
FAST = 0

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Pages out of fold: features [n, FEATURES], F1 of ours and of trafilatura fast (NaN without gold), weights
    and folds."""

    features: Array
    ours: Array
    fast: Array
    weight: Array
    fold: npt.NDArray[np.int64]


def pages_of_hosts(shared: Path) -> dict[str, int]:
    """Pages of every host in the crawl."""
    return dict(Counter(host_of(place.url) for place in crawl_places(shared / "crawl")))


def measure(pages: Sequence[TrainingPage], models: Sequence[Model], pages_of_host: dict[str, int]) -> Measured:
    """pages_of_host: pages in the crawl, so that a page stands for those of its host that were not drawn."""
    loaded: dict[str, int] = {}
    for page in pages:
        loaded[page.host] = loaded.get(page.host, 0) + 1
    rows = []
    for page in pages:
        model = models[page.fold]
        choice, features = measured(page.scan, probabilities(page.scan, model), model)
        size = (page.scan.bl_end - page.scan.bl_start).astype(np.float64)
        stands_for = pages_of_host.get(page.host, 0) / loaded[page.host] if page.source == "crawl" else 0.0
        ours, fast = (
            f1(choice.keep.astype(np.float64), page, size),
            f1(page.weak[:, FAST].astype(np.float64), page, size),
        )
        rows.append([*features, ours, fast, stands_for])
    table = np.array(rows)
    return Measured(
        table[:, : k.FEATURES], table[:, -3], table[:, -2], table[:, -1], np.array([page.fold for page in pages])
    )


def f1(kept: Array, page: TrainingPage, size: Array) -> float:
    """F1 over the bytes of annotated blocks; NaN where too few are annotated or the system has no text."""
    known = ~np.isnan(page.gold)
    if known.sum() < 2 or np.isnan(kept[known]).all():
        return float("nan")
    kept, gold, size = np.nan_to_num(kept[known]), page.gold[known] >= 0.5, size[known]
    right, wrong, wanted = (kept * size)[gold].sum(), (kept * size)[~gold].sum(), size[gold].sum()
    if wanted == 0:
        return float(1 - wrong / size.sum())
    return float(2 * right / (right + wrong + wanted))


def calibration(found: Measured) -> Array:
    """The array of `choose_kernel.CALIBRATION` numbers."""
    out = fit.uncalibrated()
    known = ~np.isnan(found.ours)
    line = _ridge(found.features[known], found.ours[known])
    out[: k.FEATURES + 1] = line
    out[k.CURVE : k.CURVE + k.KNOTS] = _curve(_apply(line, found.features[known]), found.ours[known])
    out[k.FEATURES + 1 : k.CURVE] = route_line(found)[0]
    out[k.LEAST_KEPT], out[k.MOST_LINKED] = np.log2(LEAST_BYTES + 1) / 16, MOST_LINKED
    expected = routes(found.features, out)
    annotated = known.astype(np.float64)
    out[k.MIN_GAIN] = max(0.0, *(threshold(expected, weight) for weight in (found.weight, annotated)))
    return out


def threshold(expected: Array, weight: Array) -> float:
    """The value that at most MOST_ROUTED of the weight are above."""
    order = np.argsort(-expected, kind="stable")
    passed = np.cumsum(weight[order]) / weight.sum()
    return float(expected[order][np.searchsorted(passed, MOST_ROUTED)])


def route_line(found: Measured) -> tuple[Array, dict[str, float]]:
    """Weights of the route, and what trafilatura fast would win on the pages that each way of routing sends to it.

    The regression of the gain is judged out of fold; where it wins nothing, the least sure pages are routed.
    """
    both = ~np.isnan(found.ours) & ~np.isnan(found.fast)
    features, ours = found.features[both], found.ours[both]
    gain, folds = found.fast[both] - ours, found.fold[both]
    clipped = np.clip(gain, -0.5, 0.5)
    by_gain, by_doubt = np.zeros(len(gain)), np.zeros(len(gain))
    for fold in np.unique(folds):
        others = folds != fold
        if others.any():
            by_gain[~others] = _apply(_ridge(features[others], clipped[others]), features[~others])
            by_doubt[~others] = -_apply(_ridge(features[others], ours[others]), features[~others])
    barred = _barred(features)
    routed = max(1, int(MOST_ROUTED * len(gain)))
    won = {}
    for name, scores in (("gain", by_gain), ("doubt", by_doubt)):
        order = np.argsort(-np.where(barred, -9.0, scores), kind="stable")[:routed]
        won[name] = round(float(gain[order].mean()), 4)
    known = ~np.isnan(found.ours)
    if won["gain"] > max(0.0, won["doubt"]):
        return _ridge(features, clipped), won
    line = -_ridge(found.features[known], found.ours[known])
    line[-1] += 1.0
    return line, won


def _barred(features: Array) -> npt.NDArray[np.bool_]:
    barred: npt.NDArray[np.bool_] = (features[:, k.F_KEPT] < np.log2(LEAST_BYTES + 1) / 16) | (
        features[:, k.F_LINKED] > MOST_LINKED
    )
    return barred


def routes(features: Array, calibrated: Array) -> Array:
    """Expected gains as the kernel gives them, [n]."""
    found = _apply(calibrated[k.FEATURES + 1 : k.CURVE], features)
    barred = (features[:, k.F_KEPT] < calibrated[k.LEAST_KEPT]) | (features[:, k.F_LINKED] > calibrated[k.MOST_LINKED])
    return np.where(barred, -1.0, found)


def confidences(features: Array, calibrated: Array) -> Array:
    """Confidences as the kernel gives them, [n]."""
    at = np.clip(_apply(calibrated[: k.FEATURES + 1], features), 0, 1) * (k.KNOTS - 1)
    curve = calibrated[k.CURVE : k.CURVE + k.KNOTS]
    return np.clip(np.interp(at, np.arange(k.KNOTS), curve), 0, 1)


def _apply(line: Array, features: Array) -> Array:
    found: Array = features @ line[:-1] + line[-1]
    return found


def _ridge(features: Array, target: Array) -> Array:
    mean, middle = features.mean(axis=0), target.mean()
    x = features - mean
    slopes = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (target - middle))
    line = np.round(
        np.concatenate((slopes, [middle - mean @ slopes])), 6
    )  # the same file on machines that add differently
    return np.asarray(line, np.float64)


def _curve(predicted: Array, target: Array) -> Array:
    """Monotone regression (pool adjacent violators) of what was found on what was predicted, at KNOTS places."""
    order = np.argsort(predicted, kind="stable")
    pools: list[list[float]] = []
    for place in order:
        pools.append([float(target[place]), 1.0])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            value, count = pools.pop()
            pools[-1] = [(pools[-1][0] * pools[-1][1] + value * count) / (pools[-1][1] + count), pools[-1][1] + count]
    fitted = np.concatenate([np.full(int(count), value) for value, count in pools])
    places = np.clip(predicted[order], 0, 1)
    knots = np.linspace(0, 1, k.KNOTS)
    width = 0.5 / (k.KNOTS - 1)
    found = [
        fitted[np.abs(places - knot) <= width].mean() if (np.abs(places - knot) <= width).any() else np.nan
        for knot in knots
    ]
    known = ~np.isnan(found)
    smooth = np.interp(knots, knots[known], np.array(found)[known])
    return np.asarray(np.round(np.maximum.accumulate(smooth), 6), np.float64)


def reliability(found: Measured, calibrated: Array) -> list[dict[str, Any]]:
    """Expected and measured F1 by band of confidence."""
    known = ~np.isnan(found.ours)
    expected, actual = confidences(found.features[known], calibrated), found.ours[known]
    rows = []
    for low, high in ((0, 0.5), (0.5, 0.7), (0.7, 0.8), (0.8, 0.85), (0.85, 0.9), (0.9, 0.95), (0.95, 1.01)):
        inside = (expected >= low) & (expected < high)
        if inside.any():
            rows.append(
                {
                    "band": f"{low:g} to {min(high, 1):g}",
                    "pages": int(inside.sum()),
                    "expected": round(float(expected[inside].mean()), 3),
                    "measured": round(float(actual[inside].mean()), 3),
                }
            )
    return rows
