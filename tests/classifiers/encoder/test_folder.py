"""Model folders: what is found in good ones, and one clear error for each bad one. None of this loads PyTorch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from tests.classifiers.encoder.support import bare_folder
from tokenmill.classifiers.encoder.folder import digest, resolve
from tokenmill.classifiers.encoder.heads import Head, native_head, read_heads, save_heads, slug
from tokenmill.core.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bare_folder(tmp_path / "model")


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def truncated(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def in_parts(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "config no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
    "a pickle": (as_pickle, "pytorch_model.bin is a pickle"),
    "a part is missing": (in_parts, "lacks model-1.safetensors, model-2.safetensors"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
    "other architecture": (lambda folder: edit(folder, model_type="llama"), "'llama'.* not supported"),
    "other head": (lambda folder: edit(folder, architectures=["BertForTokenClassification"]), "is not supported"),
    "foreign code": (lambda folder: edit(folder, auto_map={"AutoModel": "x.Y"}), "foreign code is never run"),
    "no header": (lambda folder: truncated(folder / "model.safetensors", 5), "weights are broken"),
    "half a header": (lambda folder: truncated(folder / "model.safetensors", 30), "weights are broken"),
    "half a tensor": (lambda folder: truncated(folder / "model.safetensors", -8), "its tensors end at byte"),
    "problem": (
        lambda folder: edit(folder, architectures=["BertForSequenceClassification"], problem_type="ranking"),
        "problem_type = 'ranking'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders(folder: Path, case: str) -> None:
    spoil, message = BAD[case]
    spoil(folder)
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as caught:
        resolve(str(folder))
    assert caught.value.where
    assert caught.value.fix


def test_no_folder_and_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("./nowhere", "/nowhere/at/all", "a/b/c", "a//b"):
        with pytest.raises(ConfigError, match="there is no model folder"):
            resolve(name)
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be had from the hub") as caught:
        resolve("some-owner/some-model", "v1")
    assert "v1" in caught.value.where
    assert "HF_HUB_OFFLINE=1" in caught.value.fix


def test_an_encoder_without_heads(folder: Path) -> None:
    found = resolve(str(folder))
    assert (found.hidden, found.depth, found.width, found.longest) == (32, 3, 32, 70)
    assert (found.heads, found.pooling, found.normalize, found.layers) == ((), "cls", False, ())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Normalize"}]')
    found = resolve(str(folder))
    assert (found.pooling, found.normalize) == ("mean", True)
    edit(folder, model_type="roberta", pad_token_id=1)
    assert (resolve(str(folder)).first_position, resolve(str(folder)).longest) == (2, 68)


def test_heads_beside_and_apart(folder: Path, tmp_path: Path) -> None:
    heads = [Head("edu", "regression", ("edu",)), Head("topic", "softmax", ("Sports", "Food & Dining"), layers=2)]
    weights = {
        "edu.0.weight": np.ones((1, 128), np.float32),
        "edu.0.bias": np.zeros(1, np.float32),
        **{f"topic.{layer}.{part}": np.ones(2, np.float32) for layer in (0, 1) for part in ("weight", "bias")},
    }
    save_heads(
        tmp_path / "heads", heads, weights, pooling="mean_max", normalize=True, layers=[1, 3], encoder="../model"
    )
    found = resolve(str(tmp_path / "heads"))
    assert found.path == folder.resolve()
    assert found.heads == tuple(heads) == read_heads(tmp_path / "heads/heads.json")
    assert (found.pooling, found.normalize, found.layers, found.width) == ("mean_max", True, (1, 3), 128)
    assert heads[0].columns("score", alone=True) == ("score",)
    assert heads[1].columns("q", alone=False) == ("q_topic_sports", "q_topic_food_dining")
    with pytest.raises(ValueError, match="finite"):
        save_heads(tmp_path / "x", heads, {"a": np.array([np.nan])}, pooling="cls", normalize=False)
    for key, value, message in (
        ("layers", [4], r"layers = \[4\]"),
        ("layers", ["1"], "layers ="),
        ("pooling", "median", "pooling = 'median'"),
        ("heads", [], "names that differ"),
        ("heads", [{"name": "a", "problem": "rank", "labels": ["x"]}], "'rank' is no problem"),
        ("heads", [{"name": "a", "problem": "softmax", "labels": ["x"]}], "1 labels"),
        ("heads", [{"name": "a"}], "cannot be read"),
        ("encoder", {"model": "../nowhere"}, "no model folder"),
    ):
        file = tmp_path / "heads/heads.json"
        before = file.read_text()
        file.write_text(json.dumps({**json.loads(before), key: value}))
        with pytest.raises(ConfigError, match=message):
            resolve(str(tmp_path / "heads"))
        file.write_text(before)
    (tmp_path / "heads/heads.safetensors").unlink()
    with pytest.raises(ConfigError, match="weights are broken"):
        resolve(str(tmp_path / "heads"))


@pytest.mark.parametrize(
    ("config", "problem", "labels"),
    [
        ({"num_labels": 1}, "regression", ("LABEL_0",)),
        ({"id2label": {"0": "edu"}, "problem_type": "regression"}, "regression", ("edu",)),
        ({}, "softmax", ("LABEL_0", "LABEL_1")),
        ({"id2label": {"10": "k", "2": "c"}}, "softmax", ("c", "k")),
        ({"num_labels": 2, "problem_type": "multi_label_classification"}, "sigmoid", ("LABEL_0", "LABEL_1")),
        ({"num_labels": 1, "problem_type": "single_label_classification"}, "sigmoid", ("LABEL_0",)),
    ],
)
def test_what_a_config_says_about_its_head(config: dict[str, Any], problem: str, labels: tuple[str, ...]) -> None:
    head = native_head(config)
    assert (head.problem, head.labels, head.native) == (problem, labels, True)


def test_labels_in_names_of_columns() -> None:
    assert [slug(label) for label in ("Food & Dining", "C++", "--", "a_b")] == ["food_dining", "c", "label", "a_b"]


def test_the_digest_knows_what_decides(folder: Path, tmp_path: Path) -> None:
    first = digest(resolve(str(folder)))
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/README.md").write_text("of no matter")
    assert digest(resolve(str(tmp_path / "copy"))) == first
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        file = tmp_path / "copy" / name
        before = file.read_bytes()
        file.write_bytes(before.replace(b"[UNK]", b"[ANY]") if name == "tokenizer.json" else before[:-1] + b"\x20")
        if name == "config.json":
            file.write_bytes(before + b" ")
        assert digest(resolve(str(tmp_path / "copy"))) != first
        file.write_bytes(before)


def test_plans_do_not_load_pytorch(folder: Path) -> None:
    edit(folder, architectures=["BertForSequenceClassification"], num_labels=1)
    code = (
        "import sys; from tokenmill.classifiers.encoder.stage import EncoderScore;"
        f"stage = EncoderScore(model={str(folder)!r}, max_tokens=64);"
        "assert list(stage.columns_added()) == ['score'] and len(stage.model_digest()) == 64;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
