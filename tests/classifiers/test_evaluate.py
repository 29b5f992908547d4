"""Figures against textbook formulas in plain Python on random tables, and known values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.classifiers.evaluate import (
    accuracy,
    agreement,
    at_threshold,
    average_precision,
    bootstrap,
    class_report,
    cohen_kappa,
    confusion,
    percentile_table,
    quadratic_weighted_kappa,
    roc_auc,
    spearman,
    weighted_percentiles,
)
from tokenmill.core.errors import ConfigError

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)
SCORED = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=1, max_size=40)


def textbook_kappa(pairs: Sequence[tuple[int, int]], power: int) -> float:
    n = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(abs(a - b) ** power if power else a != b for a, b in pairs) / n
    expected = sum(
        (abs(a - b) ** power if power else a != b) * first[a] * second[b] / n**2 for a in first for b in second
    )
    return 1 - observed / expected if expected else math.nan


def same(found: float, wanted: float) -> bool:
    return (math.isnan(found) and math.isnan(wanted)) or math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-12)


@given(PAIRS)
def test_kappas_are_the_textbooks(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = zip(*pairs, strict=True)
    assert same(cohen_kappa(truth, predicted), textbook_kappa(pairs, 0))
    assert same(cohen_kappa(truth, predicted, weights="linear"), textbook_kappa(pairs, 1))
    assert same(quadratic_weighted_kappa(truth, predicted), textbook_kappa(pairs, 2))
    assert same(quadratic_weighted_kappa(predicted, truth), textbook_kappa(pairs, 2))


def test_known_kappas() -> None:
    # Cohen's own layout: 45 of 50 agree, by chance 30: (0.9 - 0.6) / 0.4
    truth = [0] * 35 + [0] * 2 + [1] * 3 + [1] * 10
    predicted = [0] * 35 + [1] * 2 + [0] * 3 + [1] * 10
    chance = (37 * 38 + 13 * 12) / 2500
    assert cohen_kappa(truth, predicted) == pytest.approx((0.9 - chance) / (1 - chance))
    assert quadratic_weighted_kappa([0, 1, 2, 3], [3, 2, 1, 0]) == pytest.approx(-1.0)
    assert quadratic_weighted_kappa([0, 1, 5], [0, 1, 5]) == 1.0
    assert math.isnan(quadratic_weighted_kappa([2, 2], [2, 2]))


@given(PAIRS)
def test_figures_per_class_by_counting(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = zip(*pairs, strict=True)
    report = class_report(truth, predicted)
    assert [one.label for one in report.classes] == sorted({label for pair in pairs for label in pair})
    for one in report.classes:
        hits = sum(a == b == one.label for a, b in pairs)
        true, said = truth.count(one.label), predicted.count(one.label)
        assert (one.support, one.recall) == (true, hits / true if true else 0)
        assert one.precision == (hits / said if said else 0)
        both = one.precision + one.recall
        assert same(one.f1, 2 * one.precision * one.recall / both if both else 0)
    assert same(report.macro_f1, sum(one.f1 for one in report.classes) / len(report.classes))
    assert report.accuracy == accuracy(truth, predicted) == sum(a == b for a, b in pairs) / len(pairs)
    worst = report.worst
    assert worst is not None
    assert worst.recall == min(one.recall for one in report.classes if one.support)
    assert confusion(truth, predicted, 5).tolist() == [[pairs.count((a, b)) for b in range(5)] for a in range(5)]


@given(SCORED)
def test_ranking_figures_by_pairs_and_by_thresholds(rows: list[tuple[bool, int]]) -> None:
    truth, scores = zip(*rows, strict=True)
    positives = [s for t, s in rows if t]
    negatives = [s for t, s in rows if not t]
    wins = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    assert same(roc_auc(truth, scores), sum(wins) / len(wins) if wins else math.nan)
    area, before = 0.0, 0.0
    for cut in sorted(set(scores), reverse=True):
        chosen = [t for t, s in rows if s >= cut]
        recall = sum(chosen) / len(positives) if positives else math.nan
        area += (recall - before) * sum(chosen) / len(chosen)
        before = recall
    assert same(average_precision(truth, scores), area)
    figures = at_threshold(truth, scores, 1)
    chosen = [t for t, s in rows if s >= 1]
    assert (figures.selected, figures.positives) == (len(chosen), len(positives))
    assert same(figures.precision, sum(chosen) / len(chosen) if chosen else 0)
    assert same(figures.recall, sum(chosen) / len(positives) if positives else 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_spearman_is_pearson_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    def mean_ranks(values: Sequence[int]) -> list[float]:
        return [sum(w < v for w in values) + (values.count(v) + 1) / 2 for v in values]

    a, b = (mean_ranks(list(side)) for side in zip(*pairs, strict=True))
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    below = math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))
    found = spearman([p[0] for p in pairs], [p[1] for p in pairs])
    assert same(found, top / below) if below else math.isnan(found)


def test_agreement_of_two_passes() -> None:
    found = agreement([0, 1, 2, 3, 5], [0, 1, 3, 3, 2])
    assert (found.count, found.equal, found.within_one) == (5, 0.6, 0.8)
    assert found.quadratic_kappa == quadratic_weighted_kappa([0, 1, 2, 3, 5], [0, 1, 3, 3, 2])
    assert math.isnan(agreement([], []).kappa)


def test_bootstrap_by_group() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, 200)
    predicted = np.clip(truth + rng.integers(-1, 2, 200), 0, 4)
    hosts = [f"h{n % 40}" for n in range(200)]
    found = bootstrap(quadratic_weighted_kappa, (truth, predicted), hosts, draws=200, seed=3)
    assert found.value == quadratic_weighted_kappa(truth, predicted)
    assert found.low < found.value < found.high
    assert found.draws == 200
    order = rng.permutation(200)
    again = bootstrap(
        quadratic_weighted_kappa, (truth[order], predicted[order]), [hosts[i] for i in order], draws=200, seed=3
    )
    assert (again.low, again.high) == pytest.approx((found.low, found.high))
    # copies of a page say nothing new: the interval by group is that of the single pages
    single = bootstrap(accuracy, (truth, predicted), [str(n) for n in range(200)], draws=300)
    copied = bootstrap(accuracy, (truth.repeat(4), predicted.repeat(4)), [str(n) for n in range(200) for _ in "1234"])
    assert copied.high - copied.low == pytest.approx(single.high - single.low, rel=0.25)


def test_bootstrap_leaves_out_resamples_without_a_figure() -> None:
    found = bootstrap(roc_auc, ([0, 1, 1], [1, 2, 3]), ["a", "b", "c"], draws=50, seed=0)
    assert found.value == 1.0
    assert 0 < found.draws < 50


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=30),
    st.integers(0, 20).map(lambda n: 5.0 * n),
)
def test_weighted_percentiles_are_those_of_repeated_values(rows: list[tuple[int, int]], percent: float) -> None:
    values, weights = zip(*rows, strict=True)
    repeated = sorted(value for value, weight in rows for _ in range(weight))
    if not repeated:
        with pytest.raises(ConfigError):
            weighted_percentiles(values, weights, [percent])
        return
    place = max(0, math.ceil(round(percent * len(repeated) / 100, 9)) - 1)
    assert weighted_percentiles(values, weights, [percent])[0] == repeated[place]


def test_percentile_table_and_refusals() -> None:
    assert percentile_table([3, 1, 2], percents=(0, 50, 100)) == [(0.0, 1.0), (50.0, 2.0), (100.0, 3.0)]
    with pytest.raises(ConfigError, match="differ in shape"):
        confusion([0, 1], [0])
    with pytest.raises(ConfigError, match="integers from 0"):
        accuracy([0.5], [1])
    with pytest.raises(ConfigError, match="0 or 1"):
        roc_auc([0, 2], [1, 2])
    with pytest.raises(ConfigError, match="NaN"):
        spearman([math.nan, 1], [1, 2])
