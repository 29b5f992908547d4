"""Several folders of heads made one, so that one pass of their encoder gives all scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenmill.classifiers.encoder.folder import EncoderFolder, digest, resolve
from tokenmill.classifiers.encoder.heads import WEIGHTS, save_heads
from tokenmill.core.errors import ConfigError


def join_heads(folders: Sequence[str], out: str) -> None:
    """Write a folder `out` with the heads of all folders, which must have the same encoder and the same vectors.

    ConfigError where they differ, or two heads have one name. The encoder is named by its path.
    """
    from safetensors.numpy import load_file

    found = [resolve(folder) for folder in folders]
    for folder, one in zip(folders, found, strict=True):
        if one.heads_path is None:
            raise ConfigError("the folder has no heads of its own", where=folder, why="there is no heads.json")
        _check_same(folders[0], found[0], folder, one)
    heads = [head for one in found for head in one.heads]
    names = [head.name for head in heads]
    if len(set(names)) < len(names):
        raise ConfigError(f"two heads have one name: {', '.join(sorted(names))}", fix="train them with other --label")
    weights: dict[str, Any] = {}
    for one in found:
        assert one.heads_path is not None
        weights |= load_file(str(one.heads_path / WEIGHTS))
    first = found[0]
    save_heads(
        Path(out),
        heads,
        weights,
        pooling=first.pooling,
        normalize=first.normalize,
        layers=first.layers,
        encoder=os.path.relpath(first.path, Path(out).resolve()),
    )


def _check_same(first: str, wanted: EncoderFolder, other: str, found: EncoderFolder) -> None:
    """ConfigError unless both folders compute their vectors alike."""
    for what, one, two in (
        ("pooling", wanted.pooling, found.pooling),
        ("normalize", wanted.normalize, found.normalize),
        ("layers", wanted.layers, found.layers),
        ("encoder", _encoder_digest(wanted), _encoder_digest(found)),
    ):
        if one != two:
            raise ConfigError(
                f"the heads cannot share a pass: their {what} differs",
                where=f"{first} and {other}",
                why=f"{one} and {two}",
                fix="train them on the same encoder with the same --set pooling, layers and max_tokens",
            )


def _encoder_digest(folder: EncoderFolder) -> str:
    return digest(EncoderFolder(**{**vars(folder), "heads": (), "heads_path": None}))
