"""Where a text has e-mail addresses and public IP addresses. Every search is linear in the text.

E-mail addresses are looked for around each "@", in windows as long as the standards allow (RFC 5321: 64
characters before, 255 after), never by a pattern that may start anywhere. IP addresses start at a word
boundary and are bounded in length.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

EMAIL, IPV4, IPV6 = "email", "ipv4", "ipv6"

_LOCAL_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+/=?^_`{|}~.-"
_NOT_FIRST = "!#$%&'*+/=?^`{|}~.-"
_MAX_LOCAL, _MAX_DOMAIN = 64, 255
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,63})")
_FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js"})
"""Endings of file names such as "logo@2x.png"; none of them is a top-level domain."""
_RESERVED = frozenset({"example.com", "example.org", "example.net"})

# Both patterns start with a digit and only then look back, which lets `re` skip quickly to the next digit.
_IPV4 = re.compile(  # neither "v1.2.3.4" nor "1.2.3.4.5"
    r"[0-9](?<![\w.][0-9])[0-9]{0,2}\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}(?!\w|\.\w|-[A-Za-z])"
)
_VERSION_BEFORE = re.compile(r"(?:\bv|ver|version|release|build|revision|firmware)[.:]?\s{0,2}\Z", re.IGNORECASE)
# Addresses of 2000::/3 only: all that is assigned for public use, and nothing that programs write as "a::b".
_IPV6 = re.compile(
    r"[23](?<![\w:.][23])[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,34}(?:(?<=:)[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![\w.]*\w)"
)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """text[start:end] is an address of that kind."""

    start: int
    end: int
    kind: str


def find_addresses(text: str) -> list[Span]:
    """E-mail addresses and public IP addresses in order, without overlaps."""
    spans = _emails(text) if "@" in text else []
    spans += _ipv4(text)
    if "::" in text or text.count(":") >= 7:
        spans += _ipv6(text)
    spans.sort()
    found: list[Span] = []
    for span in spans:
        if not found or span.start >= found[-1].end:
            found.append(span)
    return found


def _emails(text: str) -> list[Span]:
    spans: list[Span] = []
    done = 0
    at = text.find("@")
    while at >= 0:
        span = _email_around(text, at, done)
        if span is not None:
            spans.append(span)
            done = span.end
        at = text.find("@", max(at + 1, done))
    return spans


def _email_around(text: str, at: int, floor: int) -> Span | None:
    """The address whose "@" is at `at`, not reaching before `floor`."""
    window = text[max(floor, at - _MAX_LOCAL - 1) : at]
    local = window[len(window.rstrip(_LOCAL_CHARACTERS)) :]
    if len(local) > _MAX_LOCAL or local.endswith("."):
        return None
    local = local.rpartition("..")[2].lstrip(_NOT_FIRST)
    domain = _DOMAIN.match(text, at + 1, at + 1 + _MAX_DOMAIN)
    if not local or domain is None:
        return None
    name = domain.group().lower()
    if name in _RESERVED or name.rpartition(".")[2] in _FILE_ENDINGS:
        return None
    following = text[domain.end() : domain.end() + 1]
    if following.isascii() and following.isalnum():  # the window or a label was too long
        return None
    return Span(at - len(local), domain.end(), EMAIL)


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _ipv4(text: str) -> list[Span]:
    return [
        Span(match.start(), match.end(), IPV4)
        for match in _IPV4.finditer(text)
        if _is_public(match.group()) and not _VERSION_BEFORE.search(text[max(0, match.start() - 12) : match.start()])
    ]


def _ipv6(text: str) -> list[Span]:
    spans = []
    for match in _IPV6.finditer(text):
        address = match.group()
        if address.endswith(":") and not address.endswith("::"):
            address = address[:-1]  # a colon of the sentence
        if _is_public(address):
            spans.append(Span(match.start(), match.start() + len(address), IPV6))
    return spans
