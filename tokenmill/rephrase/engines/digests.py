"""Digests of a model that lies here, so that no answer of one model is taken for another's of the same name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.io.cache import cache_folder

_SUFFIXES = frozenset(
    {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".json", ".jinja", ".model", ".txt", ".tiktoken", ".py"}
)
"""Weights, configuration, tokenizer and chat template; `.py` is code that some models bring along."""
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
_TEMPLATE_FOLDERS = ("chat_templates", "additional_chat_templates")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Known = dict[str, list[Any]]
"""Path of a file in its folder -> [size, time of change in ns, SHA-256]."""
_SETTLED_NS = 2_000_000_000
"""A file that has changed less than this ago may change again and keep its time."""


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal, rather than a path."""
    return bool(_SHA256.fullmatch(text))


def model_digests(path: str | Path) -> tuple[str, str]:
    """(SHA-256 over all files of a model, SHA-256 of its chat template or ""), for a folder or a GGUF file.

    Digests of files are kept in the cache folder and used again while size and time of change stay. ConfigError where
    there is no model.
    """
    place = Path(path)
    files = [place] if place.is_file() else sorted(_files(place))
    if not files:
        what = f"no model at {place}"
        raise ConfigError(what, why="no such file, or a folder without weights", fix="the folder with config.json")
    root = place.parent if place.is_file() else place
    known = _Kept(root)
    digest = hashlib.sha256()
    try:
        for file in files:
            digest.update(f"{known.digest(file)} {file.relative_to(root).as_posix()}\n".encode())
        template = "" if place.is_file() else _template(place)
    except OSError as error:
        raise ConfigError(f"the model at {place} cannot be read", why=str(error)) from error
    known.keep()
    return digest.hexdigest(), template


def _files(folder: Path) -> Iterator[Path]:
    for place in (folder, *(folder / name for name in _TEMPLATE_FOLDERS)):
        if place.is_dir():
            yield from (one for one in place.iterdir() if one.suffix in _SUFFIXES and one.is_file())


def _template(folder: Path) -> str:
    """The chat template by itself: engines look for it in these places, in this order."""
    parts: list[str] = []
    for name in _TEMPLATE_FILES:
        if not parts and (folder / name).is_file():
            parts.append((folder / name).read_text(encoding="utf-8"))
    config = folder / "tokenizer_config.json"
    if not parts and config.is_file():
        try:
            found = json.loads(config.read_text(encoding="utf-8")).get("chat_template")
        except (ValueError, AttributeError) as error:
            raise ConfigError("the model is damaged", where=str(config), why=str(error)) from error
        if found:
            parts.append(found if isinstance(found, str) else json.dumps(found, sort_keys=True))
    for name in _TEMPLATE_FOLDERS:
        more = sorted((folder / name).glob("*.jinja"))
        parts += [f"{one.name}\n{one.read_text(encoding='utf-8')}" for one in more]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest() if parts else ""


class _Kept:
    """Digests of the files of one folder, as they were found before."""

    def __init__(self, root: Path) -> None:
        name = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._root = root
        self._file = cache_folder() / "model-digests" / f"{name}.json"
        self._known: Known = {}
        self._changed = False
        with suppress(OSError, ValueError):
            found = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                self._known = {
                    key: value for key, value in found.items() if isinstance(value, list) and len(value) == 3
                }

    def digest(self, file: Path) -> str:
        state = file.stat()
        name = file.relative_to(self._root).as_posix()
        before = self._known.get(name)
        if before is not None and before[:2] == [state.st_size, state.st_mtime_ns] and is_digest(str(before[2])):
            return str(before[2])
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if time.time_ns() - state.st_mtime_ns > _SETTLED_NS:
            self._known[name] = [state.st_size, state.st_mtime_ns, found]
            self._changed = True
        return found

    def keep(self) -> None:
        """Write what is known; nothing where the cache cannot be written."""
        if not self._changed:
            return
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, made = tempfile.mkstemp(dir=self._file.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(self._known, stream, sort_keys=True)
            os.replace(made, self._file)
