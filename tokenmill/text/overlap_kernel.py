"""Kernels: which passages of benchmarks occur in texts.

A text is cut into folded words (`overlap_words_kernel`); only hashes and places are kept. Runs of `NGRAM` words
are looked up in a bitmap and, where that says maybe, among the sorted keys of an index. What is found is counted per
passage. Clean text costs one pass over its bytes and a look at the bitmap per word. Nothing is allocated per word or
text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tokenmill.text.bytes_kernel import grown
from tokenmill.text.compiled import entry, inner
from tokenmill.text.hash_kernel import mixed
from tokenmill.text.overlap_words_kernel import cut_words

U = np.uint64
NGRAM, SEED_WORDS = 8, 4
"""Words of a run that is looked up, and of the run with which a short passage begins."""
RUN = 13 - NGRAM
"""A run of 13 words has this many runs of `NGRAM` words more than one."""
ANSWER_WITHIN = 32
"""Words behind a short question among which its answer must begin."""
_PHRASE_OWNERS = 16
"""A run that more grams share is a phrase of a weak passage."""
_PHRASE_PLACES = 8
"""Places of a phrase that are noted, about: one that fills a text would be noted for each of its thousand owners."""
_MEMO = 512
COMBINE = 0x9FB21C651E98DF25
"""Multiplier of the polynomial over the hashes of a run's words."""
_COMBINE = U(COMBINE)


class Lookup(NamedTuple):
    """Keys of runs of words, each with a list of numbers."""

    keys: Any
    """uint64, sorted, distinct."""
    first: Any
    """int32: place of the first key whose highest bits are at least i."""
    shift: Any
    """uint64: how far a key is shifted to get these bits."""
    bits: Any
    """uint64 words of the bitmap of lowest bits."""
    mask: Any
    """uint64: which lowest bits."""
    starts: Any
    """int32: numbers[starts[i]:starts[i + 1]] belong to key i."""
    numbers: Any
    """int32."""


class Passages(NamedTuple):
    """What is looked for. Grams are numbered through all long passages, then comes one number per short one."""

    long: Any
    """Lookup: run of `NGRAM` words -> grams."""
    short: Any
    """Lookup: run of `SEED_WORDS` words -> short passages that begin with it."""
    bounds: Any
    """int64: the grams of passage p are bounds[p] to bounds[p + 1]."""
    positions: Any
    """int32: the word of its passage with which a gram begins."""
    weak: Any
    """bool: a passage that must occur as a whole, for most of its grams are phrases that many items have."""
    words: Any
    word_bounds: Any
    """Hashes of the words of short passages, those of one behind those of the other."""
    answers: Any
    answer_bounds: Any
    """The same for the answers that must follow."""


@inner
def _power(width: int) -> Any:
    power = U(1)
    for _ in range(width):
        power *= _COMBINE
    return power


@inner
def _place(lookup: Any, key: Any) -> int:
    """Where a key is among the sorted ones; -1 where it is not."""
    at = lookup.first[key >> lookup.shift]
    while at < len(lookup.keys) and lookup.keys[at] < key:
        at += 1
    return at if at < len(lookup.keys) and lookup.keys[at] == key else -1


@inner
def _maybe(lookup: Any, key: Any) -> Any:
    low = key & lookup.mask
    return lookup.bits[low >> U(6)] >> (low & U(63)) & U(1) != U(0)


@inner
def _long_hits(hashes: Any, count: int, lookup: Any, drop: Any, found: Any, ends: Any, memo: Any) -> Any:
    """Every gram that occurs, as gram << 32 | word, and behind which word it ends.

    memo: (`_MEMO`, 2), which phrase was met last at each place, and how often.
    """
    value = U(0)
    fresh = True
    n = 0
    for i in range(count):
        value = value * _COMBINE + hashes[i]
        if i >= NGRAM:
            value -= hashes[i - NGRAM] * drop
        if i < NGRAM - 1:
            continue
        key = mixed(value)
        if not _maybe(lookup, key):
            continue
        at = _place(lookup, key)
        if at < 0:
            continue
        first, last = lookup.starts[at], lookup.starts[at + 1]
        if last - first > _PHRASE_OWNERS:
            if fresh:
                memo[:] = -1
                fresh = False
            slot = at % _MEMO
            memo[slot, 1] = memo[slot, 1] + 1 if memo[slot, 0] == at else 1
            memo[slot, 0] = at
            if memo[slot, 1] > _PHRASE_PLACES:
                continue
        found, ends = grown(found, n, last - first), grown(ends, n, last - first)
        for j in range(first, last):
            found[n] = np.int64(lookup.numbers[j]) << 32 | i - NGRAM + 1
            ends[n] = i + 1
            n += 1
    return found, ends, n


@inner
def _short_hits(
    hashes: Any, count: int, passages: Any, drop: Any, first_gram: int, found: Any, ends: Any, n: int
) -> Any:
    """Every short passage that occurs, followed by its answer, numbered behind the grams."""
    lookup = passages.short
    value = U(0)
    for i in range(count):
        value = value * _COMBINE + hashes[i]
        if i >= SEED_WORDS:
            value -= hashes[i - SEED_WORDS] * drop
        if i < SEED_WORDS - 1:
            continue
        key = mixed(value)
        if not _maybe(lookup, key):
            continue
        at = _place(lookup, key)
        if at < 0:
            continue
        for j in range(lookup.starts[at], lookup.starts[at + 1]):
            number = np.int64(lookup.numbers[j])
            end = _short_end(hashes, i - SEED_WORDS + 1, count, passages, number)
            if end >= 0:
                found, ends = grown(found, n, 1), grown(ends, n, 1)
                found[n] = (first_gram + number) << 32 | i - SEED_WORDS + 1
                ends[n] = end
                n += 1
    return found, ends, n


