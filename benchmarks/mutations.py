"""Near-duplicates of real texts at a wanted similarity.

    .venv/bin/python benchmarks/mutations.py --output /tmp/pairs.parquet [--seed 1] [--limit 500]

Every text is mutated once: kinds and levels go round, and the strength is searched until the true Jaccard similarity of
the sets of word 5-grams is within 0.01 of the level. It is measured here, in plain Python on the normalised words, not
by any kernel. The result depends on the texts and the seed alone.
"""

from __future__ import annotations

import argparse
import bisect
import functools
import importlib
import itertools
import random
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from texts import prepared

LEVELS = (0.5, 0.6, 0.7, 0.72, 0.75, 0.8, 0.85, 0.9, 0.95)
TOLERANCE = 0.01
SHINGLE = 5
FEWEST, MOST = 80, 4000
"""Words of texts that are mutated: in shorter ones a step is larger than the tolerance, longer ones cost time."""
SITES = 48
"""Sites of which headers and footers are taken, each shared by many pages."""
Words = list[str]


def normalised(text: str) -> str:
    """The words that are compared, separated by a space: tokenmill's own, so that levels are true for it."""
    return _normaliser()(text)


@functools.cache
def _normaliser() -> Callable[[str], str]:
    try:
        module = importlib.import_module("tokenmill.text.minhash")
    except ImportError:
        print("no tokenmill.text.minhash yet: words are those of a stand-in", file=sys.stderr)
        return _plain
    own: Callable[[str], str] = module.normalised
    return own


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", re.sub(r"\d+(?:[.,]\d+)?", "0", text.lower())))


def shingles(text: str) -> frozenset[str]:
    """The set of word 5-grams of a text; empty where there are fewer than five words."""
    return _shingles(normalised(text).split())


