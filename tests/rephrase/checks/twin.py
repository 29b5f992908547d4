"""Readable twin of the kernel of words: the same measures on lists of words, without hashes of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def grams(words: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def longest_run(source: Sequence[int], output: Sequence[int]) -> int:
    best, before = 0, [0] * (len(output) + 1)
    for word in source:
        row = [0] * (len(output) + 1)
        for place, other in enumerate(output):
            if word == other:
                row[place + 1] = before[place] + 1
                best = max(best, row[place + 1])
        before = row
    return best


def contained(source: Sequence[int], output: Sequence[int]) -> float:
    known, own = set(grams(source, 8)), grams(output, 8)
    return sum(gram in known for gram in own) / len(own) if own else -1.0


def echo(source: Sequence[int], output: Sequence[int], instruction: Sequence[int]) -> float:
    asked = set(grams(instruction, 5))
    found = asked & set(grams(output, 5)) - set(grams(source, 5))
    return len(found) / len(asked) if asked else -1.0


def repeated(source: Sequence[int], output: Sequence[int]) -> float:
    if not output:
        return -1.0
    in_source, seen = Counter(grams(source, 6)), Counter[tuple[int, ...]]()
    covered: set[int] = set()
    for place, gram in enumerate(grams(output, 6)):
        seen[gram] += 1
        if seen[gram] > max(1, in_source[gram]):
            covered.update(range(place, place + 6))
    return len(covered) / len(output)
