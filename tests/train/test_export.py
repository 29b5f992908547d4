"""Exported checkpoints, read by transformers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.test_model import TINY, batch, tiny
from tokenmill.core.errors import ConfigError
from tokenmill.train.export import export_hf, load_hf
from tokenmill.train.model import Decoder

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
transformers = pytest.importorskip("transformers")

KINDS = {
    "Qwen3ForCausalLM": {"document_mask": True, "init_std": 0.05, "rope_theta": 500.0},
    "Qwen3ForCausalLM, grouped, untied": {"kv_heads": 2, "tied": False, "norm_eps": 1e-3},
    "LlamaForCausalLM": {"qk_norm": False},
    "LlamaForCausalLM, grouped, untied": {"qk_norm": False, "kv_heads": 1, "tied": False},
    "Qwen3MoeForCausalLM": {"experts": 4, "expert_hidden": 12},
    "Qwen3MoeForCausalLM, untied": {"experts": 3, "experts_per_token": 3, "tied": False, "kv_heads": 2},
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize(("kind", "changes"), KINDS.items(), ids=KINDS.keys())
def test_transformers_has_the_same_logits(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**changes)
    export_hf(model, tmp_path, eos_id=2)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert type(theirs).__name__ == kind.partition(",")[0]
    assert theirs.config.vocab_size == 70
    assert theirs.generation_config.eos_token_id == 2
    ids, _, _ = batch(3)
    with torch.no_grad():
        expected = theirs(ids).logits
        found = model(ids)
    assert found.abs().max() > 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS.keys())
def test_the_model_comes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**changes)
    with torch.no_grad():
        model.embedding.weight[70:] = 0.0
        model.head_weight[70:] = 0.0
    export_hf(model, tmp_path)
    again = load_hf(tmp_path)
    assert again.config == model.config
    stored, loaded = model.state_dict(), again.state_dict()
    assert stored.keys() == loaded.keys()
    assert all(torch.equal(stored[name], loaded[name]) for name in stored)


def test_the_tokenizer_goes_along(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<end>": 2}, unk_token="a"))
    exported = tokenizer.to_str().encode()
    export_hf(tiny(), tmp_path, exported, eos_id=2)
    assert (tmp_path / "tokenizer.json").read_bytes() == exported
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.eos_token == "<end>"
    assert loaded.eos_token_id == 2
    assert loaded.encode("b") == [1]
    assert loaded.model_max_length == TINY["context"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"activation": "relu2"}, "relu2"), ({"experts": 4, "qk_norm": False}, "experts and without qk_norm")],
)
def test_what_transformers_cannot_say_is_refused(changes: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        export_hf(tiny(**changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model of tokenmill"):
        load_hf(tmp_path)
    export_hf(tiny(), tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described["tokenmill"]["layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(
        ConfigError, match=r"11 tensors .*\n.*\n.*model.layers.2.input_layernorm.weight: the file has None"
    ):
        load_hf(tmp_path)
    del described["tokenmill"]
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="KeyError: 'tokenmill'"):
        load_hf(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"nothing"),
        ("model.safetensors", b""),
        ("config.json", b"[]"),
        ("config.json", b'{"tokenmill": 3}'),
        ("config.json", b'{"tokenmill": {"layers": 0}}'),
        ("config.json", b"\xff"),
    ],
)
def test_damaged_files_are_refused_by_name(file: str, content: bytes, tmp_path: Path) -> None:
    export_hf(tiny(), tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match="no model of tokenmill") as caught:
        load_hf(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_exporting_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model: Decoder = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_hf(model, tmp_path)
    export_hf(model, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
