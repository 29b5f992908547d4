"""Whole trainings on tiny encoders with a planted signal: the folder, its card, and that the engine agrees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.classifiers.train.support import rows, write_rows
from tokenmill.classifiers.fasttext.train import FastTextSettings
from tokenmill.classifiers.train.run import train_classifier
from tokenmill.classifiers.train.settings import FinetuneSettings, TrainSettings
from tokenmill.core.errors import ConfigError

SETTINGS = TrainSettings(
    label="grade",
    folds=3,
    inner_folds=2,
    repeats=2,
    strengths=(0.1, 1.0),
    threshold=2,
    compare=("other",),
    split="part",
    label_agreement=(0.91, 0.94),
    labelled_by="a coin",
    sensitivity=20,
    draws=50,
)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models on a busy machine: threads that wait for each other take minutes."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.classifiers.encoder.support import model_folder

    return str(model_folder(tmp_path_factory.mktemp("models") / "tiny", classifier=False))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_rows(tmp_path_factory.mktemp("data") / "labelled.jsonl", rows())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def engine_scores(folder: Path, texts: list[str]) -> np.ndarray:
    from tokenmill.classifiers.encoder.engine import Encoder

    (found,) = Encoder(str(folder), dtype="float32").score(texts).values()
    return np.asarray(found)


@pytest.mark.ci
def test_a_head_learns_and_its_folder_says_so(encoder: str, data: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, encoder=encoder)
    facts = train_classifier(data, tmp_path / "first", settings)
    assert facts["found"]["figures"]["qwk"]["value"] > 0.6
    train_classifier(data, tmp_path / "second", settings)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")

    # thresholds are low: the tokenizer of these tests differs from process to process
    texts, grades = [row["text"] for row in rows()], np.array([row["grade"] for row in rows()])
    scores = engine_scores(tmp_path / "first", texts)[:, 0]
    assert (np.clip(np.rint(scores), 0, 3) == grades).mean() > 0.6

    stored = json.loads((tmp_path / "first" / "training.json").read_text())
    assert set(stored["settings"]) == {field for field in SETTINGS.__dataclass_fields__}
    assert len(stored["folds"]) == len(texts)
    assert (tmp_path / "first" / "heads.safetensors").stat().st_mode & 0o044 == 0o044
    card = (tmp_path / "first" / "README.md").read_text()
    for one in stored["found"]["figures"].values():
        assert f"| {one['value']:.3f} | {one['low']:.3f} to {one['high']:.3f} |" in card
    for wanted in ("a coin", "0.91 to 0.94", "cross-validated", "round(score) >= 2", "split plain", "| other |"):
        assert wanted in card
    assert "first half of the tokens" in card
    pieces = {row["piece"]: row for row in stored["sensitivity"]}
    assert pieces["whole"]["same_decision"] == 1.0
    assert pieces["first 25 %"]["spearman"] < 1.0
    assert (tmp_path / "first" / "calibration.svg").read_text().count("<circle") == 10


@pytest.mark.ci
def test_a_folder_with_its_encoder_can_be_moved(encoder: str, data: str, tmp_path: Path) -> None:
    texts = [row["text"] for row in rows()[:20]]
    settings = replace(SETTINGS, encoder=encoder, repeats=1, sensitivity=0, compare=(), layers=(), pooling="mean_max")
    train_classifier(data, tmp_path / "named", settings)
    train_classifier(data, tmp_path / "copied", replace(settings, copy_encoder=True))
    (tmp_path / "far" / "away").mkdir(parents=True)
    moved = (tmp_path / "copied").rename(tmp_path / "far" / "away" / "model")
    assert (engine_scores(moved, texts) == engine_scores(tmp_path / "named", texts)).all()


@pytest.mark.ci
@pytest.mark.parametrize(("problem", "label"), [("classes", "kind"), ("binary", "good")])
def test_classes_become_probabilities(encoder: str, data: str, tmp_path: Path, problem: Any, label: str) -> None:
    settings = replace(SETTINGS, encoder=encoder, problem=problem, label=label, repeats=1, pick="worst_f1")
    facts = train_classifier(data, tmp_path / "model", settings)
    assert facts["found"]["figures"]["macro_f1"]["value"] > 0.6
    found = engine_scores(tmp_path / "model", [row["text"] for row in rows()])
    truth = [facts["names"].index(str(row[label]) if problem == "classes" else str(int(row[label]))) for row in rows()]
    decided = found.argmax(axis=1) if problem == "classes" else (found[:, 0] >= 0.5).astype(int)
    assert (decided == truth).mean() > 0.75
    if problem == "classes":
        assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.ci
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
def test_a_whole_encoder_learns(data: str, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.classifiers.encoder.support import model_folder

    encoder = str(model_folder(tmp_path / "encoder", kind, classifier=False))
    tuning = FinetuneSettings(epochs=6, learning_rate=1e-3)
    settings = replace(SETTINGS, kind="finetune", encoder=encoder, finetune=tuning, compare=(), sensitivity=0)
    facts = train_classifier(data, tmp_path / "first", settings)
    assert facts["found"]["figures"]["spearman"]["value"] > 0.4
    if kind == "bert":
        train_classifier(data, tmp_path / "second", settings)
        assert contents(tmp_path / "first") == contents(tmp_path / "second")


@pytest.mark.ci
def test_fasttext_learns(data: str, tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    small = FastTextSettings(lr=0.2, dim=64, epoch=20, bucket=1000)
    settings = replace(SETTINGS, kind="fasttext", fasttext=small)
    facts = train_classifier(data, tmp_path / "model", settings)
    assert facts["found"]["figures"]["qwk"]["value"] > 0.5
    assert (tmp_path / "model" / "model.bin").is_file()
    calibration = json.loads((tmp_path / "model" / "calibration.json").read_text())
    assert not calibration["in_the_weights"]
    shown = re.search(r"calibrated output is (\S+) \* output", (tmp_path / "model" / "README.md").read_text())
    assert shown is not None
    assert float(shown[1]) == pytest.approx(calibration["affine"]["scale"], rel=1e-3)


def test_a_folder_is_not_overwritten(data: str, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    with pytest.raises(ConfigError, match="is there already"):
        train_classifier(data, tmp_path, replace(SETTINGS, encoder="none"))


def test_too_few_groups(tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", rows(20, hosts=3))
    with pytest.raises(ConfigError, match="groups only"):
        train_classifier(few, tmp_path / "model", replace(SETTINGS, encoder="none"))


def test_a_threshold_that_divides_nothing(data: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="divides nothing"):
        train_classifier(data, tmp_path / "model", replace(SETTINGS, encoder="none", threshold=4))


def test_an_encoder_that_is_not_there(data: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model folder"):
        train_classifier(data, tmp_path / "model", replace(SETTINGS, encoder="./nowhere"))
    assert not (tmp_path / "model").exists()
