"""Dates of a text, whatever their spelling: 2021-03-12, 12.3.2021, March 12, 2021, 12 de marzo de 2021, 2021年3月."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_FILE = Path(__file__).with_name("months.yaml")


class Date(NamedTuple):
    """0 for what is not said. `other`: the day, where day and month may be the other way round (03/04/2021)."""

    year: int
    month: int
    day: int
    other: int = 0

    def agrees(self, known: Date) -> bool:
        """Whether `known` may be the same date: equal in all that both say, of which there must be two parts."""
        return any(
            _agree((self.year, month, day), (known.year, known_month, known_day))
            for month, day in self._readings()
            for known_month, known_day in known._readings()
        )

    def _readings(self) -> list[tuple[int, int]]:
        return [(self.month, self.day), *([(self.other, self.month)] if self.other else [])]


def _agree(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    said = [(a, b) for a, b in zip(one, other, strict=True) if a and b]
    return len(said) > 1 and all(a == b for a, b in said)


@cache
def _months() -> dict[str, int]:
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {word: month for month, words in content.items() for word in words.split()}


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    names = "|".join(sorted(_months(), key=len, reverse=True))
    month = rf"(?P<name>{names})\b\.?"
    day = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th|er|º|ª|\.|-го|-е)?"
    year = r"(?P<year>1\d{3}|20\d\d)"
    return (
        re.compile(rf"(?<![\w.]){day}\s?(?:of |de |del |д\. )?\s?{month}(?:,?\s(?:de |del |of )?{year}(?!\d))?"),
        re.compile(rf"\b{month}\s{day}(?![\d:])(?:,?\s{year}(?!\d))?"),
        re.compile(rf"\b{month}(?:,| de| of)?\s{year}(?!\d)"),
    )


_ISO = re.compile(r"(?<![\d-])(?P<year>[12]\d{3})[-/.](?P<month>[01]?\d)[-/.](?P<day>[0-3]?\d)(?![\d-])")
_SLASHED = re.compile(r"(?<![\d/.-])(?P<first>[0-3]?\d)([/.-])(?P<second>[0-3]?\d)\2(?P<year>[12]\d{3})(?![\d-])")
_EAST = re.compile(r"(?P<year>[12]\d{3})\s?[年년]\s?(?P<month>[01]?\d)\s?[月월](?:\s?(?P<day>[0-3]?\d)\s?[日일])?")
_BEFORE, _BEHIND = 8, 24
"""Bytes around a month beside digits in which the rest of its date stands."""


@cache
def _hints() -> tuple[Any, Any]:
    """RE2: digits with signs between them, and months beside digits. Without a hint a text has no date.

    The scans are what makes this fast: `re` tries ninety names of months at every character, 1.2 ms for a page.
    """
    import re2  # type: ignore[import-untyped]

    names = "|".join(sorted(_months(), key=len, reverse=True))
    written = rf"\d[^\s\d]{{0,3}}\s?(?:of |de |del |д\. )?\s?(?:{names})|(?:{names})\.?,?\s(?:de |del |of )?\d"
    return re2.compile(rb"\d[-/.]\d{1,2}[-/.]\d"), re2.compile(written.encode())


def dates_of(text: str) -> list[Date]:
    """Dates of at least two parts, each once, in the order of their spellings."""
    lower = text.lower()
    data = lower.encode("utf-8", "replace")
    numeric, written = _hints()
    found: dict[Date, None] = {}
    if numeric.search(data) is not None:
        for match in _ISO.finditer(lower):
            _add(found, int(match["year"]), int(match["month"]), int(match["day"]))
        for match in _SLASHED.finditer(lower):
            _add_slashed(found, int(match["first"]), int(match["second"]), int(match["year"]))
    if "年" in lower or "년" in lower:
        for match in _EAST.finditer(lower):
            _add(found, int(match["year"]), int(match["month"]), int(match["day"] or 0))
    end = -1
    for hint in written.finditer(data):
        if hint.end() > end:
            start = max(data.rfind(b" ", 0, max(hint.start() - _BEFORE, 0)), 0)
            stop = data.find(b" ", hint.end() + _BEHIND)
            end = stop if stop >= 0 else len(data)
            _add_written(found, data[start:end].decode("utf-8", "replace"))
    return list(found)


def _add_written(found: dict[Date, None], lower: str) -> None:
    """Adds the dates whose month is a word."""
    taken: list[tuple[int, int]] = []
    for written in _patterns():
        for match in written.finditer(lower):
            start, end = match.span()
            if any(start < stop and begin < end for begin, stop in taken):
                continue  # "12 May 2021" is not "May 2021" too
            taken.append((start, end))
            parts = match.groupdict()
            _add(found, int(parts.get("year") or 0), _months()[match["name"]], int(parts.get("day") or 0))


def _add_slashed(found: dict[Date, None], first: int, second: int, year: int) -> None:
    """Adds a date of which nobody can tell whether the day comes first, where both may be months."""
    if first > 12:
        _add(found, year, second, first)
    elif second > 12 or first == second:
        _add(found, year, first, second)
    elif first and second:
        found[Date(year, first, second, second)] = None


def _add(found: dict[Date, None], year: int, month: int, day: int) -> None:
    if 1 <= month <= 12 and day <= 31:
        found[Date(year, month, day)] = None
