"""E-mail addresses.

They are looked for around each "@", in windows as long as the standards allow (RFC 5321: 64 characters before,
255 after), never by a pattern that may start anywhere. "%40" and "(at)" count as "@".
"""

from __future__ import annotations

import re

from tokenmill.text.pii.domains import TOP_LEVEL
from tokenmill.text.pii.scan import places
from tokenmill.text.pii.spans import EMAIL, Span

_MAX_LOCAL, _MAX_DOMAIN = 64, 255

_LETTERS = r"A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
"""Letters of scripts that put spaces between words; in others an address stands within the running text."""
_IS_LOCAL = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%&'+_~.-"
    + "".join(map(chr, [*range(0xC0, 0x250), *range(0x370, 0x500)]))
)
"""What the standards allow before the "@", less what stands between an address and its text: = / ? ` { | } ! # $ * ^"""
_NOT_FIRST = "%&'+~.-"

_HOST = re.compile(rf"[{_LETTERS}0-9](?:[{_LETTERS}0-9-]|\.(?=[{_LETTERS}0-9]))*+")
_GLUED = re.compile(r"[a-z]{2,}(?=[A-Z0-9-])|[A-Z]{2,}(?=[A-Z][a-z]|[0-9-])")
"""The end of a domain to which the next word was joined ("joe@corp.comPhone")."""

_RESERVED = (".example.com", ".example.org", ".example.net")
_REPOSITORY_USERS = frozenset({"git", "hg", "svn"})

_VEILED_AT = r"[\[({]\s?(?:at|AT|@)\s?[\])}]|%40|&#64;"
_VEILED_DOT = re.compile(r" ?[\[({]\s?(?:dot|DOT|punkt|point|punto|\.)\s?[\])}] ?| (?:dot|DOT) |\.")
_LABEL = re.compile(rf"[{_LETTERS}0-9-]{{1,63}}")
_MAX_LABELS = 6


def find_emails(text: str, image: bytes) -> list[Span]:
    """E-mail addresses, except those at domains reserved for examples (RFC 2606)."""
    spans = _plain_addresses(text) if "@" in text else []
    return spans + _veiled_addresses(text, image)


def _plain_addresses(text: str) -> list[Span]:
    spans: list[Span] = []
    done = 0
    at = text.find("@")
    while at >= 0:
        name = _domain_at(text, at + 1)
        start = _local_before(text, at, done) if name else at
        if start < at:
            end = at + 1 + len(name)
            repository = text[end : end + 1] in (":", "/") and text[start:at].lower() in _REPOSITORY_USERS
            if not repository and not _is_reserved(name):
                spans.append(Span(start, end, EMAIL))
            done = end  # an address is not the local part of another, and one for examples is not either
        at = text.find("@", max(at + 1, done))
    return spans


def _local_before(text: str, at: int, floor: int) -> int:
    """Where the local part that ends at `at` begins; `at` where there is none."""
    low = max(floor, at - _MAX_LOCAL - 1)
    start = at
    while start > low and text[start - 1] in _IS_LOCAL:
        start -= 1
    if at - start > _MAX_LOCAL or text[at - 1 : at] == ".":
        return at
    doubled = text.rfind("..", start, at)
    if doubled >= 0:
        start = doubled + 2
    while start < at and text[start] in _NOT_FIRST:
        start += 1
    return start


def _domain_at(text: str, start: int) -> str:
    """The domain name that begins at `start`, "" where there is none."""
    limit = start + _MAX_DOMAIN
    host = _HOST.match(text, start, limit)
    if host is None or "." not in host.group():
        return ""
    labels = host.group().split(".")
    if host.end() == limit:  # the last label may be cut
        labels.pop()
    usable = next((i for i, label in enumerate(labels) if len(label) > 63 or label.endswith("-")), len(labels))
    for count in range(min(usable + 1, len(labels)), 1, -1):
        last = labels[count - 1]
        if count <= usable and (last.lower() in TOP_LEVEL or last.startswith("xn--")):
            return ".".join(labels[:count])
        glued = _GLUED.match(last)
        if glued and glued.group().lower() in TOP_LEVEL:
            return ".".join([*labels[: count - 1], glued.group()])
    return ""


def _is_reserved(name: str) -> bool:
    return ("." + name.lower()).endswith(_RESERVED)


def _veiled_addresses(text: str, image: bytes) -> list[Span]:
    """Addresses with "(at)", "[at]" or "%40" for "@"; dots may be words too."""
    spans: list[Span] = []
    done = 0
    for at, follow in places(_VEILED_AT, image):
        if at < done:
            continue
        at -= text[max(done, at - 1) : at] == " "
        follow += text[follow : follow + 1] == " "
        end = _veiled_domain_end(text, follow)
        start = _local_before(text, at, done) if end else at
        if start < at:
            if not _is_reserved(text[follow:end]):
                spans.append(Span(start, end, EMAIL))
            done = end
    return spans


def _veiled_domain_end(text: str, start: int) -> int:
    """Where the domain that begins at `start` ends, 0 where there is none."""
    best = 0
    label = _LABEL.match(text, start)
    for _ in range(_MAX_LABELS):
        dot = _VEILED_DOT.match(text, label.end()) if label else None
        label = _LABEL.match(text, dot.end()) if dot else None
        if label is None:
            break
        glued = _GLUED.match(label.group())
        if label.group().lower() in TOP_LEVEL:
            best = label.end()
        elif glued and glued.group().lower() in TOP_LEVEL:
            best = label.start() + glued.end()
    return best
