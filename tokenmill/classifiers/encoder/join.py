"""Several folders of heads made one, so that one pass of their encoder gives all scores."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenmill.classifiers.encoder.folder import EncoderFolder, encoder_digest, resolve
from tokenmill.classifiers.encoder.heads import WEIGHTS, save_heads
from tokenmill.core.errors import ConfigError


def join_heads(folders: Sequence[str], out: str) -> None:
    """Write a folder `out` with the heads of all folders, which must have the same encoder and the same vectors.

    ConfigError where they differ, or read other parts of a text, or two heads have one name. The encoder is named by
    its path, or by its hub id and commit.
    """
    from safetensors.numpy import load_file

    found = [_with_digest(resolve(folder)) for folder in folders]
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
        encoder=first.hub or os.path.relpath(first.path, Path(out).resolve()),
        revision=first.commit if first.hub else "",
        # what no folder says is left open; what some say, the others do by default
        max_tokens=first.default_tokens if any(one.max_tokens for one in found) else 0,
        long_documents=first.default_long_documents if any(one.long_documents for one in found) else "",
        encoder_sha256=first.sha256,
        hub=bool(first.hub),
    )


def _with_digest(folder: EncoderFolder) -> EncoderFolder:
    return dataclasses.replace(folder, sha256=encoder_digest(folder))


def _check_same(first: str, wanted: EncoderFolder, other: str, found: EncoderFolder) -> None:
    """ConfigError unless both folders compute their vectors alike."""
    for what, one, two in (
        ("pooling", wanted.pooling, found.pooling),
        ("normalize", wanted.normalize, found.normalize),
        ("layers", wanted.layers, found.layers),
        ("max_tokens", wanted.default_tokens, found.default_tokens),
        ("long_documents", wanted.default_long_documents, found.default_long_documents),
        ("encoder", wanted.sha256, found.sha256),
    ):
        if one != two:
            raise ConfigError(
                f"the heads cannot share a pass: their {what} differs",
                where=f"{first} and {other}",
                why=f"{one} and {two}",
                fix="train them on the same encoder with the same --set pooling, layers, max_tokens and long_documents",
            )
