"""`DecodeHtml`: every drop reason with its neighbour that is kept, notices, hostile bytes, real quirks."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Drop
from tokenmill.extract.decode import DecodeHtml, is_html


def decode(
    payload: bytes | None, content_type: str = "text/html", headers: str = "", truncated: str = "", **settings: Any
) -> Any:
    doc = Doc(payload=payload, http_headers=headers, content_type=content_type, truncated=truncated)
    return DecodeHtml(**settings).rewrite(doc)


@pytest.mark.parametrize(
    ("payload", "settings", "reason"),
    [
        (None, {}, "empty"),
        (b"", {}, "empty"),
        (b" \r\n\0\t", {}, "empty"),
        (gzip.compress(b"", mtime=0), {}, "undecodable"),
        (b"\x1f\x8b\x08\xff\xff", {}, "undecodable"),
        (b"<p>" + b"a" * 98, {"max_bytes": 100}, "too_large"),
        (b"<p>" + b"a" * 97, {"max_bytes": 100}, None),
        (b"%PDF-1.4 ...", {}, "not_html"),
        (b"\x89PNG\r\n", {}, "not_html"),
        (b"<p>a", {}, None),
        (b"words and no tag", {}, None),  # the server says HTML
        (b'<meta charset="utf-8"><p>' + b"a" * 70 + b"\xff" * 5, {}, None),  # 5 of 100 characters
        (b'<meta charset="utf-8"><p>' + b"a" * 70 + b"\xff" * 6, {}, "bad_charset"),
    ],
)
def test_reasons(payload: bytes | None, settings: dict[str, Any], reason: str | None) -> None:
    result = decode(payload, **settings)
    assert (result.reason if isinstance(result, Drop) else None) == reason


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"<!DOCTYPE html><p>a", "", True),
        (b"\xef\xbb\xbf \n<HTML><p>", "", True),
        ("\ufeff<html><p>".encode("utf-16-le"), "", True),
        (b"<!-- a --><html>", "", True),
        (b"<p>a", "text/plain", True),
        (b"<p>a", "text/html; charset=utf-8", True),
        (b"a", "TEXT/HTML", True),
        (b"<?xml version='1.0'?><html xmlns='x'>", "application/xhtml+xml", True),
        (b"<?xml version='1.0'?><html xmlns='x'>", "text/xml", True),
        (b"<?xml version='1.0'?><rss><title>a</title>", "text/xml", False),
        (b"<?xml version='1.0'?><rss><title>a</title>", "", False),
        (b"<svg><path/></svg>", "", False),
        (b'{"html": "<p>"}', "", False),
        (b"plain words", "", False),
        (b"plain words", "text/plain", False),
        (b"PK\x03\x04<html>", "", False),
        (b"GIF89a", "text/html", False),
        (b"<p>a", "application/json", False),
        (b"<p>a", "image/png", False),
    ],
)
def test_is_html(body: bytes, content_type: str, expected: bool) -> None:
    assert is_html(body, content_type) is expected


def test_text_is_decoded_and_clean() -> None:
    page = "<p>é\0\r\n中\x01</p>"
    assert decode(page.encode())["html"] == "<p>é\n中</p>"
    assert decode("<p>привет</p>".encode("cp1251"), "text/html; charset=windows-1251")["html"] == "<p>привет</p>"
    assert decode(b"\xef\xbb\xbf<p>a")["html"] == "<p>a"


def test_charset_of_the_header_block_counts_when_the_column_has_none() -> None:
    result = decode("<p>привет</p>".encode("koi8-r"), "text/html", "Content-Type: text/html; charset=koi8-r")
    assert result["html"] == "<p>привет</p>"


def test_split_last_character_of_a_cut_page() -> None:
    body = ("<p>" + "é" * 50).encode()[:-1]
    assert decode(body, truncated="length")["html"] == "<p>" + "é" * 49
    assert decode(body)["html"] == "<p>" + "é" * 49 + "\ufffd"


@pytest.mark.parametrize(
    ("head", "headers", "robots"),
    [
        ("", "", ""),
        ('<meta name="robots" content="noindex, nofollow">', "", "noindex, nofollow"),
        ("<META NAME=GoogleBot CONTENT='noarchive'>", "", "googlebot: noarchive"),
        ("", "X-Robots-Tag: noai\nx-robots-tag: otherbot: none", "noai; otherbot: none"),
        (
            '<meta content="a" name="robots"><meta name="googlebot" content="b">',
            "X-Robots-Tag: c",
            "c; a; googlebot: b",
        ),
        ('<meta name="robots" content="a"><meta name="robots" content="a">', "", "a"),
        ('<meta name="tdm-reservation" content="1">', "", "tdm-reservation: 1"),
        ("", "tdm-reservation: 1", "tdm-reservation: 1"),
        ('<meta name="description" content="about robots">', "", ""),
        ('<meta name="robots">', "", ""),
        ('</head><body><meta name="robots" content="in the body">', "", ""),
    ],
)
def test_robots(head: str, headers: str, robots: str) -> None:
    assert decode(f"<html><head>{head}".encode(), headers=headers)["robots"] == robots


CC = "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>a licence", ""),
        (f'<link rel="license" href="{CC}">', CC),
        (f"<a href={CC} rel='nofollow license'>x</a>", CC),
        (f'<A REL=LICENSE HREF="{CC}">', CC),
        ('<a rel="license" href="/terms">', "/terms"),
        (f'<a href="{CC}">CC</a>', CC),
        (f'<p>{"x" * 70_000}<a href="{CC}">', ""),  # unmarked, far down: somebody's picture
        (f'<p>{"x" * 70_000}<a rel="license" href="{CC}">', CC),
        ('<a rel="license">', ""),
        ('<a href="/license">', ""),
        ('<a href="https://creativecommons.org/about">', ""),
    ],
)
def test_license(page: str, expected: str) -> None:
    assert decode(page.encode())["license"] == expected


@given(st.binary(max_size=400), st.text(max_size=60), st.text(max_size=60), st.sampled_from(["", "length"]))
def test_any_bytes_give_clean_text_or_a_reason(payload: bytes, headers: str, content_type: str, cut: str) -> None:
    for kind in (content_type, "text/html; charset=utf-16", "text/html"):
        result = decode(payload, kind, headers, cut)
        if not isinstance(result, Drop):
            assert set(result) == {"html", "robots", "license"}
            for value in result.values():
                value.encode()
                assert "\0" not in value


@pytest.mark.parametrize(
    "piece", [b"<meta name=robots ", b"<a rel=license ", b"license<a ", b"<", b"\xff", b"&#x;", b"1\r\na\r\n"]
)
def test_hostile_repetition_ends(piece: bytes) -> None:
    decode(piece * (2_000_000 // len(piece)))


def test_real_quirks(shared: Path) -> None:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    kept = 0
    for path in sorted((shared / "warc-quirks").glob("*.warc*")):
        with open(path, "rb") as stream:
            try:
                for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                    if record.http_headers is None:
                        continue
                    headers = "\n".join(f"{name}: {value}" for name, value in record.http_headers)
                    result = decode(record.reader.read(8 << 20), record.http_content_type or "", headers)
                    kept += not isinstance(result, Drop)
            except (OSError, ValueError):
                continue  # the reader's limits are not the subject here
    assert kept > 150


def test_every_page_of_a_crawl_file_is_decoded(shared: Path) -> None:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    pages = dropped = 0
    with open(shared / "crawl" / "crawl-00003.warc.gz", "rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            headers = "\n".join(f"{name}: {value}" for name, value in record.http_headers)
            result = decode(
                record.reader.read(), headers.lower().partition("content-type: ")[2].split("\n")[0], headers
            )
            html = "content-type: text/html" in headers.lower()
            pages += html
            dropped += isinstance(result, Drop) and html
            if not isinstance(result, Drop):
                result["html"].encode()
    assert pages > 500
    assert dropped == 0
