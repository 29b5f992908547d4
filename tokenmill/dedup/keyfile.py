"""Files of sorted keys: one per group of shards, read in slices by (band, range of keys).

A record is a 64-bit key and the number of a document (or span) within the group. Keys of each band are sorted, and
an index of 256 ranges by the first byte of the key makes every range one seek and one read: with 1,000 groups and 64
ranges that is 64,000 ranged reads per band, each of a megabyte or so, which object stores like.

    16 bytes magic | 8 bytes length of the header | header (JSON) | index, uint64 (bands, 257)
    then per band: keys, uint64 (n,) | numbers, uint32 (n,), padded to 8 bytes

All numbers are little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ShardError
from tokenmill.io.filesystem import open_binary

MAGIC = b"tokenmill keys 1"
RANGES = 256
"""Ranges of the index; a task may read several that follow one another."""

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.uint32]


def write_keys(path: str, bands: Sequence[tuple[Keys, Numbers]], about: Mapping[str, Any]) -> None:
    """Write (keys, numbers) of every band, sorted by key and then by number, to a local file.

    Numbers must come in ascending order. about: what made the keys (scheme, seed); `KeyFile.about` gives it back.
    """
    ordered = []
    for keys, numbers in bands:
        order = np.argsort(keys, kind="stable")
        ordered.append((np.ascontiguousarray(keys[order], "<u8"), np.ascontiguousarray(numbers[order], "<u4")))
    bounds = (np.arange(1, RANGES, dtype=np.uint64)) << np.uint64(56)
    index = np.zeros((len(ordered), RANGES + 1), "<u8")
    for band, (keys, _) in enumerate(ordered):
        index[band, 1:RANGES] = np.searchsorted(keys, bounds)
        index[band, RANGES] = len(keys)
    header = json.dumps({"about": dict(about), "bands": len(ordered)}, sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    with Path(path).open("wb") as stream:
        stream.write(MAGIC + len(header).to_bytes(8, "little") + header + index.tobytes())
        for keys, numbers in ordered:
            stream.write(keys.tobytes())
            stream.write(numbers.tobytes() + b"\0" * (-numbers.nbytes % 8))


class KeyFile:
    """An open file of keys. ShardError where it is no such file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._stream: BinaryIO = open_binary(path)
        try:
            self._read_header()
        except BaseException:
            self._stream.close()
            raise

    def _read_header(self) -> None:
        head = self._read(len(MAGIC) + 8)
        if head[: len(MAGIC)] != MAGIC:
            raise ShardError(
                f"{self.path} is no file of keys", why="its first bytes differ", fix="run the same command again"
            )
        size = int.from_bytes(head[len(MAGIC) :], "little")
        header = json.loads(self._read(size))
        self.about: Mapping[str, Any] = header["about"]
        self.bands: int = header["bands"]
        raw = self._read(self.bands * (RANGES + 1) * 8)
        self._index = np.frombuffer(raw, "<u8").reshape(self.bands, RANGES + 1).astype(np.int64)
        counts = self._index[:, RANGES]
        sizes = counts * 8 + (counts * 4 + 7) // 8 * 8
        first = len(MAGIC) + 8 + size + len(raw)
        self._starts = first + np.concatenate([[0], np.cumsum(sizes)])

    def __enter__(self) -> KeyFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def count(self, band: int) -> int:
        """Records of a band."""
        return int(self._index[band, RANGES])

    def slice(self, band: int, part: int = 0, parts: int = 1) -> tuple[Keys, Numbers]:
        """(keys, numbers) of the `part`-th of `parts` equal ranges of keys; parts divides 256."""
        width = RANGES // parts
        low, high = int(self._index[band, part * width]), int(self._index[band, (part + 1) * width])
        start = int(self._starts[band])
        self._stream.seek(start + low * 8)
        keys = np.frombuffer(self._read((high - low) * 8), "<u8")
        self._stream.seek(start + self.count(band) * 8 + low * 4)
        return keys, np.frombuffer(self._read((high - low) * 4), "<u4")

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise ShardError(
                f"{self.path} ends too early",
                why=f"{len(data)} of {size} bytes are there",
                fix="delete it and run the same command again",
            )
        return data
