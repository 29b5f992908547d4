"""File names for the outputs of input shards."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""What Windows takes for devices, whatever the ending: a data set may be copied there."""


def shard_slug(name: str) -> str:
    """A file name for the outputs of an input shard: its own name without endings, safe on any store.

    Only [A-Za-z0-9._-] pass; where anything had to be changed, a digest of the full name keeps it unique.
    """
    stem = re.sub(r"(\.(warc|arc|wet|parquet|jsonl|json|ndjson|gz|zst|lz4))+$", "", name)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-")[:100]
    if safe.partition(".")[0].lower() in _DEVICES:
        safe = f"shard_{safe}"
    if safe and safe == stem:
        return safe
    return f"{safe or 'shard'}-{_short_digest(name)}"


def slugs(names: list[str]) -> list[str]:
    """One slug per shard; names that differ only in their endings are told apart by a digest."""
    plain = [shard_slug(name) for name in names]
    counts = Counter(plain)
    return [
        slug if counts[slug] == 1 else f"{slug}-{_short_digest(name)}" for slug, name in zip(plain, names, strict=True)
    ]


def _short_digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
