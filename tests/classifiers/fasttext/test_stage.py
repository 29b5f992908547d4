"""`FastTextScore` in a pipeline, with models trained on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.executors.support import digests, rows, run
from tests.text import fasttext_models
from tests.text.fasttext_models import sentences
from tokenmill.classifiers.fasttext import models
from tokenmill.classifiers.fasttext.stage import FastTextScore
from tokenmill.classifiers.fasttext.train import FastTextSettings, train_fasttext
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.filters.toxicity import ToxicityFilter
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.text.linear import LinearModel, read_linear, texts_array


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("fasttext")
    return str(fasttext_models.train("softmax", tmp_path_factory.mktemp("softmax")))


def scored(stage: FastTextScore, texts: list[str | None]) -> dict[str, list[object]]:
    return {name: array.to_pylist() for name, array in stage.annotate(pa.record_batch({"text": texts})).items()}


def test_one_label_all_labels_and_the_likeliest(model_file: str) -> None:
    texts = [text for _, text in sentences(20, seed=4)]
    wanted = read_linear(model_file).score(texts_array(texts)).probabilities
    labels = read_linear(model_file).labels
    one = scored(FastTextScore(model=model_file, label="sea", column="sea_score"), texts)
    np.testing.assert_allclose(one["sea_score"], np.minimum(wanted[:, labels.index("sea")], 1), atol=2e-7)
    every = scored(FastTextScore(model=model_file, column="kind"), texts)
    assert set(every) == {"kind_tea", "kind_sea", "kind_code"}
    top = scored(FastTextScore(model=model_file, column="kind", top=True), texts)
    assert top["kind"] == [labels[place] for place in wanted.argmax(axis=1)]
    np.testing.assert_allclose(top["kind_score"], np.minimum(wanted.max(axis=1), 1), atol=2e-7)
    assert max(top["kind_score"]) <= 1.0  # type: ignore[type-var]


def test_texts_without_words_have_no_score(model_file: str) -> None:
    texts = ["a wave", "", None, " \n\t", "the sea"]
    found = scored(FastTextScore(model=model_file, label="sea"), texts)["fasttext_score"]
    assert [score is None for score in found] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert scored(FastTextScore(model=model_file, top=True), texts)["fasttext_score"][1:4] == [None] * 3


def test_grades(tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    grades = {"tea": "0", "sea": "1", "code": "2"}
    pairs = sentences(300)
    train_fasttext(
        [text for _, text in pairs],
        [grades[label] for label, _ in pairs],
        tmp_path,
        FastTextSettings(lr=1, bucket=5000),
    )
    texts = [text for _, text in pairs[:30]]
    plain = np.array(scored(FastTextScore(model=str(tmp_path), grade=True, text="dclm"), texts)["fasttext_score"])
    model = read_linear(str(tmp_path))
    chances = model.score(texts_array(texts), "dclm").probabilities
    expected = (chances * np.array([float(label) for label in model.labels])).sum(axis=1) / chances.sum(axis=1)
    np.testing.assert_allclose(plain, expected, atol=1e-4)
    (tmp_path / "calibration.json").write_text('{"affine": {"scale": 2.0, "shift": -0.5}}')
    stage = FastTextScore(model=str(tmp_path), grade=True, text="dclm")
    np.testing.assert_allclose(np.array(scored(stage, texts)["fasttext_score"]), plain * 2 - 0.5, atol=1e-5)
    assert stage.digests()["calibration"] == "2.0 -0.5"
    of_the_file = FastTextScore(model=str(tmp_path / "model.bin"), grade=True, text="dclm")
    assert of_the_file.digests()["calibration"] == "2.0 -0.5"
    (tmp_path / "calibration.json").write_text('{"problem": "binary", "affine": {"scale": 2.0, "shift": -0.5}}')
    with pytest.raises(ConfigError, match="not one of grades"):
        FastTextScore(model=str(tmp_path), grade=True).digests()
    (tmp_path / "calibration.json").write_text("{")
    with pytest.raises(ConfigError, match="calibration"):
        FastTextScore(model=str(tmp_path), grade=True).digests()


@pytest.mark.ci
def test_in_a_pipeline(model_file: str, tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    pairs = sentences(60, seed=5)
    source = write_jsonl([text for _, text in pairs] + [""])
    pipeline = Pipeline(
        "kinds",
        [
            ReadJsonl(),
            FastTextScore(model=model_file, label="sea"),
            ToxicityFilter(column="fasttext_score", max_score=0.5),
            WriteParquet(),
        ],
    )
    run(pipeline, source, tmp_path / "inline")
    run(pipeline, source, tmp_path / "child", workers=1, seconds=60)
    assert digests(tmp_path / "inline") == digests(tmp_path / "child")
    dropped = rows(tmp_path / "inline", "dropped")
    assert {row["reason"] for row in dropped} == {"toxic", "empty"}
    right = {pairs[int(row["doc_id"].partition("#")[2])][0] for row in dropped if row["reason"] == "toxic"}
    assert right == {"sea"}
    other = [ReadJsonl(), FastTextScore(model=model_file, label="sea", text="dclm"), *pipeline.stages[2:]]
    assert make_plan(pipeline, []).fingerprint != make_plan(Pipeline("kinds", other), []).fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "see"}, "did you mean 'sea'"),
        ({"label": "sea", "top": True}, "several of"),
        ({"grade": True, "top": True}, "several of"),
        ({"grade": True}, "are no grades"),
        ({"column": ""}, "no name"),
        ({"model": "/nowhere/model.bin"}, "cannot be read|no fastText classifier"),
        ({"model": "nobody/nothing/model.bin"}, "cannot be had from the hub"),
    ],
)
def test_settings_that_cannot_be(model_file: str, settings: dict[str, object], message: str) -> None:
    stage = FastTextScore(**{"model": model_file, **settings})
    with pytest.raises(ConfigError, match=message):
        make_plan(Pipeline("kinds", [ReadJsonl(), stage, WriteParquet()]), [])


def forget() -> None:
    """As if in another process."""
    models._loaded.cache_clear()
    models._digest.cache_clear()


def test_large_models_are_collapsed_once(model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "KEPT_FROM", 1000)
    forget()
    first, digest = models.load_model(model_file), models.digest_of(model_file)
    (kept,) = (tmp_path / "cache" / "linear").iterdir()
    read: list[str] = []

    def noting(path: str) -> LinearModel:
        read.append(path)
        return read_linear(path)

    monkeypatch.setattr(models, "read_linear", noting)
    monkeypatch.setattr(models, "linear_digest", lambda path: pytest.fail("the digest was noted"))
    forget()
    again = models.load_model(model_file)
    assert read == [str(kept)]
    assert models.digest_of(model_file) == digest
    texts = texts_array([text for _, text in sentences(10)])
    wanted = first.score(texts).probabilities
    assert np.array_equal(wanted, again.score(texts).probabilities)

    # a damaged cache heals
    (rows,) = kept.glob("linear-*/word_rows.npy")
    content = rows.read_bytes()[:200]
    rows.unlink()  # the models above have it mapped
    rows.write_bytes(content)
    forget()
    healed = models.load_model(model_file)
    assert read[1:] == [str(kept), model_file, str(kept)]
    assert np.array_equal(wanted, healed.score(texts).probabilities)
    forget()


def test_a_model_that_is_replaced_is_another(model_file: str, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    shutil.copy(model_file, path)
    before, labels = models.digest_of(str(path)), models.labels_of(str(path))
    other = fasttext_models.train("ova", tmp_path)
    other.replace(path)
    assert models.digest_of(str(path)) != before
    assert models.load_model(str(path)).loss == "ova"
    assert labels == models.labels_of(model_file)


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(models, "KEPT_FROM", 1000)
    forget()
    assert models.load_model(model_file).labels
    assert len(models.digest_of(model_file)) == 64
    forget()
