"""`DecodeHtml`: from the bytes of an HTTP answer to a clean Unicode page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Rewrite
from tokenmill.extract.charset import find_charset
from tokenmill.extract.http import Headers, TooLarge, Undecodable, decode_body
from tokenmill.extract.notices import license_notice, robots_notice
from tokenmill.extract.sanitize import sanitize_encoded

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_UNSURE_TYPES = ("", "text/plain", "text/xml", "application/xml", "application/octet-stream", "unknown/unknown")
_MAGIC = (
    *(b"%PDF-", b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"PK\x03\x04", b"RIFF", b"\x00asm"),
    *(b"OggS", b"ID3", b"wOFF", b"wOF2", b"Rar!", b"7z\xbc\xaf", b"\xd0\xcf\x11\xe0", b"{\\rtf", b"%!PS"),
    *(b"BZh", b"\xfd7zXZ", b"\x7fELF", b"\x00\x00\x01\x00", b"\x1aE\xdf\xa3", b"FLV\x01", b"SQLite format"),
)
_SNIFF_BYTES = 4096
_HTML_TAG = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|title|script|style|meta|link|div|p|a|h[1-6]|table|br|span|ul|iframe|font|b"
    rb"|center|article|section|main|header|img|form)[\s/>]",
    re.IGNORECASE,
)


class DecodeHtml(Rewrite):
    """Turns the payload of an HTTP answer into a page: decompressed, decoded, free of forbidden characters.

    Adds what the page says about reuse. Reasons: `empty` (no bytes), `undecodable` (compressed, unreadable),
    `too_large`, `not_html`, `bad_charset`.
    """

    version: ClassVar[int] = 2
    on_demand: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("payload", "http_headers", "content_type", "truncated")
    adds: ClassVar[Mapping[str, pa.DataType]] = {
        "html": pa.string(),
        "robots": pa.string(),
        "license": pa.string(),
    }

    max_bytes: int = 5 << 20
    """Most bytes of a page after decompression. Bytes; default 5 MiB, where Common Crawl cuts payloads since
    2025 (before: 1 MiB), so that only bombs and other archives' outliers are larger."""
    max_bad_chars: float = 0.05
    """Most characters that are U+FFFD after decoding. Share of all characters; default 0.05: a page above it
    was read in the wrong charset or is no text, one below it has some broken bytes."""

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        payload: bytes = doc["payload"] or b""
        headers = Headers.parse(doc["http_headers"] or "")
        content_type: str = doc["content_type"] or headers.joined("content-type")
        try:
            body = decode_body(payload, headers, self.max_bytes)
        except TooLarge:
            return Drop("too_large", "payload_bytes", float(len(payload)), float(self.max_bytes))
        except Undecodable:
            return Drop("undecodable")
        if not body.strip(b"\0\t\n\f\r "):
            return Drop("empty")
        if not is_html(body, content_type):
            return Drop("not_html")
        http_type = content_type if "charset" in content_type.lower() else headers.joined("content-type")
        charset = find_charset(body, http_type)
        text = body[charset.skip :].decode(charset.codec, "replace")
        if doc["truncated"]:
            text = text.rstrip("\ufffd")  # the character that the cut has split
        bad = text.count("\ufffd")
        if bad > self.max_bad_chars * len(text):
            return Drop("bad_charset", "bad_chars", bad / len(text), self.max_bad_chars)
        html, raw = sanitize_encoded(text)
        low = raw.lower()
        return {"html": html, "robots": robots_notice(headers, raw, low), "license": license_notice(raw, low, headers)}


def is_html(body: bytes, content_type: str) -> bool:
    """Whether a body is a page: what the server says, unless the bytes are plainly something else.

    A missing or vague type (text/plain, XML, octet-stream) is decided by the first bytes alone.
    """
    if body.startswith(_MAGIC):
        return False
    media = content_type.partition(";")[0].partition(",")[0].strip().lower()
    if media in _HTML_TYPES:
        return True
    if media not in _UNSURE_TYPES:
        return False
    head = body[:_SNIFF_BYTES]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.replace(b"\0", b"")  # UTF-16: the ASCII of it is enough to see tags
    start = head.lstrip(b"\xef\xbb\xbf\xff\xfe\t\n\f\r ")
    if start.startswith(b"<?xml") or media.endswith("xml"):
        return re.search(rb"<html[\s>]", head, re.IGNORECASE) is not None
    return start.startswith(b"<") and _HTML_TAG.search(head) is not None
