"""Readers of all layouts, from their specifications, one document at a time; nothing is shared with the code."""

from __future__ import annotations

import csv
import gzip
import io
import struct
from pathlib import Path
from typing import Any

Shard = tuple[list[int], list[list[int]]]
"""All ids, and those of each document, EOS included."""


def _ids(data: bytes, size: int) -> list[int]:
    assert len(data) % size == 0
    return list(struct.unpack(f"<{len(data) // size}{'H' if size == 2 else 'I'}", data))


def read_ds(stem: Path, size: int) -> Shard:
    """datatrove: ids, and where documents end."""
    ids = _ids(Path(f"{stem}.ds").read_bytes(), size)
    index = Path(f"{stem}.ds.index").read_bytes()
    ends = [end for (end,) in struct.iter_unpack("<Q", index)]
    lines = Path(f"{stem}.ds.metadata").read_text().split("\n")
    assert len(lines) == 3
    name, width = lines[0].split("|")
    assert name
    assert int(width) == size
    assert int(lines[1]) == len(ids)
    assert lines[2].endswith("T")
    assert (ends[-1] if ends else 0) == len(ids)
    return ids, [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read_megatron(stem: Path, size: int) -> Shard:
    """Megatron-LM: an index of sequences, each a document of its own."""
    data = Path(f"{stem}.bin").read_bytes()
    index = io.BytesIO(Path(f"{stem}.idx").read_bytes())
    assert index.read(9) == b"MMIDIDX\x00\x00"
    (version,) = struct.unpack("<Q", index.read(8))
    (code,) = struct.unpack("<B", index.read(1))
    assert version == 1
    letter, width = {4: ("i", 4), 8: ("H", 2)}[code]
    assert width == size
    sequences, documents = struct.unpack("<QQ", index.read(16))
    lengths = struct.unpack(f"<{sequences}i", index.read(4 * sequences))
    begins = struct.unpack(f"<{sequences}q", index.read(8 * sequences))
    borders = struct.unpack(f"<{documents}q", index.read(8 * documents))
    assert index.read() == b""
    assert list(borders) == list(range(sequences + 1))
    found = []
    for length, begin in zip(lengths, begins, strict=True):
        found.append(list(struct.unpack(f"<{length}{letter}", data[begin : begin + length * width])))
    return list(struct.unpack(f"<{len(data) // width}{letter}", data)), found


def read_olmo(stem: Path, size: int) -> Shard:
    """OLMo-core: lines split at commas, of which the first two count; dolma's five fields behind it."""
    ids = _ids(Path(f"{stem}.npy").read_bytes(), size)
    documents = []
    packed = Path(f"{stem}.csv.gz").read_bytes()
    with gzip.open(io.BytesIO(packed), "rt") as stream:
        for line in stream:
            start, end, *_ = line.split(",")
            assert int(start) < len(ids)
            documents.append(ids[int(start) : int(end)])
    assert [len(row) for row in olmo_rows(stem)] == [5] * len(documents)
    return ids, documents


def olmo_rows(stem: Path) -> list[list[str]]:
    with gzip.open(f"{stem}.csv.gz", "rt", newline="") as stream:
        return list(csv.reader(stream))


def read_llmc(stem: Path, size: int) -> Shard:
    """llm.c: a header of 256 int32; it knows no documents."""
    data = Path(f"{stem}.bin").read_bytes()
    header = struct.unpack("<256i", data[:1024])
    assert header[:2] == ((20240520, 1) if size == 2 else (20240801, 7))
    assert set(header[3:]) == {0}
    ids = _ids(data[1024:], size)
    assert header[2] == len(ids)
    return ids, []


def read_nanogpt(stem: Path, size: int) -> Shard:
    """nanoGPT: uint16 and nothing else."""
    assert size == 2
    return _ids(Path(f"{stem}.bin").read_bytes(), size), []


READERS: dict[str, Any] = {
    "ds": read_ds,
    "megatron": read_megatron,
    "olmo": read_olmo,
    "llmc": read_llmc,
    "nanogpt": read_nanogpt,
}
