"""Which blocks of a page are in a text that somebody made of it: extractors' outputs, annotated segments and bodies.

Texts are compared by their letters and digits only, in lower case, as UTF-8: extractors differ in white space, bullets
and quotation marks. Long blocks are looked for anywhere, short ones only where they would stand in the order of the
page, or as a line of their own: "Home" is in every text. A part of the text counts once: a teaser that repeats the
headline is not kept because the headline is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenmill.extract.skim.scan import Scan

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

VERSION = 2
"""Raised when the same blocks and texts may give other shares; names the cache."""
LONG = 24
"""Bytes of letters and digits from which on a block is looked for anywhere (8 Chinese characters)."""
PIECE = 24
"""Bytes of the pieces by which a long block that is not found as a whole is looked for."""
GAP = 400
"""Bytes between two blocks found, within which a short block may stand at any word."""
_OTHER = re.compile(r"[\W_]+")


def bare(text: str) -> bytes:
    """Letters and digits of a text, in lower case, as UTF-8.

    >>> bare("Don't  panic!")
    b'dontpanic'
    """
    return _OTHER.sub("", text.lower()).encode("utf-8", "replace")


class Output:
    """A text that is searched: its bare form, where its words begin, its lines, and what has been found already."""

    def __init__(self, text: str) -> None:
        words: list[bytes] = []
        starts: list[int] = []
        at = 0
        self.lines: dict[bytes, list[int]] = {}
        for line in text.lower().split("\n"):
            first = at
            for word in _OTHER.split(line):
                if word:
                    starts.append(at)
                    words.append(word.encode("utf-8", "replace"))
                    at += len(words[-1])
            if at > first:
                self.lines.setdefault(b"".join(words[bisect_left(starts, first) :]), []).append(first)
        self.bare = b"".join(words)
        self.edges = frozenset((*starts, at))
        self.used = np.zeros(at, bool)

    def is_free(self, start: int, end: int) -> bool:
        """Whether less than half of the range is taken."""
        return 2 * int(np.count_nonzero(self.used[start:end])) < end - start

    def line(self, block: bytes, low: int, high: int) -> int:
        """Start of a free line that equals the block, within [low, high]; -1 where there is none."""
        for start in self.lines.get(block, ()):
            if low <= start <= high - len(block) and self.is_free(start, start + len(block)):
                return start
        return -1


@dataclass
class _Found:
    """What has been found of blocks [n]: share (NaN: not looked for), whether only as a copy, place in the output."""

    share: Floats
    copy: Bools
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]


def shares(blocks: Sequence[bytes], output: Output, first: Bools | None = None) -> tuple[Floats, Bools]:
    """The share of each block that is in the output, and whether it is there only as a copy of an earlier one.

    blocks: bare texts in page order. first: [n] blocks that claim their parts of the output before the others do.
    Returns float32 [n], NaN for empty blocks, and bool [n].
    """
    n = len(blocks)
    found = _Found(
        np.full(n, np.nan, np.float32), np.zeros(n, bool), np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    )
    every = np.array([len(block) > 0 for block in blocks], bool)
    groups = [every] if first is None else [every & first, every & ~first]
    for group in groups:
        at = 0
        for i in np.flatnonzero(group).tolist():
            if len(blocks[i]) >= LONG:
                found.share[i], found.copy[i], found.begin[i], found.end[i] = _long(blocks[i], output, at)
                if found.share[i] > 0.5 and not found.copy[i]:
                    at = int(found.end[i])
    for group in groups:
        _short_ones(group, blocks, output, found)
    return found.share, found.copy


def _long(block: bytes, output: Output, at: int) -> tuple[float, bool, int, int]:
    """Share, whether it is a copy, begin and end in the output."""
    size = len(block)
    found = output.bare.find(block, at)
    if found < 0 or not output.is_free(found, found + size):
        first = -1 if found < 0 else found
        found = output.bare.find(block)
        while found >= 0 and not output.is_free(found, found + size):
            first = found
            found = output.bare.find(block, found + size)
        if found < 0 and first >= 0:
            return 1.0, True, first, first + size
    if found >= 0:
        output.used[found : found + size] = True
        return 1.0, False, found, found + size
    return _pieces(block, output, at)


def _pieces(block: bytes, output: Output, at: int) -> tuple[float, bool, int, int]:
    """As `_long`, for a block that is not in the output as a whole: a part of its text is missing, or was changed.

    Pieces of it are looked for, and each one found grows in both directions.
    """
    size, text = len(block), output.bare
    kept = taken = done = low = 0
    begin, here = -1, at
    while low + PIECE <= size:
        piece = block[low : low + PIECE]
        found = text.find(piece, here, here + 2 * size + 200)
        if found < 0:
            found = text.find(piece)
        if found < 0:
            low += PIECE
            continue
        back = _common(block[done:low][::-1], text[max(0, found - low + done) : found][::-1])
        high = low + PIECE + _common(block[low + PIECE :], text[found + PIECE : found + size - low])
        start, end = found - back, found + high - low
        kept += end - start
        if output.is_free(start, end):
            output.used[start:end] = True
        else:
            taken += end - start
        begin = start if begin < 0 else begin
        low = done = high
        here = end
    return kept / size, kept > 0 and 2 * taken > kept, begin, here if begin >= 0 else -1


def _common(one: bytes, other: bytes) -> int:
    """Length of the prefix that both have."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    unequal = np.frombuffer(one, np.uint8, size) != np.frombuffer(other, np.uint8, size)
    return int(unequal.argmax())


