"""Where a text has personal data and secrets: one kind per file, every search linear in the text."""

from tokenmill.text.pii.find import find_pii
from tokenmill.text.pii.spans import CARD, EMAIL, IBAN, IPV4, IPV6, KEY, KINDS, PHONE, SSN, Span

__all__ = ["CARD", "EMAIL", "IBAN", "IPV4", "IPV6", "KEY", "KINDS", "PHONE", "SSN", "Span", "find_pii"]
