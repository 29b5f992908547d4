"""Numbers as people write them: `250M`, `1.3T`, `10_000`."""

from __future__ import annotations

import re
from fractions import Fraction

from tokenmill.core.errors import ConfigError

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_AMOUNT = re.compile(r"(\d[\d_]*(?:\.\d+)?(?:[eE]\+?\d+)?)\s*([kKMGBT]?)")


def parse_amount(value: str | int | float, what: str = "a number") -> int:
    """A whole number from 1: `250M`, `10B`, `1.3T`, `1e9`, `1_000_000`, or a number. Exact, nothing is rounded.

    ConfigError where it is something else. what: what the number is of, for the message.
    """
    found = _AMOUNT.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if found is not None:
        unit = found[2].lower() if found[2] in ("k", "K") else found[2]
        number = Fraction(found[1].replace("_", "")) * UNITS[unit]
        if number.denominator == 1 and number >= 1:
            return int(number)
    raise ConfigError(
        f"{value!r} is not {what}",
        why="it is no whole number above 0",
        fix="write it as 250000000, 250_000_000, 250M, 10B or 1.5T",
    )