def _short_ones(group: Bools, blocks: Sequence[bytes], output: Output, found: _Found) -> None:
    """Fills in the shares of the short blocks of a group, each between the blocks found before and after it."""
    total = len(output.bare)
    anchors = np.flatnonzero((found.share > 0.5) & ~found.copy).tolist()
    later = 0
    at = 0
    for i, block in enumerate(blocks):
        if found.share[i] > 0.5 and not found.copy[i]:
            at = int(found.end[i])
        if not group[i] or not np.isnan(found.share[i]):
            continue
        while later < len(anchors) and anchors[later] <= i:
            later += 1
        high = int(found.begin[anchors[later]]) if later < len(anchors) else total
        place = _short(block, output, at, high if high >= at else total)
        found.share[i] = float(place >= 0)
        if place >= 0:
            at = place + len(block)
            found.begin[i], found.end[i] = place, at
            output.used[place:at] = True


def _short(block: bytes, output: Output, low: int, high: int) -> int:
    """Where a short block stands: next, at a word of the gap, or as a line; -1 where it does not."""
    size = len(block)
    if output.bare.startswith(block, low) and low + size in output.edges and output.is_free(low, low + size):
        return low
    if low < high <= low + GAP:
        found = output.bare.find(block, low, high)
        if found in output.edges and found + size in output.edges and output.is_free(found, found + size):
            return found
    found = output.line(block, low, high)
    return found if found >= 0 else output.line(block, 0, len(output.bare))


def block_texts(scan: Scan) -> list[bytes]:
    """The bare texts of the blocks."""
    text = scan.text.tobytes()
    bounds = zip(scan.bl_start.tolist(), scan.bl_end.tolist(), strict=True)
    return [bare(text[start:end].decode("utf-8", "replace")) for start, end in bounds]


