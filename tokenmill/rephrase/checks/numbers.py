"""Numbers of a text, whatever their spelling: 1,200,000 is 1.2 million, twelve is 12, and 3,50 is 3.5."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from tokenmill.rephrase.checks.said import said_in

_SPACES = "\u00a0\u202f\u2009"
_NUMBER = re.compile(
    rf"(?<![\w.,])(?:\d{{1,3}}(?:[ {_SPACES}]\d{{3}})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,'’٫٬]\d+)*)"
    rf"(?:[ {_SPACES}-]?(?P<scale>[a-zA-Zа-яА-Яéóõãłęą]{{1,10}}|[万亿億兆만억]))?"
)
"""Digits with their separators, and the word behind them, which may be a power of ten."""
_ENUMERATOR = re.compile(
    r"(?m)^[^\w\n]{0,12}_{0,3}(?:(?:[^\W\d_]{1,20} ?)?\(?\d{1,3}[*_]{0,3}[ \t]?[.):：、][*_]{0,3}(?=\s|\Z)"
    r"|[^\W\d_]{1,20} ?\d{1,3}[*_]{0,3}[ \t]?[-–—][*_]{0,3}(?=\s)"
    r"|(?<=[#*_ ])[^\W\d_]{1,20} \d{1,3}[*_]{0,3}[ \t]{0,4}$)"
)
"""Numbers of items, questions, steps and sections at the beginning of a line: `2.`, `**Step 1:**`, `## Step 1 - `."""
_SEPARATOR = re.compile(r"[.,'’٫٬]")
_DIGIT = re.compile(r"\d")
_LONGEST = 40
"""Digits of a number; longer ones are compared as they are."""

_POWERS: dict[str, int] = {}
for _power, _words in (
    (2, "hundred hundert"),
    (3, "thousand thousands tausend mille mil duizend тыс тысяч tys k"),
    (4, "万 만"),
    (
        6,
        "million millions mio millionen millón millones milione milioni milhão milhões млн миллион миллионов m mn",
    ),
    (8, "亿 億 억"),
    (9, "billion billions bn milliarde milliarden mrd milliard milliards miliardo miliardi miljard млрд миллиардов b"),
    (12, "trillion trillions tn billionen 兆"),
):
    _POWERS.update(dict.fromkeys(_words.split(), _power))
_LETTERS = frozenset(("k", "m", "b", "mn", "bn", "tn", "mil", "mille"))
"""May be a unit or another word as well, so that the number without it is meant too."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a text: each a set of values, any of which may be meant."""

    text: str
    each: tuple[frozenset[str], ...]
    extra: frozenset[str] = field(default=frozenset())
    """Values that the text has in another form, as the months of its dates."""

    def has(self, number: frozenset[str]) -> bool:
        """Whether the text has a number, in digits or as a word."""
        return not number.isdisjoint(self._values) or not number.isdisjoint(self._said)

    def missing_in(self, other: Numbers) -> int:
        """How many of these numbers `other` lacks."""
        return sum(not other.has(number) for number in self.each)

    @cached_property
    def _values(self) -> frozenset[str]:
        return self.extra.union(*self.each)

    @cached_property
    def _said(self) -> frozenset[str]:
        return said_in(self.text)


def numbers_of(text: str, extra: frozenset[str] = frozenset()) -> Numbers:
    """The distinct numbers of a text, numbers of list items left out."""
    if not _DIGIT.search(text):
        return Numbers(text, (), extra)
    found: dict[frozenset[str], None] = {}
    for match in _NUMBER.finditer(_ENUMERATOR.sub(" ", text)):
        scale = match["scale"] or ""
        digits = match.group()[: len(match.group()) - len(scale)].rstrip(f" -{_SPACES}")
        found[_values(digits, scale.lower())] = None
    return Numbers(text, tuple(found), extra)


def _values(digits: str, scale: str) -> frozenset[str]:
    """What a number may mean."""
    value = canonical(digits)
    power = _POWERS.get(scale)
    if power is None or len(value) > _LONGEST:
        return frozenset((value,))
    scaled = canonical(format(Decimal(value).scaleb(power), "f"))
    return frozenset((scaled, value) if scale in _LETTERS else (scaled,))


def canonical(digits: str) -> str:
    """A number in ASCII digits with a point before its fraction, without zeros that change nothing.

    A single separator before exactly three digits parts thousands; equal separators do; the last of different ones,
    and a single one before another number of digits, begins the fraction. Of 1,234 nobody can tell, so that 1.234 is
    the same.
    """
    plain = "".join(digits.split())
    if not plain.isascii():
        plain = "".join(str(int(char)) if char.isdecimal() else char for char in plain)
    parts = _SEPARATOR.split(plain)
    marks = _SEPARATOR.findall(plain)
    fraction = ""
    if len(marks) == 1 and (len(parts[1]) != 3 or parts[0].strip("0") == ""):
        fraction = parts.pop()
    elif len(marks) > 1 and marks[-1] != marks[0]:
        fraction = parts.pop()
    elif len(marks) > 1 and any(len(part) != 3 for part in parts[1:]):
        return ".".join(part.lstrip("0") or "0" for part in parts)  # a version, an address, a date
    whole = "".join(parts).lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
