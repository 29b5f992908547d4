"""How records begin in the two archive formats: what `records` needs to know of WARC and ARC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tokenmill.io.http import head_size

MAX_HEAD = 64 << 10
"""Longest record header in bytes; real ones have less than 4 KiB."""


@dataclass(slots=True)
class Head:
    """The header of a record."""

    kind: str
    """WARC-Type in lower case; "" when the header has none and so is no record."""
    headers: Mapping[str, str]
    """Header values by lower-case name; of a repeated header the first."""
    length: int | None
    """Content-Length in bytes; None when it is absent or no number."""
    size: int
    """Bytes of the header itself, its empty line included."""


class Dialect(Protocol):
    """One archive format."""

    @property
    def trailer(self) -> bytes:
        """What stands between the end of a block and the next header."""
        ...

    def begins(self, data: bytes) -> bool:
        """Whether data (from its first byte on) begin with the header of a record."""
        ...

    def may_begin(self, data: bytes) -> bool:
        """Whether these few bytes can be the beginning of a header; b"" can."""
        ...

    def candidate(self, data: bytes, start: int, end: int) -> int:
        """Where in data[start:end] a header may begin, at the beginning of a line; -1: nowhere."""
        ...

    def parse(self, data: bytes, start: int, offset: int) -> Head | None:
        """The header at data[start:]; None when it does not end there. `offset` is its place in the file."""
        ...


_VERSION = re.compile(rb"WARC/\d\.\d+[ \t]*\r*\n")
_WARC = b"WARC/"


@dataclass(frozen=True)
class WarcDialect:
    """WARC 0.17 to 1.1: a version line, `Name: value` lines, an empty line (ISO 28500)."""

    trailer: bytes = field(default=b"\r\n\r\n", init=False)

    def begins(self, data: bytes) -> bool:
        return _VERSION.match(data) is not None

    def may_begin(self, data: bytes) -> bool:
        return data[:5] == _WARC[: len(data)]

    def candidate(self, data: bytes, start: int, end: int) -> int:
        at = data.find(_WARC, start, end + len(_WARC) - 1)
        while at >= 0:
            if (at == 0 or data[at - 1] == 0x0A) and _VERSION.match(data, at):
                return at
            at = data.find(_WARC, at + 1, end + len(_WARC) - 1)
        return -1

    def parse(self, data: bytes, start: int, offset: int) -> Head | None:
        size = head_size(data, start, MAX_HEAD)
        if size < 0:
            return None
        text = data[start : start + size].decode("utf-8", "replace")
        if "\0" in text:
            text = text.replace("\0", "")
        headers: dict[str, str] = {}
        name = ""
        for line in text.split("\n")[1:]:
            if line[:1] in (" ", "\t") and name:
                headers[name] = f"{headers[name]} {line.strip()}"
                continue
            name, colon, value = line.partition(":")
            name = name.strip().lower() if colon else ""
            if name and name not in headers:
                headers[name] = value.strip()
        length = headers.get("content-length", "")
        # int() would also take "-1", "1_000" and digits of other scripts.
        known = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None
        return Head(headers.get("warc-type", "").lower(), headers, known, size)


WARC = WarcDialect()
