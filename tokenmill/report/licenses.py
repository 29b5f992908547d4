"""What pages say about their reuse, in a few families, whatever they invent: licences, and words to robots."""

from __future__ import annotations

import re
from functools import lru_cache

from tokenmill.filters.optout import AI_AGENTS, USAGE, optout_signals

OTHER_ROBOT = "(other robot)"
_CODES = frozenset(
    "by by-sa by-nd by-nc by-nc-sa by-nc-nd by-nd-nc nc nd sa nc-sa nd-nc sampling sampling+ nc-sampling+ devnations"
    " gpl lgpl bsd mit".split()
)
"""Licences of Creative Commons, with those that it has retired."""
_CC = re.compile(r"creativecommons\.org/licenses/([a-z]+(?:[-+][a-z]+)*)", re.IGNORECASE)
_PUBLIC = re.compile(r"creativecommons\.org/publicdomain/([a-z]+)", re.IGNORECASE)
_MOST_CHARS = 2000


@lru_cache(1 << 14)
def license_family(value: str) -> str:
    """`cc-by-nc-sa`, `cc0`, `public domain mark`, `other licence`; "" for no licence. value: the column `license`."""
    value = value[:_MOST_CHARS].strip()
    if not value:
        return ""
    if (found := _CC.search(value)) is not None and found.group(1).lower() in _CODES:
        return f"cc-{found.group(1).lower()}"
    if (found := _PUBLIC.search(value)) is not None:
        return {"zero": "cc0", "mark": "public domain mark"}.get(found.group(1).lower(), "public domain")
    return "other licence"


@lru_cache(1 << 14)
def signal_families(value: str) -> tuple[str, ...]:
    """`filters.optout.optout_signals` of the column `robots`, each once; anybody's robots count as one.

    What is said to a robot that is not in `AI_AGENTS` becomes `(other robot):noindex`.
    """
    found: dict[str, None] = {}
    for signal in optout_signals(value):
        agent, colon, said = signal.rpartition(":")
        known = not colon or agent in AI_AGENTS or agent == USAGE
        found[signal if known else f"{OTHER_ROBOT}:{said}"] = None
    return tuple(found)
