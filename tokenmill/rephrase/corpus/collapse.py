"""Template collapse: outputs of a style that are all alike, though each for itself is fine.

A generator that answers every page in the same mould costs diversity, and smaller models with varied outputs do better
than polished ones (Synthetic Data Playbook, arXiv:2604.13977). What is measured here on a sample of outputs is measured
on a sample of source pages too, because pages have moulds of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard

from tokenmill.text.overlap import word_hashes

OPENER_WORDS = 5
SAMPLE = 2000
"""Outputs of a style, and pages, that are looked at."""
COMPRESSED = 1000
"""Texts that are compressed together."""
BYTES = 1000
"""First bytes of each of them, so that long texts do not look more alike."""
GRAM_WORDS = 50_000
"""Words over which distinct n-grams are counted: their share falls with the number of words."""
_LEAST = 20
"""Texts below which nothing is measured."""


def collapse_of(texts: Sequence[str]) -> dict[str, Any]:
    """Measures of a sample of texts; only their number where there are too few.

    opener, opener_share: the commonest five first words and the share of texts that begin so. opener_entropy: of the
    first five words, in bits, as a share of the highest possible (1: all differ). distinct_n: distinct runs of n words
    per run, of the first `words` words. compression: bytes under zstd per byte of all texts together.
    """
    texts = [text for text in texts if text.strip()]
    if len(texts) < _LEAST:
        return {"texts": len(texts)}
    openers = Counter(opener(text) for text in texts)
    first, times = min(openers.items(), key=lambda entry: (-entry[1], entry[0]))
    shares = [count / len(texts) for count in openers.values()]
    entropy = -sum(share * math.log2(share) for share in shares) / math.log2(len(texts))
    return {
        "texts": len(texts),
        "opener": first,
        "opener_share": round(times / len(texts), 6),
        "opener_entropy": round(abs(entropy), 6),
        **distinct_grams(texts),
        "compression": round(compression(texts), 6),
    }


def opener(text: str) -> str:
    """The first words of a text, in lower case and without marks; characters where there are no spaces."""
    words = ["".join(filter(str.isalnum, word)) for word in text[:400].lower().split()]
    words = [word for word in words if word]
    if len(words) < OPENER_WORDS:
        return "".join(words)[: 2 * OPENER_WORDS] if words and not words[0].isascii() else " ".join(words)
    return " ".join(words[:OPENER_WORDS])


def distinct_grams(texts: Sequence[str]) -> dict[str, float | None]:
    """distinct_1, _2, _3 over the first GRAM_WORDS words of the texts (arXiv:1510.03055); None of nothing."""
    hashes, cuts = word_hashes(pa.array(texts, pa.large_string()))
    end = int(np.searchsorted(cuts, GRAM_WORDS, side="left"))
    stops = cuts[1 : end + 1] if end < len(cuts) else cuts[1:]
    words = hashes[: min(int(stops[-1]) if len(stops) else 0, GRAM_WORDS)]
    number = np.searchsorted(cuts, np.arange(len(words)), side="right")
    found: dict[str, float | None] = {"words": len(words)}
    with np.errstate(over="ignore"):
        for size in (1, 2, 3):
            grams = np.zeros(max(len(words) - size + 1, 0), np.uint64)
            for place in range(size):
                grams = grams * np.uint64(0x9E3779B97F4A7C15) + words[place : place + len(grams)]
            inside = number[: len(grams)] == number[size - 1 : size - 1 + len(grams)]
            grams = grams[inside]
            found[f"distinct_{size}"] = round(len(np.unique(grams)) / len(grams), 6) if len(grams) else None
    return found


def compression(texts: Sequence[str]) -> float:
    """Bytes under zstd per byte, of the beginnings of up to COMPRESSED texts in a row; the window holds them all."""
    data = b"\n".join(text.encode("utf-8", "replace")[:BYTES] for text in texts[:COMPRESSED])
    return len(zstandard.ZstdCompressor(level=3).compress(data)) / len(data) if data else 0.0
