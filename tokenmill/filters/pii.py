"""Personal data and secrets: finds them in the text and replaces them."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError, DocumentError
from tokenmill.core.rule import Drop, Rule
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import Rewrite
from tokenmill.text.pii import CARD, EMAIL, IBAN, IPV4, IPV6, KEY, PHONE, SSN, Span, find_pii, phones, scan
from tokenmill.text.pii.regions import regions_of
from tokenmill.text.pii.tokens import TOKENS

_EMAILS = ("email@example.com", "firstname.lastname@example.org")
"""Addresses at domains that are reserved for examples (RFC 2606), as in FineWeb."""
_IPV4_NETWORKS = ("192.0.2.", "198.51.100.", "203.0.113.")
"""Networks of 256 addresses for documentation (RFC 5737). FineWeb used addresses that belong to someone."""
_IPV6_NETWORK = "2001:db8::"
"""Network for documentation (RFC 3849)."""

_KINDS_OF = {
    "emails": (EMAIL,),
    "ips": (IPV4, IPV6),
    "cards": (CARD,),
    "ibans": (IBAN,),
    "keys": (KEY,),
    "ssns": (SSN,),
    "phones": (PHONE,),
}
"""Setting -> kinds of spans. The counts are in `pii_<setting>`."""
_SETTING_OF = {kind: setting for setting, kinds in _KINDS_OF.items() for kind in kinds}
_LEVELS = ("standard", "strict")
_MOST_PASSES = 8


class RedactPii(Rewrite):
    """Replaces personal data and secrets in the text, and counts them by kind.

    E-mail and IP addresses become addresses reserved for examples, chosen by a hash of document and place, so
    that the result depends on neither order nor worker. Everything else becomes a fixed token such as <IBAN>.
    Private and reserved IP addresses, version numbers and addresses at example.com stay. See docs/pii.md.
    """

    version: ClassVar[int] = 3
    reads = ("text",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {f"pii_{setting}": pa.int64() for setting in _KINDS_OF}

    level: Literal["standard", "strict"] = "standard"
    """`strict` adds telephone numbers and needs the extra `phones`."""
    emails: bool = True
    """Replace e-mail addresses. Source: FineWeb."""
    ips: bool = True
    """Replace public IPv4 and IPv6 addresses. Source: FineWeb (IPv4 only)."""
    cards: bool = True
    """Replace numbers of payment cards (issuer, length and check digit are right). Own choice."""
    ibans: bool = True
    """Replace international bank account numbers (ISO 13616). Own choice."""
    keys: bool = True
    """Replace keys of well-known services and private-key blocks. Own choice; StarCoder replaces keys too."""
    ssns: bool = True
    """Replace US social security numbers that are called so. Own choice."""
    phones: bool = True
    """Replace telephone numbers; at level `strict` only. Dolma replaces those of the United States."""
    max_spans: int | None = None
    """Drop documents with more places than this. Unit: places. Dolma: 5; None keeps all."""
    max_share: float | None = None
    """Drop documents of whose characters more than this share is personal data. Unit: 0 to 1. None keeps all."""

    def __post_init__(self) -> None:
        if self.level not in _LEVELS:
            raise ConfigError(f"{self.name}.level = {self.level!r} is not one of {list(_LEVELS)}")

    def setup(self) -> None:
        self.digests()

    def digests(self) -> Mapping[str, str]:
        found = {"google-re2": scan.library_version()}
        return {**found, "phonenumbers": phones.library_version()} if PHONE in self._kinds else found

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {f"pii_{setting}": pa.int64() for setting in self._settings}

    @cached_property
    def _settings(self) -> tuple[str, ...]:
        """The settings that are on, telephones only where the level is right."""
        on = [setting for setting in _KINDS_OF if getattr(self, setting)]
        return tuple(setting for setting in on if setting != "phones" or self.level == "strict")

    @cached_property
    def _kinds(self) -> frozenset[str]:
        return frozenset(kind for setting in self._settings for kind in _KINDS_OF[setting])

    @cached_property
    def _rules(self) -> tuple[Rule, ...]:
        return (
            Rule("pii_spans", ">", self.max_spans, "too_many_pii"),
            Rule("pii_share", ">", self.max_share, "too_much_pii"),
        )

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        text = doc.text
        regions = _regions(doc) if PHONE in self._kinds else ()
        spans = find_pii(text, self._kinds, regions)
        counts = dict.fromkeys(self._settings, 0)
        if not spans:
            return _columns(counts)  # without a new text, what is known of the old one stays valid
        length = sum(span.end - span.start for span in spans)
        for rule, value in zip(self._rules, (len(spans), length / len(text)), strict=True):
            if rule.drops(value):
                return Drop.by(rule, value)
        key = str(doc[DOC_ID] if DOC_ID in doc else doc["id"] if "id" in doc else "")
        for _ in range(_MOST_PASSES):
            for span in spans:
                counts[_SETTING_OF[span.kind]] += 1
            text = replaced(text, spans, key)
            spans = find_pii(text, self._kinds, regions)  # what was replaced may have hidden a neighbour
            if not spans:
                return {"text": text, **_columns(counts)}
        raise DocumentError("personal data is left after redaction", fix="report the form of the text")


def _columns(counts: Mapping[str, int]) -> dict[str, int]:
    return {f"pii_{setting}": count for setting, count in counts.items()}


def _regions(doc: Doc) -> tuple[str, ...]:
    url, language = (doc[column] if column in doc else None for column in ("url", "language"))
    return regions_of(url or "", language or "")


def replaced(text: str, spans: list[Span], key: str) -> str:
    """The text with something harmless in the place of every span."""
    parts: list[str] = []
    done = 0
    for span in spans:
        parts += [text[done : span.start], _replacement(span, key)]
        done = span.end
    return "".join(parts) + text[done:]


def _replacement(span: Span, key: str) -> str:
    if span.kind in TOKENS:
        return TOKENS[span.kind]
    place = f"{key}\0{span.start}\0{span.end}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), "big")
    if span.kind == EMAIL:
        return _EMAILS[number % len(_EMAILS)]
    if span.kind == IPV4:
        return f"{_IPV4_NETWORKS[number % 3]}{number // 3 % 254 + 1}"
    return str(ipaddress.IPv6Address(_IPV6_NETWORK) + (number % 0xFFFE + 1))
