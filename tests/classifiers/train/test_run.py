"""Whole trainings on tiny encoders with a planted signal: the folder, its card, and that the engine agrees."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.classifiers.encoder.support import bare_folder
from tests.classifiers.train.support import labelled, rows, write_rows
from tokenmill.classifiers.fasttext.train import FastTextSettings
from tokenmill.classifiers.train.fasttext import FastTextLearner
from tokenmill.classifiers.train.run import train_classifier
from tokenmill.classifiers.train.settings import FinetuneSettings, TrainSettings
from tokenmill.classifiers.train.written import checked_members
from tokenmill.core.errors import ConfigError, TokenmillError

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


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("bert", marks=pytest.mark.ci),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("roberta", "distilbert", "modernbert")),
    ],
)
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


QUICK = replace(SETTINGS, folds=2, repeats=1, sensitivity=0, compare=(), draws=5)


@pytest.mark.ci
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["head", "finetune", "fasttext"])
def test_two_classes_may_be_classes(encoder: str, data: str, tmp_path: Path, kind: Any) -> None:
    small = FastTextSettings(lr=0.2, dim=64, epoch=20, bucket=1000)
    settings = replace(QUICK, kind=kind, problem="classes", label="good", encoder=encoder, fasttext=small)
    settings = replace(settings, finetune=FinetuneSettings(epochs=1))
    facts = train_classifier(data, tmp_path / "model", settings)
    assert facts["names"] == ["0", "1"]
    assert np.array(facts["found"]["confusion"]).shape == (2, 2)
    if kind != "fasttext":
        found = engine_scores(tmp_path / "model", [row["text"] for row in rows()])
        assert found.shape == (120, 2)
        assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.ci
def test_means_of_two_passes_are_learned(encoder: str, tmp_path: Path) -> None:
    found = rows()
    for number, row in enumerate(found):
        row["grade"] = row["grade"] + 0.5 if number % 3 == 0 and row["grade"] < 3 else float(row["grade"])
    path = write_rows(tmp_path / "labels.jsonl", found)
    facts = train_classifier(path, tmp_path / "model", replace(QUICK, encoder=encoder))
    halves = sum(row["grade"] % 1 > 0 for row in found)
    assert halves == facts["data"]["fractions"] > 10
    assert facts["data"]["counts"] == {
        str(grade): sum(round(row["grade"]) == grade for row in found) for grade in range(4)
    }
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"{halves} labels are fractions, learned as they are" in card
    scores = engine_scores(tmp_path / "model", [row["text"] for row in found])[:, 0]
    assert scores.mean() == pytest.approx(np.mean([row["grade"] for row in found]), abs=0.2)


@pytest.mark.ci
def test_the_folder_of_a_head_says_how_it_was_trained(encoder: str, data: str, tmp_path: Path) -> None:
    from tokenmill.classifiers.encoder.folder import encoder_digest, resolve

    long = [{**row, "text": f"{row['text']} " * 3} for row in rows(60)]
    settings = replace(QUICK, encoder=encoder, long_documents="windows_mean", max_tokens=12, strengths=(1.0,))
    train_classifier(write_rows(tmp_path / "long.jsonl", long), tmp_path / "model", settings)
    stored = json.loads((tmp_path / "model" / "heads.json").read_text())
    assert (stored["max_tokens"], stored["long_documents"]) == (12, "windows_mean")
    assert stored["encoder"]["sha256"] == encoder_digest(resolve(encoder))
    assert stored["encoder"]["hub"] is False
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Strength of regularisation: 1, the only one tried." in card
    assert "The calibration was chosen on 2 inner folds" in card


@pytest.mark.ci
def test_figures_that_are_no_numbers_are_null(encoder: str, tmp_path: Path) -> None:
    found = [{**row, "flat": 1.0, "empty": None} for row in rows(60)]
    path = write_rows(tmp_path / "labels.jsonl", found)
    settings = replace(QUICK, encoder=encoder, compare=("empty", "flat"))
    train_classifier(path, tmp_path / "model", settings)

    def refused(word: str) -> None:
        raise AssertionError(word)

    stored = json.loads((tmp_path / "model" / "training.json").read_text(), parse_constant=refused)
    assert stored["found"]["others"]["flat"]["spearman"] is None
    card = (tmp_path / "model" / "README.md").read_text()
    assert re.search(r"\| scorer \| documents \| Spearman .*\n.*\n\| empty \| 0 \| - \|.*\n\| flat \| 60 \| - \|", card)


@pytest.mark.ci
def test_a_failed_training_leaves_no_folder(
    encoder: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenmill.classifiers.train.written._CLOSE", -1.0)
    with pytest.raises(TokenmillError, match="other scores than the trained one"):
        train_classifier(data, tmp_path / "models" / "model", replace(QUICK, encoder=encoder))
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.ci
@pytest.mark.parametrize("damage", ["missing", "mismatched"])
def test_an_incomplete_encoder_is_not_tuned(encoder: str, data: str, tmp_path: Path, damage: str) -> None:
    from safetensors.numpy import load_file, save_file

    broken = Path(shutil.copytree(encoder, tmp_path / "broken"))
    weights = load_file(str(broken / "model.safetensors"))
    if damage == "missing":
        weights = {name: array for name, array in weights.items() if "layer.1." not in name}
    else:
        weights = {
            name: array[:-1] if "layer.1.output.dense.bias" in name else array for name, array in weights.items()
        }
    save_file(weights, str(broken / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=rf"tensors are {damage}, such as .*layer\.1\."):
        train_classifier(data, tmp_path / "model", replace(QUICK, kind="finetune", encoder=str(broken)))
    assert not (tmp_path / "model").exists()


@pytest.mark.ci
def test_labels_of_fasttext_are_named(data: str, tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    small = FastTextSettings(lr=0.2, dim=64, epoch=20, bucket=1000)
    settings = replace(QUICK, kind="fasttext", problem="classes", label="kind", fasttext=small)
    train_classifier(data, tmp_path / "model", settings)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "`__label__all_of_it` (all of it), `__label__none`, `__label__some`." in card
    calibration = json.loads((tmp_path / "model" / "calibration.json").read_text())
    assert (calibration["problem"], calibration["labels"]) == ("classes", ["all_of_it", "none", "some"])


@pytest.mark.ci
@pytest.mark.parametrize(("problem", "label"), [("ordinal", "grade"), ("binary", "good")])
def test_a_written_fasttext_model_is_compared(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Any, label: str
) -> None:
    pytest.importorskip("fasttext")

    def of_some(learner: FastTextLearner, folder: Path, model: Any, affine: Any) -> None:
        learner._write(folder, np.arange(0, len(learner.data.labels), 2))

    monkeypatch.setattr(FastTextLearner, "save", of_some)
    small = FastTextSettings(lr=0.2, dim=64, epoch=5, bucket=1000)
    settings = replace(QUICK, kind="fasttext", problem=problem, label=label, fasttext=small)
    with pytest.raises(TokenmillError, match="other scores than the trained one"):
        train_classifier(data, tmp_path / "model", settings)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("kind", "names", "says"),
    [
        ("fasttext", ["a b", "a_b", "c", "c"], "'a b' and 'a_b' would be one label of fastText"),
        ("fasttext", ["C", "C++", "d", "d"], "cannot all be columns"),
        ("head", ["数学", "历史", "d", "d"], "cannot all be columns"),
    ],
)
def test_names_that_become_one(tmp_path: Path, kind: Any, names: list[str], says: str) -> None:
    path = write_rows(tmp_path / "labels.jsonl", [{**row, "kind": names[row["grade"]]} for row in rows()])
    settings = replace(QUICK, kind=kind, problem="classes", label="kind", encoder=str(bare_folder(tmp_path / "bare")))
    with pytest.raises(ConfigError, match=says):
        train_classifier(path, tmp_path / "model", settings)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("tokens", "says"), [(9, "4 tokens, half of 9"), (4, "4 tokens leave no room"), (71, "70 or less")]
)
def test_tokens_that_leave_no_room(data: str, tmp_path: Path, tokens: int, says: str) -> None:
    bare = str(bare_folder(tmp_path / "bare"))
    with pytest.raises(ConfigError, match=says):
        train_classifier(data, tmp_path / "model", replace(QUICK, encoder=bare, max_tokens=tokens))


@pytest.mark.parametrize("kind", ["head", "fasttext"])
def test_a_class_of_one_host(tmp_path: Path, kind: Any) -> None:
    found = [{**row, "good": "host3." in row["url"]} for row in rows()]
    settings = replace(QUICK, kind=kind, problem="binary", label="good", encoder="none")
    with pytest.raises(ConfigError, match="one class only"):
        train_classifier(write_rows(tmp_path / "labels.jsonl", found), tmp_path / "model", settings)


def test_the_output_is_looked_at_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ConfigError, match="cannot be written"):
        train_classifier("nowhere.jsonl", tmp_path / "file" / "model", replace(QUICK, encoder="none"))


def test_the_longest_texts_are_checked() -> None:
    few = labelled([0, 1] * 20, ["a"] * 40, 2)
    sizes = [5] * 40
    sizes[33], sizes[20], sizes[3] = 99, 98, 97
    members = checked_members(replace(few, texts=tuple("x" * size for size in sizes)))
    assert members.tolist() == [*range(16), 20, 33]


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
