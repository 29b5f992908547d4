"""The kernel of `tokenmill.text.measure`: every signal of every text of a batch, in one pass over the buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.core.segment import CHARACTERS, SPACED, UNKNOWN
from tokenmill.text.compiled import entry, inner
from tokenmill.text.lines_kernel import (
    break_statistics,
    character_statistics,
    count_newlines,
    line_statistics,
    repeat_statistics,
    share,
)
from tokenmill.text.repetition import duplicate_ngrams, number_words, top_ngrams
from tokenmill.text.signals import (
    CHARACTERS_AT,
    FAMILIES,
    LANGUAGE_AT,
    LINES_AT,
    NEWLINE_RATIO_AT,
    NGRAMS_AT,
    WIDTH,
    WORDS_AT,
)
from tokenmill.text.tables import HASH_BASE
from tokenmill.text.tokens_kernel import decode, look_up, tokens_between
from tokenmill.text.words_kernel import cut_characters, stop_words, word_statistics, word_unit

CHARACTERS_BIT, LINES, BREAKS, REPEATS, PHRASES, WORDS, TOKENS, LANGUAGE, NGRAMS = (
    1 << number for number in range(len(FAMILIES))
)
"""Bits of the families to measure, in the order of `signals.FAMILIES`."""
_OF_LINES = LINES | BREAKS | REPEATS | PHRASES
_OF_WORDS = WORDS | NGRAMS | LANGUAGE


@inner
def prefix_hashes(t: Any, n: int, prefix: Any) -> None:
    """prefix[i]: hash of the first i code points."""
    value = np.int64(0)
    prefix[0] = 0
    for i in range(n):
        value = value * HASH_BASE + t[i] + 1
        prefix[i + 1] = value


@inner
def power_table(n: int) -> Any:
    """HASH_BASE to the powers 0 to n."""
    powers = np.empty(n + 1, np.int64)
    powers[0] = 1
    for i in range(n):
        powers[i + 1] = powers[i] * HASH_BASE
    return powers


@inner
def _ngrams(t: Any, unit: int, starts: Any, ends: Any, ids: Any, known: int, powers: Any, n: int, row: Any) -> None:
    """The family `NGRAMS`: shares of the `n` characters of the text."""
    count = len(ids)
    row[:] = 0.0
    if count < 2:
        return
    joined_starts = np.empty(count + 1, np.int32)
    at = 0
    for i in range(count):
        joined_starts[i] = at
        at += ends[i] - starts[i]
    joined_starts[count] = at
    # The words without spaces between them, and hashes of their beginnings, in one go.
    joined = np.empty(at, np.int32)
    prefix = np.empty(at + 1, np.int64)
    prefix[0] = 0
    value = np.int64(0)
    at = 0
    for i in range(count):
        for k in range(starts[i], ends[i]):
            joined[at] = t[k]
            value = value * HASH_BASE + t[k] + 1
            at += 1
            prefix[at] = value
    found = np.zeros(9, np.int64)
    top_ngrams(ids, known, joined_starts, 0 if unit == CHARACTERS else 1, found[:3])
    duplicate_ngrams(joined, joined_starts, count, prefix, powers, found[3:])
    for i in range(9):
        row[i] = share(found[i], n)


@inner
def _measure_words(
    t: Any,
    f: Any,
    n: int,
    unit: int,
    starts: Any,
    ends: Any,
    prefix: Any,
    powers: Any,
    families: int,
    lists: Any,
    language: int,
    row: Any,
) -> None:
    """Families that need words; `starts` and `ends` are those of the words."""
    count = len(starts)
    ids = np.empty(count, np.int32)
    first = np.empty(count, np.int32)
    known = number_words(t, starts, ends, count, prefix, powers, ids, first)
    counts = np.zeros(known, np.int32)
    for i in range(count):
        counts[ids[i]] += 1
    words, bounds, lists_at = lists
    if families & WORDS:
        word_statistics(t, f, n, unit, starts, ends, first, counts, row[WORDS_AT : WORDS_AT + 15])
        low, high = lists_at[0], lists_at[1]
        found = stop_words(t, n, unit, starts, ends, first, counts, prefix, powers, words, bounds, low, high)
        row[WORDS_AT + 5] = found[0]
    if families & LANGUAGE and language >= 0:
        low, high = lists_at[language], lists_at[language + 1]
        found = stop_words(t, n, unit, starts, ends, first, counts, prefix, powers, words, bounds, low, high)
        row[LANGUAGE_AT] = found[0]
        row[LANGUAGE_AT + 1] = share(found[1], count) if found[1] >= 0 else np.nan
    if families & NGRAMS:
        _ngrams(t, unit, starts, ends, ids, known, powers, n, row[NGRAMS_AT : NGRAMS_AT + 9])


def _make(digest: str) -> Callable[..., Any]:
    def measure_batch(
        data: Any,
        offsets: Any,
        families: int,
        tables: Any,
        lists: Any,
        languages: Any,
        spans: Any,
        span_bounds: Any,
    ) -> Any:
        """One row of `WIDTH` float64 per text; NaN where a signal is not measured.

        Text i is data[offsets[i]:offsets[i + 1]], its list of stop words languages[i] (-1: none). With
        `span_bounds`, its words are spans[span_bounds[i]:span_bounds[i + 1]] (code points) instead of our own.
        """
        assert digest
        count = len(offsets) - 1
        out = np.full((count, WIDTH), np.nan)
        longest = 0
        for i in range(count):
            longest = max(longest, offsets[i + 1] - offsets[i])
        t = np.empty(longest, np.int32)
        f = np.empty(longest, np.uint32)
        prefix = np.empty(longest + 1, np.int64)
        starts = np.empty(longest + 2, np.int32)
        ends = np.empty(longest + 2, np.int32)
        powers = power_table(longest)
        for i in range(count):
            row = out[i]
            n = decode(data, offsets[i], offsets[i + 1], t)
            look_up(t, n, tables.pages, tables.flags, f)
            if families & CHARACTERS_BIT:
                character_statistics(t, f, n, offsets[i + 1] - offsets[i], row[CHARACTERS_AT:LINES_AT])
            if families & (LINES | REPEATS | _OF_WORDS):
                prefix_hashes(t, n, prefix)
            if families & _OF_LINES:
                of_lines = row[LINES_AT:WORDS_AT]
                if families & BREAKS:
                    break_statistics(t, f, n, of_lines)
                if families & (LINES | PHRASES):
                    look = families & PHRASES != 0
                    line_statistics(t, f, n, prefix, powers, tables.phrases, look, of_lines)
                if families & REPEATS:
                    repeat_statistics(t, f, n, prefix, powers, of_lines)
            if families & (_OF_WORDS | TOKENS) == 0:
                continue
            given = len(span_bounds) > 0
            unit = SPACED if given else word_unit(f, n)
            if unit == UNKNOWN:
                continue
            if given:
                words = span_bounds[i + 1] - span_bounds[i]
                word_starts = spans[span_bounds[i] : span_bounds[i + 1], 0].copy()
                word_ends = spans[span_bounds[i] : span_bounds[i + 1], 1].copy()
            else:
                words = tokens_between(t, f, 0, n, starts, ends, 0, tables.lexicon)
                word_starts, word_ends = starts[:words], ends[:words]
                if unit == CHARACTERS:
                    cut_starts = np.empty(n + 1, np.int32)
                    cut_ends = np.empty(n + 1, np.int32)
                    words = cut_characters(f, starts, ends, 0, words, cut_starts, cut_ends, 0)
                    word_starts, word_ends = cut_starts[:words], cut_ends[:words]
            if families & TOKENS:
                row[NEWLINE_RATIO_AT] = share(count_newlines(t, n), words)
            if families & _OF_WORDS == 0:
                continue
            _measure_words(t, f, n, unit, word_starts, word_ends, prefix, powers, families, lists, languages[i], row)
        return out

    return measure_batch


measure_batch = entry(_make)
