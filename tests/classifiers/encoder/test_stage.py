"""The stage: columns, settings and errors known to the plan, and scores through a pipeline."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from tests.classifiers.encoder import support
from tests.executors.support import rows, run
from tokenmill.classifiers.encoder.heads import Head, save_heads
from tokenmill.classifiers.encoder.stage import EncoderScore, EncoderScoreGpu
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return support.bare_folder(tmp_path / "model", architectures=["BertForSequenceClassification"], num_labels=1)


def columns(model: Path, **settings: Any) -> list[str]:
    return list(EncoderScore(model=str(model), **{"max_tokens": 64, **settings}).columns_added())


def test_columns_of_heads(folder: Path, tmp_path: Path) -> None:
    assert columns(folder, column="edu_score") == ["edu_score"]
    labels = {"id2label": {"0": "Food & Dining", "1": "Sports"}}
    other = support.bare_folder(tmp_path / "b", architectures=["BertForSequenceClassification"], **labels)
    assert columns(other, column="topic") == ["topic_food_dining", "topic_sports"]
    heads = [Head("edu", "regression", ("edu",)), Head("kind", "sigmoid", ("A", "B"))]
    save_heads(tmp_path / "h", heads, {"x": np.ones(1)}, pooling="mean", normalize=True, encoder=str(folder))
    assert columns(tmp_path / "h") == ["score_edu", "score_kind_a", "score_kind_b"]
    clash = support.bare_folder(tmp_path / "c", architectures=["BertForSequenceClassification"], id2label=["a"])
    (clash / "config.json").write_text(
        json.dumps({**json.loads((clash / "config.json").read_text()), "id2label": {"0": "C+", "1": "C-"}})
    )
    for model, settings, message in (
        (clash, {}, "score_c are not possible"),
        (folder, {"column": "Edu Score"}, "are not possible"),
        (folder, {"max_tokens": -1}, "max_tokens = -1 is not possible"),
        (folder, {"long_documents": "all"}, "long_documents = 'all' is not known"),
        (folder, {"max_tokens": 71}, "max_tokens = 71 is not possible"),
        (support.bare_folder(tmp_path / "d"), {}, "gives no scores"),
        (tmp_path / "nowhere", {}, "no model folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            columns(model, **settings)


def test_the_plan_knows_the_model(folder: Path) -> None:
    stage = EncoderScore(model=str(folder), max_tokens=64)
    digests = stage.digests()
    libraries = {"torch", "transformers", "tokenizers", "safetensors"}
    assert set(digests) == {"model", "max_tokens", "long_documents"} | libraries
    assert stage.config() == json.loads(json.dumps(stage.config()))
    assert pickle.loads(pickle.dumps(stage)).config() == stage.config()
    pipeline = Pipeline("mine", [ReadJsonl(), stage, WriteParquet()])
    first = make_plan(pipeline, []).phases
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    second = make_plan(Pipeline("mine", [ReadJsonl(), EncoderScore(**stage.config()), WriteParquet()]), []).phases
    assert [phase.fingerprint for phase in first] != [phase.fingerprint for phase in second]
    assert EncoderScoreGpu(model=str(folder)).resources.gpus == 1
    assert EncoderScore.resources.gpus == 0 < EncoderScore.batch_rows


def test_texts_are_read_as_in_the_training(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def reading(model: Path, **settings: Any) -> tuple[str, str]:
        found = EncoderScore(model=str(model), **settings).digests()
        return found["max_tokens"], found["long_documents"]

    assert reading(folder) == ("70", "prefix")
    longer = support.bare_folder(tmp_path / "long", max_position_embeddings=700)
    heads = [Head("edu", "regression", ("edu",))]
    for name, limits in (("none", {}), ("all", {"max_tokens": 256, "long_documents": "windows_mean"})):
        save_heads(
            tmp_path / name, heads, {"x": np.ones(1)}, pooling="mean", normalize=True, encoder=str(longer), **limits
        )
    assert reading(tmp_path / "none") == ("512", "prefix")
    assert reading(tmp_path / "none", max_tokens=600, long_documents="windows_max") == ("600", "windows_max")
    assert reading(tmp_path / "all") == ("256", "windows_mean")
    assert reading(tmp_path / "all", max_tokens=256, long_documents="windows_mean") == ("256", "windows_mean")
    assert caplog.messages == []
    assert reading(tmp_path / "all", max_tokens=64, long_documents="prefix") == ("64", "prefix")
    assert [message.split(" of ")[0] for message in caplog.messages] == [
        "max_tokens = 64, but the heads",
        "long_documents = 'prefix', but the heads",
    ]


@pytest.mark.ci
def test_the_engine_reads_what_the_stage_says(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    encoder = support.model_folder(tmp_path / "encoder", classifier=False)
    made = np.random.default_rng(0)
    weights = {"edu.0.weight": made.standard_normal((1, 32)).astype(np.float32), "edu.0.bias": np.zeros(1, np.float32)}
    limits: dict[str, Any] = {"max_tokens": 16, "long_documents": "windows_mean"}
    head = Head("edu", "regression", ("edu",))
    save_heads(tmp_path / "h", [head], weights, pooling="mean", normalize=True, encoder=str(encoder), **limits)
    texts = support.texts(12)
    found = EncoderScore(model=str(tmp_path / "h")).score(texts)["score"]
    assert np.array_equal(found, EncoderScore(model=str(tmp_path / "h"), **limits).score(texts)["score"])
    other = EncoderScore(model=str(tmp_path / "h"), max_tokens=64, long_documents="prefix").score(texts)["score"]
    assert not np.array_equal(found, other)


@pytest.mark.ci
def test_through_a_pipeline(write_jsonl: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = support.model_folder(tmp_path / "model", num_labels=1, problem_type="regression")
    texts = [text for text in support.texts(30) if text]
    stage = EncoderScore(model=str(model), column="edu_score", max_tokens=32, batch_tokens=128)
    pipeline = Pipeline("mine", [ReadJsonl(), stage, WriteParquet()])
    outcome = run(pipeline, write_jsonl(texts), tmp_path / "out")
    assert outcome.failures == {}
    found = {row["text"]: row["edu_score"] for row in rows(tmp_path / "out", "data")}
    wanted = EncoderScore(**stage.config()).score(texts)["edu_score"]
    assert [found[text] for text in texts] == [float(score) for score in wanted]
    batch = pa.record_batch({"text": pa.array([texts[0], None, texts[1]])})
    assert stage.annotate(batch)["edu_score"].to_pylist() == [found[texts[0]], None, found[texts[1]]]
