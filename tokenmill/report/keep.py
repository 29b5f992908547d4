"""How much of a corpus is to be kept, as people write it: `12%-of-tokens`, `1.3T-tokens`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokenmill.core.errors import ConfigError

_KEEP = re.compile(
    r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*([kKMBT]?)(%-of|%|)-?(tokens|bytes|documents)"
)
_UNITS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Keep:
    """How much is to be kept of a weight: a share of it, or an amount."""

    text: str
    value: float
    relative: bool
    weight: str

    @classmethod
    def parse(cls, text: str) -> Keep:
        """`12%-of-tokens`, `12%-of-documents`, `1.3e12-tokens`, `1.3T-tokens`, `300B-bytes`; else ConfigError."""
        match = _KEEP.fullmatch(text.strip())
        value = float(match[1]) * _UNITS[match[2]] if match else 0.0
        relative = bool(match and match[3])
        if match is None or not value or value == float("inf") or (relative and (value > 100 or match[2])):
            raise ConfigError(
                f"cannot read --keep {text!r}",
                why="a share is above 0 % and at most 100 %, an amount above 0; k, M, B and T are thousands and so on",
                fix="12%-of-tokens, 12%-of-bytes, 12%-of-documents, 1.3e12-tokens or 1.3T-tokens",
            )
        return cls(text, value / 100 if relative else value, relative, match[4])

    def target(self, total: int) -> float:
        """What is to be kept of so much."""
        return self.value * total if self.relative else self.value
