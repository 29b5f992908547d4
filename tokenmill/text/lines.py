"""Repeated lines and paragraphs."""

from __future__ import annotations

from collections.abc import Sequence


def duplicates(items: Sequence[str]) -> tuple[int, int]:
    """How many items occurred before in the sequence, and how many characters these have in total."""
    if len(set(items)) == len(items):
        return 0, 0
    seen: set[str] = set()
    count = characters = 0
    for item in items:
        if item in seen:
            count += 1
            characters += len(item)
        else:
            seen.add(item)
    return count, characters
