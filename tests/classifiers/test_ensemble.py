"""`Ensemble` on batches and in runs, and the fitted weights against another solver and against known ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.classifiers.published_runs import pages, published
from tests.executors.support import rows, run
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.classifiers.ensemble import Ensemble, fit_linear
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import ReadParquet, WriteParquet


def combined(expression: str, **columns: list[Any]) -> list[float | None]:
    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    found = Ensemble(expression=expression).annotate(batch)["ensemble_score"]
    assert found.type == pa.float64()
    result: list[float | None] = found.to_pylist()
    return result


def test_nemotrons_maximum_of_bins_and_others() -> None:
    a, b = [3, 19, None, 0], [7, 2, 5, 0]
    assert combined("max(a, b)", a=a, b=b) == [7.0, 19.0, None, 0.0]
    assert combined("mean(a, b)", a=a, b=b) == [5.0, 10.5, None, 0.0]
    assert combined("a / b", a=a, b=b) == [3 / 7, 9.5, None, None]
    assert combined("where(a > 5, a, -b)", a=a, b=b) == [-7.0, 19.0, None, 0.0]
    assert combined("a + b", a=pa.array([1.5, math.nan], pa.float32()).to_pylist(), b=[1, 1]) == [2.5, None]


def test_a_column_without_numbers_is_refused() -> None:
    with pytest.raises(ConfigError, match="'language' as a score"):
        combined("language + 1", language=["3", "4"])


def test_the_plan_checks_names_and_expression() -> None:
    def planned(stage: Ensemble) -> None:
        make_plan(Pipeline("mine", [ReadJsonl(), stage, WriteParquet()]), [])

    with pytest.raises(ConfigError, match="absent_score"):
        planned(Ensemble(expression="absent_score + 1"))
    with pytest.raises(ConfigError, match=r"ensemble\.expression, character 1"):
        planned(Ensemble(expression="language.upper()"))
    with pytest.raises(ConfigError, match="its expression reads"):
        planned(Ensemble(expression="language_score * 2", column="language_score"))
    planned(Ensemble(expression="language_score * 2"))


def test_a_run_combines_and_decides(tmp_path: Path) -> None:
    stages = (
        Ensemble(expression="0.5 * edu_score + dclm_score"),
        ScoreFilter(column="ensemble_score", min_score=1.25, keep_null=True),
    )
    given = pages(80)
    found = rows(published(given, tmp_path, *stages), "data")
    for row in found:
        edu, dclm = row["edu_score"], row["dclm_score"]
        wanted = None if edu is None or math.isnan(edu) else 0.5 * edu + dclm
        assert row["ensemble_score"] == wanted
        assert wanted is None or wanted >= 1.25
    assert 10 < len(found) < 70


def test_published_scores_are_combined_again_without_the_scorer(tmp_path: Path) -> None:
    first = published(pages(40), tmp_path / "first")
    ensemble = Ensemble(expression="max(edu_score, 3 * dclm_score)")
    again = Pipeline("again", [ReadParquet(signals=("edu_score", "dclm_score")), ensemble, WriteParquet()])
    assert run(again, first / "data", tmp_path / "again").failures == {}
    fresh = published(pages(40), tmp_path / "fresh", ensemble)
    found, wanted = ([row["ensemble_score"] for row in rows(out, "data")] for out in (tmp_path / "again", fresh))
    assert found == wanted


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_fitted_weights_have_no_slope_left(seed: int, count: int) -> None:
    """The objective is convex, so its minimum is where every partial derivative is nought."""
    rng = np.random.default_rng(seed)
    scores = {f"s{n}": rng.normal(3 * n, 1 + n, 200) for n in range(count)}
    labels = (rng.random(200) < 1 / (1 + np.exp(-sum((s - s.mean()) for s in scores.values())))).astype(float)
    labels[:2] = 0.0, 1.0
    found = fit_linear(scores, labels, penalty=1e-2)
    logits = sum(found.weights[name] * scores[name] for name in scores) + found.intercept
    errors = 1 / (1 + np.exp(-logits)) - labels
    assert abs(errors.mean()) < 1e-8
    for name, score in scores.items():
        standard = (score - score.mean()) / score.std()
        assert abs((errors * standard).mean() + 1e-2 * found.weights[name] * score.std()) < 1e-8
    assert found == fit_linear(scores, labels, penalty=1e-2)
    assert found.documents == 200


def test_known_weights_are_found_and_the_expression_gives_their_probabilities() -> None:
    rng = np.random.default_rng(5)
    edu, dclm = rng.normal(2, 1, 40_000), rng.random(40_000)
    wanted = 1 / (1 + np.exp(-(1.5 * edu - 2.0 * dclm - 2.0)))
    found = fit_linear({"edu_score": edu, "dclm_score": dclm}, wanted, penalty=0.0)
    assert found.weights == pytest.approx({"edu_score": 1.5, "dclm_score": -2.0}, abs=1e-6)
    assert found.intercept == pytest.approx(-2.0, abs=1e-6)
    stored = combined(found.expression, edu_score=edu[:50].tolist(), dclm_score=dclm[:50].tolist())
    assert stored == pytest.approx(wanted[:50].tolist(), abs=1e-6)
    entropy = -np.mean(wanted * np.log(wanted) + (1 - wanted) * np.log1p(-wanted))
    assert found.loss == pytest.approx(entropy, abs=1e-9)


def test_rows_without_a_score_do_not_count_and_separable_labels_have_a_solution() -> None:
    score = np.array([0.0, 1.0, 2.0, 3.0, math.nan, 4.0, math.inf])
    labels = np.array([0.0, 0.0, 1.0, 1.0, 1.0, math.nan, 0.0])
    found = fit_linear({"a": score, "constant": np.ones(7)}, labels)
    assert found.documents == 4
    assert found.weights["a"] > 1
    assert found.weights["constant"] == pytest.approx(0.0, abs=1e-9)
    assert np.isfinite([found.intercept, found.loss]).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.0, 1.0]), "labels for scores of the lengths"),
        (np.array([0.0, 3.0, 1.0]), "cannot be learned from"),
        (np.array([1.0, 1.0, 1.0]), "cannot be learned from"),
        (np.full(3, math.nan), "cannot be learned from"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_linear({"a": np.arange(3.0)}, labels)


def test_columns_of_strings_are_refused_in_the_plan() -> None:
    types = {"edu_score": pa.float32(), "topic": pa.string()}
    Ensemble(expression="2 * edu_score").check(types)
    with pytest.raises(ConfigError, match="ensemble cannot use 'topic' as a score"):
        Ensemble(expression="edu_score * topic").check(types)
