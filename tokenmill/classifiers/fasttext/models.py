"""Models that are ready to score: the linear form of large files is kept on disk, where processes share it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import lru_cache
from pathlib import Path

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.io.cache import cache_folder
from tokenmill.io.hub import from_hub
from tokenmill.text.linear import LinearModel, read_linear
from tokenmill.text.linear_folder import FORMAT, SETTINGS, linear_digest, save_linear

KEPT_FROM = 32 << 20
"""Files from this size on are collapsed once and kept: a model of 2.4 GB takes half a minute, and shrinks to 40 MB."""

Stamp = tuple[str, int, int]
"""Real path, size and time of change of a file: what tells it from what it was before."""


def load_model(model: str) -> LinearModel:
    """The model of a file, folder or hub's file, once per process. ConfigError where it is none."""
    path = located(model)
    return _loaded(path, _stamp(path))


def digest_of(model: str) -> str:
    """SHA-256 of a model, hexadecimal; that of a large file is read once per machine."""
    path = located(model)
    return _digest(path, _stamp(path))


def labels_of(model: str) -> tuple[str, ...]:
    """The labels of a model, without `__label__`."""
    return load_model(model).labels


def check_label(model: str, label: str) -> int:
    """The number of a label; ConfigError with the labels that there are."""
    labels = labels_of(model)
    if label not in labels:
        raise ConfigError(
            f"the model has no label {label!r}",
            where=model,
            why=did_you_mean(label, labels),
            fix=f"one of {', '.join(labels[:40])}{', ...' if len(labels) > 40 else ''}",
        )
    return labels.index(label)


@lru_cache(64)
def located(model: str) -> str:
    """The path of a model: itself, or the local copy of a hub's file, `owner/name/path/file.bin` or `...@revision`."""
    name, _, revision = model.partition("@")
    parts = name.split("/")
    if Path(model).exists() or len(parts) < 3 or not parts[-1].endswith((".bin", ".ftz")) or not all(parts):
        return model
    return str(from_hub(model, "hf_hub_download", "/".join(parts[:2]), "/".join(parts[2:]), revision=revision))


@lru_cache(8)
def _loaded(path: str, stamp: Stamp) -> LinearModel:
    if Path(path).is_dir() or stamp[1] < KEPT_FROM:
        return read_linear(path)
    kept = cache_folder() / "linear" / f"{_key(stamp)}-{FORMAT}"
    with contextlib.suppress(ConfigError):  # there is none, or it is damaged: it is made again
        return read_linear(str(kept))
    model = read_linear(path)
    try:
        save_linear(model, kept)
        return read_linear(str(kept))  # mapped, and shared with others
    except (OSError, ConfigError):
        return model  # a cache that cannot be written costs time, no more


@lru_cache(64)
def _digest(path: str, stamp: Stamp) -> str:
    if Path(path).is_dir() or stamp[1] < KEPT_FROM:
        return linear_digest(path)
    noted = cache_folder() / "digests" / _key(stamp)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = noted.read_text(encoding="ascii")
        if len(found) == 64:
            return found
    found = linear_digest(path)
    with contextlib.suppress(OSError):
        noted.parent.mkdir(parents=True, exist_ok=True)
        partial = noted.with_name(f"{noted.name}.{os.getpid()}")
        partial.write_text(found, encoding="ascii")
        partial.replace(noted)
    return found


def _stamp(path: str) -> Stamp:
    file = Path(path, SETTINGS) if Path(path).is_dir() else Path(path)
    try:
        about = file.stat()
    except OSError:
        return (path, 0, 0)  # whoever reads it says what is wrong
    return (os.path.realpath(file), about.st_size, about.st_mtime_ns)


def _key(stamp: Stamp) -> str:
    return hashlib.sha256(repr(stamp).encode("utf-8", "surrogateescape")).hexdigest()[:32]
