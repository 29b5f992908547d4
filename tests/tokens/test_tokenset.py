"""Manifests and how sets are opened."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tokens.support import make_set, save
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.tokens.tokenset import SetManifest, TokenSet

SHARDS = [[[1, 2], []], [], [[3]]]


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    tokens = make_set(
        tmp_path,
        SHARDS,
        made_from=[{"run": "/a"}],
        facts=[{"stage": n} for n in range(3)],
        order={"shuffled": True, "seed": 7},
        more={"mixture": {"web": 0.5}},
    )
    text = json.dumps(tokens.manifest.to_json())
    again = SetManifest.from_json(json.loads(text))
    assert again == dataclasses.replace(tokens.manifest, shards=again.shards)
    assert json.dumps(again.to_json()) == text
    assert [shard.entry.facts for shard in tokens] == [{"stage": n} for n in range(3)]
    assert (again.documents, again.tokens) == (3, 6)


def test_folders(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS)
    for location in (tmp_path, str(tmp_path), tokens.folder):
        assert TokenSet.open(location).folder == tokens.folder
    assert [shard.name for shard in tokens] == ["00000", "00001", "00002"]
    for location in (tmp_path / "none", tokens.folder / "00000.ds"):
        with pytest.raises(ConfigError, match="holds no token set"):
            TokenSet.open(location)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "null"])
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=r"manifest\.json is (damaged|no manifest)"):
        TokenSet.open(tmp_path)


@pytest.mark.parametrize("missing", ["layout", "tokenizer", "shards"])
def test_a_damaged_manifest(tmp_path: Path, missing: str) -> None:
    tokens = make_set(tmp_path, SHARDS)
    data = tokens.manifest.to_json()
    del data[missing]
    with pytest.raises(ConfigError, match="is damaged"):
        SetManifest.from_json(data, "here")
    with pytest.raises(ConfigError, match="is damaged"):
        SetManifest.from_json({**tokens.manifest.to_json(), "colour": 1}, "here")


PATHS = ["../../../../etc/passwd", "/dev/zero", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "a\0b", "\ud800", 7, None]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["tokens", "documents", "index"])
def test_files_outside_of_the_folder(tmp_path: Path, kind: str, path: object) -> None:
    tokens = make_set(tmp_path, SHARDS)
    data = json.loads(json.dumps(tokens.manifest.to_json()))
    data["shards"][2]["files"][kind]["path"] = path
    (tokens.folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="is damaged") as caught:
        TokenSet.open(tmp_path)
    assert f"shard 2: the file {kind!r}" in caught.value.why


WRONG: list[tuple[str, object]] = [
    *((name, value) for name in ("documents", "tokens") for value in ("6", -1, 1.5, True, None, 2**70)),
    *((name, value) for name in ("layout", "dtype") for value in (3, None, ["ds"])),
    *(("offset", value) for value in ("0", None, 0.5)),
    *((name, value) for name in ("order", "more", "tokenizer") for value in (3, ["a"], "a")),
    *(("made_from", value) for value in (3, {"run": "a"}, ["a"], None)),
    *(("shards", value) for value in (3, None, "ab", [3], [{}], {"name": "a"})),
    *((f"tokenizer.{name}", value) for name in ("name", "sha256", "vocab_size") for value in (None, [1], 0.5)),
    *(("tokenizer.eos_id", value) for value in ("0", 0.0, [0], True)),
    ("tokenizer.eos_token", 3),
    *((f"shards.0.{name}", value) for name in ("documents", "tokens") for value in ("6", -1, 1.5, True, None)),
    *((f"shards.0.{name}", value) for name in ("name", "files", "facts") for value in (3, ["a"], None)),
    *(("shards.0.files.tokens", value) for value in (3, None, "00000.ds", {}, {"path": "00000.ds"})),
    *((f"shards.0.files.tokens.{name}", value) for name in ("bytes", "sha256") for value in ([1], None, 0.5)),
    ("shards.0.files.documents.bytes", -1),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_types(tmp_path: Path, name: str, value: object) -> None:
    tokens = make_set(tmp_path, SHARDS)
    data = json.loads(json.dumps(tokens.manifest.to_json()))
    one: Any = data
    *above, last = name.split(".")
    for part in above:
        one = one[int(part)] if isinstance(one, list) else one[part]
    one[last] = value
    with pytest.raises(ConfigError, match=r"here is damaged"):
        SetManifest.from_json(data, "here")


@pytest.mark.parametrize("kind", ["tokens", "documents"])
def test_shards_without_a_file(tmp_path: Path, kind: str) -> None:
    data = json.loads(json.dumps(make_set(tmp_path, SHARDS).manifest.to_json()))
    del data["shards"][1]["files"][kind]
    with pytest.raises(ConfigError, match="is damaged") as caught:
        SetManifest.from_json(data)
    assert f"where the file {kind!r} is" in caught.value.why


def test_manifests_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is damaged"):
        TokenSet.open(tmp_path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is damaged"):
        TokenSet.open(tmp_path)


@pytest.mark.parametrize("dtype", ["int64", "object", "colour"])
def test_other_ids(tmp_path: Path, dtype: str) -> None:
    tokens = make_set(tmp_path, SHARDS)
    save(tokens.folder, dataclasses.replace(tokens.manifest, dtype=dtype))
    with pytest.raises(ConfigError, match="is damaged") as caught:
        list(TokenSet.open(tmp_path))
    assert repr(dtype) in caught.value.why


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A pipe would be waited for, and a device has no end."""
    tokens = make_set(tmp_path, SHARDS)
    shard = tokens.shards[0]
    for path in (shard.path, shard.documents_path):
        path.unlink()
    os.mkfifo(shard.path)
    shard.documents_path.symlink_to("/dev/zero")
    with pytest.raises(ShardError, match="cannot be mapped") as caught:
        _ = shard.ids
    assert "not a regular file" in caught.value.why
    with pytest.raises(ShardError, match="cannot be read") as caught:
        shard.documents()
    assert "not a regular file" in caught.value.why


