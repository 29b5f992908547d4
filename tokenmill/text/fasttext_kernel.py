"""Kernels: the sum of a fastText model's rows over the features of texts (words, runs of words, character n-grams).

What words and features are is that of fastText 0.9.2 (`Dictionary::getLine`, `computeSubwords`, `addWordNgrams`): words
stand between ASCII white space, their hash is FNV-1a over signed bytes, every text ends with the word `</s>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tokenmill.text.compiled import entry, lean, lean_inlined

_PRIME = np.uint32(16777619)
_BASIS = np.uint32(2166136261)
_SIGN = np.uint32(0xFFFFFF00)
_RUN = np.uint64(116049371)
END = b"</s>"
"""The word that ends every text."""
_END_HASH = np.uint32(3617362777)
_LABEL = np.frombuffer(b"__label__", np.uint8)
_END = np.frombuffer(END, np.uint8)
_FIFTHS, _THIRDS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_NIBBLES, _BYTES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
MOST_NGRAMS = 16
"""Longest run of words that a model may have."""
BLOCK = 128
"""Words that are looked up together."""
_LOW = np.uint64(0xFFFFFFFF)

SPACES, LINES = 0, 1
"""How a text becomes one line. SPACES: newlines are spaces. LINES: Python's `" ".join(text.strip().splitlines())`, as
the classifier of DCLM wants it (arXiv:2406.11794)."""


class Table(NamedTuple):
    """A dictionary and the rows of its features; numpy arrays, read only."""

    slots: Any
    """uint64 [power of two]: hash << 32 | entry + 1, or 0; an entry stands at its hash or behind it."""
    places: Any
    """int64 [entries + 1]: where each entry lies in `letters`."""
    letters: Any
    """uint8: the entries, words before labels."""
    words: int
    word_rows: Any
    """float32 [words, columns]: a word's own row with those of its character n-grams."""
    word_sizes: Any
    """int32 [words]: how many rows those were."""
    bucket_rows: Any
    """float32 [buckets that are left, columns], in the order of their numbers."""
    kept_bits: Any
    """uint64 [bucket / 64]: whether a bucket is left, the lowest bit first; empty where all are."""
    kept_before: Any
    """int32 [bucket / 64 + 1]: how many are left before each number of `kept_bits`."""
    bucket: int
    word_ngrams: int
    minn: int
    maxn: int


class Scratch(NamedTuple):
    """What a call of the kernel needs for itself."""

    run: Any
    """uint64 [MOST_NGRAMS]."""
    starts: Any
    stops: Any
    """int64 [BLOCK]: the bytes of each word."""
    hashes: Any
    """uint32 [BLOCK]."""
    entries: Any
    """int64 [BLOCK]."""
    numbers: Any
    """int64 [BLOCK * MOST_NGRAMS]: hash values of runs."""


def scratch() -> Scratch:
    """Room for one call at a time."""
    blocks = (np.zeros(BLOCK, np.int64) for _ in range(3))
    starts, stops, entries = blocks
    numbers = np.zeros(BLOCK * MOST_NGRAMS, np.int64)
    return Scratch(np.zeros(MOST_NGRAMS, np.uint64), starts, stops, np.zeros(BLOCK, np.uint32), entries, numbers)


@lean
def _stepped(h: Any, byte: Any) -> Any:
    signed = np.uint32(byte) | _SIGN if byte >= 128 else np.uint32(byte)
    return np.uint32((h ^ signed) * _PRIME)


@lean_inlined
def _equal(data: Any, start: int, stop: int, other: Any, at: int, size: int) -> bool:
    if stop - start != size:
        return False
    for i in range(size):
        if data[start + i] != other[at + i]:
            return False
    return True


@lean_inlined
def _find(slots: Any, places: Any, letters: Any, h: Any, data: Any, start: int, stop: int) -> int:
    """The entry of data[start:stop], or -1."""
    mask = len(slots) - 1
    slot = np.int64(h) & mask
    while True:
        held = slots[slot]
        if held == 0:
            return -1
        if np.uint32(held >> np.uint64(32)) == h:
            found = np.int64(held & _LOW) - 1
            at = places[found]
            if _equal(data, start, stop, letters, at, places[found + 1] - at):
                return np.int64(found)
        slot = (slot + 1) & mask


@lean
def _white(data: Any, at: int, stop: int, lines: bool) -> int:
    """Bytes of the white space at a place; 0 where there is none."""
    byte = data[at]
    if byte == 32 or 9 <= byte <= 13 or byte == 0:
        return 1
    if not lines:
        return 0
    if 28 <= byte <= 30:
        return 1
    if byte == 0xC2 and at + 1 < stop and data[at + 1] == 0x85:
        return 2
    if byte == 0xE2 and at + 2 < stop and data[at + 1] == 0x80 and 0xA8 <= data[at + 2] <= 0xA9:
        return 3
    return 0


