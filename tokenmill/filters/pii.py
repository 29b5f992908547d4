"""Personal data: replaces e-mail addresses and public IP addresses."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import Rewrite
from tokenmill.text.pii import EMAIL, IPV4, Span, find_addresses

_EMAILS = ("email@example.com", "firstname.lastname@example.org")
"""Addresses at domains that are reserved for examples (RFC 2606), as in FineWeb."""
_IPV4_NETWORKS = ("192.0.2.0", "198.51.100.0", "203.0.113.0")
"""Networks of 256 addresses for documentation (RFC 5737). FineWeb used addresses that belong to someone."""
_IPV6_NETWORK = "2001:db8::"
"""Network for documentation (RFC 3849)."""


class RedactPii(Rewrite):
    """Replaces e-mail addresses and public IP addresses by addresses reserved for examples.

    The replacement is chosen by a hash of document and place, so it depends on neither order nor worker.
    Private and reserved IP addresses, version numbers and addresses at example.com stay.
    """

    reads = ("text",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {"pii_emails": pa.int64(), "pii_ips": pa.int64()}

    emails: bool = True
    """Replace e-mail addresses. Source: FineWeb."""
    ips: bool = True
    """Replace public IPv4 and IPv6 addresses. Source: FineWeb (IPv4 only)."""

    def rewrite(self, doc: Doc) -> Mapping[str, Any]:
        text = doc.text
        spans = [span for span in find_addresses(text) if (self.emails if span.kind == EMAIL else self.ips)]
        emails = sum(span.kind == EMAIL for span in spans)
        columns = {"pii_emails": emails, "pii_ips": len(spans) - emails}
        if not spans:
            return columns  # without a new text, what is known of the old one stays valid
        key = str(doc[DOC_ID] if DOC_ID in doc else doc["id"] if "id" in doc else "")
        parts: list[str] = []
        done = 0
        for span in spans:
            parts += [text[done : span.start], _replacement(span, key)]
            done = span.end
        return {"text": "".join(parts) + text[done:], **columns}


def _replacement(span: Span, key: str) -> str:
    place = f"{key}\0{span.start}\0{span.end}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), "big")
    if span.kind == EMAIL:
        return _EMAILS[number % len(_EMAILS)]
    if span.kind == IPV4:
        network, host = _IPV4_NETWORKS[number % 3], number // 3 % 254 + 1
        return str(ipaddress.IPv4Address(network) + host)
    return str(ipaddress.IPv6Address(_IPV6_NETWORK) + (number % 0xFFFE + 1))
