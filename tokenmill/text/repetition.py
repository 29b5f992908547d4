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

TOP_SIZES = (2, 3, 4)
"""Sizes of n-grams whose commonest one is measured (Gopher, table A1)."""
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
"""Sizes of n-grams whose repetitions are measured (Gopher, table A1)."""


WINDOW = 10
"""Characters by which repeated n-grams are looked for first. Shorter: more false alarms; longer: more short ones."""
_NUMBER = 0x7FFFFFFF
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
def top_ngrams(ids: Any, known: int, joined_starts: Any, spaces: int, found: Any) -> None:
    """Characters of the commonest 2-, 3- and 4-gram into found[0:3]; `spaces` between two joined words.

    ids: number of each word, below `known`. An n-gram can only occur twice where the (n-1)-grams at its beginning
    and its end do, so the others are passed by.
    """
    n_words = len(ids)
    counts = np.zeros(max(n_words, known), np.int32)
    for i in range(n_words):
        counts[ids[i]] += 1
    grams = np.full(n_words, -1, np.int32)  # number of the (n-1)-gram that starts at each word, -1 if it occurs once
    places = np.empty(n_words, np.int32)  # where (n-1)-grams start that occur twice, in order
    candidates = 0
    for i in range(n_words):
        again = counts[ids[i]] > 1
        grams[i] = ids[i] if again else -1
        places[candidates] = i
        candidates += again
    numbers = np.empty(n_words, np.int32)  # number of the n-gram at each candidate
    keys = np.empty(n_words, np.int64)
    first = np.empty(n_words, np.int32)  # where an n-gram of that number occurs first
    for n in range(2, 5):
        candidates = _beginnings(grams, places, candidates, n_words - n)
        mask = table_size(candidates) - 1
        table = np.full(mask + 1, -1, np.int64)  # bits of the key, and the number of the n-gram
        distinct = 0
        for c in range(candidates):
            i = places[c]
            # Number of the (n-1)-gram and of the word after it: below n_words squared, so an exact key.
            key = np.int64(grams[i]) * n_words + ids[i + n - 1]
            tag = (key << 32) & _TAG
            slot = slot_of(key, mask)
            gram = -1
            while table[slot] != -1:
                entry = table[slot]
                if entry & _TAG == tag and keys[entry & _NUMBER] == key:
                    gram = entry & _NUMBER
                    break
                slot = (slot + 1) & mask
            if gram < 0:
                gram = distinct
                distinct += 1
                table[slot] = tag | gram
                keys[gram] = key
                first[gram] = i
                counts[gram] = 0
            counts[gram] += 1
            numbers[c] = gram
        at, times = 0, 1  # without repetition, the first n-gram of all
        for gram in range(distinct):
            if counts[gram] > times:
                at, times = first[gram], counts[gram]
        if n <= n_words:
            found[n - 2] = (joined_starts[at + n] - joined_starts[at] + spaces * (n - 1)) * times
        grams[:] = -1
        for c in range(candidates):
            if counts[numbers[c]] > 1:
                grams[places[c]] = numbers[c]


@inner
def _beginnings(grams: Any, places: Any, candidates: int, last: int) -> int:
    """Leave in `places` those where an n-gram starts whose two (n-1)-grams occur twice; how many there are."""
    kept = 0
    for c in range(candidates):
        i = places[c]
        if i > last:
            break
        places[kept] = i
        kept += (grams[i] | grams[i + 1]) >= 0  # both; a branch here would be a coin toss
    return kept


@inner
def _may_repeat(joined_starts: Any, n_words: int, prefix: Any, powers: Any, places: Any) -> int:
    """Words at which n-grams of 5 words or more may begin that occur twice, and some more, in order.

    Where two of at least `WINDOW` characters are equal, so are their first `WINDOW` characters. Words whose 5-gram
    is shorter than that are taken in any case.
    """
    mask = table_size(n_words) - 1
    table = np.full(mask + 1, -1, np.int64)
    maybe = np.zeros(n_words, np.bool_)
    characters = joined_starts[n_words]
    for i in range(n_words - 4):
        start = joined_starts[i]
        if joined_starts[i + 5] - start < WINDOW:
            maybe[i] = True
        if start + WINDOW > characters:
            continue
        key = prefix[start + WINDOW] - prefix[start] * powers[WINDOW]
        slot = slot_of(key, mask)
        while table[slot] != -1:
            entry = table[slot]
            if entry & _TAG == key & _TAG:
                maybe[i] = True
                maybe[entry & _NUMBER] = True
                break
            slot = (slot + 1) & mask
        if table[slot] == -1:
            table[slot] = (key & _TAG) | i
    candidates = 0
    for i in range(n_words - 4):
        places[candidates] = i
        candidates += maybe[i]
    return candidates


@inner
def duplicate_ngrams(joined: Any, joined_starts: Any, n_words: int, prefix: Any, powers: Any, found: Any) -> None:
    """Characters in repeated 5- to 10-grams into found[0:6]. `joined`: words without spaces, `prefix`: its hashes."""
    places = np.empty(n_words, np.int32)
    candidates = _may_repeat(joined_starts, n_words, prefix, powers, places)
    mask = table_size(candidates) - 1
    table = np.empty(mask + 1, np.int64)  # bits of the key, and the word at which the n-gram begins
    for n in range(5, 11):
        table[:] = -1
        repeated = 0
        free = 0  # the first word that no repeated n-gram has covered
        for c in range(candidates):
            i = places[c]
            if i < free:
                continue
            if i + n > n_words:
                break
            start = joined_starts[i]
            length = joined_starts[i + n] - start
            key = prefix[start + length] - prefix[start] * powers[length]
            slot = slot_of(key, mask)
            hit = False
            while table[slot] != -1:
                entry = table[slot]
                if entry & _TAG == key & _TAG:
                    other = entry & _NUMBER
                    hit = _same(joined, start, length, joined_starts[other], joined_starts[other + n])
                    if hit:
                        break
                slot = (slot + 1) & mask
            if hit:
                repeated += length
                free = i + n
            else:
                table[slot] = (key & _TAG) | i
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
                other = entry & _NUMBER
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
                other = first[entry & _NUMBER]
                if _same(t, start, length, starts[other], ends[other]):
                    number = entry & _NUMBER
                    break
            slot = (slot + 1) & mask
        if number < 0:
            number = known
            table[slot] = (key & _TAG) | number
            first[number] = i
            known += 1
        ids[i] = number
    return known
