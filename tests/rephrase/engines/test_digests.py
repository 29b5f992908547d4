"""Digests of models: the same for the same files wherever they lie, others for others."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.engines.digests import is_digest, model_digests


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 10)
    (made / "config.json").write_text("{}")
    (made / "tokenizer.json").write_text("{}")
    (made / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (made / "README.md").write_text("about")
    age(made)
    return made


def age(folder: Path) -> None:
    """As if all had been written a while ago."""
    for file in folder.rglob("*"):
        os.utime(file, ns=(10**18, 10**18))


def test_the_same_files_elsewhere_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    weights, template = model_digests(folder)
    assert is_digest(weights)
    assert template == hashlib.sha256(b"{{ messages }}").hexdigest()
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("other words about it")
    assert model_digests(tmp_path / "copy") == (weights, template)
    (tmp_path / "link").symlink_to(folder)
    assert model_digests(tmp_path / "link") == (weights, template)


CHANGES: list[Callable[[Path], object]] = [
    lambda folder: (folder / "model.safetensors").write_bytes(b"\1" + bytes(range(256)) * 10),
    lambda folder: (folder / "model.safetensors").write_bytes(bytes(range(1, 257 - 1)) * 10),
    lambda folder: (folder / "config.json").write_text('{"a": 1}'),
    lambda folder: (folder / "tokenizer.json").write_text('{"a": 1}'),
    lambda folder: (folder / "generation_config.json").write_text("{}"),
    lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""),
    lambda folder: (folder / "config.json").rename(folder / "other.json"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_another_model(folder: Path, change: Callable[[Path], object]) -> None:
    weights, template = model_digests(folder)
    change(folder)
    again = model_digests(folder)
    assert again[0] != weights
    assert again[1] == template


def test_templates_where_models_keep_them(folder: Path) -> None:
    first = model_digests(folder)
    (folder / "chat_template.jinja").write_text("{{ other }}")  # wins over the one in the tokenizer's file
    second = model_digests(folder)
    assert second[1] == hashlib.sha256(b"{{ other }}").hexdigest()
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("x")
    third = model_digests(folder)
    assert len({first, second, third}) == 3
    (folder / "additional_chat_templates" / "rag.jinja").write_text("y")
    assert model_digests(folder)[1] != third[1]
    shutil.rmtree(folder / "additional_chat_templates")
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": [{"name": "default", "template": "t"}]}))
    assert is_digest(model_digests(folder)[1])
    (folder / "tokenizer_config.json").write_text("{}")
    assert model_digests(folder)[1] == ""


def test_files_are_read_once(folder: Path, tmp_path: Path) -> None:
    before = model_digests(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(2560))  # as large; the time of change is put back, so nobody can see it
    os.utime(weights, ns=(10**18, 10**18))
    assert model_digests(folder) == before
    os.utime(weights, ns=(10**18 + 1, 10**18 + 1))
    after = model_digests(folder)
    assert after != before
    shutil.rmtree(tmp_path / "cache")
    assert model_digests(folder) == after
    (kept,) = (tmp_path / "cache" / "model-digests").iterdir()
    for damage in ("", "[]", "{", '{"model.safetensors": [1]}', '{"model.safetensors": [2560, 1, "x"]}'):
        kept.write_text(damage)
        assert model_digests(folder) == after


def test_files_that_have_just_changed_are_not_remembered(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(b"a")
    first = model_digests(folder)
    state = weights.stat()
    weights.write_bytes(b"b")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))  # a file system whose clock ticks slowly
    assert model_digests(folder) != first


def test_without_a_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model_digests(folder)
    monkeypatch.setenv("TOKENMILL_CACHE", "/proc/nowhere")
    assert model_digests(folder) == before


def test_a_model_in_one_file(folder: Path) -> None:
    file = folder / "tiny.gguf"
    file.write_bytes(b"GGUF")
    weights, template = model_digests(file)
    assert is_digest(weights)
    assert template == ""


def test_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(ConfigError, match="no model at"):
            model_digests(place)
    (tmp_path / "empty" / "tokenizer_config.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        model_digests(tmp_path / "empty")
