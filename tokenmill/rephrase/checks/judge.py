"""A judge of faithfulness: a model counts the claims of an output that its source supports, denies or lacks.

Asked for a share of the accepted outputs, chosen by a hash, because it costs as much as the output did. Counting claims
follows FActScore (arXiv:2305.14251) and RePro's rewards; the verdict is derived here from the counts, so that a judge
that likes to please does not decide.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenmill.rephrase.checks.run import Pair
from tokenmill.rephrase.render import neutral

_FILE = Path(__file__).parents[1] / "prompts" / "judge.md"
_FORM = (
    'Answer with one line of JSON and no more: {"supported": 0, "unsupported": 0, "contradicted": 0, "omitted": 0}, '
    "with your counts."
)
SAMPLING = {"temperature": 0.0, "max_tokens": 120}
"""Of a judge's request, beside the seed."""

FAITHFUL, UNSUPPORTED, CONTRADICTED, INCOMPLETE, EMPTY = (
    "faithful",
    "unsupported",
    "contradicted",
    "incomplete",
    "empty",
)
MOST_UNSUPPORTED = 0.2
"""Share of claims that the source may lack in a faithful output. Own threshold."""
MOST_OMITTED = 0.5
"""Share of the source's important claims that a faithful output may leave out. Own threshold."""
_COUNTS = ("supported", "unsupported", "contradicted", "omitted")
_MOST = 10_000
_OBJECT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Judgement:
    """What a judge has counted."""

    supported: int
    unsupported: int
    contradicted: int
    omitted: int

    @property
    def claims(self) -> int:
        """Claims of the output."""
        return self.supported + self.unsupported + self.contradicted

    @property
    def support(self) -> float | None:
        """Share of the output's claims that the source supports; None where it has none."""
        return self.supported / self.claims if self.claims else None

    @property
    def verdict(self) -> str:
        """The worst that holds: contradicted, unsupported, incomplete; faithful; empty where there are no claims."""
        if not self.claims:
            return EMPTY
        if self.contradicted:
            return CONTRADICTED
        if self.unsupported > MOST_UNSUPPORTED * self.claims:
            return UNSUPPORTED
        known = self.supported + self.omitted
        return INCOMPLETE if self.omitted > MOST_OMITTED * known else FAITHFUL


def judge_digest() -> str:
    """SHA-256 of the prompt and the form of its answer: the style digest of a judge's request."""
    return hashlib.sha256(f"{_instruction()}\0{_FORM}".encode()).hexdigest()


def judge_messages(pair: Pair, seed: int) -> tuple[dict[str, str], ...]:
    """What a judge is asked about a pair. seed: of the marks around both texts, which neither text can know.

    Control tokens of either are broken up (`render.neutral`): what a page put into an output reaches the judge too.
    """
    mark = _mark(pair, seed)
    source, output = (neutral(text)[0] for text in (pair.source, pair.output))
    parts = [
        f"[{mark} source begins]\n{source}\n[{mark} source ends]",
        f"[{mark} second text begins]\n{output}\n[{mark} second text ends]",
        f"{_FORM}",
    ]
    return ({"role": "system", "content": _instruction()}, {"role": "user", "content": "\n\n".join(parts)})


def judged(key: str, share: float, seed: int) -> bool:
    """Whether the output of a request is in the sample. key: of the request, so that the order does not matter."""
    drawn = int.from_bytes(hashlib.sha256(f"judge\0{seed}\0{key}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


def read_judgement(text: str) -> Judgement | None:
    """The counts of an answer; None for an answer that has none, or more than one set of them."""
    found = {judgement for match in _OBJECT.finditer(text) if (judgement := _read(match.group())) is not None}
    return found.pop() if len(found) == 1 else None


def _read(raw: str) -> Judgement | None:
    try:
        content = json.loads(raw)
    except ValueError:
        return None
    counts: list[Any] = [content.get(name) for name in _COUNTS] if isinstance(content, dict) else []
    if len(counts) != len(_COUNTS) or any(type(count) is not int or not 0 <= count <= _MOST for count in counts):
        return None
    return Judgement(*counts)


def _mark(pair: Pair, seed: int) -> str:
    """Twelve hexadecimal digits that stand in neither text."""
    for attempt in range(1000):
        raw = "\0".join((str(seed), str(attempt), pair.source, pair.output))
        mark = hashlib.sha256(raw.encode("utf-8", "replace")).hexdigest()[:12]
        if mark not in pair.source and mark not in pair.output:
            return mark
    raise AssertionError("a thousand hashes of a text stand in it")


@cache
def _instruction() -> str:
    return _FILE.read_text(encoding="utf-8").strip()
