"""Inflating one gzip member, LZ4 frame or Zstandard frame in steps whose output is bounded.

A step never gives more than a few MiB, whatever a hostile file says, and tells how many stored bytes it took:
the end of a member is known to the byte, which is what the walker in `members` lives on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import lz4.frame
import zstandard
from isal import isal_zlib  # zlib's interface at more than twice its speed (measured on web pages)

PIECE = 8 << 10
"""Stored bytes given to an inflater at once. DEFLATE grows by at most 1032 times, so a step gives <= 8.3
MiB."""

_SKIPPABLE = b"\x2a\x4d\x18"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_DICTIONARY = b"\x5d" + _SKIPPABLE
_MAX_DICTIONARY = 16 << 20


class Inflater(Protocol):
    """Inflates one member. `errors` of its codec are raised when the data are damaged."""

    @property
    def done(self) -> bool:
        """Whether the end of the member, its checksum included, has been read."""
        ...

    def inflate(self, data: bytes) -> tuple[bytes, int]:
        """Inflated bytes, and how many of `data` were taken (all of them unless `done` or a step ended)."""
        ...


@dataclass(frozen=True)
class Codec:
    """How the members of a file are told and inflated."""

    name: str
    """gzip, lz4 or zstd."""
    magic: bytes
    """First bytes of a member; what is searched for after damage."""
    new: Callable[[], Inflater]
    """Makes the inflater of one member."""

    def begins(self, head: bytes) -> bool:
        """Whether a member can begin with these (at least four) bytes."""
        return head.startswith(self.magic) or (self.name != "gzip" and _is_skippable(head))


ERRORS: tuple[type[Exception], ...] = (  # isal declares its class as an instance
    isal_zlib.IsalError,  # type: ignore[assignment]
    RuntimeError,
    zstandard.ZstdError,
    EOFError,
    ValueError,
)
"""What the libraries raise on damaged data (lz4 raises RuntimeError)."""


class _Gzip:
    def __init__(self) -> None:
        self._zlib = isal_zlib.decompressobj(wbits=31)

    @property
    def done(self) -> bool:
        return self._zlib.eof

    def inflate(self, data: bytes) -> tuple[bytes, int]:
        out = self._zlib.decompress(data)
        return out, len(data) - len(self._zlib.unused_data)


class _Lz4:
    """LZ4 grows by at most 255 times, so a piece gives at most 2 MiB."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameDecompressor()
        self._skippable: _Skippable | None = None
        self._started = False

    @property
    def done(self) -> bool:
        return self._skippable.done if self._skippable is not None else bool(self._frame.eof)

    def inflate(self, data: bytes) -> tuple[bytes, int]:
        if not self._started:
            self._started = True
            if _is_skippable(data):
                self._skippable = _Skippable()
        if self._skippable is not None:
            return b"", self._skippable.take(data)
        out: bytes = self._frame.decompress(data)
        unused = self._frame.unused_data
        return out, len(data) - len(unused) if unused else len(data)


class _Skippable:
    """A frame without content for us: four bytes of magic, four of length, the data."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 8

    @property
    def done(self) -> bool:
        return self._left == 0

    def take(self, data: bytes) -> int:
        taken = min(len(data), self._left)
        self._left -= taken
        if len(self._head) < 8:
            self._head += data[:taken]
            if len(self._head) == 8:
                self._left = int.from_bytes(self._head[4:], "little")
        return taken


class _Zstd:
    """Feeds block by block: a block gives at most 128 KiB, while a few bytes can hold thousands of blocks.

    Layout from RFC 8878, section 3.1.1: frame header, blocks with a header of three bytes, checksum.
    """

    def __init__(self, dictionary: zstandard.ZstdCompressionDict | None) -> None:
        self._zstd = zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()
        self._skippable: _Skippable | None = None
        self._unit = b""
        self._need = 5
        self._part = "frame"
        self._checksum = False

    @property
    def done(self) -> bool:
        return self._skippable.done if self._skippable is not None else self._part == "done"

    def inflate(self, data: bytes) -> tuple[bytes, int]:
        if not self._unit and self._part == "frame" and _is_skippable(data):
            self._skippable = _Skippable()
        if self._skippable is not None:
            return b"", self._skippable.take(data)
        taken = data[: self._need - len(self._unit)]
        self._unit += taken
        if len(self._unit) < self._need or not self._complete():
            return b"", len(taken)
        out, self._unit = self._zstd.decompress(self._unit), b""
        return out, len(taken)

    def _complete(self) -> bool:
        """Whether `_unit` is a whole header or block; else sets how many bytes it needs."""
        if self._part == "frame":
            flags = self._unit[4]
            single = flags >> 5 & 1
            size = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
            self._checksum = bool(flags >> 2 & 1)
            if len(self._unit) < size:
                self._need = size
                return False
            self._part, self._need = "block", 3
        elif self._part == "block":
            head = int.from_bytes(self._unit[:3], "little")
            size = 3 + (1 if head >> 1 & 3 == 1 else head >> 3)
            if len(self._unit) < size:
                self._need = size
                return False
            self._need = 3
            if head & 1:
                self._part, self._need = ("checksum", 4) if self._checksum else ("done", 0)
        else:
            self._part = "done"
        return True


def _is_skippable(head: bytes) -> bool:
    return head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F


GZIP = Codec("gzip", b"\x1f\x8b\x08", _Gzip)
LZ4 = Codec("lz4", b"\x04\x22\x4d\x18", _Lz4)


def zstd(first: bytes) -> Codec:
    """The codec for a Zstandard file; `first` holds its first bytes, with the dictionary frame if it has one.

    A dictionary is in a skippable frame at the start, itself compressed or not (IIPC: WARC with Zstandard
    1.0).
    """
    dictionary = None
    if first.startswith(_ZSTD_DICTIONARY):
        content = first[8 : 8 + int.from_bytes(first[4:8], "little")]
        if content.startswith(_ZSTD_MAGIC):
            content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        dictionary = zstandard.ZstdCompressionDict(content)
    return Codec("zstd", _ZSTD_MAGIC, lambda: _Zstd(dictionary))


def sniff(name: str, read: Callable[[int], bytes], begins_record: Callable[[bytes], bool]) -> Codec | None:
    """The codec of a file by its first bytes (`read(n)` gives them), else by its name; None: not compressed.

    The name counts only where the content says nothing, so that a damaged first member does not hide the
    rest.
    """
    head = read(4096)
    if head.startswith(GZIP.magic[:2]):
        return GZIP
    if head.startswith(LZ4.magic):
        return LZ4
    if head.startswith(_ZSTD_DICTIONARY):
        size = 8 + int.from_bytes(head[4:8], "little")
        return zstd(read(size) if size <= _MAX_DICTIONARY else b"")
    if head.startswith(_ZSTD_MAGIC) or (head and _is_skippable(head)):
        return zstd(head)
    if begins_record(head.lstrip(b"\r\n")):
        return None
    for ending, codec in ((".gz", GZIP), (".lz4", LZ4), (".zst", zstd(b""))):
        if ending in name.rsplit("/", 1)[-1].lower():
            return codec
    return None
