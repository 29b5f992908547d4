"""Licences that pages link to, in a few families. What pages say to robots is read by `filters/optout.py`."""

from __future__ import annotations

import re
from functools import lru_cache

_CC = re.compile(r"creativecommons\.org/licenses/([a-z]+(?:[-+][a-z]+)*)", re.IGNORECASE)
_PUBLIC = re.compile(r"creativecommons\.org/publicdomain/([a-z]+)", re.IGNORECASE)
_MOST_CHARS = 2000


@lru_cache(1 << 14)
def license_family(value: str) -> str:
    """`cc-by-nc-sa`, `cc0`, `public domain mark`, `other licence`; "" for no licence. value: the column `license`."""
    value = value[:_MOST_CHARS].strip()
    if not value:
        return ""
    if (found := _CC.search(value)) is not None:
        return f"cc-{found.group(1).lower()}"[:40]
    if (found := _PUBLIC.search(value)) is not None:
        return {"zero": "cc0", "mark": "public domain mark"}.get(found.group(1).lower(), "public domain")
    return "other licence"
