"""The files of a model folder: JSON, and weights as safetensors. Every fault is one `ConfigError`."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError

AGAIN = "download or copy it again"
"""What to do about a file that is broken."""
_PLAIN = re.compile(r"[\w-][\w.-]*\.safetensors")


def weight_files(path: Path) -> tuple[Path, ...]:
    """The safetensors files of a model, whole or in shards; ConfigError where there are none or some are missing."""
    if (path / "model.safetensors").is_file():
        return (path / "model.safetensors",)
    index = path / "model.safetensors.index.json"
    names = _shards(index) if index.is_file() else []
    missing = [name for name in names if not (path / name).is_file()]
    if names and not missing:
        return tuple(path / name for name in names)
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in path.glob(pattern))
    raise ConfigError(
        f"the model lacks {', '.join(missing) or 'model.safetensors'}",
        where=str(path),
        why=f"{pickles[0]} is a pickle, which could run any code, and is not read" if pickles else "no weights",
        fix='write them as safetensors: AutoModel.from_pretrained("...").save_pretrained(folder)',
    )


def _shards(index: Path) -> list[str]:
    """Names of the files that an index of weights lists; ConfigError unless they are plain names."""
    listed = read_object(index).get("weight_map")
    names: list[Any] = list(listed.values()) if isinstance(listed, dict) else [None]
    wrong = [name for name in names if not isinstance(name, str) or not _PLAIN.fullmatch(name)]
    if wrong:
        raise ConfigError(
            "the index of the weights cannot be used",
            where=str(index),
            why=f"weight_map names {wrong[0]!r:.80}" if isinstance(listed, dict) else "weight_map is no object",
            fix="it maps names of tensors to names of .safetensors files in the same folder",
        )
    return sorted(set(names))


def check_safetensors(file: Path) -> None:
    """ConfigError unless the file's header can be read and names as many bytes as there are.

    The form: a little-endian uint64, that many bytes of JSON, and the tensors (huggingface/safetensors, README).
    """
    try:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size - 8:
                raise ValueError(f"the header has {length} bytes, the file {size}")
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if 8 + length + max(ends, default=0) != size:
            raise ValueError(f"its tensors end at byte {8 + length + max(ends, default=0)}, the file at {size}")
    except (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            "the weights are broken", where=str(file), why=str(error), fix="download or copy the file again"
        ) from error


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    value = read_json(file)
    if not isinstance(value, dict):
        raise ConfigError(
            f"{file.name} cannot be read", where=str(file), why=f"it is no object but {value!r:.80}", fix=AGAIN
        )
    return value


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file.name} cannot be read", where=str(file), why=str(error), fix=AGAIN) from error
