"""Kernels: texts as pieces that can be encoded apart, and a table of the pieces that have been met.

A cut lies only where the usual pre-tokenizers of byte-level BPE (`tokens/memo.py`) begin a word whatever stands around:
before a space that follows something else than white space, and between an ASCII letter or digit and an ASCII character
of another kind. Never before an apostrophe, which may begin a contraction, and never beside other characters of
Unicode: so no table of Unicode is needed here. Every piece but the last of a text ends in something else than white
space, so that no pre-tokenizer looks beyond its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.text.compiled import entry, inner
from tokenmill.text.hash_kernel import mixed

U = np.uint64
SPACE, WHITE, LETTER, DIGIT, APOSTROPHE, MARK, CONTROL, HIGH = range(8)
"""Kinds of bytes: space; other white space; ...; ASCII punctuation; control characters; bytes of other characters."""


def _kinds() -> np.ndarray:
    kinds = np.full(256, MARK, np.uint8)
    kinds[:33] = CONTROL
    kinds[127] = CONTROL
    kinds[128:] = HIGH
    kinds[[9, 10, 11, 12, 13]] = WHITE
    kinds[32] = SPACE
    kinds[ord("'")] = APOSTROPHE
    kinds[ord("0") : ord("9") + 1] = DIGIT
    for first in "aA":
        kinds[ord(first) : ord(first) + 26] = LETTER
    return kinds


KINDS = _kinds()
CUTS = np.zeros((8, 8), np.bool_)
"""[kind before, kind after]: whether a piece begins there. HIGH before SPACE is looked at more closely."""
for _before in (LETTER, DIGIT, APOSTROPHE, MARK, HIGH):
    CUTS[_before, SPACE] = True
CUTS[LETTER, [DIGIT, MARK]] = True
CUTS[DIGIT, [LETTER, MARK]] = True
CUTS[[APOSTROPHE, MARK], DIGIT] = True
CUTS_NEWLINE = 10
"""The one other white space before which letters and digits end a piece: lines are the most frequent such place."""

_OFFSET, _PRIME = U(0xCBF29CE484222325), U(0x100000001B3)
"""FNV-1a (Fowler, Noll, Vo; IETF draft-eastlake-fnv)."""
FULL = -1
"""Answer of `look_up`: there is no room in the table for all new pieces."""


@inner
def _white(data: Any, start: int, end: int) -> bool:
    """Whether the character of Unicode that ends at `end` is white space (White_Space of the UCD), or may be."""
    last, before = data[end - 1], data[end - 2] if end - 2 >= start else np.uint8(0)
    if before == 0xC2:
        return last == 0x85 or last == 0xA0
    first = data[end - 3] if end - 3 >= start else np.uint8(0)
    if first == 0xE2:
        return (before == 0x80 and (last <= 0x8F or 0xA8 <= last <= 0xAF)) or (before == 0x81 and last == 0x9F)
    if first == 0xE3:
        return before == 0x80 and last == 0x80
    if first == 0xE1:
        return (before == 0x9A and last == 0x80) or (before == 0xA0 and last == 0x8E)
    return first == 0xEF and before == 0xBB and last == 0xBF


@inner
def _end_of_piece(data: Any, start: int, at: int, stop: int, kinds: Any, cuts: Any) -> int:
    """Where the piece that begins at `at` ends; `start` is the beginning of the text."""
    kind = kinds[data[at]]
    for place in range(at + 1, stop):
        following = kinds[data[place]]
        if cuts[kind, following]:
            if kind != HIGH or not _white(data, start, place):
                return place
        elif data[place] == CUTS_NEWLINE and (kind == LETTER or kind == DIGIT):
            return place
        kind = following
    return stop


@inner
def _hash(data: Any, start: int, stop: int) -> Any:
    """64 bits, never 0."""
    value = _OFFSET
    for j in range(start, stop):
        value = (value ^ U(data[j])) * _PRIME
    return mixed(value) | U(1)


@inner
def _same(data: Any, at: int, texts: Any, start: int, size: int) -> bool:
    for j in range(size):
        if data[at + j] != texts[start + j]:
            return False
    return True


def _make_look_up(digest: str) -> Callable[..., Any]:
    def look_up(
        data: Any, offsets: Any, kinds: Any, cuts: Any, longest: int,
        hashes: Any, slots: Any, starts: Any, sizes: Any, texts: Any, hits: Any, used: Any,
        pieces: Any, counts: Any, long_starts: Any, long_stops: Any,
    ) -> int:  # fmt: skip
        """Cut texts into pieces and find each in the table; new ones are put in.

        data, offsets: texts as Arrow has them. hashes, slots: the table, a power of two long, hash 0 for a free place.
        starts, sizes, texts: where the bytes of entry `slot` lie. hits: how often it was met again, up to 255.
        used: [entries, bytes of texts], brought up to date.
        pieces: filled with the entry of each piece; ~n for the n-th of those longer than `longest` bytes, which are not
        in the table (long_starts, long_stops: where they lie). counts: pieces of each text. Returns the number of long
        pieces, or FULL.
        """
        _ = digest
        mask = U(len(hashes) - 1)
        entries, filled = used[0], used[1]
        piece = longs = 0
        for row in range(len(offsets) - 1):
            start, stop = offsets[row], offsets[row + 1]
            before, at = piece, start
            while at < stop:
                end = _end_of_piece(data, start, at, stop, kinds, cuts)
                size = end - at
                if size > longest:
                    long_starts[longs], long_stops[longs] = at, end
                    pieces[piece] = ~longs
                    longs += 1
                else:
                    value = _hash(data, at, end)
                    place = (value >> U(20)) & mask
                    while True:
                        if hashes[place] == value:
                            slot = slots[place]
                            if sizes[slot] == size and _same(data, at, texts, starts[slot], size):
                                hits[slot] = min(hits[slot] + 1, 255)
                                break
                        elif hashes[place] == 0:
                            if entries == len(starts) or filled + size > len(texts):
                                return FULL
                            slot = entries
                            hashes[place], slots[place] = value, slot
                            starts[slot], sizes[slot], hits[slot] = filled, size, 0
                            texts[filled : filled + size] = data[at:end]
                            entries, filled = entries + 1, filled + size
                            break
                        place = (place + U(1)) & mask
                    pieces[piece] = slot
                piece += 1
                at = end
            counts[row] = piece - before
        used[0], used[1] = entries, filled
        return longs

    return look_up


def _make_count(digest: str) -> Callable[..., Any]:
    def count(pieces: Any, counts: Any, sizes: Any, long_sizes: Any, lengths: Any) -> int:
        """Ids of each text into `lengths`, from those of entries and of long pieces; returns their sum."""
        _ = digest
        piece = total = 0
        for row in range(len(counts)):
            here = 0
            for _number in range(counts[row]):
                entry_ = pieces[piece]
                here += sizes[entry_] if entry_ >= 0 else long_sizes[~entry_]
                piece += 1
            lengths[row] = here
            total += here
        return total

    return count


def _make_fill(digest: str) -> Callable[..., Any]:
    def fill(
        pieces: Any, number: int, starts: Any, sizes: Any, ids: Any, long_starts: Any, long_sizes: Any, long_ids: Any,
        out: Any,
    ) -> None:  # fmt: skip
        """The ids of the first `number` pieces, one behind the other, into `out`."""
        _ = digest
        place = 0
        for piece in range(number):
            entry_ = pieces[piece]
            if entry_ >= 0:
                start = starts[entry_]
                for j in range(sizes[entry_]):
                    out[place] = ids[start + j]
                    place += 1
            else:
                start = long_starts[~entry_]
                for j in range(long_sizes[~entry_]):
                    out[place] = long_ids[start + j]
                    place += 1

    return fill


def _make_compact(digest: str) -> Callable[..., Any]:
    def compact(
        entries: int, least: int, hashes: Any, slots: Any, starts: Any, sizes: Any, texts: Any, hits: Any,
        id_starts: Any, id_sizes: Any, ids: Any, used: Any,
    ) -> int:  # fmt: skip
        """Keep those of the first `entries` entries that were met again `least` times; returns their ids' number."""
        _ = digest
        mask = U(len(hashes) - 1)
        hashes[:] = 0
        kept = filled = ids_used = 0
        for old in range(entries):
            if hits[old] < least:
                continue
            start, size, id_start, id_size = starts[old], sizes[old], id_starts[old], id_sizes[old]
            for j in range(size):
                texts[filled + j] = texts[start + j]
            for j in range(id_size):
                ids[ids_used + j] = ids[id_start + j]
            starts[kept], sizes[kept], hits[kept] = filled, size, 0
            id_starts[kept], id_sizes[kept] = ids_used, id_size
            value = _hash(texts, filled, filled + size)
            place = (value >> U(20)) & mask
            while hashes[place] != 0:
                place = (place + U(1)) & mask
            hashes[place], slots[place] = value, kept
            kept, filled, ids_used = kept + 1, filled + size, ids_used + id_size
        used[0], used[1] = kept, filled
        return ids_used

    return compact


look_up = entry(_make_look_up)
compact = entry(_make_compact)
count_ids = entry(_make_count)
fill_ids = entry(_make_fill)
