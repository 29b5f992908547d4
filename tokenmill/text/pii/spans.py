"""What a search finds: spans of a kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EMAIL, IPV4, IPV6, CARD, IBAN, KEY, SSN, PHONE = "email", "ipv4", "ipv6", "card", "iban", "key", "ssn", "phone"

KINDS = (KEY, IBAN, CARD, EMAIL, SSN, IPV6, IPV4, PHONE)
"""All kinds; where spans overlap, the first of their kinds in this order names the whole."""

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """text[start:end] is of that kind."""

    start: int
    end: int
    kind: str


def merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in order; those that overlap become one, so that no end of any of them is left in the text."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start < found[-1].end:
            last = found.pop()
            kind = min(last.kind, span.kind, key=_RANK.__getitem__)
            span = Span(last.start, max(last.end, span.end), kind)
        found.append(span)
    return found
