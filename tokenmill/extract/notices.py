"""What a page says about its own reuse: directives for robots, reservations and licence links, as written.

Nothing is judged here; `filters/optout.py` reads what is recorded. Values are joined by "; ", so a semicolon inside one
becomes a comma (in an address, %3B). What is said to one robot alone keeps its name before it: `gptbot: noindex`.
"""

from __future__ import annotations

import re

from tokenmill.extract.charset import attributes
from tokenmill.extract.http import Headers

HEAD_BYTES = 1 << 16
"""Bytes in which robots metas and unmarked licence links are looked for."""
_TAG_BYTES = 2000
_MAX_TAGS = 200  # tags looked at per page: a page of nothing but metas stays cheap
_VALUE_CHARS = 500

_META = re.compile(rb"<meta(?=[\s/])[^<]{0,1000}?[\s\"'/](?:name|http-equiv)\s{0,9}=[\s\"']{0,9}([a-z0-9_-]{1,60})")
"""A meta with its name; most metas are told apart by it without reading all their attributes."""
_NAMED = ("tdm-reservation", "tdm-policy")
_HEADERS = ("tdm-reservation", "tdm-policy", "content-usage")
"""Headers besides X-Robots-Tag; the last is of the IETF's drafts on preferences for AI."""
_TO_ALL = frozenset((b"robots", b"x-robots-tag"))
_AGENTS = frozenset(
    b"anthropic-ai applebot-extended bytespider claude-web cohere-ai google-extended googleother img2dataset"
    b" meta-externalagent omgili googlebot-news slurp teoma webzio-extended".split()
)
"""Robots whose names do not end in "bot"."""
_CC_LINK = re.compile(rb"https?://creativecommons\.org/(?:licenses|publicdomain)/[^\s\"'<>]{1,200}", re.IGNORECASE)
_LINK_HEADER = re.compile(r"<([^<>]{1,500})>([^<>]{0,500})")
_REL_LICENSE = re.compile(r";[ \t]{0,9}rel[ \t]{0,9}=[ \t]{0,9}\"?[^\";]{0,99}\blicense\b", re.IGNORECASE)


def robots_notice(headers: Headers, raw: bytes, low: bytes) -> str:
    """Values of X-Robots-Tag, tdm-reservation, tdm-policy and Content-Usage headers and of such metas, joined by "; ".

    `raw` is the UTF-8 of the page, `low` the same in lower case. Reservations keep their name before their value, since
    a bare "1" says nothing, and so do metas for one robot (`googlebot`, `gptbot`, ...).
    """
    values = [_joined(value) for value in headers.all("x-robots-tag")]
    for name in _HEADERS:
        values += (_named(name, value) for value in headers.all(name))
    end = low.find(b"</head", 0, HEAD_BYTES)
    end = end if end >= 0 else min(len(low), HEAD_BYTES)
    for count, match in enumerate(_META.finditer(low, 0, end)):
        if count >= _MAX_TAGS:
            break
        found = match[1]
        if found in _TO_ALL or found.endswith(b"bot") or found.startswith(b"tdm-") or found in _AGENTS:
            values.append(_meta(raw[match.start() : match.start() + _TAG_BYTES]))
    return "; ".join(dict.fromkeys(value for value in values if value))


def _meta(tag: bytes) -> str:
    """What a meta says to robots; "" where it turns out to be another one."""
    attrs = attributes(tag, 5)
    name = (attrs.get(b"name") or attrs.get(b"http-equiv", b"")).strip().lower()
    value = _value(attrs.get(b"content", b""))
    if name in _TO_ALL:
        return _joined(value)
    if value and (name.endswith(b"bot") or name.decode("latin-1") in _NAMED or name in _AGENTS):
        return _named(name.decode("latin-1"), value)
    return ""


def _named(name: str, value: str) -> str:
    return f"{name}: {value.replace(';', '%3B') if name == 'tdm-policy' else _joined(value)}" if value else ""


def _joined(value: str) -> str:
    return value.replace(";", ",")


def license_notice(raw: bytes, low: bytes, headers: Headers | None = None) -> str:
    """Target of the first `rel=license` link of the page, else of its Link headers, else the first link to a Creative
    Commons licence in its head."""
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
    for value in headers.all("link") if headers is not None else ():
        for link in _LINK_HEADER.finditer(value[:_TAG_BYTES]):
            if _REL_LICENSE.search(link[2]):
                return link[1].strip()[:_VALUE_CHARS]
    if b"creativecommons.org/" in low[:HEAD_BYTES]:
        match = _CC_LINK.search(raw[:HEAD_BYTES])
        if match is not None:
            return _value(match.group())
    return ""


def _value(value: bytes) -> str:
    return " ".join(value.decode("utf-8", "replace").split())[:_VALUE_CHARS]