@inner
def _short_end(hashes: Any, i: int, count: int, passages: Any, number: int) -> Any:
    """Behind which word the answer of a short passage that begins at word `i` ends; -1 where none does."""
    first, last = passages.word_bounds[number], passages.word_bounds[number + 1]
    if not _equal(hashes, i, count, passages.words, first, last):
        return -1
    at = i + last - first
    first, last = passages.answer_bounds[number], passages.answer_bounds[number + 1]
    if first == last:
        return at
    for j in range(at, min(at + ANSWER_WITHIN, count)):
        if _equal(hashes, j, count, passages.answers, first, last):
            return j + last - first
    return -1


@inner
def _equal(hashes: Any, i: int, count: int, words: Any, first: int, last: int) -> bool:
    if i + last - first > count:
        return False
    for k in range(last - first):
        if hashes[i + k] != words[first + k]:
            return False
    return True


@inner
def _count(found: Any, order: Any, first: int, last: int, positions: Any) -> Any:
    """Distinct grams among sorted hits of one passage, and how many runs of 13 words they make."""
    matched = thirteens = length = 0
    before = position = np.int64(-2)
    for k in range(first, last):
        gram = found[order[k]] >> 32
        if gram == before:
            continue
        matched += 1
        at = np.int64(positions[gram]) if gram < len(positions) else np.int64(-2)
        length = length + 1 if at >= 0 and at == position + 1 and gram == before + 1 else 1
        thirteens += length > RUN
        before, position = gram, at
    return matched, thirteens


def _make_matches(digest: str) -> Any:
    def matches_batch(data: Any, offsets: Any, folds: Any, passages: Any, least: float, runs: int, spans: bool) -> Any:
        """The passages of which at least the share `least`, or that many runs of 13 words, occur in each text.

        Gives an int64 array with rows (text, passage, grams found, grams, runs of 13 words found), sorted by text and
        passage, and with `spans` the places of what was found, as rows (text, first byte, byte behind it,
        passage).
        """
        assert digest  # the sources' digest is part of the cache's key
        hashes, starts, stops = np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int32)
        found, ends = np.empty(256, np.int64), np.empty(256, np.int32)
        out, places = np.empty((16, 5), np.int64), np.empty((16, 4), np.int64)
        rows = pieces = 0
        memo = np.empty((_MEMO, 2), np.int64)
        drop_long, drop_short = _power(NGRAM), _power(SEED_WORDS)
        bounds = passages.bounds
        first_short = bounds[len(bounds) - len(passages.word_bounds)]
        for text in range(len(offsets) - 1):
            start, stop = offsets[text], offsets[text + 1]
            if (stop - start) // 2 + 2 > len(hashes):
                room = (stop - start) // 2 + 2
                hashes, starts, stops = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
            count = cut_words(data, start, stop, folds, hashes, starts, stops)
            found, ends, n = _long_hits(hashes, count, passages.long, drop_long, found, ends, memo)
            found, ends, n = _short_hits(hashes, count, passages, drop_short, first_short, found, ends, n)
            if n == 0:
                continue
            order = np.argsort(found[:n])
            k = 0
            while k < n:
                passage = np.searchsorted(bounds, found[order[k]] >> 32, side="right") - 1
                last = k
                while last < n and found[order[last]] >> 32 < bounds[passage + 1]:
                    last += 1
                matched, thirteens = _count(found, order, k, last, passages.positions)
                total = bounds[passage + 1] - bounds[passage]
                weak = passages.weak[passage]
                enough = thirteens >= runs or matched / total >= least  # as the rule on the share has it
                if matched == total or (enough and not weak):
                    if rows == len(out):
                        out = np.concatenate((out, np.empty_like(out)))
                    out[rows, 0], out[rows, 1], out[rows, 2], out[rows, 3] = text, passage, matched, total
                    out[rows, 4] = thirteens
                    rows += 1
                    for j in range(k, last if spans else k):
                        if pieces == len(places):
                            places = np.concatenate((places, np.empty_like(places)))
                        places[pieces, 0] = text
                        places[pieces, 1] = starts[found[order[j]] & 0xFFFFFFFF]
                        places[pieces, 2] = stops[ends[order[j]] - 1]
                        places[pieces, 3] = passage
                        pieces += 1
                k = last
        return out[:rows].copy(), places[:pieces].copy()

    return matches_batch


def _make_words(digest: str) -> Any:
    def words_batch(data: Any, offsets: Any, folds: Any, cuts: Any) -> Any:
        """Hashes of the words of all texts, one text after the other; `cuts` (one more than texts) is filled."""
        assert digest
        size = len(data) // 2 + 2 * len(offsets)
        hashes, places = np.empty(size, np.uint64), np.empty(size, np.int32)
        total = 0
        cuts[0] = 0
        for i in range(len(offsets) - 1):
            total += cut_words(data, offsets[i], offsets[i + 1], folds, hashes[total:], places, places)
            cuts[i + 1] = total
        return hashes[:total].copy()

    return words_batch


def _make_grams(digest: str) -> Any:
    def grams_batch(hashes: Any, cuts: Any, width: int, out: Any) -> None:
        """Keys of all runs of `width` words of every text, one text after the other, into `out`."""
        assert digest
        drop = _power(width)
        n = 0
        for text in range(len(cuts) - 1):
            value = U(0)
            for i in range(cuts[text], cuts[text + 1]):
                value = value * _COMBINE + hashes[i]
                if i - cuts[text] >= width:
                    value -= hashes[i - width] * drop
                if i - cuts[text] >= width - 1:
                    out[n] = mixed(value)
                    n += 1

    return grams_batch


matches_batch = entry(_make_matches)
words_batch = entry(_make_words)
grams_batch = entry(_make_grams)
