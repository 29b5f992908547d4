"""Segments: files of rows that one session has written, in frames of zstd that are whole or not there.

A frame is preceded by a skippable frame of 12 bytes (length, length when unpacked, CRC-32 of the two), so that a reader
tells a frame that a kill has cut from one that is damaged. `zstd -dc` reads a segment as plain JSON Lines.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import disk_error

SUFFIX = ".jsonl.zst"
LEVEL = 3
_MAGIC = 0x184D2A5B
"""Of the 16 that zstd leaves for skippable frames."""
_HEAD = struct.Struct("<IIIII")
_MOST = 1 << 30
"""Bytes that no frame unpacks to: a number above is damage."""
_PART = b'"part":"'

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_ascii = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON. Halves of surrogate pairs, which some models emit, are escaped."""
    try:
        return _compact(row).encode() + b"\n"
    except UnicodeEncodeError:
        return _ascii(row).encode() + b"\n"


class SegmentWriter:
    """A new file to which frames are appended. After `write` a frame outlives this process, after `sync` the power.

    One thread may write while another one syncs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._size = self._synced = 0
        self._behind: list[tuple[int, Sequence[bytes]]] = []
        """Lines that are not known to be on the disk, and the size of the file with them."""
        self._lost: list[bytes] = []
        self._named = False
        """Whether the name of the file is on the disk as well."""
        self._changing = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream: BinaryIO = open(path, "xb", buffering=0)
        except OSError as error:
            raise disk_error(error, str(path)) from error

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines as one frame, or nothing. ShardError or FatalError where that fails."""
        raw = b"".join(lines)
        frame = self._packer.compress(raw)
        lengths = struct.pack("<II", len(frame), len(raw))
        data = memoryview(_HEAD.pack(_MAGIC, 12, len(frame), len(raw), zlib.crc32(lengths)) + frame)
        with self._changing:
            try:
                written = 0
                while written < len(data):
                    written += self._stream.write(data[written:]) or 0
            except OSError as error:
                self._cut(self._size)  # else the next frame would stand behind half a one
                raise disk_error(error, str(self.path)) from error
            self._size += len(data)
            self._behind.append((self._size, lines))

    def sync(self) -> None:
        """Return when all that was written is on the disk. ShardError or FatalError where that fails, and what was not
        yet there is then taken back, until `taken_back`: nobody knows which of it is."""
        size = self._size
        if size == self._synced:
            return
        try:
            os.fsync(self._stream.fileno())
            if not self._named:
                _sync_folder(self.path.parent)
                self._named = True
        except OSError as error:
            with self._changing:
                self._cut(self._synced)
                self._lost += [line for _, lines in self._behind for line in lines]
                self._behind = []
            raise disk_error(error, str(self.path)) from error
        with self._changing:
            self._synced = size
            self._behind = [one for one in self._behind if one[0] > size]

    def taken_back(self) -> list[bytes]:
        """Lines that failed syncs have taken out of the file, once."""
        with self._changing:
            lost, self._lost = self._lost, []
        return lost

    def append(self, lines: Sequence[bytes]) -> None:
        """Write and sync."""
        self.write(lines)
        self.sync()

    def close(self) -> None:
        self._stream.close()

    def _cut(self, size: int) -> None:
        os.ftruncate(self._stream.fileno(), size)
        os.lseek(self._stream.fileno(), size, os.SEEK_SET)
        self._size = size


def _sync_folder(folder: Path) -> None:
    """Without this the name of a new file may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _any(line: bytes) -> bool:
    return True


def _nothing() -> None: ...


class SegmentReader:
    """The rows of a file. `cut_bytes`: what a killed writer has left behind the last whole frame, once read through."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_bytes = 0

    def rows(
        self,
        first: str = "0000",
        last: str = "ffff",
        *,
        wanted: Callable[[bytes], bool] = _any,
        alive: Callable[[], None] = _nothing,
    ) -> Iterator[dict[str, Any]]:
        """The rows of the parts [first, last] whose lines are wanted. ConfigError for damage before the end.

        wanted: asked before a line is decoded, which takes most of the time. alive: called for each frame.
        """
        low, high = first.encode(), last.encode()
        for offset, raw in self._frames():
            alive()
            for line in raw.splitlines():
                place = line.find(_PART) + len(_PART)  # quotes inside of strings are escaped: this is the key itself
                if not low <= line[place : place + 4] <= high or not wanted(line):
                    continue
                try:
                    row = json.loads(line)
                    row["key"], row["event"]
                except (ValueError, KeyError, TypeError) as error:
                    raise self._damaged(offset, f"a line is no row: {error}") from error
                yield row

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        unpacker = zstandard.ZstdDecompressor()
        with open(self.path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            offset = 0
            while offset < size:
                head = stream.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    break
                length = self._length(head, offset)
                if length is None:
                    if any(head) or any(stream.read()):
                        raise self._damaged(offset, "no frame begins here")
                    break  # zeros up to the end: the machine went down before the data was on the disk
                end = offset + _HEAD.size + length
                frame = stream.read(length) if end <= size else b""
                try:
                    raw = unpacker.decompress(frame) if end <= size else b""
                except zstandard.ZstdError as error:
                    if end < size:
                        raise self._damaged(offset, str(error)) from error
                    break  # the last one, of which nobody knows that it was ever whole
                if end > size:
                    break
                yield offset, raw
                offset = end
            self.cut_bytes = size - offset

    def _length(self, head: bytes, offset: int) -> int | None:
        magic, twelve, length, raw, check = _HEAD.unpack(head)
        fine = magic == _MAGIC and twelve == 12 and check == zlib.crc32(head[8:16]) and raw <= _MOST
        return length if fine else None

    def _damaged(self, offset: int, why: str) -> ConfigError:
        return ConfigError(
            f"the ledger is damaged in {self.path.name}",
            where=f"{self.path}, byte {offset}",
            why=why,
            fix="restore the file, or move it away: what only it has is asked again",
        )
