"""ARC, the format before WARC (Internet Archive, 1996 to 2008): one header line, then the body.

    version 1: URL IP-address Archive-date Content-type Archive-length
    version 2: URL IP-address Archive-date Content-type Result-code Checksum Location Offset Filename Length

The header is mapped to the names that WARC has, so that the stages see one kind of record. warcio 1.8.1 reads
ARC too, but refuses files of one gzip member and wrong lengths.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field

from tokenmill.io.dialects import Head

_SCHEME = re.compile(rb"[a-z][a-z0-9+.\-]{1,20}:")
_SCHEME_LINE = re.compile(rb"^[a-z][a-z0-9+.\-]{1,20}:", re.MULTILINE)
_MAY_BEGIN = re.compile(rb"[a-z][a-z0-9+.\-]{0,14}(?::|$)")
_IP = re.compile(rb"[0-9a-fA-F.:]{3,45}|-")
_MAX_LINE = 16 << 10
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)")


@dataclass(frozen=True)
class ArcDialect:
    """ARC 1.0, 1.1 and 2.0."""

    trailer: bytes = field(default=b"\n", init=False)

    def begins(self, data: bytes) -> bool:
        return _SCHEME.match(data) is not None and _fields(data, 0) is not None

    def may_begin(self, data: bytes) -> bool:
        return not data or _MAY_BEGIN.match(data) is not None

    def candidate(self, data: bytes, start: int, end: int) -> int:
        for match in _SCHEME_LINE.finditer(data, start):
            at = match.start()
            if at >= end:
                break
            if _fields(data, at) is not None:
                return at
        return -1

    def parse(self, data: bytes, start: int, offset: int) -> Head | None:
        fields = _fields(data, start)
        if fields is None:
            return None
        url, ip, date, mime, length = (x.decode("utf-8", "replace").replace("\0", "") for x in fields)
        scheme = url.partition(":")[0]
        # As in the WARC files of the same crawler, DNS answers are responses too, without an HTTP head.
        kind = "warcinfo" if scheme == "filedesc" else "response"
        # ARC has no record ids: one is made from what names the capture, the same on every run.
        record_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{url} {date} {offset}")
        headers = {
            "warc-type": kind,
            "warc-record-id": f"<urn:uuid:{record_id}>",
            "warc-target-uri": url,
            "warc-ip-address": ip,
            "warc-date": _iso(date),
            "content-type": "application/http; msgtype=response" if scheme in ("http", "https") else mime,
        }
        known = int(length) if length.isascii() and length.isdigit() else None
        return Head(kind, headers, known, data.index(b"\n", start) + 1 - start)


def _fields(data: bytes, start: int) -> tuple[bytes, bytes, bytes, bytes, bytes] | None:
    """Address, host address, date, media type and length of a header line; None when it is none.

    Addresses may hold spaces, so the line is told by what must follow one: a host address and a date.
    """
    end = data.find(b"\n", start, start + _MAX_LINE)
    parts = data[start:end].split() if end >= 0 else []
    for at in range(2, len(parts) - 2):
        if 8 <= len(parts[at]) <= 20 and parts[at].isdigit() and _IP.fullmatch(parts[at - 1]):
            return b" ".join(parts[: at - 1]), parts[at - 1], parts[at], parts[at + 1].rstrip(b";"), parts[-1]
    return None


def _iso(date: str) -> str:
    """`YYYYMMDDhhmmss` as WARC writes it; "" when it is no date."""
    match = _DATE.match(date)
    return "{}-{}-{}T{}:{}:{}Z".format(*match.groups()) if match else ""


ARC = ArcDialect()
