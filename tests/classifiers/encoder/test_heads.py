"""heads.json: what is written is read again, and whatever else is in it is one clear error. No PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("safetensors")

from tokenmill.classifiers.encoder.heads import EncoderName, Head, HeadsFile, native_head, read_heads, save_heads
from tokenmill.core.errors import ConfigError

HEAD = {"name": "edu", "problem": "regression", "labels": ["edu"], "layers": 1, "activation": "relu"}
GOOD: dict[str, Any] = {
    "format": 1,
    "encoder": {"model": "../minilm", "revision": "", "hub": False, "sha256": "AB"},
    "pooling": "mean",
    "normalize": True,
    "layers": [3, 6],
    "max_tokens": 256,
    "long_documents": "windows_mean",
    "heads": [HEAD],
}


def written(folder: Path, entry: Any) -> Path:
    (folder / "heads.json").write_text(json.dumps(entry))
    return folder / "heads.json"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    head = Head("edu", "regression", ("edu",))
    full = HeadsFile((head,), EncoderName("../minilm", "", False, "ab"), "mean", True, (3, 6), 256, "windows_mean")
    assert read_heads(written(tmp_path, GOOD)) == full
    assert read_heads(written(tmp_path, {"heads": [HEAD]})) == HeadsFile((head,))
    weights = {"x": np.ones(1, np.float32)}
    save_heads(tmp_path, [head], weights, pooling="cls", normalize=False)
    assert read_heads(tmp_path / "heads.json") == HeadsFile((head,), None, "cls", False)
    assert set(json.loads((tmp_path / "heads.json").read_text())) == {"format", "pooling", "normalize", "heads"}
    save_heads(
        tmp_path,
        [head],
        weights,
        pooling="mean",
        normalize=True,
        layers=(3, 6),
        encoder="../minilm",
        max_tokens=256,
        long_documents="windows_mean",
        encoder_sha256="ab",
    )
    assert read_heads(tmp_path / "heads.json") == full
    save_heads(tmp_path, [head], weights, pooling="cls", normalize=False, encoder_sha256="ab")
    assert read_heads(tmp_path / "heads.json").encoder == EncoderName(".", sha256="ab")


@pytest.mark.parametrize(
    ("model", "hub"), [("owner/name", True), ("bert-base", False), ("../a", False), ("./a/b", False), ("/a/b", False)]
)
def test_ids_of_hubs_are_marked(tmp_path: Path, model: str, hub: bool) -> None:
    head = Head("edu", "regression", ("edu",))
    save_heads(tmp_path, [head], {"x": np.ones(1)}, pooling="cls", normalize=False, encoder=model)
    assert read_heads(tmp_path / "heads.json").encoder == EncoderName(model, hub=hub)
    # files from before there was a mark: the form decides, and a name alone is a folder
    assert EncoderName(model).maybe_hub == hub
    for certain in (True, False):
        save_heads(tmp_path, [head], {"x": np.ones(1)}, pooling="cls", normalize=False, encoder=model, hub=certain)
        assert read_heads(tmp_path / "heads.json").encoder == EncoderName(model, hub=certain)


BAD: list[tuple[Any, str]] = [
    ([], "it is no object"),
    ([1], "it is no object"),
    ("heads", "it is no object"),
    ({}, "heads is missing"),
    ({**GOOD, "format": 99}, "format = 99"),
    ({**GOOD, "format": "1"}, "format = '1' must be a whole number"),
    ({**GOOD, "encoder": "../minilm"}, "encoder: this = '../minilm' must be an object"),
    ({**GOOD, "encoder": None}, "encoder: this = None must be an object"),
    ({**GOOD, "encoder": {"path": "../minilm"}}, "encoder: model is missing"),
    ({**GOOD, "encoder": {"model": ""}}, "no path and no hub id"),
    ({**GOOD, "encoder": {"model": ["a"]}}, "must be a string"),
    ({**GOOD, "encoder": {"model": "a", "revision": 1}}, "revision = 1 must be a string"),
    ({**GOOD, "encoder": {"model": "a", "hub": 1}}, "hub = 1 must be true or false"),
    ({**GOOD, "pooling": "median"}, "pooling = 'median' is not known"),
    ({**GOOD, "pooling": {}}, "must be a string"),
    ({**GOOD, "normalize": "no"}, "must be true or false"),
    ({**GOOD, "layers": 2}, "layers = 2 must be a list"),
    ({**GOOD, "layers": ["1"]}, "must be whole numbers"),
    ({**GOOD, "layers": [True]}, "must be whole numbers"),
    ({**GOOD, "max_tokens": "512"}, "must be a whole number"),
    ({**GOOD, "max_tokens": -1}, "must be 1 or more"),
    ({**GOOD, "long_documents": "all"}, "long_documents = 'all' is not known"),
    ({**GOOD, "heads": []}, "names that differ"),
    ({**GOOD, "heads": [HEAD, HEAD]}, "names that differ"),
    ({**GOOD, "heads": HEAD}, "must be a list"),
    ({**GOOD, "heads": ["edu"]}, "heads[0]: this = 'edu' must be an object"),
    ({**GOOD, "heads": [{"name": "a"}]}, "is missing"),
    ({**GOOD, "heads": [{**HEAD, "name": 1}]}, "name = 1 must be a string"),
    ({**GOOD, "heads": [{**HEAD, "labels": "edu"}]}, "labels = 'edu' must be a list"),
    ({**GOOD, "heads": [{**HEAD, "labels": [["edu"]]}]}, "a label"),
    ({**GOOD, "heads": [{**HEAD, "labels": []}]}, "0 labels"),
    ({**GOOD, "heads": [{**HEAD, "layers": 0}]}, "0 layers"),
    ({**GOOD, "heads": [{**HEAD, "layers": "1"}]}, "must be a whole number"),
    ({**GOOD, "heads": [{**HEAD, "problem": "rank"}]}, "problem = 'rank' is not known"),
    ({**GOOD, "heads": [{**HEAD, "problem": "softmax"}]}, "1 labels"),
    ({**GOOD, "heads": [{**HEAD, "activation": "swish"}]}, "activation = 'swish' is not known"),
]


@pytest.mark.parametrize(("entry", "message"), BAD)
def test_what_is_no_heads_json(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=r"heads\.json cannot be read") as caught:
        read_heads(written(tmp_path, entry))
    assert message in caught.value.why
    assert caught.value.where == str(tmp_path / "heads.json")
    assert caught.value.fix


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*GOOD, *HEAD]), ANY)
def test_any_value_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    entry = {**GOOD, key: value} if key in GOOD else {**GOOD, "heads": [{**HEAD, key: value}]}
    try:
        found = read_heads(written(tmp_path_factory.getbasetemp(), entry))
    except ConfigError:
        return
    assert all(isinstance(label, str) for head in found.heads for label in head.labels)
    assert all(type(layer) is int for layer in found.layers)


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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"a": "b"}}, "labels of the model cannot be read"),
        ({"id2label": ["a", "b"]}, "labels of the model cannot be read"),
        ({"id2label": 3}, "labels of the model cannot be read"),
        ({"num_labels": "2"}, "labels of the model cannot be read"),
        ({"num_labels": None}, "labels of the model cannot be read"),
        ({"num_labels": 0}, "has no labels"),
        ({"problem_type": ["regression"]}, "is not known"),
    ],
)
def test_what_is_no_head_in_a_config(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        native_head(config, "model/config.json")
    assert caught.value.where == "model/config.json"
    assert caught.value.fix
