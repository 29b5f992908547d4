"""What HTTP left on a payload: transfer and content encodings, whatever the headers say.

Archives disagree with their own headers: crawlers keep `Content-Encoding: gzip` over a plain body, and write
chunked or compressed bodies under headers that name neither. The bytes decide; a header only breaks ties.
All output is bounded, and a cut stream gives what it held.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

_INPUT = 1 << 12
_OUTPUT = 1 << 16
_MAX_LAYERS = 3  # gzip in gzip in chunked is the deepest seen
_MAX_MEMBERS = 1000
_CHUNK_SIZE = re.compile(rb"\s{0,2}([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,200})?\r?\n")
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_TEXT_START = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,1000}<")


class TooLarge(Exception):
    """The decoded payload is larger than the limit."""


class Undecodable(Exception):
    """The payload is compressed and nothing of it can be read."""


@dataclass(frozen=True)
class Headers:
    """Header fields by lower-case name, each with its values in order."""

    fields: dict[str, list[str]]

    @classmethod
    def parse(cls, block: str) -> Headers:
        """From `Name: value` lines; lines without a colon (status line, folded values) are passed over."""
        fields: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, colon, value = line.partition(":")
            if colon:
                fields.setdefault(name.strip().lower(), []).append(value.strip())
        return cls(fields)

    def all(self, name: str) -> list[str]:
        return self.fields.get(name, [])

    def joined(self, name: str) -> str:
        return ", ".join(self.all(name)).lower()


def decode_body(payload: bytes, headers: Headers, limit: int) -> bytes:
    """The payload without chunks and compression, at most `limit` bytes; raises TooLarge or Undecodable."""
    body = payload
    encodings = headers.joined("content-encoding")
    for _ in range(_MAX_LAYERS):
        inner = _dechunk(body, declared="chunked" in headers.joined("transfer-encoding"))
        if inner is None:
            inner = _decompress(body, encodings, limit)
        if inner is None:
            break
        body = inner
        if not encodings and not body.startswith((_GZIP, _ZSTD)):
            break
    if len(body) > limit:
        raise TooLarge
    return body


def _dechunk(body: bytes, declared: bool) -> bytes | None:
    """The joined chunks; None when the body is not chunked. Stops at the first thing that is no chunk."""
    first = _CHUNK_SIZE.match(body)
    if first is None or not (declared or _is_chunked(body, first)):
        return None
    parts: list[bytes] = []
    position = 0
    match: re.Match[bytes] | None = first
    while match is not None:
        size = int(match.group(1), 16)
        position = match.end() + size
        if size == 0:
            return b"".join(parts)
        parts.append(body[match.end() : position])
        match = _CHUNK_SIZE.match(body, position)
    if position < len(body) and len(parts) == 1 and not _is_chunked(body, first):
        return None  # declared, but the first line only looked like a size
    return b"".join(parts)


def _is_chunked(body: bytes, first: re.Match[bytes]) -> bool:
    """Whether a body that nothing declares chunked is: one whole chunk and the next size, or a cut page."""
    size = int(first.group(1), 16)
    end = first.end() + size
    if size == 0 or end > len(body):
        rest = body[first.end() : first.end() + 1200]
        return size > 0 and (rest.startswith(_GZIP) or _TEXT_START.match(rest) is not None)
    return _CHUNK_SIZE.match(body, end) is not None


def _decompress(body: bytes, encodings: str, limit: int) -> bytes | None:
    """One layer of compression removed; None when the body is plain."""
    if body.startswith((_GZIP, _ZSTD)):
        out = _bounded(_gzip_pieces(body) if body.startswith(_GZIP) else _zstd_pieces(body), limit)
        if not out:
            raise Undecodable
        return out
    if not encodings or _TEXT_START.match(body) is not None:
        return None  # a header that outlived the encoding
    if "deflate" in encodings:
        for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # servers send both, the RFC means the first
            if out := _bounded(_zlib_pieces(zlib.decompressobj(window), body, 0), limit):
                return out
    if "br" in encodings:
        return _bounded(_brotli_pieces(body), limit) or None
    return None


def _bounded(pieces: Iterable[bytes], limit: int) -> bytes:
    out = bytearray()
    for piece in pieces:
        out += piece
        if len(out) > limit:
            raise TooLarge
    return bytes(out)


def _zlib_pieces(stream: zlib._Decompress, data: bytes, start: int) -> Generator[bytes, None, int]:
    """Output of one stream that begins at `start`; returns where it ends, or the end of the data.

    Small inputs, since an error loses what its input would have given.
    """
    try:
        while start < len(data) and not stream.eof:
            piece = data[start : start + _INPUT]
            start += len(piece)
            yield stream.decompress(piece, _OUTPUT)
            while stream.unconsumed_tail and not stream.eof:
                yield stream.decompress(stream.unconsumed_tail, _OUTPUT)
    except zlib.error:
        return len(data)
    return start - len(stream.unused_data)


def _gzip_pieces(data: bytes) -> Iterator[bytes]:
    """Output of concatenated gzip members."""
    start = 0
    for _ in range(_MAX_MEMBERS):
        if not data.startswith(_GZIP, start):
            return
        start = yield from _zlib_pieces(zlib.decompressobj(31), data, start)


def _zstd_pieces(data: bytes) -> Iterator[bytes]:
    import zstandard

    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data, read_across_frames=True) as reader:
        try:
            while piece := reader.read(_OUTPUT):
                yield piece
        except zstandard.ZstdError:
            return


def _brotli_pieces(data: bytes) -> Iterator[bytes]:
    import brotli

    decompressor = brotli.Decompressor()
    try:
        piece = decompressor.process(data, output_buffer_limit=_OUTPUT)
        while piece:
            yield piece
            piece = b"" if decompressor.is_finished() else decompressor.process(b"", output_buffer_limit=_OUTPUT)
    except brotli.error:
        return
