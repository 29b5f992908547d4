"""Hostile archives made on the spot, and short ways to read them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tokenmill.core.stage import InputShard
from tokenmill.io.members import Loss
from tokenmill.io.records import Record, iter_records
from tokenmill.io.warc import ReadWarc

SHARED = Path(__file__).parents[2].parent / "shared"


def shared(folder: str) -> Path:
    """A folder of the shared test data; the test is skipped where it is absent."""
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"shared test data not found at {path}")
    return path


def page(number: int, size: int = 600) -> bytes:
    """A page whose every 8 bytes name its number, so that bytes of another page show."""
    return (f"<p>{number:05d}" * (size // 8 + 1))[:size].encode()


def foreign(number: int, payload: bytes) -> bool:
    """Whether a payload holds bytes that do not belong to page `number`, or a record header."""
    known = page(number, len(payload) + 8)
    return payload.rstrip(b"\r\n") != known[: len(payload.rstrip(b"\r\n"))]


def record(
    number: int,
    body: bytes | None = None,
    *,
    length: str | None = None,
    http_length: bool = False,
    kind: str = "response",
    http: str = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n",
    extra: str = "",
) -> bytes:
    """One WARC record; `length` replaces the Content-Length ("" leaves it out)."""
    body = page(number) if body is None else body
    if http_length:
        http += f"Content-Length: {len(body)}\r\n"
    block = (http + "\r\n").encode() + body if kind in ("response", "request") else body
    value = str(len(block)) if length is None else length
    lines = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{number:032d}>",
        f"WARC-Target-URI: http://site.example/{number}",
        "WARC-Date: 2024-05-19T06:42:53Z",
        "Content-Type: application/http; msgtype=response",
    ]
    if value:
        lines.append(f"Content-Length: {value}")
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode() + block + b"\r\n\r\n"


def block_length(number: int) -> int:
    """Content-Length of `record(number)`."""
    data = record(number)
    return len(data) - data.index(b"\r\n\r\n") - 8


def member(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def stored(data: bytes) -> bytes:
    """A gzip member that holds the bytes as they are, as compressors do with what cannot be compressed."""
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def read(data: bytes, name: str = "") -> tuple[list[Record], list[Loss]]:
    """Records and losses of a file held in memory."""
    items = list(iter_records(io.BytesIO(data), name=name))
    return [x for x in items if isinstance(x, Record)], [x for x in items if isinstance(x, Loss)]


def number_of(item: Record) -> int:
    return int(item.headers["warc-record-id"].strip("<>").rpartition(":")[2])


def body_of(item: Record) -> bytes:
    assert item.http is not None
    return item.block[item.http.size :]


class Skipped(list[dict[str, Any]]):
    """A `Skips` that remembers."""

    def __call__(self, reason: str, **values: Any) -> None:
        self.append({"reason": reason, **values})

    @property
    def reasons(self) -> Counter[str]:
        return Counter(str(skip["reason"]) for skip in self)


def documents(path: Path, stage: ReadWarc | None = None) -> tuple[list[dict[str, Any]], Skipped]:
    """Rows and skips of `ReadWarc` over a file."""
    skipped = Skipped()
    shard = InputShard(str(path), path.name, path.stat().st_size, "")
    rows: list[dict[str, Any]] = []
    for batch in (stage or ReadWarc()).read(shard, skipped):
        rows += batch.to_pylist()
    return rows, skipped
