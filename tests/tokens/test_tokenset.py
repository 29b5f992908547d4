"""Manifests and how sets are opened."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

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