@lean
def _stripped(data: Any, at: int, stop: int) -> int:
    """Bytes of the white space, as `str.strip` sees it, at a place; 0 where there is none."""
    byte = data[at]
    if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31:
        return 1
    if byte == 0xC2 and at + 1 < stop and (data[at + 1] == 0x85 or data[at + 1] == 0xA0):
        return 2
    if at + 2 >= stop:
        return 0
    second, third = data[at + 1], data[at + 2]
    if byte == 0xE2 and second == 0x80 and (0x80 <= third <= 0x8A or 0xA8 <= third <= 0xA9 or third == 0xAF):
        return 3
    if (byte == 0xE2 and second == 0x81 and third == 0x9F) or (byte == 0xE3 and second == 0x80 and third == 0x80):
        return 3
    return 3 if byte == 0xE1 and second == 0x9A and third == 0x80 else 0


@lean
def _bounds(data: Any, start: int, stop: int) -> Any:
    """The text without white space at both ends."""
    while start < stop:
        size = _stripped(data, start, stop)
        if size == 0:
            break
        start += size
    while start < stop:
        cut = 0
        for size in range(1, 4):
            if stop - size >= start and _stripped(data, stop - size, stop) == size:
                cut = size
        if cut == 0:
            break
        stop -= cut
    return start, stop


@lean_inlined
def _add(rows: Any, row: int, sums: Any) -> None:
    for c in range(len(sums)):
        sums[c] += rows[row, c]


@lean_inlined
def _add_bucket(kept_bits: Any, kept_before: Any, rows: Any, number: Any, sums: Any) -> int:
    """Add the row of a hash value; 1, or 0 where it was pruned."""
    if len(kept_bits) == 0:
        _add(rows, np.int64(number), sums)
        return 1
    place = np.int64(number) >> 6
    bits = kept_bits[place] >> (np.uint64(number) & np.uint64(63))
    if bits & np.uint64(1) == 0:
        return 0
    _add(rows, np.int64(kept_before[place + 1]) - np.int64(_ones(bits)), sums)
    return 1


@lean
def _ones(bits: Any) -> Any:
    """How many bits are set."""
    bits = bits - (bits >> np.uint64(1) & _FIFTHS)
    bits = (bits & _THIRDS) + (bits >> np.uint64(2) & _THIRDS)
    return ((bits + (bits >> np.uint64(4)) & _NIBBLES) * _BYTES) >> np.uint64(56)


@lean_inlined
def _add_ngrams(table: Any, data: Any, start: int, stop: int, sums: Any) -> int:
    """Add the character n-grams of "<" + word + ">"; how many rows."""
    kept_bits, kept_before, rows = table.kept_bits, table.kept_before, table.bucket_rows
    minn, maxn = table.minn, table.maxn
    count = 0
    size = stop - start + 2
    bucket = np.uint32(table.bucket)
    for i in range(size):
        byte = np.uint8(60) if i == 0 else (data[start + i - 1] if i < size - 1 else np.uint8(62))
        if byte & 0xC0 == 0x80:
            continue
        h = _stepped(_BASIS, byte)
        j, n = i + 1, 1
        while True:
            byte = np.uint8(62) if j >= size - 1 else data[start + j - 1]
            while j < size and byte & 0xC0 == 0x80:
                h = _stepped(h, byte)
                j += 1
                byte = np.uint8(62) if j >= size - 1 else data[start + j - 1]
            if n >= minn and not (n == 1 and (i == 0 or j == size)):
                count += _add_bucket(kept_bits, kept_before, rows, h % bucket, sums)
            n += 1
            if n > maxn or j >= size:
                break
            h = _stepped(h, byte)
            j += 1
    return count


@lean
def _begins_as_label(data: Any, start: int, stop: int) -> bool:
    return stop - start >= len(_LABEL) and _equal(data, start, start + len(_LABEL), _LABEL, 0, len(_LABEL))


@lean_inlined
def _scan(data: Any, at: int, stop: int, lines: bool, scratch: Any) -> Any:
    """The next words of a text: (where it stopped, how many words, whether the text has ended)."""
    count = 0
    while at < stop and count < BLOCK:
        size = _white(data, at, stop, lines)
        if size:
            at += size
            continue
        first, h = at, _BASIS
        while at < stop:
            byte = data[at]
            if (byte <= 32 or (lines and (byte == 0xC2 or byte == 0xE2))) and _white(data, at, stop, lines):
                break
            h = _stepped(h, byte)
            at += 1
        if _equal(data, first, at, _END, 0, len(_END)):
            return at, count, True  # ends a text wherever it stands
        scratch.starts[count], scratch.stops[count], scratch.hashes[count] = first, at, h
        count += 1
    return at, count, at >= stop


