"""How two texts differ, word by word, short enough to be read; personal data is masked.

difflib alone is quadratic. What is equal at both ends goes first, then runs of words that are unique in both texts
are anchors (patience diff), and only the gaps between anchors are given to difflib, up to a size.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from tokenmill.text.pii import KINDS, PHONE, find_pii

CHARS = 200_000
"""Most characters of a text that are compared."""
CONTEXT = 8
"""Equal words that are shown on each side of a change."""
CHANGES = 12
"""Most changes that are shown of one pair."""
WORDS = 60
"""Most words of one change that are shown."""
_CELLS = 160_000
"""Largest gap, as words times words, that difflib gets: about 0.1 s."""
_ANCHOR = 4
_PASSES = 8
# scripts that put no spaces between words are compared by character
_TOKEN = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]\s*"
    r"|[^\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+\s*"
)

Block = tuple[int, int, int]
"""Place in the one, place in the other, words that are equal from there on."""


@dataclass(frozen=True)
class Piece:
    """`equal`, `gone` (only in the first text), `new` (only in the second), or `elided`: equal, and not shown.

    words: how many there are; `text` may be shortened.
    """

    kind: str
    text: str
    words: int


@dataclass(frozen=True)
class Difference:
    """How a second text differs from a first. Counts are words; `hidden` counts changes that `pieces` leaves out."""

    pieces: tuple[Piece, ...]
    equal: int
    gone: int
    new: int
    hidden: int = 0
    cut: bool = False
    """Only the beginnings were compared."""


def difference(first: str, second: str, most: int = CHARS) -> Difference:
    """How the second text differs from the first in the first `most` characters; white space does not count."""
    cut = max(len(first), len(second)) > most
    texts = masked([first[:most], second[:most]])
    raw = [[" ".join(token.split()) + " " * token[-1].isspace() for token in _TOKEN.findall(text)] for text in texts]
    keys = [[token.strip() for token in tokens] for tokens in raw]
    pieces: list[Piece] = []
    done = [0, 0]
    for i, j, size in [*blocks(keys[0], keys[1]), (len(keys[0]), len(keys[1]), 0)]:
        for kind, side, stop in (("gone", 0, i), ("new", 1, j)):
            if stop > done[side]:
                pieces.append(_shortened(kind, raw[side][done[side] : stop]))
        if size:
            pieces.append(Piece("equal", "".join(raw[1][j : j + size]).strip(), size))
        done = [i + size, j + size]
    while cut and pieces and pieces[-1].kind != "equal":
        pieces.pop()  # where texts are cut, their ends differ
    counts = Counter[str]()
    for piece in pieces:
        counts[piece.kind] += piece.words
    shown, hidden = _bounded(pieces)
    return Difference(tuple(_elided(shown)), counts["equal"], counts["gone"], counts["new"], hidden, cut)


def masked(texts: Sequence[str]) -> list[str]:
    """The texts with tokens such as `<email:1>` for personal data; equal values get equal tokens in all of them.

    Not `RedactPii`: what it puts in depends on document and place, so equal addresses would look different.
    """
    names: dict[tuple[str, str], str] = {}
    found = []
    for text in texts:
        for _ in range(_PASSES):
            spans = find_pii(text, [kind for kind in KINDS if kind != PHONE])
            if not spans:
                break
            parts, done = [], 0
            for span in spans:
                value = (span.kind, text[span.start : span.end])
                parts += [text[done : span.start], names.setdefault(value, f"<{span.kind}:{len(names) + 1}>")]
                done = span.end
            text = "".join(parts) + text[done:]
        found.append(text)
    return found


def blocks(a: Sequence[str], b: Sequence[str]) -> list[Block]:
    """What is equal in two sequences, in order in both."""
    found: list[Block] = []
    gaps = [(0, len(a), 0, len(b))]
    while gaps:
        i, k, j, m = gaps.pop()
        start = 0
        while i + start < k and j + start < m and a[i + start] == b[j + start]:
            start += 1
        end = 0
        while k - end > i + start and m - end > j + start and a[k - end - 1] == b[m - end - 1]:
            end += 1
        found += [(i, j, start), (k - end, m - end, end)]
        i, j, k, m = i + start, j + start, k - end, m - end
        if (k - i) * (m - j) <= _CELLS:
            matcher = SequenceMatcher(None, a[i:k], b[j:m])
            found += [(i + block.a, j + block.b, block.size) for block in matcher.get_matching_blocks()]
            continue
        anchors = list(_anchors(a[i:k], b[j:m]))
        if anchors:  # every gap begins with what is equal, so that it gets smaller
            gaps += [(i + x, i + u, j + y, j + v) for (x, y), (u, v) in pairwise([*anchors, (k - i, m - j)])]
            gaps.append((i, i + anchors[0][0], j, j + anchors[0][1]))
    return _merged(sorted(block for block in found if block[2]))


def _anchors(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Places of `_ANCHOR` words that are unique in both, as many as come in the same order in both."""
    windows, others = (list(zip(*(words[n:] for n in range(_ANCHOR)), strict=False)) for words in (a, b))
    counts, twice = Counter(windows), Counter(others)
    places = {window: place for place, window in enumerate(others) if twice[window] == 1}
    pairs = [(x, places[window]) for x, window in enumerate(windows) if counts[window] == 1 and window in places]
    tails: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for number, (_, y) in enumerate(pairs):
        place = bisect_left(tails, y)
        before.append(last[place - 1] if place else -1)
        tails[place : place + 1] = [y]
        last[place : place + 1] = [number]
    chosen = []
    number = last[-1] if last else -1
    while number >= 0:
        chosen.append(pairs[number])
        number = before[number]
    yield from reversed(chosen)


def _merged(found: Sequence[Block]) -> list[Block]:
    merged: list[Block] = []
    for i, j, size in found:
        if merged and merged[-1][0] + merged[-1][2] == i and merged[-1][1] + merged[-1][2] == j:
            merged[-1] = (*merged[-1][:2], merged[-1][2] + size)
        else:
            merged.append((i, j, size))
    return merged


def _shortened(kind: str, tokens: Sequence[str]) -> Piece:
    text = "".join(tokens[:WORDS]).strip()
    more = len(tokens) - WORDS
    return Piece(kind, f"{text} ... {more:,} more words" if more > 0 else text, len(tokens))


def _bounded(pieces: Sequence[Piece]) -> tuple[list[Piece], int]:
    """The pieces up to the last change that is shown, and how many changes come after it."""
    shown: list[Piece] = []
    changes = 0
    open_change = False
    for piece in pieces:
        changes += piece.kind != "equal" and not open_change
        open_change = piece.kind != "equal"
        if changes <= CHANGES:
            shown.append(piece)
    return shown, max(0, changes - CHANGES)


def _elided(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Long equal runs become their ends, next to the changes."""
    for number, piece in enumerate(pieces):
        words = piece.text.split(" ") if piece.kind == "equal" else []
        before = CONTEXT if number else 0
        after = CONTEXT if number + 1 < len(pieces) else 0
        if piece.kind != "equal" or piece.words <= before + after + CONTEXT:
            yield piece
            continue
        head, tail = " ".join(words[:before]), " ".join(words[len(words) - after :] if after else [])
        head, tail = (head[:40], tail[-40:]) if 2 * len(words) < piece.words else (head, tail)  # no spaces
        if head:
            yield Piece("equal", head, before)
        yield Piece("elided", "", piece.words - before - after)
        if tail:
            yield Piece("equal", tail, after)
