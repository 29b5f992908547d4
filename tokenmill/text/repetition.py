"""Characters in repeated n-grams of words: the exact definitions of datatrove's Gopher filter, compiled.

Top n-gram: the commonest n-gram (the first of equals), its words joined by spaces: length times occurrences.
Duplicate n-grams: going through the text, an n-gram whose words joined without spaces equal an earlier one's
adds its length and is jumped over as a whole; so what is counted never overlaps, and "ab c" repeats "a bc".

The kernel is exact: n-grams get exact numbers, and equal hashes of joined words are verified character by
character. A slow twin is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.text.words import WordTable

TOP_SIZES = (2, 3, 4)
"""Sizes of n-grams whose commonest one is measured (Gopher, table A1)."""
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
"""Sizes of n-grams whose repetitions are measured (Gopher, table A1)."""

_KEYS = tuple(f"top_{n}gram" for n in TOP_SIZES) + tuple(f"dup_{n}gram" for n in DUPLICATE_SIZES)

Ints = npt.NDArray[np.int64]


def ngram_characters(words: Sequence[str], table: WordTable) -> dict[str, int]:
    """Characters per measurement, under `top_2gram` ... `top_4gram`, `dup_5gram` ... `dup_10gram`."""
    if len(words) < TOP_SIZES[0]:
        return dict.fromkeys(_KEYS, 0)
    text = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    starts = np.zeros(len(words) + 1, np.int64)
    np.cumsum(table.lengths[table.ids], out=starts[1:])
    return dict(zip(_KEYS, compiled()(table.ids, starts, text).tolist(), strict=True))


@cache
def compiled() -> Callable[[Ints, Ints, Ints], Ints]:
    """The kernel, compiled on the first call (some seconds, once per machine) or loaded from numba's cache."""
    import numba

    signature = "i8[::1](i8[::1], i8[::1], i8[::1])"
    kernel: Any
    try:
        kernel = numba.njit(signature, nogil=True, cache=True)(_measure)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        kernel = numba.njit(signature, nogil=True)(_measure)
    return kernel  # type: ignore[no-any-return]


# One function, integers of one type only: numba compiles it on its own, and int64 products wrap as intended.
def _measure(ids: Ints, starts: Ints, text: Ints) -> Ints:
    n_words = len(ids)
    found = np.zeros(9, np.int64)
    size = 4
    while size < 2 * n_words:
        size *= 2
    mask = size - 1
    slots = np.empty(size, np.int64)
    grams = ids.copy()  # number of the n-gram that starts at each word
    first = np.empty(n_words, np.int64)  # where an n-gram of that number occurs first
    keys = np.empty(n_words, np.int64)
    counts = np.empty(n_words, np.int64)
    for n in range(2, 5):
        slots[:] = -1
        known = 0
        best = -1
        for i in range(n_words - n + 1):
            # Number of the (n-1)-gram and of the word after it: below n_words squared, so an exact key.
            key = grams[i] * n_words + ids[i + n - 1]
            mixed = key * 0x1E3779B97F4A7C15
            slot = (mixed ^ (mixed >> 32)) & mask
            while slots[slot] >= 0 and keys[slots[slot]] != key:
                slot = (slot + 1) & mask
            gram = slots[slot]
            if gram < 0:
                gram = known
                known += 1
                slots[slot] = gram
                keys[gram] = key
                first[gram] = i
                counts[gram] = 0
            counts[gram] += 1
            grams[i] = gram
        for gram in range(known):
            if best < 0 or counts[gram] > counts[best]:
                best = gram
        if best >= 0:
            at = first[best]
            found[n - 2] = (starts[at + n] - starts[at] + n - 1) * counts[best]
    base = 0x2545F4914F6CDD1D
    powers = np.empty(len(text) + 1, np.int64)
    powers[0] = 1
    for i in range(len(text)):
        powers[i + 1] = powers[i] * base
    prefix = np.zeros(n_words + 1, np.int64)  # polynomial hash of all characters before each word
    for i in range(n_words):
        value = prefix[i]
        for k in range(starts[i], starts[i + 1]):
            value = value * base + text[k] + 1
        prefix[i + 1] = value
    for n in range(5, 11):
        slots[:] = -1
        repeated = 0
        i = 0
        while i < n_words - n + 1:
            start = starts[i]
            length = starts[i + n] - start
            key = prefix[i + n] - prefix[i] * powers[length]
            mixed = (key ^ (key >> 31)) * 0x1E3779B97F4A7C15
            slot = (mixed ^ (mixed >> 32)) & mask
            hit = False
            while slots[slot] >= 0:
                j = slots[slot]
                other = starts[j]
                if keys[j] == key and starts[j + n] - other == length:
                    k = 0
                    while k < length and text[start + k] == text[other + k]:
                        k += 1
                    hit = k == length
                    if hit:
                        break
                slot = (slot + 1) & mask
            if hit:
                repeated += length
                i += n
            else:
                slots[slot] = i
                keys[i] = key
                i += 1
        found[n - 2] = repeated
    return found
