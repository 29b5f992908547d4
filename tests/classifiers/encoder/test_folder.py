"""Model folders: what is found in good ones, and one clear error for each bad one. None of this loads PyTorch."""

from __future__ import annotations

import json
import logging
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

from tests.classifiers.encoder.support import SHAPE, VOCABULARY, bare_folder, texts, tokenizer
from tokenmill.classifiers.columns import slug
from tokenmill.classifiers.encoder.folder import digest, encoder_digest, resolve
from tokenmill.classifiers.encoder.heads import Head, read_heads, save_heads
from tokenmill.core.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bare_folder(tmp_path / "model")


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def truncated(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def rewritten(name: str, content: Any) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(json.dumps(content))


def as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def in_parts(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "config no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "config a list": (rewritten("config.json", [1]), "it is no object"),
    "modules no list": (rewritten("modules.json", {"type": "Normalize"}), "modules.json cannot be read"),
    "no width": (lambda folder: edit(folder, hidden_size=None), "hidden_size = None"),
    "half a layer": (lambda folder: edit(folder, num_hidden_layers=2.5), "num_hidden_layers = 2.5"),
    "positions a string": (lambda folder: edit(folder, max_position_embeddings="70"), "max_position_embeddings = '70'"),
    "no filler": (lambda folder: edit(folder, model_type="roberta", pad_token_id=None), "pad_token_id = None"),
    "architectures a string": (lambda folder: edit(folder, architectures="BertModel"), "is not supported"),
    "an architecture without a name": (lambda folder: edit(folder, architectures=[None]), "is not supported"),
    "model_type a list": (lambda folder: edit(folder, model_type=["bert"]), "is not supported"),
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
    for name in ("./nowhere", "/nowhere/at/all", "a/b/c", "a//b", "a/../b", "~nobody/x", "x" * 5000 + "/y/z", "a\0b"):
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


COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of hubs that has the model some-owner/some-model; no network."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "cache/models--some-owner--some-model"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text(COMMIT)
    return bare_folder(model / "snapshots" / COMMIT)


def test_a_model_in_the_cache_of_a_hub(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    asked = []
    real = huggingface_hub.snapshot_download

    def only_the_cache(name: str, **options: Any) -> Any:
        asked.append(bool(options.get("local_files_only")))
        if not asked[-1]:
            raise OSError("the hub was asked")
        return real(name, **options)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", only_the_cache)
    with caplog.at_level(logging.WARNING):
        found = resolve("some-owner/some-model")
        assert (found.path, found.hub, found.commit) == (cache, "some-owner/some-model", COMMIT)
        assert (asked, caplog.messages) == ([True], [])
        (cache / "tokenizer.json").unlink()  # another program may have wanted the weights alone
        with pytest.raises(ConfigError, match="the hub was asked"):
            resolve("some-owner/some-model")
    assert asked == [True, True, False]
    assert caplog.messages == ["downloading the model some-owner/some-model (revision main) from the hub"]


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
    assert found.heads == tuple(heads) == read_heads(tmp_path / "heads/heads.json").heads
    assert (found.pooling, found.normalize, found.layers, found.width) == ("mean_max", True, (1, 3), 128)
    assert heads[0].columns("score", alone=True) == ("score",)
    assert heads[1].columns("q", alone=False) == ("q_topic_sports", "q_topic_food_dining")
    with pytest.raises(ValueError, match="finite"):
        save_heads(tmp_path / "x", heads, {"a": np.array([np.nan])}, pooling="cls", normalize=False)
    change(tmp_path / "heads", layers=[4])
    with pytest.raises(ConfigError, match=r"layers = \[4\]"):
        resolve(str(tmp_path / "heads"))
    change(tmp_path / "heads", layers=[1, 3])
    (tmp_path / "heads/heads.safetensors").unlink()
    with pytest.raises(ConfigError, match="weights are broken"):
        resolve(str(tmp_path / "heads"))


def bound_heads(folder: Path, encoder: str, **settings: Any) -> Path:
    """A folder with one head."""
    weights = {"edu.0.weight": np.ones((1, 32), np.float32), "edu.0.bias": np.zeros(1, np.float32)}
    fields = {"pooling": "mean", "normalize": False, "encoder": encoder, **settings}
    save_heads(folder, [Head("edu", "regression", ("edu",))], weights, **fields)
    return folder


def change(folder: Path, **changes: Any) -> None:
    file = folder / "heads.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("name", ["../model", "model", "models/model", "./model", "/absent/model"])
def test_an_encoder_is_looked_for_where_its_heads_say_and_nowhere_else(
    folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "elsewhere/here"
    heads = bound_heads(tmp_path / "far/away/heads", name)
    change(heads, encoder={"model": name, "revision": ""})  # as it was before there was `hub`
    for copy in ("../model", "model", "models/model"):
        shutil.copytree(folder, here / copy)
    monkeypatch.chdir(here)
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError) as caught:
        resolve(str(heads))
    assert ("cannot be had from the hub" if name == "models/model" else "there is no model folder") in str(caught.value)
    assert str(heads / "heads.json") in caught.value.where
    assert "--copy-encoder" in caught.value.fix
    if not name.startswith("/"):
        shutil.copytree(folder, heads / name)
        assert resolve(str(heads)).path == (heads / name).resolve()


def test_hub_ids_in_heads(cache: Path, tmp_path: Path) -> None:
    heads = bound_heads(tmp_path / "heads", "some-owner/some-model", revision=COMMIT)
    entry = json.loads((heads / "heads.json").read_text())["encoder"]
    assert entry == {"model": "some-owner/some-model", "revision": COMMIT, "hub": True}
    assert resolve(str(heads)).path == cache
    assert resolve(str(heads)).hub == "some-owner/some-model"
    bare_folder(heads / "some-owner/some-model")
    assert resolve(str(heads)).path == cache  # the file says that it is a hub id
    change(heads, encoder={"model": "some-owner/some-model", "revision": COMMIT})
    assert resolve(str(heads)).path == heads / "some-owner/some-model"
    bound_heads(heads, "some-owner/some-model")
    assert json.loads((heads / "heads.json").read_text())["encoder"]["hub"] is False


def test_heads_are_bound_to_their_encoder(folder: Path, tmp_path: Path) -> None:
    sha256 = encoder_digest(resolve(str(folder)))
    heads = bound_heads(tmp_path / "heads", "../model", encoder_sha256=sha256, max_tokens=64, long_documents="prefix")
    found = resolve(str(heads))
    assert (found.default_tokens, found.default_long_documents) == (64, "prefix")
    assert encoder_digest(found) == sha256
    first = digest(found)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert digest(resolve(str(heads))) == first  # heads.json says how vectors are pooled
    moved = bound_heads(tmp_path / "further/away", str(folder), encoder_sha256=sha256)
    assert digest(resolve(str(moved))) == first  # where the encoder lies does not matter
    for number, settings in enumerate(({"pooling": "cls"}, {"normalize": True}, {"layers": [1]})):
        other = bound_heads(tmp_path / f"other {number}", "../model", encoder_sha256=sha256, **settings)
        assert digest(resolve(str(other))) != first
    (head,) = read_heads(moved / "heads.json").heads
    change(moved, heads=[{**head.to_json(), "problem": "sigmoid"}])
    assert digest(resolve(str(moved))) != first
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        before = (folder / name).read_bytes()
        changed = before[:-1] + b"\x21" if name == "model.safetensors" else before + b" "
        (folder / name).write_bytes(changed)
        with pytest.raises(ConfigError, match="trained on another encoder") as caught:
            resolve(str(heads))
        assert caught.value.where == str(heads)
        (folder / name).write_bytes(before)
    change(heads, max_tokens=71)
    with pytest.raises(ConfigError, match="max_tokens = 71 is more than the encoder can"):
        resolve(str(heads))
    inside = bare_folder(tmp_path / "inside")
    bound_heads(inside, "", encoder_sha256=encoder_digest(resolve(str(inside))))
    assert resolve(str(inside)).path == inside
    edit(inside, dropout=0.1)
    with pytest.raises(ConfigError, match="trained on another encoder"):
        resolve(str(inside))


@pytest.mark.parametrize("kind", ["Bert", "Electra"])
def test_models_of_pre_training_are_encoders(folder: Path, kind: str) -> None:
    edit(folder, model_type=kind.lower(), architectures=[f"{kind}ForPreTraining"])
    assert (resolve(str(folder)).heads, resolve(str(folder)).width) == ((), 32)


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["bert", "electra"])
def test_vectors_of_models_of_pre_training(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenmill.classifiers.encoder.engine import Encoder

    config = transformers.AutoConfig.for_model(kind, **{**SHAPE, "vocab_size": VOCABULARY, "pad_token_id": 0})
    whole = transformers.AutoModelForPreTraining.from_config(config).eval()
    whole.save_pretrained(tmp_path / "whole")
    whole.base_model.save_pretrained(tmp_path / "encoder")
    found = []
    for name in ("whole", "encoder"):
        tokenizer().save(str(tmp_path / name / "tokenizer.json"))
        found.append(Encoder(str(tmp_path / name), device="cpu", max_tokens=64).embed(texts(8)))
    assert np.ptp(found[0]) > 0
    assert np.array_equal(*found)


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