def from_segments(
    blocks: Sequence[bytes], wanted: Sequence[str], unwanted: Sequence[str], weak: Floats | None = None
) -> Floats:
    """Labels of blocks from annotated segments: 1 wanted, 0 unwanted, NaN neither or both. float32 [n].

    A segment labels every block of which it covers half, and every one that holds half of it. A wanted segment that
    stands in several places labels those that extractors keep (`weak` [n], mean share), the longest one where none
    does: an annotator names the text, not its place.
    """
    joined = b"".join(blocks)
    starts = np.concatenate(([0], np.cumsum([len(block) for block in blocks]))).astype(np.int64)
    one = np.zeros(len(blocks), bool)
    zero = np.zeros(len(blocks), bool)
    for segment in unwanted:
        for hit in _occurrences(joined, starts, bare(segment)):
            zero[hit] = True
    for segment in wanted:
        hits = _occurrences(joined, starts, bare(segment))
        if len(hits) > 1:
            kept = [] if weak is None else [hit for hit in hits if np.nanmean(np.append(weak[hit], 0.0)) >= 0.25]
            hits = kept or [max(hits, key=lambda hit: sum(len(blocks[i]) for i in hit))]
        for hit in hits:
            one[hit] = True
    labels = np.full(len(blocks), np.nan, np.float32)
    labels[one & ~zero] = 1.0
    labels[zero & ~one] = 0.0
    return labels


def _occurrences(joined: bytes, starts: npt.NDArray[np.int64], segment: bytes) -> list[list[int]]:
    """Blocks of each place in which a segment stands; at most 50 places."""
    hits: list[list[int]] = []
    if len(segment) < 4:
        return hits
    at = joined.find(segment)
    while at >= 0 and len(hits) < 50:
        end = at + len(segment)
        first = int(np.searchsorted(starts, at, "right")) - 1
        last = int(np.searchsorted(starts, end, "left"))
        hit = []
        for i in range(first, last):
            both = min(end, int(starts[i + 1])) - max(at, int(starts[i]))
            if both > 0 and 2 * both >= min(len(segment), int(starts[i + 1] - starts[i])):
                hit.append(i)
        if hit:
            hits.append(hit)
        at = joined.find(segment, end)
    return hits


def from_body(blocks: Sequence[bytes], body: str) -> Floats:
    """Labels of blocks from the annotated body of an article: 1 from four fifths of the block on, 0 up to one fifth,
    NaN between. float32 [n]."""
    share, copy = shares(blocks, Output(body))
    labels = np.full(len(blocks), np.nan, np.float32)
    labels[(share >= 0.8) & ~copy] = 1.0
    labels[share <= 0.2] = 0.0
    return labels


def from_ranges(scan: Scan, ranges: Mapping[str, Any]) -> Floats:
    """Labels of a scan's blocks from annotated byte ranges of its page; see `by_ranges`. float32 [n]."""
    return by_ranges(scan.bl_src.astype(np.int64), scan.bl_src_end.astype(np.int64), ranges)


def by_ranges(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], ranges: Mapping[str, Any]) -> Floats:
    """Labels of blocks at bytes [start, end) from byte ranges "keep", "drop", "unsure" (lists of [start, end]): 1 keep,
    0 drop, by the larger overlap; NaN where "unsure" overlaps most, or nothing does. float32 [n]."""
    keep, drop, unsure = (_overlaps(starts, ends, ranges.get(name, ())) for name in ("keep", "drop", "unsure"))
    labels = np.full(len(starts), np.nan, np.float32)
    labels[(keep > drop) & (keep >= unsure)] = 1.0
    labels[(drop > keep) & (drop >= unsure)] = 0.0
    return labels


def _overlaps(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], ranges: Sequence[Sequence[int]]
) -> npt.NDArray[np.int64]:
    """Bytes of every [start, end) that are within the ranges; ranges may touch, and may overlap."""
    if not len(ranges):
        return np.zeros(len(starts), np.int64)
    merged: list[list[int]] = []
    for start, end in sorted((int(start), int(end)) for start, end in ranges):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    edges = np.array(merged, np.int64).reshape(-1)
    # covered bytes before each edge; linear between them
    covered = np.concatenate(([0], np.cumsum(np.diff(edges) * (np.arange(len(edges) - 1) % 2 == 0))))

    def before(at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        place = np.searchsorted(edges, at, "right") - 1
        inside = (place >= 0) & (place % 2 == 0)
        base = np.where(place >= 0, covered[np.maximum(place, 0)], 0)
        result: npt.NDArray[np.int64] = base + np.where(inside, at - edges[np.maximum(place, 0)], 0)
        return result

    return before(ends) - before(starts)
