"""Social security numbers of the United States, only where a word near says that they are."""

from __future__ import annotations

import re

from tokenmill.text.pii.scan import occurs
from tokenmill.text.pii.spans import SSN, Span

_NINE_DIGITS = "[0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4}"
_NUMBER = re.compile(r"[0-9](?<![\w.+-][0-9])[0-9]{2}([ -]?)[0-9]{2}\1[0-9]{4}(?![\w+]|[-.][0-9])")
_WORDS = re.compile(
    r"[si](?<![^\W\d_].)(?:sns?(?![^\W\d_])|s ?#|s no|tin(?![^\W\d_])|oc(?:ial|\.)?[ -]?sec|eguro social)",
    re.IGNORECASE,
)
_PRINTED = frozenset({"123456789", "078051120", "219099999", "111111111", "333333333", "987654321"})
"""Numbers that are printed as examples and belong to nobody."""


def find_ssns(text: str, image: bytes) -> list[Span]:
    """Numbers that may have been issued, with a word for them at most 60 characters before or just after."""
    if not occurs(_NINE_DIGITS, image):
        return []
    return [
        Span(match.start(), match.end(), SSN)
        for match in _NUMBER.finditer(text)
        if _may_be_issued(match.group()) and _is_named(text, match)
    ]


def _may_be_issued(number: str) -> bool:
    digits = number.replace("-", "").replace(" ", "")
    area = digits[:3]
    return area not in ("000", "666") and digits[3:5] != "00" and digits[5:] != "0000" and digits not in _PRINTED


def _is_named(text: str, match: re.Match[str]) -> bool:
    width = 60 if match[1] else 24  # nine digits in a row are many things
    start, end = match.span()
    return bool(_WORDS.search(text, max(0, start - width), start) or _WORDS.search(text, end, end + 24))
