"""The suite of CI in parts, of which each change runs one: the whole takes longer than a change should wait."""

from __future__ import annotations

import zlib

import pytest

ALWAYS = "always"
"""The marker of tests that are in every part."""


def parse(value: str) -> tuple[int, int]:
    """`2/3` is the second of three parts; `d034b89/3` the part that a commit falls on."""
    first, slash, last = value.partition("/")
    try:
        count = int(last)
        number = int(first) if len(first) < 7 else int(first, 16) % count + 1
        if slash and 1 <= number <= count:
            return number, count
    except (ValueError, ZeroDivisionError):
        pass
    raise pytest.UsageError(f"--part {value}: not like 2/3 or COMMIT/3")


def is_in(nodeid: str, number: int, count: int) -> bool:
    """Whether a test is in a part: all cases of a function are in the same one, whatever else is collected."""
    return zlib.crc32(nodeid.partition("[")[0].encode()) % count == number - 1


def split(items: list[pytest.Item], number: int, count: int) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """(those of a part, the others)"""
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        there = item.get_closest_marker(ALWAYS) is not None or is_in(item.nodeid, number, count)
        (chosen if there else others).append(item)
    return chosen, others
