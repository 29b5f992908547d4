"""Kernels: characters in repeated n-grams of words, repeated lines and paragraphs.

The definitions are those of datatrove's Gopher filter. Top n-gram: the commonest n-gram (the first of equals),
its words joined by spaces: length times occurrences. Duplicate n-grams: going through the text, an n-gram whose
words joined without spaces equal an earlier one's adds its length and is jumped over as a whole; so what is
counted never overlaps, and "ab c" repeats "a bc".

All counts are exact: n-grams get exact numbers, and equal hashes are verified character by character.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import inner
from tokenmill.text.tables import HASH_BASE

TOP_SIZES = (2, 3, 4)
"""Sizes of n-grams whose commonest one is measured (Gopher, table A1)."""
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
"""Sizes of n-grams whose repetitions are measured (Gopher, table A1)."""


_TAG = -1 << 32
"""Upper half of a table's entry: bits of the key, so that most wrong entries are passed by without a look at them."""


@inner
def table_size(entries: int) -> int:
    """A power of two of which at most a quarter will be filled."""
    size = 8
    while size < 4 * entries:
        size *= 2
    return size


@inner
def slot_of(key: int, mask: int) -> int:
    return ((key * 0x1E3779B97F4A7C15) >> 32) & mask


@inner
def top_ngrams(ids: Any, joined_starts: Any, spaces: int, found: Any) -> None:
    """Characters of the commonest 2-, 3- and 4-gram into found[0:3]; `spaces` between two joined words."""
    n_words = len(ids)
    mask = table_size(n_words) - 1
    table = np.empty(mask + 1, np.int64)  # bits of the key, and the number of the n-gram
    keys = np.empty(n_words, np.int64)
    grams = ids.copy()  # number of the n-gram that starts at each word
    first = np.empty(n_words, np.int32)  # where an n-gram of that number occurs first
    counts = np.empty(n_words, np.int32)
    for n in range(2, 5):
        table[:] = -1
        known = 0
        for i in range(n_words - n + 1):
            # Number of the (n-1)-gram and of the word after it: below n_words squared, so an exact key.
            key = np.int64(grams[i]) * n_words + ids[i + n - 1]
            tag = (key << 32) & _TAG
            slot = slot_of(key, mask)
            gram = -1
            while table[slot] != -1:
                entry = table[slot]
                if entry & _TAG == tag and keys[entry & 0x7FFFFFFF] == key:
                    gram = entry & 0x7FFFFFFF
                    break
                slot = (slot + 1) & mask
            if gram < 0:
                gram = known
                known += 1
                table[slot] = tag | gram
                keys[gram] = key
                first[gram] = i
                counts[gram] = 0
            counts[gram] += 1
            grams[i] = gram
        best = -1
        for gram in range(known):
            if best < 0 or counts[gram] > counts[best]:
                best = gram
        found[n - 2] = 0
        if best >= 0:
            at = first[best]
            found[n - 2] = (joined_starts[at + n] - joined_starts[at] + spaces * (n - 1)) * counts[best]


@inner
def duplicate_ngrams(joined: Any, joined_starts: Any, n_words: int, powers: Any, found: Any) -> None:
    """Characters in repeated 5- to 10-grams into found[0:6]. `joined`: the words without spaces."""
    mask = table_size(n_words) - 1
    table = np.empty(mask + 1, np.int64)  # bits of the key, and the word at which the n-gram begins
    prefix = np.empty(n_words + 1, np.int64)  # hash of all characters before each word
    prefix[0] = 0
    value = np.int64(0)
    for i in range(n_words):
        for k in range(joined_starts[i], joined_starts[i + 1]):
            value = value * HASH_BASE + joined[k] + 1
        prefix[i + 1] = value
    for n in range(5, 11):
        table[:] = -1
        repeated = 0
        i = 0
        while i < n_words - n + 1:
            start = joined_starts[i]
            length = joined_starts[i + n] - start
            key = prefix[i + n] - prefix[i] * powers[length]
            slot = slot_of(key, mask)
            hit = False
            while table[slot] != -1:
                entry = table[slot]
                if entry & _TAG == key & _TAG:
                    other = entry & 0x7FFFFFFF
                    hit = _same(joined, start, length, joined_starts[other], joined_starts[other + n])
                    if hit:
                        break
                slot = (slot + 1) & mask
            if hit:
                repeated += length
                i += n
            else:
                table[slot] = (key & _TAG) | i
                i += 1
        found[n - 5] = repeated


@inner
def _same(t: Any, start: int, length: int, other: int, other_end: int) -> bool:
    """Whether t[start:start + length] equals t[other:other_end]."""
    if other_end - other != length:
        return False
    for k in range(length):
        if t[start + k] != t[other + k]:
            return False
    return True


@inner
def duplicates(t: Any, starts: Any, ends: Any, count: int, prefix: Any, powers: Any) -> tuple[int, int]:
    """How many of `count` pieces of a text occurred before among them, and how many characters these have."""
    mask = table_size(count) - 1
    table = np.full(mask + 1, -1, np.int64)
    repeated = characters = 0
    for i in range(count):
        start, length = starts[i], ends[i] - starts[i]
        key = prefix[ends[i]] - prefix[start] * powers[length]
        slot = slot_of(key, mask)
        hit = False
        while table[slot] != -1:
            entry = table[slot]
            if entry & _TAG == key & _TAG:
                other = entry & 0x7FFFFFFF
                hit = _same(t, start, length, starts[other], ends[other])
                if hit:
                    break
            slot = (slot + 1) & mask
        if hit:
            repeated += 1
            characters += length
        else:
            table[slot] = (key & _TAG) | i
    return repeated, characters


@inner
def number_words(t: Any, starts: Any, ends: Any, count: int, prefix: Any, powers: Any, ids: Any, first: Any) -> int:
    """Number equal words: `ids[i]` for the i-th, `first[id]` where it occurs first. How many there are."""
    mask = table_size(count) - 1
    table = np.full(mask + 1, -1, np.int64)
    known = 0
    for i in range(count):
        start, length = starts[i], ends[i] - starts[i]
        key = prefix[ends[i]] - prefix[start] * powers[length]
        slot = slot_of(key, mask)
        number = -1
        while table[slot] != -1:
            entry = table[slot]
            if entry & _TAG == key & _TAG:
                other = first[entry & 0x7FFFFFFF]
                if _same(t, start, length, starts[other], ends[other]):
                    number = entry & 0x7FFFFFFF
                    break
            slot = (slot + 1) & mask
        if number < 0:
            number = known
            table[slot] = (key & _TAG) | number
            first[number] = i
            known += 1
        ids[i] = number
    return known
