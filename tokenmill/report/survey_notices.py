"""What pages say about their reuse, in a few families: directives for robots, reservations, licences."""

from __future__ import annotations

import re
from functools import lru_cache

DIRECTIVES = frozenset(
    (
        "none",
        "noindex",
        "nofollow",
        "noarchive",
        "nocache",
        "nosnippet",
        "noai",
        "noimageai",
        "noimageindex",
        "notranslate",
        "noml",
        "unavailable_after",
    )
)
"""Directives that forbid something; `index`, `follow`, `all` and limits such as `max-snippet` do not."""
_AGENT = re.compile(r"^[\w.-]+\s*:\s*(?=[a-z])")
_CC = re.compile(r"creativecommons\.org/licenses/([a-z]+(?:[-+][a-z]+)*)", re.IGNORECASE)
_PUBLIC = re.compile(r"creativecommons\.org/publicdomain/([a-z]+)", re.IGNORECASE)
_MOST_CHARS = 2000


@lru_cache(1 << 14)
def robots_families(value: str) -> tuple[str, ...]:
    """The families of the column `robots`: values of headers and metas, joined by "; "."""
    found: dict[str, None] = {}
    for part in value[:_MOST_CHARS].lower().split(";"):
        name, _, setting = part.strip().partition(":")
        if name.strip() == "tdm-reservation":
            if setting.strip() == "1":
                found["tdm-reservation"] = None
            continue
        for word in part.split(","):
            bare = _AGENT.sub("", word.strip()).partition(":")[0].strip()
            bare = bare if bare in DIRECTIVES else word.strip().partition(":")[0].strip()
            if bare in DIRECTIVES:
                found[bare] = None
    return tuple(found)


@lru_cache(1 << 14)
def licence_family(value: str) -> str:
    """`cc-by-nc-sa`, `cc0`, `public domain mark`, `other licence`; "" for no licence."""
    value = value[:_MOST_CHARS].strip()
    if not value:
        return ""
    if (found := _CC.search(value)) is not None:
        return f"cc-{found.group(1).lower()}"[:40]
    if (found := _PUBLIC.search(value)) is not None:
        return {"zero": "cc0", "mark": "public domain mark"}.get(found.group(1).lower(), "public domain")
    return "other licence"