def test_other_places_than_local_disks(tmp_path: Path) -> None:
    for location in ("s3://bucket/set", "gs://bucket/set/tokens", "https://example.org/set"):
        with pytest.raises(ConfigError, match=f"{location} is not on a local disk") as caught:
            TokenSet.open(location)
        assert "copy the set" in caught.value.fix
    tokens = make_set(tmp_path, SHARDS)
    assert TokenSet.open(f"file://{tmp_path}").folder == tokens.folder


def test_ids(tmp_path: Path) -> None:
    wide = make_set(tmp_path / "wide", [[[2**32 - 1, 0]]], vocab_size=2**32)
    assert wide.shards[0].ids.dtype == np.uint32
    assert wide.shards[0].ids.tolist() == [2**32 - 1, 0, 0]
    tokens = make_set(tmp_path / "set", SHARDS, "llmc")
    assert tokens.eos_id == 0
    assert tokens.shards[1].ids.shape == (0,)
    with pytest.raises(ValueError, match="read-only"):
        tokens.shards[0].ids[0] = 1
    path = tokens.shards[0].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ShardError, match="cannot be mapped"):
        _ = TokenSet.open(tokens.folder).shards[0].ids
    path.unlink()
    with pytest.raises(ShardError, match="cannot be mapped"):
        _ = TokenSet.open(tokens.folder).shards[0].ids


def test_tables(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS)
    shard = tokens.shards[0]
    assert shard.documents(["url"]).column_names == ["url"]
    assert shard.documents().num_rows == shard.documents_count == 2
    with pytest.raises(ShardError, match="cannot be read"):
        shard.documents(["colour"])
    shard.documents_path.write_bytes(b"PAR1")
    with pytest.raises(ShardError, match="cannot be read"):
        shard.documents()


def test_sets_of_libraries(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS)
    assert tokens.flat
    save(tokens.folder, dataclasses.replace(tokens.manifest, layout="mds", offset=-1))
    opened = TokenSet.open(tmp_path)
    assert not opened.flat
    with pytest.raises(ConfigError, match="in the layout mds, which its own library reads"):
        list(opened)
