"""Files of model folders: names in an index, headers of weights, JSON."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("safetensors")

from tokenmill.classifiers.encoder.files import check_safetensors, read_json, read_object, weight_files
from tokenmill.core.errors import ConfigError


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "..", "x.bin", "", 1, None])
def test_names_in_an_index_are_plain(tmp_path: Path, name: Any) -> None:
    from safetensors.numpy import save_file

    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"x": np.ones(1, np.float32)}, str(tmp_path / "x.safetensors"))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(ConfigError, match="index of the weights cannot be used") as caught:
        weight_files(folder)
    assert repr(name) in caught.value.why
    for value, message in (([], "it is no object"), ({"weight_map": ["x"]}, "no object"), ({}, "no object")):
        index.write_text(json.dumps(value))
        with pytest.raises(ConfigError, match=message):
            weight_files(folder)


def test_parts(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"b": names[1], "a": names[0], "c": names[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in names:
        (tmp_path / name).touch()
    assert weight_files(tmp_path) == tuple(tmp_path / name for name in names)


@pytest.mark.parametrize("header", [b"[]", b"{}x", b"1", b'{"a": 1}', b'{"a": {"data_offsets": [0]}}', b"[" * 100_000])
def test_headers_that_are_none(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ConfigError, match="weights are broken"):
        check_safetensors(tmp_path / "x")


@pytest.mark.parametrize("content", [b"{", b"\xff", b"", b"[" * 100_000])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    for read in (read_json, read_object):
        with pytest.raises(ConfigError, match=r"x\.json cannot be read"):
            read(tmp_path / "x.json")
