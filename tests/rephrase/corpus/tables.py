"""Tables as a run leaves them, for tests of a whole corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

WORDS = (
    "harbour boat stone light wave captain herring market winter summer street church window garden letter paper "
    "river bridge forest mountain farmer teacher doctor engine wheel train station travel island village nation law "
    "court music song dance paint colour metal glass wood water fire bread salt sugar fruit tree leaf root seed"
).split()


def text_of(seed: object, words: int = 60) -> str:
    """Words by a hash, each of two: another seed, another text."""
    digest = b"".join(hashlib.sha256(f"{seed} {part}".encode()).digest() for part in range(words // 16 + 1))
    pairs = zip(digest[::2], digest[1::2], strict=True)
    return " ".join(WORDS[a % len(WORDS)] + WORDS[b % len(WORDS)] for a, b in list(pairs)[:words]) + "."


def outputs(texts: Sequence[str], style: str = "blog", **columns: Sequence[Any]) -> pa.Table:
    count = len(texts)
    given: dict[str, Any] = {
        "id": [f"{style}-{number}" for number in range(count)],
        "parent_id": [f"page-{number}" for number in range(count)],
        "style": [style] * count,
        "url": [f"https://host{number % 40}.example/{number}" for number in range(count)],
        "text": list(texts),
    }
    return pa.table({**given, **{name: list(values) for name, values in columns.items()}})


def pages(texts: Sequence[str]) -> pa.Table:
    return pa.table({"id": [f"page-{number}" for number in range(len(texts))], "text": list(texts)})
