"""Payloads as crawlers leave them: chunked, compressed, cut, lying about it, and bombs."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.extract.http import Headers, TooLarge, Undecodable, decode_body

PAGE = b"<!DOCTYPE html><html><body>" + b"<p>Some words of a page.</p>\n" * 200 + b"</body></html>"
LIMIT = 1 << 20


def chunked(body: bytes, size: int = 1000, extension: bytes = b"") -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in parts) + b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


def decode(payload: bytes, headers: str = "", limit: int = LIMIT) -> bytes:
    return decode_body(payload, Headers.parse(headers), limit)


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        (PAGE, ""),
        (PAGE, "Content-Encoding: gzip"),  # decoded by the crawler, header kept
        (PAGE, "content-encoding: br"),
        (PAGE, "Content-Encoding: deflate\nTransfer-Encoding: chunked"),
        (PAGE, "Content-Encoding: zstd"),
        (gzip.compress(PAGE, mtime=0), "Content-Encoding: gzip"),
        (gzip.compress(PAGE, mtime=0), "Content-Encoding: x-gzip"),
        (gzip.compress(PAGE, mtime=0), ""),  # nothing says so
        (gzip.compress(PAGE[:500], mtime=0) + gzip.compress(PAGE[500:], mtime=0), "Content-Encoding: gzip"),
        (gzip.compress(gzip.compress(PAGE, mtime=0), mtime=0), "Content-Encoding: gzip"),
        (zlib.compress(PAGE), "Content-Encoding: deflate"),
        (raw_deflate(PAGE), "Content-Encoding: deflate"),
        (brotli.compress(PAGE), "Content-Encoding: br"),
        (zstandard.compress(PAGE), "Content-Encoding: zstd"),
        (zstandard.compress(PAGE), ""),
        (chunked(PAGE), "Transfer-Encoding: chunked"),
        (chunked(PAGE), ""),
        (chunked(PAGE, extension=b";a=b"), "transfer-encoding: Chunked"),
        (chunked(PAGE, 10**6), ""),  # one chunk
        (chunked(gzip.compress(PAGE, mtime=0)), "Transfer-Encoding: chunked\nContent-Encoding: gzip"),
        (chunked(gzip.compress(PAGE, mtime=0)), ""),
        (chunked(brotli.compress(PAGE)), "Transfer-Encoding: chunked\nContent-Encoding: br"),
    ],
)
def test_page_comes_out_whole(payload: bytes, headers: str) -> None:
    assert decode(payload, headers) == PAGE


@pytest.mark.parametrize(
    "payload",
    [
        gzip.compress(PAGE, mtime=0)[:-30],
        gzip.compress(PAGE, mtime=0)[:-1],
        chunked(PAGE)[:-700],
        chunked(PAGE)[:500],
        gzip.compress(PAGE, mtime=0) + b"rubbish",
    ],
)
def test_cut_payload_gives_what_there_is(payload: bytes) -> None:
    body = decode(payload)
    assert PAGE.startswith(body)
    assert len(body) > 100


def test_damage_loses_only_what_follows() -> None:
    import random

    page = bytes(random.Random(1).choices(b"abcdefgh <>", k=200_000))
    packed = bytearray(gzip.compress(page, mtime=0))
    packed[-2000] ^= 0xFF
    body = decode(bytes(packed))
    assert len(body) > 100_000
    assert page[:100_000] == body[:100_000]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"1234\r\n is a number that begins a text",
        b"abc\r\ndef",
        b"0\r\nrubbish",
        b"plain words",
        b"\x1f\x8bnot gzip",
    ],
)
def test_plain_payload_stays(payload: bytes) -> None:
    assert decode(payload) == payload


def test_first_line_that_looks_like_a_size_is_kept_even_if_declared_chunked() -> None:
    assert decode(b"12\r\nplain text that has no chunks at all", "Transfer-Encoding: chunked").startswith(b"12")


@pytest.mark.parametrize("payload", [b"\x1f\x8b\x08" + b"\xff" * 50, b"\x28\xb5\x2f\xfd" + b"\xff" * 50])
def test_magic_without_content(payload: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(payload)


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        (b"x" * (LIMIT + 1), ""),
        (gzip.compress(b"x" * (LIMIT + 1), mtime=0), ""),
        (brotli.compress(b"x" * (LIMIT + 1)), "Content-Encoding: br"),
        (zstandard.compress(b"x" * (LIMIT + 1)), ""),
        (zlib.compress(b"x" * (LIMIT + 1)), "Content-Encoding: deflate"),
        (chunked(b"x" * (LIMIT + 1)), ""),
    ],
)
def test_limit(payload: bytes, headers: str) -> None:
    with pytest.raises(TooLarge):
        decode(payload, headers)
    assert len(decode(payload, headers, LIMIT + 1)) == LIMIT + 1


BOMB = bytes(200 << 20)


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        (gzip.compress(BOMB, 6, mtime=0), ""),
        (brotli.compress(BOMB, quality=1), "Content-Encoding: br"),
        (zstandard.compress(BOMB), ""),
        (gzip.compress(gzip.compress(BOMB, 6, mtime=0), mtime=0), ""),
    ],
    ids=["gzip", "brotli", "zstd", "gzip in gzip"],
)
def test_bombs_take_little_memory(payload: bytes, headers: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decode(payload, headers)
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMIT
    finally:
        tracemalloc.stop()


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"5\r\n", gzip.compress(PAGE, mtime=0)[:60]]),
    st.sampled_from(["", "Content-Encoding: gzip", "Content-Encoding: br", "Content-Encoding: deflate"]),
)
def test_never_another_error(tail: bytes, start: bytes, headers: str) -> None:
    try:
        assert len(decode(start + tail, headers + "\nTransfer-Encoding: chunked", 10_000)) <= 10_000
    except (TooLarge, Undecodable):
        pass


def test_headers() -> None:
    headers = Headers.parse("HTTP/1.1 200 OK\nA: 1\na:2\nNo colon\n: x\nB:  y: z ")
    assert headers.all("a") == ["1", "2"]
    assert headers.joined("b") == "y: z"
    assert headers.all("c") == []
