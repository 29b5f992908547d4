"""How the rules of an annotated run overlap, added up over its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Overlap:
    """Documents by rule (`<filter>.<reason>`), over all annotated documents.

    `first`: for how many it is the recorded reason. `only`: how many no other rule removes. `pairs`: how many both
    remove; a pair of a rule with itself is all that it removes.
    """

    documents: int = 0
    kept: int = 0
    first: Counter[str] = field(default_factory=Counter)
    only: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add the counts of one shard, as its manifest holds them."""
        self.documents += counts["documents"]
        self.kept += counts["kept"]
        self.first.update(counts["first"])
        self.only.update(counts["only"])
        for a, b, number in counts["pairs"]:
            self.pairs[(a, b)] += number

    def removes(self, rule: str) -> int:
        return self.pairs[rule, rule]

    def both(self, a: str, b: str) -> int:
        """Documents that both rules remove."""
        return self.pairs[a, b] + (self.pairs[b, a] if a != b else 0)

    @property
    def rules(self) -> list[str]:
        """Rules that remove something, those that remove most first."""
        names = {a for a, b in self.pairs if a == b}
        return sorted(names, key=lambda name: (-self.removes(name), name))

    def nearest(self, rule: str) -> tuple[str, int]:
        """The other rule that removes most of what this one removes, and how many."""
        others = [(self.both(rule, other), other) for other in self.rules if other != rule]
        count, name = max(others, key=lambda pair: pair[0], default=(0, ""))
        return (name, count) if count else ("", 0)