def _shingles(words: Sequence[str]) -> frozenset[str]:
    return frozenset(map(" ".join, zip(*(words[start:] for start in range(SHINGLE)), strict=False)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both) if one or other else 0.0


@dataclass(frozen=True)
class Material:
    """What mutations are made of: words as often as texts have them, sentences per site."""

    words: Words
    sites: tuple[Words, ...]

    @classmethod
    def of(cls, texts: Sequence[str], seed: int) -> Material:
        """From a sample of the texts."""
        chance = random.Random(f"material {seed}")
        sample = chance.sample(list(texts), min(len(texts), 400))
        words = [word for text in sample for word in text.split() if word.isalpha()]
        pieces = [piece for text in sample for piece in re.split(r"(?<=[.!?])\s+|\n+", text) if len(piece.split()) > 3]
        sites = []
        for _ in range(SITES):
            chance.shuffle(pieces)
            sites.append(" ".join(pieces[:400]).split()[:MOST])
        return cls(words, tuple(sites))


Mutation = Callable[[Words, int, Material, random.Random], Words]
"""(tokens, strength, material, chance) -> tokens. Whoever is more is changed more: the first changes are the same."""


def scattered(tokens: Words, strength: int, material: Material, chance: random.Random) -> Words:
    """Words here and there are others."""
    changed = list(tokens)
    for place in chance.sample(range(len(tokens)), len(tokens))[:strength]:
        changed[place] = chance.choice(material.words) + _space(changed[place])
    return changed


def inserted(tokens: Words, strength: int, material: Material, chance: random.Random) -> Words:
    """Words are put in here and there."""
    places = chance.sample(range(len(tokens)), len(tokens))[:strength]
    added = {place: chance.choice(material.words) + " " for place in places}
    return [word for place, token in enumerate(tokens) for word in (added.get(place, ""), token)]


def without_sentences(tokens: Words, strength: int, material: Material, chance: random.Random) -> Words:
    """Sentences are left out."""
    ends = [place + 1 for place, token in enumerate(tokens) if token.rstrip()[-1:] in ".!?" or "\n" in token]
    bounds = sorted({0, *ends, len(tokens)})
    order = chance.sample(range(len(bounds) - 1), len(bounds) - 1)
    gone = set(order[:strength])
    return [
        token
        for number, (start, end) in enumerate(itertools.pairwise(bounds))
        if number not in gone
        for token in tokens[start:end]
    ]


def truncated(tokens: Words, strength: int, material: Material, chance: random.Random) -> Words:
    """The end is missing: the rest is contained in the whole."""
    return tokens[: max(len(tokens) - strength, 0)]


def with_boilerplate(tokens: Words, strength: int, material: Material, chance: random.Random) -> Words:
    """A header and a footer that many pages of a site have."""
    site = chance.choice(material.sites)
    middle = len(site) // 2
    header, footer = site[: strength // 4], site[middle : middle + strength - strength // 4]
    return [word + " " for word in header] + tokens + [word + " " for word in footer]


def shuffled(tokens: Words, strength: int, material: Material, chance: random.Random) -> Words:
    """Pieces in another order. Real paragraphs first, then ever smaller pieces, as the level wants."""
    inner = range(1, len(tokens))
    breaks = [place for place in inner if "\n" in tokens[place - 1]]
    chance.shuffle(breaks)
    taken = set(breaks)
    rest = chance.sample(inner, len(inner))
    cuts = sorted([*breaks, *(place for place in rest if place not in taken)][:strength])
    bounds = [0, *cuts, len(tokens)]
    pieces = list(itertools.pairwise(bounds))
    pieces.sort(key=lambda piece: piece[0] * 2654435761 % 2**32)  # an order that further cuts leave as it is
    return [token for start, end in pieces for token in tokens[start:end]]


KINDS: dict[str, Mutation] = {
    "words": scattered,
    "insertions": inserted,
    "sentences": without_sentences,
    "truncation": truncated,
    "boilerplate": with_boilerplate,
    "shuffle": shuffled,
}


def mutated(text: str, kind: str, level: float, material: Material, seed: str) -> tuple[str, float] | None:
    """A near-duplicate and its true Jaccard similarity with the text; None where the level cannot be met.

    The strength is bisected; what a whole step misses, foreign words at the end make up for, as each of them is one
    5-gram.
    """
    tokens = [f"{word} " if not space else word + space for word, space in re.findall(r"(\S+)(\s*)", text)]
    base = shingles(text)
    mutate = KINDS[kind]

    def at(strength: int, tail: int) -> str:
        changed = mutate(tokens, strength, material, random.Random(seed))
        chance = random.Random(f"{seed} tail")
        return "".join(changed) + " ".join(["", *(chance.choice(material.words) for _ in range(tail))])

    def similarity(strength: int, tail: int) -> float:
        return jaccard(base, shingles(at(strength, tail)))

    most = 2 * len(tokens) if kind == "boilerplate" else len(tokens)
    # the first strength that is too much; the one before is just not enough
    strength = bisect.bisect_left(range(most), True, key=lambda value: similarity(value, 0) < level + TOLERANCE / 2)
    best: tuple[float, int, int] | None = None
    for candidate in (strength, strength - 1, strength - 2):
        if candidate < 0:
            continue
        missing = similarity(candidate, 0) - level
        tail = max(round(missing * len(base) / level**2), 0)
        for more in {0, tail // 2, max(tail - 1, 0), tail, tail + 1}:
            if more <= 0.04 * len(tokens):
                option = (abs(similarity(candidate, more) - level), candidate, more)
                best = option if best is None or option < best else best
        if best is not None and best[0] <= TOLERANCE:
            break
    if best is None or best[0] > TOLERANCE:
        return None
    result = at(best[1], best[2])
    return result, jaccard(base, shingles(result))


def _space(token: str) -> str:
    return token[len(token.rstrip()) :]


def pairs(texts: pa.Table, seed: int, limit: int | None = None) -> pa.Table:
    """One near-duplicate of each suitable text: id, url, text, base (the id of its text), kind, level, jaccard."""
    rows: list[dict[str, Any]] = []
    every = [(kind, level) for level in LEVELS for kind in KINDS]
    material = Material.of(texts["text"].to_pylist(), seed)
    missed: Counter[tuple[str, float]] = Counter()
    order = random.Random(f"pairs {seed}").sample(range(texts.num_rows), texts.num_rows)
    for number in order:
        row = texts.slice(number, 1).to_pylist()[0]
        if not FEWEST <= len(row["text"].split()) <= MOST or (limit is not None and len(rows) >= limit):
            continue
        kind, level = every[len(rows) % len(every)]
        made = mutated(row["text"], kind, level, material, f"{seed} {row['id']}")
        if made is None:
            missed[kind, level] += 1
            continue
        about = {"base": row["id"], "kind": kind, "level": level, "jaccard": made[1]}
        rows.append({"id": f"near-{len(rows):06}", "url": f"{row['url']}#near", "text": made[0], **about})
    if missed:
        print(f"{missed.total()} texts were no good for their level: {dict(missed.most_common(4))}", file=sys.stderr)
    return pa.Table.from_pylist(rows)


def main() -> None:
    """Write the near-duplicates and say how well the levels were met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    started = time.perf_counter()
    table = pairs(pq.read_table(prepared()), arguments.seed, arguments.limit)
    pq.write_table(table, arguments.output)
    print_pairs(table)
    print(f"\n{table.num_rows:,} near-duplicates in {time.perf_counter() - started:.1f} s: {arguments.output}")


def print_pairs(table: pa.Table) -> None:
    """How well the levels were met, in Markdown."""
    errors: dict[str, list[float]] = defaultdict(list)
    for kind, level, found in zip(*(table[name].to_pylist() for name in ("kind", "level", "jaccard")), strict=True):
        errors[kind].append(abs(found - level))
    print("| kind | documents | mean distance of the Jaccard similarity to its level | largest |\n|---|---:|---:|---:|")
    for kind, distances in errors.items():
        print(f"| {kind} | {len(distances):,} | {statistics.mean(distances):.4f} | {max(distances):.4f} |")


if __name__ == "__main__":
    main()
