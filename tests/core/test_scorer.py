"""Scorers, and the filters on what they score, with a model trained on the spot."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from tests.executors.support import rows, run
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.rule import Drop
from tokenmill.core.scorer import Scorer
from tokenmill.filters.toxicity import NsfwClassifierFilter, ToxicityFilter
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet

BUCKETS = 512
KIND = ["thank you for the lovely soup", "the garden is full of flowers", "a kind letter came from my friend"]
RUDE = ["you stupid fool shut up", "shut up you ugly idiot", "what a stupid ugly idiot you are"]


def hashed(text: str) -> np.ndarray[Any, Any]:
    """Counts of hashed words, and a constant."""
    vector = np.zeros(BUCKETS + 1)
    vector[-1] = 1.0
    for word in text.lower().split():
        vector[zlib.crc32(word.encode("utf-8", "replace")) % BUCKETS] += 1
    return vector


def trained() -> np.ndarray[Any, Any]:
    """Logistic regression by gradient descent: 1 is rude."""
    inputs = np.stack([hashed(text) for text in KIND + RUDE])
    targets = np.array([0.0] * len(KIND) + [1.0] * len(RUDE))
    weights = np.zeros(BUCKETS + 1)
    for _ in range(300):
        errors = 1 / (1 + np.exp(-inputs @ weights)) - targets
        weights -= 0.5 * inputs.T @ errors
    return weights


class RudenessScorer(Scorer):
    """Probability that a text is rude."""

    adds: ClassVar[Mapping[str, pa.DataType]] = {"toxicity_score": pa.float64(), "rude_logit": pa.float32()}

    @cached_property
    def _weights(self) -> np.ndarray[Any, Any]:
        return trained()

    def setup(self) -> None:
        _ = self._weights

    def model_digest(self) -> str:
        return hashlib.sha256(self._weights.tobytes()).hexdigest()

    def score(self, texts: Sequence[str]) -> Mapping[str, Any]:
        logits = np.stack([hashed(text) for text in texts]) @ self._weights
        return {"toxicity_score": 1 / (1 + np.exp(-logits)), "rude_logit": logits.astype(np.float32)}


class OddScorer(Scorer):
    """Gives what `answer` says for the texts."""

    adds: ClassVar[Mapping[str, pa.DataType]] = {"odd": pa.float64()}
    answer: Any = None

    def model_digest(self) -> str:
        return "0" * 64

    def score(self, texts: Sequence[str]) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self.answer(texts)
        return answer


class WholeNumbers(OddScorer):
    adds: ClassVar[Mapping[str, pa.DataType]] = {"odd": pa.int64()}


def batch(*texts: str | None) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.string())})


def scored(answer: Callable[[Sequence[str]], Mapping[str, Any]], *texts: str | None) -> list[Any]:
    found: list[Any] = OddScorer(answer=answer).annotate(batch(*texts))["odd"].to_pylist()
    return found


def test_texts_without_a_value_are_not_shown_to_the_model() -> None:
    def lengths(texts: Sequence[str]) -> Mapping[str, Any]:
        assert None not in texts
        return {"odd": [len(text) for text in texts]}

    assert scored(lengths, "ab", None, "", "abc", None) == [2.0, None, 0.0, 3.0, None]
    assert scored(lengths) == []
    assert scored(lambda texts: 1 / 0, None, None) == [None, None]


def test_scores_have_the_declared_types() -> None:
    columns = RudenessScorer().annotate(batch("you idiot", None, "my friend"))
    assert {name: array.type for name, array in columns.items()} == dict(RudenessScorer.adds)
    assert columns["toxicity_score"][0].as_py() > 0.5 > columns["toxicity_score"][2].as_py()
    assert columns["rude_logit"][1].as_py() is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: {"other": [1.0]}, "scored the columns"),
        (lambda texts: {}, "scored the columns"),
        (lambda texts: {"odd": [1.0, 2.0]}, r"shape \(2,\)"),
        (lambda texts: {"odd": np.ones((1, 1))}, r"shape \(1, 1\)"),
        (lambda texts: {"odd": np.float64(1.0)}, r"shape \(\)"),
    ],
)
def test_a_wrong_shape_is_the_authors_error(answer: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scored(answer, "text")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None])
def test_a_score_that_is_not_finite_is_refused(value: float | None) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        scored(lambda texts: {"odd": [0.5, value]}, "a", "b")


def test_columns_must_be_numbers() -> None:
    with pytest.raises(ConfigError, match="floating-point"):
        WholeNumbers(answer=None).digests()
    assert OddScorer(answer=None).digests() == {"model": "0" * 64}


def test_a_scorer_needs_its_methods() -> None:
    class NoScore(Scorer):
        adds: ClassVar[Mapping[str, pa.DataType]] = {"no_score": pa.float64()}

    with pytest.raises(TypeError, match="abstract"):
        NoScore()  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("stage", "score", "reason"),
    [
        (ToxicityFilter(), 0.4, None),
        (ToxicityFilter(), 0.41, "toxic"),
        (ToxicityFilter(), None, None),
        (ToxicityFilter(max_score=None), 1.0, None),
        (NsfwClassifierFilter(column="toxicity_score", max_score=0.9), 0.95, "nsfw"),
        (NsfwClassifierFilter(column="toxicity_score", max_score=0.9), 0.9, None),
    ],
)
def test_filters_on_a_score(stage: ToxicityFilter, score: float | None, reason: str | None) -> None:
    drop = stage.judge(Doc(text="x", toxicity_score=score))
    assert drop == (Drop(reason, "toxicity_score", score, stage.max_score) if reason else None)


def test_a_filter_without_its_scorer_is_refused() -> None:
    with pytest.raises(ConfigError, match="'toxicity_score'"):
        make_plan(Pipeline("mine", [ReadJsonl(), ToxicityFilter(), WriteParquet()]), [])
    stages = [ReadJsonl(), RudenessScorer(), ToxicityFilter(column="toxicity"), WriteParquet()]
    with pytest.raises(ConfigError, match="did you mean"):
        make_plan(Pipeline("mine", stages), [])


def test_through_a_pipeline(write_jsonl: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_jsonl([*KIND, *RUDE, "my friend likes the garden", "you are an idiot"])
    stages = [ReadJsonl(), RudenessScorer(), ToxicityFilter(), WriteParquet()]
    outcome = run(Pipeline("mine", stages), folder, tmp_path / "out")
    assert outcome.failures == {}
    kept = rows(tmp_path / "out", "data")
    assert {row["text"] for row in kept} == {*KIND, "my friend likes the garden"}
    assert all(row["toxicity_score"] <= 0.4 and row["rude_logit"] < 0 for row in kept)
    dropped = rows(tmp_path / "out", "dropped")
    assert {row["reason"] for row in dropped} == {"toxic"}
    assert len(dropped) == len(RUDE) + 1


class NanScorer(Scorer):
    """Fails on one text."""

    adds: ClassVar[Mapping[str, pa.DataType]] = {"nan_score": pa.float64()}

    def model_digest(self) -> str:
        return "1" * 64

    def score(self, texts: Sequence[str]) -> Mapping[str, Any]:
        return {"nan_score": [float("nan") if "bad" in text else 0.0 for text in texts]}


def test_a_document_whose_score_is_not_finite_is_quarantined(write_jsonl: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = Pipeline("mine", [ReadJsonl(), NanScorer(), WriteParquet()])
    run(pipeline, write_jsonl(["a good text", "a bad text", "another"]), tmp_path / "out")
    assert [row["text"] for row in rows(tmp_path / "out", "data")] == ["a good text", "another"]
    (quarantined,) = rows(tmp_path / "out", "quarantine")
    assert "no finite number" in quarantined["detail"]