@lean_inlined
def _number_runs(table: Any, h: Any, scratch: Any, length: int, count: int) -> int:
    """Note the hash values of the runs that end with the word of hash `h`; run[k] is of the one begun k words ago."""
    run = scratch.run
    signed = np.uint64(np.int64(np.int32(h)))
    for k in range(min(length, table.word_ngrams - 1), 0, -1):
        run[k] = run[k - 1] * _RUN + signed
        if table.bucket > 0:
            scratch.numbers[count] = np.int64(run[k] % np.uint64(table.bucket))
            count += 1
    run[0] = signed
    return count


@lean_inlined
def _add_words(table: Any, data: Any, scratch: Any, count: int, words: int, sums: Any) -> Any:
    """Add the features of a block of words; (rows, words) so far in the text, labels left out."""
    rows = noted = 0
    for i in range(count):
        found, start, stop = scratch.entries[i], scratch.starts[i], scratch.stops[i]
        if found >= table.words or (found < 0 and _begins_as_label(data, start, stop)):
            continue  # a label is no word
        if found >= 0:
            _add(table.word_rows, found, sums)
            rows += np.int64(table.word_sizes[found]) if table.maxn > 0 else 1
        elif table.maxn > 0:
            rows += _add_ngrams(table, data, start, stop, sums)
        noted = _number_runs(table, scratch.hashes[i], scratch, words, noted)
        words += 1
    for i in range(noted):
        rows += _add_bucket(table.kept_bits, table.kept_before, table.bucket_rows, scratch.numbers[i], sums)
    return rows, words


@lean
def _sum_text(table: Any, data: Any, start: int, stop: int, lines: bool, scratch: Any, sums: Any) -> Any:
    """(rows, words) of a text. A block of words at a time, so that its looks into large tables overlap."""
    if lines:
        start, stop = _bounds(data, start, stop)
    rows = words = 0
    at, ended = start, start >= stop
    while not ended:
        at, count, ended = _scan(data, at, stop, lines, scratch)
        for i in range(count):
            scratch.entries[i] = _find(
                table.slots, table.places, table.letters, scratch.hashes[i], data, scratch.starts[i], scratch.stops[i]
            )
        more, words = _add_words(table, data, scratch, count, words, sums)
        rows += more
    found = _find(table.slots, table.places, table.letters, _END_HASH, _END, 0, len(_END))
    if 0 <= found < table.words:
        _add(table.word_rows, found, sums)
        rows += np.int64(table.word_sizes[found])
    for i in range(_number_runs(table, _END_HASH, scratch, words, 0)):
        rows += _add_bucket(table.kept_bits, table.kept_before, table.bucket_rows, scratch.numbers[i], sums)
    return rows, words


def _sum_batch_of(digest: str) -> Callable[..., None]:
    def sum_batch(
        data: Any, offsets: Any, table: Any, lines: bool, sums: Any, rows: Any, words: Any, scratch: Any
    ) -> None:
        """Text i is data[offsets[i]:offsets[i + 1]]; sums [n, columns] must be 0 before. rows, words: [n]."""
        _ = digest
        for i in range(len(offsets) - 1):
            rows[i], words[i] = _sum_text(table, data, offsets[i], offsets[i + 1], lines, scratch, sums[i])

    return sum_batch


def _sum_words_of(digest: str) -> Callable[..., None]:
    def sum_words(table: Any, sums: Any, rows: Any) -> None:
        """The character n-grams of the dictionary's words, added to sums [words, columns] and rows [words]."""
        _ = digest
        for i in range(table.words):
            start, stop = table.places[i], table.places[i + 1]
            if not _equal(table.letters, start, stop, _END, 0, len(_END)):
                rows[i] += _add_ngrams(table, table.letters, start, stop, sums[i])

    return sum_words


def _hash_entries_of(digest: str) -> Callable[..., None]:
    def hash_entries(letters: Any, places: Any, slots: Any) -> None:
        """Fills `slots` of a table. The first of equal entries is found."""
        _ = digest
        mask = len(slots) - 1
        for i in range(len(places) - 1):
            h = _BASIS
            for at in range(places[i], places[i + 1]):
                h = _stepped(h, letters[at])
            slot = np.int64(h) & mask
            while slots[slot] != 0:
                slot = (slot + 1) & mask
            slots[slot] = np.uint64(h) << np.uint64(32) | np.uint64(i + 1)

    return hash_entries


sum_batch = entry(_sum_batch_of, _nrt=False)
sum_words = entry(_sum_words_of, _nrt=False)
hash_entries = entry(_hash_entries_of, _nrt=False)
