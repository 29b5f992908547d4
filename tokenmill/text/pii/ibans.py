"""International bank account numbers: country, its length, and two check digits (ISO 13616)."""

from __future__ import annotations

import re

from tokenmill.text.pii.scan import places
from tokenmill.text.pii.spans import IBAN, Span

_LENGTHS = dict(
    pair.split(":")
    for pair in (
        "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 "
        "DE:22 DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 "
        "GT:28 HN:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 "
        "LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 "
        "PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 "
        "SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30"
    ).split()
)
"""Country -> characters of its numbers. Source: SWIFT IBAN registry, release 99."""

_START = r"\b[A-Za-z]{2}[0-9]{2}"
_REST = {length: re.compile(rf"(?:[ -]?[A-Za-z0-9]){{{int(length) - 4}}}+") for length in set(_LENGTHS.values())}


def find_ibans(text: str, image: bytes) -> list[Span]:
    """Valid account numbers, in groups or not."""
    spans = []
    for start, head in places(_START, image):
        length = _LENGTHS.get(text[start : start + 2].upper(), "")
        rest = _REST[length].match(text, head) if length else None
        if rest is None or text[rest.end() : rest.end() + 1].isalnum():
            continue
        number = text[start : rest.end()]
        if not (" " in number and "-" in number) and is_valid(number):
            spans.append(Span(start, rest.end(), IBAN))
    return spans


def is_valid(number: str) -> bool:
    """Whether the check digits are right (ISO 7064, MOD 97-10)."""
    compact = number.replace(" ", "").replace("-", "").upper()
    return int("".join(str(int(mark, 36)) for mark in compact[4:] + compact[:4])) % 97 == 1
