"""Where tokenizers come from, what they are called, and which token ends a text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.tokens.trained import save, trained
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.tokenizer import library_version, load_tokenizer


def ids(name: str, text: str, **settings: Any) -> list[int]:
    found: list[int] = load_tokenizer(name, **settings).make().encode(text, add_special_tokens=False).ids
    return found


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def two_files(folder: Path, kind: str = "gpt2") -> Path:
    """A tokenizer as vocab.json and merges.txt."""
    folder.mkdir(exist_ok=True)
    model = json.loads(trained(kind))["model"]
    write(folder / "vocab.json", model["vocab"])
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"]), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_a_file(tmp_path: Path) -> None:
    loaded = load_tokenizer(save("digits", tmp_path), eos="<|end_of_text|>")
    assert (loaded.eos_id, loaded.eos_token, loaded.dtype) == (1, "<|end_of_text|>", "uint16")
    made = loaded.make()
    assert made.truncation is None
    assert made.padding is None
    assert loaded.vocab_size == made.get_vocab_size()
    assert len(made.encode("the mill " * 20, add_special_tokens=False).ids) > 16


def test_the_digest_is_of_the_tokenizer_and_not_of_its_spelling(tmp_path: Path) -> None:
    spec = json.loads(trained("gpt2"))
    one = load_tokenizer(str(write(tmp_path / "a.json", spec)))
    turned = {key: spec[key] for key in reversed(spec)}
    (tmp_path / "b.json").write_text(json.dumps(turned | {"truncation": None}, indent=3), encoding="utf-8")
    cut = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    write(tmp_path / "c.json", spec | {"truncation": cut})
    other = spec | {"normalizer": {"type": "NFC"}}
    assert one.canonical == load_tokenizer(str(tmp_path / "b.json")).canonical
    assert one.sha256 == load_tokenizer(str(tmp_path / "c.json")).sha256
    assert one.sha256 != load_tokenizer(str(write(tmp_path / "d.json", other))).sha256
    (tmp_path / "again.json").write_bytes(one.canonical)
    assert load_tokenizer(str(tmp_path / "again.json")).canonical == one.canonical


@pytest.mark.parametrize("entry", ["</s>", {"content": "</s>", "__type": "AddedToken"}])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_the_end_of_texts_is_read_beside_it(tmp_path: Path, file: str, entry: Any) -> None:
    spec = json.loads(trained("unigram"))
    write(tmp_path / "tokenizer.json", spec)
    write(tmp_path / file, {"eos_token": entry, "unk_token": None})
    loaded = load_tokenizer(str(tmp_path))
    assert (loaded.eos_token, loaded.eos_id) == ("</s>", 2)
    assert load_tokenizer(str(tmp_path), eos="<s>").eos_id == 1


def test_vocabularies_above_two_bytes(tmp_path: Path) -> None:
    spec = json.loads(trained("gpt2"))
    for size, dtype in ((1 << 16, "uint16"), ((1 << 16) + 1, "uint32")):
        model = spec["model"] | {"vocab": spec["model"]["vocab"] | {"far": size - 1}}
        added = [token for token in spec["added_tokens"] if token["content"] == "<|endoftext|>"]
        loaded = load_tokenizer(str(write(tmp_path / "t.json", spec | {"model": model, "added_tokens": added})))
        assert (loaded.vocab_size, loaded.dtype) == (size, dtype)


def test_two_files_are_the_tokenizer_that_they_came_from(tmp_path: Path) -> None:
    folder = two_files(tmp_path / "two")
    text = "The mill turns 12 sacks, l'été 漢字 \x00 \r"
    assert ids(str(folder), text) == ids(save("gpt2", tmp_path), text)
    assert load_tokenizer(str(folder)).eos_token == "<|endoftext|>"
    write(folder / "added_tokens.json", {"<|pad|>": 600})
    write(folder / "special_tokens_map.json", {"eos_token": "<|padding|>"})
    loaded = load_tokenizer(str(folder))
    assert loaded.eos_token == "<|padding|>"
    assert [t.content for t in loaded.make().get_added_tokens_decoder().values()][-1] == "<|pad|>"


@pytest.mark.ci  # sample: the small tokenizers here
def test_gpt2(shared: Path) -> None:
    loaded = load_tokenizer(str(shared / "tokenizers/gpt2"))
    assert (loaded.vocab_size, loaded.eos_id, loaded.eos_token) == (50257, 50256, "<|endoftext|>")
    assert loaded.make().encode("Hello world", add_special_tokens=False).ids == [15496, 995]
    olmo = load_tokenizer(str(shared / "tokenizers/gpt-neox-olmo/tokenizer.json"))
    assert (olmo.vocab_size, olmo.eos_id, olmo.dtype) == (50280, 50279, "uint16")


def test_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--small"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(trained("gpt2"), encoding="utf-8")
    assert load_tokenizer("owner/small").sha256 == load_tokenizer(str(folder)).sha256
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="owner/small holds no tokenizer"):
        load_tokenizer("owner/small")
    with pytest.raises(ConfigError, match="revision v2") as caught:
        load_tokenizer("owner/none", revision="v2")
    assert "the tokenizer 'owner/none'" in str(caught.value)
    assert "model" not in str(caught.value)
    assert "classifier" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"model": {"type": "BPE"}}', '{"model": ', '{"model": {}, "a": "\\ud800"}']
)
def test_what_is_no_tokenizer(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no tokenizer|cannot be read"):
        load_tokenizer(str(tmp_path))


def test_what_is_not_there(tmp_path: Path) -> None:
    save("gpt2", tmp_path)
    with pytest.raises(ConfigError, match=re.escape("did you mean 'gpt2.json'")):
        load_tokenizer(str(tmp_path / "gpt3.json"))
    with pytest.raises(ConfigError, match=r"neither tokenizer\.json nor vocab\.json"):
        load_tokenizer(str(tmp_path))
    for name in ("", "./gpt9", "a/b/c", "no tokenizer"):
        with pytest.raises(ConfigError, match="there is no tokenizer"):
            load_tokenizer(name)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("merges.txt", "a b c", "is no pair"),
        ("vocab.json", '{"a": "b"}', "no whole numbers"),
        ("vocab.json", '{"a</w>": 1}', "no byte-level BPE"),
        ("merges.txt", "nothing known", "cannot be read"),
    ],
)
def test_two_files_that_are_damaged(tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = two_files(tmp_path)
    (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_tokenizer(str(folder))


def test_an_end_of_texts_that_is_not_clear(tmp_path: Path) -> None:
    added = [{"content": t, "id": n, **FLAGS} for n, t in ((0, "<|endoftext|>"), (1, "<|padding|>"), (600, "</s>"))]
    ambiguous = save("gpt2", tmp_path, {"added_tokens": added})
    with pytest.raises(ConfigError, match=re.escape("<|endoftext|>, </s> might all be it")):
        load_tokenizer(ambiguous)
    assert load_tokenizer(ambiguous, eos="</s>").eos_id == load_tokenizer(ambiguous, eos="</s>").vocab_size - 1
    with pytest.raises(ConfigError, match="it has none of"):
        load_tokenizer(save("bert", tmp_path))
    assert load_tokenizer(save("bert", tmp_path), eos="[SEP]").eos_id == 3
    with pytest.raises(ConfigError, match=re.escape("did you mean '<|padding|>'")):
        load_tokenizer(ambiguous, eos="<|pading|>")


FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def test_the_library_has_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+.*", library_version())
