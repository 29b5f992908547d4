"""Kernels: words and sentences of a text, and which unit of words it has.

As in `tokenmill.text.lines_kernel`, each function fills one row in the order of `tokenmill.text.signals`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tokenmill.core.segment import CHARACTERS, SPACED, UNKNOWN, UNSPACED_SHARE
from tokenmill.text.compiled import inner
from tokenmill.text.lines_kernel import share
from tokenmill.text.repetition import slot_of, table_size
from tokenmill.text.tables import (
    ALNUM,
    ALPHA,
    BREAK,
    DICTIONARY,
    HASH_BASE,
    IDEOGRAPH,
    KATAKANA,
    MARK,
    NO_WORD,
    PUNCT,
    SENTENCE_END,
    SPACE,
    UPPER,
)
from tokenmill.text.tokens_kernel import split_piece

_HASH, _DOT, _ELLIPSIS = map(ord, "#.…")


@inner
def word_unit(f: Any, n: int) -> int:
    """SPACED, CHARACTERS or UNKNOWN (`segment.word_unit`)."""
    letters = characters = unknown = 0
    for i in range(n):
        if f[i] & ALPHA:
            letters += 1
            characters += f[i] & (IDEOGRAPH | KATAKANA) != 0
            unknown += f[i] & DICTIONARY != 0
    if unknown and unknown * UNSPACED_SHARE >= letters:
        return UNKNOWN
    return CHARACTERS if characters and characters * UNSPACED_SHARE >= letters else SPACED


@inner
def cut_characters(
    f: Any, from_starts: Any, from_ends: Any, first: int, last: int, starts: Any, ends: Any, k: int
) -> int:
    """Tokens first to last (exclusive) cut into the units of Chinese and Japanese (`segment.characters`)."""
    for number in range(first, last):
        kind = -1
        for i in range(from_starts[number], from_ends[number]):
            if kind >= 0 and f[i] & MARK:
                ends[k - 1] = i + 1
                continue
            before = kind
            if f[i] & IDEOGRAPH:
                kind = 0
            elif f[i] & KATAKANA:
                kind = 1
            elif f[i] & ALNUM:
                kind = 2
            else:
                kind = 3
            if kind == before and (kind == 1 or kind == 2):
                ends[k - 1] = i + 1
            else:
                starts[k], ends[k] = i, i + 1
                k += 1
    return k


@inner
def count_sentences(t: Any, f: Any, starts: Any, ends: Any, first: int, last: int) -> int:
    """Sentences of a line whose tokens are first to last (exclusive); 0 without tokens."""
    if first >= last:
        return 0
    sentences = 1
    ended = False
    for i in range(first, last):
        s = starts[i]
        if ends[i] - s == 1 and f[s] & SENTENCE_END:
            ended = True
        elif ended:
            k = s
            while k < ends[i] and f[k] & PUNCT:
                k += 1
            if k < ends[i]:
                sentences += 1
                ended = False
    return sentences


@inner
def line_sentences(t: Any, f: Any, s: int, e: int, starts: Any, ends: Any, lexicon: Any) -> int:
    """`count_sentences` of the line t[s:e] in a text with spaces, cutting into tokens only where it matters."""
    sentences = 0
    ended = True
    i = s
    while i < e:
        while i < e and f[i] & SPACE:
            i += 1
        if i >= e:
            break
        piece = i
        all_of = any_of = np.uint32(0)
        all_of = ~all_of
        while i < e and f[i] & SPACE == 0:
            all_of &= f[i]
            any_of |= f[i]
            i += 1
        if sentences == 0:
            sentences, ended = 1, False  # the first token begins one, whatever it is
        if any_of & SENTENCE_END == 0:
            if ended and all_of & PUNCT == 0:
                sentences += 1
                ended = False
            continue
        tokens = split_piece(t, f, piece, i, starts, ends, 0, lexicon)
        for k in range(tokens):
            first = starts[k]
            if ends[k] - first == 1 and f[first] & SENTENCE_END:
                ended = True
            elif ended:
                while first < ends[k] and f[first] & PUNCT:
                    first += 1
                if first < ends[k]:
                    sentences += 1
                    ended = False
    return sentences


@inner
def text_sentences(t: Any, f: Any, starts: Any, ends: Any, count: int) -> int:
    """Sentences of all lines (as `str.splitlines` cuts them)."""
    sentences = 0
    first = 0
    for i in range(1, count + 1):
        new_line = i == count
        if not new_line:
            for k in range(ends[i - 1], starts[i]):
                if f[k] & BREAK:
                    new_line = True
                    break
        if new_line:
            sentences += count_sentences(t, f, starts, ends, first, i)
            first = i
    return sentences


@inner
def _marks(t: Any, f: Any, n: int) -> tuple[int, int, int]:
    """Hash signs, ellipses, and the length of the longest piece between spaces."""
    hashes = ellipses = longest = dots = piece = 0
    for i in range(n):
        c = t[i]
        hashes += c == _HASH
        ellipses += c == _ELLIPSIS
        dots = dots + 1 if c == _DOT else 0
        if dots == 3:
            ellipses += 1
            dots = 0
        piece = 0 if f[i] & SPACE else piece + 1
        longest = max(longest, piece)
    return hashes, ellipses, longest


@inner
def _capitals(f: Any, s: int, e: int) -> bool:
    """Whether a word has two or more letters, all of them upper case."""
    letters = upper = 0
    for k in range(s, e):
        letters += f[k] & ALPHA != 0
        upper += f[k] & (ALPHA | UPPER) == ALPHA | UPPER
    return letters > 1 and upper == letters


@inner
def word_statistics(
    t: Any, f: Any, n: int, unit: int, starts: Any, ends: Any, first: Any, counts: Any, row: Any
) -> None:
    """The family `WORDS`. `first` and `counts`: where each distinct word occurs first, and how often."""
    count, known = len(starts), len(counts)
    gopher = gopher_chars = with_letter = words = word_chars = distinct = capitals = 0
    entropy = 0.0
    for number in range(known):
        times = counts[number]
        s, e = starts[first[number]], ends[first[number]]
        all_of = any_of = np.uint32(0)
        all_of = ~all_of
        for k in range(s, e):
            all_of &= f[k]
            any_of |= f[k]
        if all_of & NO_WORD == 0:
            gopher += times
            gopher_chars += times * (e - s)
        if any_of & ALPHA:
            with_letter += times
        if any_of & ALNUM:
            words += times
            word_chars += times * (e - s)
            distinct += 1
            if times > 1:
                entropy += times * math.log(times)
            if any_of & UPPER and e - s > 1 and _capitals(f, s, e):
                capitals += times
    hashes, ellipses, longest = _marks(t, f, n)
    spaced = unit == SPACED
    sentences = text_sentences(t, f, starts, ends, count)
    row[0] = gopher
    row[1] = share(gopher_chars, gopher) if spaced else np.nan
    row[2] = share(hashes, count)
    row[3] = share(ellipses, count)
    row[4] = share(with_letter, count)
    row[7] = words
    row[8] = share(distinct, words)
    row[9] = max(0.0, math.log(words) - entropy / words) if words else 0.0
    row[10] = share(word_chars, words) if spaced else np.nan
    row[11] = longest if spaced else np.nan
    row[12] = share(capitals, words)
    row[13] = sentences
    row[14] = share(words, sentences)


@inner
def stop_words(
    t: Any,
    n: int,
    unit: int,
    starts: Any,
    ends: Any,
    first: Any,
    counts: Any,
    prefix: Any,
    powers: Any,
    stop_text: Any,
    stop_bounds: Any,
    list_from: int,
    list_to: int,
) -> tuple[int, int]:
    """How many words of a list occur, and how many words of the text are on it (-1 where words are characters).

    Word w of all lists is stop_text[stop_bounds[w]:stop_bounds[w + 1]]; the list has words list_from to list_to.
    Where words are characters, list words are looked for in the running text.
    """
    occur = total = 0
    if unit == CHARACTERS:
        for w in range(list_from, list_to):
            length = stop_bounds[w + 1] - stop_bounds[w]
            for i in range(n - length + 1):
                k = 0
                while k < length and t[i + k] == stop_text[stop_bounds[w] + k]:
                    k += 1
                if k == length:
                    occur += 1
                    break
        return occur, -1
    mask = table_size(list_to - list_from) - 1
    slots = np.full(mask + 1, -1, np.int32)
    longest = 0
    for w in range(list_from, list_to):
        key = np.int64(0)
        for k in range(stop_bounds[w], stop_bounds[w + 1]):
            key = key * HASH_BASE + stop_text[k] + 1
        longest = max(longest, stop_bounds[w + 1] - stop_bounds[w])
        slot = slot_of(key, mask)
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = w
    for number in range(len(counts)):
        s, e = starts[first[number]], ends[first[number]]
        if e - s > longest:
            continue
        slot = slot_of(prefix[e] - prefix[s] * powers[e - s], mask)
        while slots[slot] >= 0:
            w = slots[slot]
            if stop_bounds[w + 1] - stop_bounds[w] == e - s:
                k = 0
                while k < e - s and t[s + k] == stop_text[stop_bounds[w] + k]:
                    k += 1
                if k == e - s:
                    occur += 1
                    total += counts[number]
                    break
            slot = (slot + 1) & mask
    return occur, total
