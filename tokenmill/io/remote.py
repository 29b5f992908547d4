"""A remote file that is read by ranges, goes on after dropped connections and never mixes two versions.

A jump reads exactly what was asked for: files of keys and Parquet are read in many exact pieces, and the caches
of fsspec read whole blocks around each (50 MiB on S3). Reading on from where the last read ended doubles what is
fetched, up to `AHEAD`; so what is fetched too much is never more than what was used in sequence, or `FLOOR`.
"""

from __future__ import annotations

import io
import os
from typing import Any

from tokenmill.io.retry import Busy, Patience, Retries
from tokenmill.io.sources import Source, open_source
from tokenmill.io.stores import shown

AHEAD = 8 << 20
"""Most bytes fetched ahead of the reader, and so the memory of an open file beside what it returns."""
FLOOR = 64 << 10
"""Fewest bytes fetched when reading on: a request costs about as much as this many bytes (tens of ms)."""
PROGRESS = 64 << 10
"""Bytes that must arrive before a failure for the count of failures to begin again."""
_PEEK = 8 << 10


class RemoteFile(io.RawIOBase):
    """A remote file for reading; `read(n)` gives n bytes unless the file ends.

    FileNotFoundError and PermissionError at once; OSError with place and tries when the store goes on failing,
    or when the file has changed. Not safe for several threads.
    """

    def __init__(self, location: str, patience: Patience | None = None) -> None:
        self.name = location
        self._patience = patience
        self._source: Source = open_source(location)
        self._position = 0
        self._start = 0
        """Where `_buffer` lies in the file."""
        self._buffer = b""
        self._ahead = 0
        """Bytes of the last fetch; 0 after a jump."""
        self._ended: int | None = self._source.size

    @property
    def size(self) -> int:
        """Bytes of the file. io.UnsupportedOperation where the server does not say."""
        if self._ended is None:
            raise io.UnsupportedOperation(f"{shown(self.name)}: the server does not say how long the file is")
        return self._ended

    @property
    def version(self) -> tuple[int | None, str]:
        """(bytes, etag) as it was opened; None and "" where the store does not say."""
        return self._source.size, self._source.etag

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        position = (self.size if base is None else base) + offset
        if position < 0:
            raise ValueError(f"seek to {position}")
        self._position = position
        return position

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, less only at the end of the file; all that are left where it is negative or None."""
        if self.closed:
            raise ValueError("read of a closed file")
        if size is None or size < 0:
            parts = []
            while part := self.read(AHEAD):
                parts.append(part)
            return b"".join(parts)
        if self._ended is not None:
            size = min(size, max(self._ended - self._position, 0))
        if not self._start <= self._position < self._start + len(self._buffer):
            self._fetch(size)
        at = self._position - self._start
        data = self._buffer[at : at + size]
        self._position += len(data)
        if len(self._buffer) > AHEAD and at + len(data) == len(self._buffer):
            self._start, self._buffer = self._position, b""
        return data + self.read(size - len(data)) if data and len(data) < size else data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def peek(self, size: int = 0) -> bytes:
        """Some bytes ahead without passing over them; `readline` lives on it."""
        position = self._position
        data = self.read(_PEEK)
        self._position = position
        return data

    def close(self) -> None:
        if not self.closed:
            self._buffer = b""
            self._source.close()
        super().close()

    def _fetch(self, size: int) -> None:
        """Have at least `size` bytes from the position in the buffer, or up to the end of the file."""
        end = self._start + len(self._buffer)
        if self._position != end:
            self._ahead = 0
        elif self._ahead:
            size = max(size, min(2 * self._ahead, AHEAD), FLOOR)
        if self._ended is not None:
            size = min(size, self._ended - self._position)
        self._start, self._buffer = self._position, b""
        if size > 0:
            self._buffer = self._get(self._position, size)
            self._ahead = min(size, AHEAD)

    def _get(self, start: int, size: int) -> bytes:
        got = bytearray()
        retries = Retries(f"read {self.name}", self._patience)
        while len(got) < size:
            before = len(got)
            try:
                self._source.get(start + before, size - before, got)
                if self._ended is None and len(got) < size:
                    self._ended = start + len(got)
                    break
                if len(got) < size:
                    raise Busy(f"{len(got) - before} of {size - before} bytes came")
                if len(got) > size:
                    raise OSError(f"{shown(self.name)}: more bytes came than were asked for at {start + before}")
            except Exception as error:
                if len(got) - before >= PROGRESS:
                    retries.progress()
                retries.failed(error, where=f"byte {start + len(got)}")
        return bytes(got)
