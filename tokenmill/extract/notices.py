"""What a page says about its own reuse: robots values and licence links, as written."""

from __future__ import annotations

import re

from tokenmill.extract.charset import attributes
from tokenmill.extract.http import Headers

HEAD_BYTES = 1 << 16
"""Bytes in which robots metas and unmarked licence links are looked for."""
_TAG_BYTES = 2000
_MAX_TAGS = 200  # tags looked at per page: a page of nothing but metas stays cheap
_VALUE_CHARS = 500

_META = re.compile(rb"<meta[\s/]")
_ROBOTS_NAMES = (b"robots", b"googlebot", b"tdm-reservation")
_CC_LINK = re.compile(rb"https?://creativecommons\.org/(?:licenses|publicdomain)/[^\s\"'<>]{1,200}", re.IGNORECASE)


def robots_notice(headers: Headers, raw: bytes, low: bytes) -> str:
    """Values of X-Robots-Tag and tdm-reservation headers and of the metas of those names, joined by "; ".

    `raw` is the UTF-8 of the page, `low` the same in lower case. A tdm-reservation keeps its name before
    its value, since a bare "1" says nothing.
    """
    values = headers.all("x-robots-tag") + [f"tdm-reservation: {v}" for v in headers.all("tdm-reservation")]
    end = low.find(b"</head", 0, HEAD_BYTES)
    head = low[: end if end >= 0 else HEAD_BYTES]
    if any(name in head for name in _ROBOTS_NAMES):
        for count, match in enumerate(_META.finditer(head)):
            if count >= _MAX_TAGS:
                break
            attrs = attributes(raw[match.start() : match.start() + _TAG_BYTES], 5)
            name = attrs.get(b"name", b"").strip().lower()
            if name in _ROBOTS_NAMES and (value := _value(attrs.get(b"content", b""))):
                values.append(f"tdm-reservation: {value}" if name == b"tdm-reservation" else value)
    return "; ".join(dict.fromkeys(value for value in values if value))


def license_notice(raw: bytes, low: bytes) -> str:
    """Target of the first `rel=license` link of the page, else the first Creative Commons link in its head."""
    if b"license" in low:
        position, tries = 0, 0
        while tries < _MAX_TAGS and (position := low.find(b"license", position)) >= 0:
            start = low.rfind(b"<", max(0, position - _TAG_BYTES), position)
            if start >= 0 and low[start + 1 : start + 3] in (b"a ", b"a\n", b"a\t", b"li"):
                attrs = attributes(raw[start : start + _TAG_BYTES], 5 if low.startswith(b"link", start + 1) else 2)
                if b"license" in attrs.get(b"rel", b"").lower().split() and attrs.get(b"href", b"").strip():
                    return _value(attrs[b"href"])
            position += 7
            tries += 1
    if b"creativecommons.org/" in low[:HEAD_BYTES]:
        match = _CC_LINK.search(raw[:HEAD_BYTES])
        if match is not None:
            return _value(match.group())
    return ""


def _value(value: bytes) -> str:
    return " ".join(value.decode("utf-8", "replace").split())[:_VALUE_CHARS]
