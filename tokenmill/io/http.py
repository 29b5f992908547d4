"""The head of an archived HTTP response: status and headers, as tolerant as browsers are."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD = 256 << 10
"""Longest HTTP head in bytes; Chromium refuses more than 256 KiB."""

# Old crawls end lines with a bare newline, and one writer with CR CR LF.
_EMPTY_LINE = re.compile(rb"\n\r*\n")
_STATUS = re.compile(r"HTTP/?\S*[ \t]+(\d{3})(?!\d)")


@dataclass(frozen=True, slots=True)
class HttpHead:
    """Status line and headers of a response."""

    status: int | None
    """Status code; None when the status line has none."""
    text: str
    """One `Name: value` a line, decoded as Latin-1 (RFC 9110, 5.5), without the status line."""
    size: int
    """Bytes up to the body."""

    def get(self, name: str) -> str:
        """Value of the first header of that (lower case) name, or ""."""
        for line in self.text.split("\n"):
            if line[: len(name)].lower() == name and line[len(name) : len(name) + 1] == ":":
                return line[len(name) + 1 :].strip()
        return ""


def parse_http(block: bytes) -> HttpHead | None:
    """The head of a response; None when the block is no HTTP response or its head is over `MAX_HEAD`.

    A block without an empty line is all head: its body is empty.
    """
    if not block.startswith(b"HTTP"):
        return None
    size = head_size(block, 0, MAX_HEAD)
    if size < 0:
        if len(block) >= MAX_HEAD:
            return None
        size = len(block)
    text = block[:size].decode("latin-1").replace("\r", "").replace("\0", "")
    status_line, _, rest = text.partition("\n")
    match = _STATUS.match(status_line)
    if "\n " in rest or "\n\t" in rest:
        rest = re.sub(r"\n[ \t]+", " ", rest)
    lines = [line for line in rest.split("\n") if ":" in line]
    return HttpHead(int(match.group(1)) if match else None, "\n".join(lines), size)


def head_size(data: bytes, start: int, limit: int) -> int:
    """Bytes from `start` up to and including the first empty line, -1 when none ends within `limit` bytes."""
    match = _EMPTY_LINE.search(data, start, start + limit)
    return match.end() - start if match is not None else -1


def media_type(value: str) -> str:
    """The media type of a Content-Type value: lower case, without parameters."""
    return value.partition(";")[0].partition(",")[0].strip().lower()
