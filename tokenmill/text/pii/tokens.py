"""What stands in a text in the place of personal data for which no example is reserved."""

from __future__ import annotations

import re

from tokenmill.text.pii.spans import CARD, IBAN, KEY, PHONE, SSN

TOKENS = {
    CARD: "<CREDIT_CARD>",
    IBAN: "<IBAN>",
    KEY: "<SECRET_KEY>",
    SSN: "<SSN>",
    PHONE: "<PHONE_NUMBER>",
}
"""Kinds for which nothing is reserved: any made-up number may be somebody's."""

_TOKEN = re.compile("<(?:" + "|".join(token[1:-1] for token in TOKENS.values()) + ")>")
_MASK = "<"
"""Neither letter, digit nor separator: no search takes it for a word, a number or what joins two."""


def without_tokens(text: str) -> str:
    """The text, character for character, without the words in its tokens: else "SSN" would name the next number."""
    if not any(token in text for token in TOKENS.values()):
        return text
    return _TOKEN.sub(lambda match: _MASK * len(match.group()), text)
