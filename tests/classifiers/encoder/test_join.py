"""Heads of several folders in one: the same scores from one pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from tests.classifiers.encoder import support
from tokenmill.classifiers.encoder.folder import encoder_digest, resolve
from tokenmill.classifiers.encoder.heads import Head, save_heads
from tokenmill.classifiers.encoder.join import join_heads
from tokenmill.core.errors import ConfigError


def head_folder(folder: Path, name: str, encoder: Path, labels: int, **changes: object) -> str:
    made = np.random.default_rng(len(name))
    weights = {
        f"{name}.0.weight": made.standard_normal((labels, 32)).astype(np.float32),
        f"{name}.0.bias": made.standard_normal(labels).astype(np.float32),
    }
    names = tuple(f"class {number}" for number in range(labels))
    head = Head(name, "softmax" if labels > 1 else "regression", names)
    settings = {"pooling": "mean", "normalize": False, "layers": (), "encoder": str(encoder), **changes}
    save_heads(folder, [head], weights, **settings)  # type: ignore[arg-type]
    return str(folder)


def test_joined_heads_are_all_there(tmp_path: Path) -> None:
    encoder = support.bare_folder(tmp_path / "encoder")
    folders = [head_folder(tmp_path / name, name, encoder, count) for name, count in (("topic", 4), ("edu", 1))]
    join_heads(folders, str(tmp_path / "both"))
    found = resolve(str(tmp_path / "both"))
    assert [head.name for head in found.heads] == ["topic", "edu"]
    assert found.path == encoder.resolve()
    assert (found.pooling, found.normalize) == ("mean", False)


def test_a_copy_of_the_encoder_is_the_encoder(tmp_path: Path) -> None:
    encoder = support.bare_folder(tmp_path / "encoder")
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (encoder / "modules.json").write_text("[]")
    sha256 = encoder_digest(resolve(str(encoder)))
    one = head_folder(tmp_path / "one", "topic", encoder, 4, encoder_sha256=sha256)
    two = head_folder(tmp_path / "two", "edu", Path("encoder"), 1)
    (tmp_path / "two/encoder").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copyfile(encoder / name, tmp_path / "two/encoder" / name)
    change = {"max_tokens": 70, "long_documents": "prefix"}  # what the other one says without saying it
    file = tmp_path / "two/heads.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    join_heads([one, two], str(tmp_path / "both"))
    found = resolve(str(tmp_path / "both"))
    assert (found.path, found.sha256) == (encoder, sha256)
    assert (found.max_tokens, found.long_documents) == (70, "prefix")


def test_what_cannot_share_a_pass_is_refused(tmp_path: Path) -> None:
    encoder = support.bare_folder(tmp_path / "encoder")
    other = support.bare_folder(tmp_path / "other", num_attention_heads=2)
    one = head_folder(tmp_path / "one", "one", encoder, 1)
    for name, wrong, message in (
        ("pooling", head_folder(tmp_path / "a", "a", encoder, 1, pooling="cls"), "pooling"),
        ("tokens", head_folder(tmp_path / "e", "e", encoder, 1, max_tokens=64), "max_tokens"),
        ("documents", head_folder(tmp_path / "f", "f", encoder, 1, long_documents="windows_max"), "long_documents"),
        ("layers", head_folder(tmp_path / "b", "bb", encoder, 1, layers=(2,)), "layers"),
        ("encoder", head_folder(tmp_path / "c", "ccc", other, 1), "encoder"),
        ("name", head_folder(tmp_path / "d", "one", encoder, 1), "one name"),
        ("none", str(encoder), "no heads"),
    ):
        with pytest.raises(ConfigError, match=message):
            join_heads([one, wrong], str(tmp_path / f"out-{name}"))


@pytest.mark.ci
def test_scores_are_those_of_the_single_folders(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tokenmill.classifiers.encoder.engine import Encoder

    encoder = support.model_folder(tmp_path / "encoder", classifier=False)
    folders = [head_folder(tmp_path / name, name, encoder, count) for name, count in (("topic", 4), ("edu", 1))]
    join_heads(folders, str(tmp_path / "both"))
    texts = support.texts(12)
    both = Encoder(str(tmp_path / "both")).score(texts)
    for folder, name in zip(folders, ("topic", "edu"), strict=True):
        assert np.array_equal(Encoder(folder).score(texts)[name], both[name])
