"""Everything that a run has left behind, as text that can be searched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq


def artefacts(*folders: Path) -> Iterator[tuple[str, str]]:
    """(path, what it holds) of every file below the folders, its name included; tables are decoded."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield str(path), f"{path.name}\n{_content(path)}"


def found_in(canaries: dict[str, str], *places: tuple[str, str]) -> dict[str, list[str]]:
    """Name of a canary -> places where it was found."""
    found: dict[str, list[str]] = {}
    for place, text in places:
        for name, canary in canaries.items():
            if canary in text:
                found.setdefault(name, []).append(place)
    return found


def _content(path: Path) -> str:
    raw = path.read_bytes().decode("utf-8", "replace")
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            return raw + json.dumps(file.read().to_pylist(), default=str) + str(file.schema_arrow.metadata)
        if path.suffix == ".arrow":
            with pa.memory_map(str(path)) as source:
                return raw + json.dumps(pyarrow.ipc.open_file(source).read_all().to_pylist(), default=str)
    except pa.ArrowInvalid:
        pass
    return raw
