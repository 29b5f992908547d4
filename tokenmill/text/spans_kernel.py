"""Kernel: lines, paragraphs and sentences of a text, their hashes, and the text without some of them.

Of the text, `t` are code points, `f` their flags (`tokenmill.text.tables`), `n` their number. It is cut into pieces:
the lines of `str.splitlines`, or the sentences of each. Piece k is t[starts[k]:stops[k]]; where a line break
follows, it lies between stops[k] and starts[k + 1]. numbers[k] is the paragraph, line or sentence that the piece
belongs to, or -1 for a blank line. After the last piece, starts has `n` once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tokenmill.core.segment import CHARACTERS
from tokenmill.text.bytes_kernel import SEED, byte_places, copy, grown, longest_of, step
from tokenmill.text.compiled import entry, inner
from tokenmill.text.hash_kernel import mixed
from tokenmill.text.tables import ALNUM, BREAK, PUNCT, SENTENCE_END, SPACE, UPPER
from tokenmill.text.tokens_kernel import decode, look_up, split_piece, tokens_between
from tokenmill.text.words_kernel import cut_characters, word_unit

LINE, PARAGRAPH, SENTENCES = 0, 1, 2
"""Units; their order is that of `spans.UNITS`."""

_ONE = np.uint64(1)
_BLANK = np.uint64(32)
_NEWLINE, _RETURN = map(ord, "\n\r")
_OPENERS = np.array([ord(char) for char in "([{“‘„«¿¡（［｛「『【《〈〔"], np.int32)
"""Marks that belong to the sentence after them, where no space says so."""


class Room(NamedTuple):
    """Arrays for one text, as long as the longest text of the batch wants them."""

    t: Any
    f: Any
    places: Any
    """Where each code point begins in the batch's UTF-8, and where the last one ends."""
    starts: Any
    stops: Any
    numbers: Any
    token_starts: Any
    token_ends: Any
    unit_starts: Any
    unit_ends: Any


@inner
def _lower(code: int, upper: Any, lower: Any) -> int:
    if code < 128:
        return code | 32
    low, high = 0, len(upper)
    while low < high:
        middle = (low + high) // 2
        if upper[middle] < code:
            low = middle + 1
        else:
            high = middle
    return lower[low] if low < len(upper) and upper[low] == code else code


@inner
def _text_hash(t: Any, f: Any, s: int, e: int, upper: Any, lower: Any) -> tuple[Any, int]:
    """Hash of t[s:e] in lower case, runs of white space as one space; its characters, 0 without letter and digit."""
    value = SEED
    any_of, size = np.uint32(0), 0
    gap = False
    for i in range(s, e):
        flag = f[i]
        if flag & SPACE:
            gap = size > 0
            continue
        if gap:
            value = step(value, _BLANK)
            gap = False
            size += 1
        size += 1
        any_of |= flag
        code = t[i]
        if flag & UPPER:
            code = _lower(code, upper, lower)
        value = step(value, np.uint64(code))
    return mixed(value), size if any_of & ALNUM else 0


@inner
def _cut_lines(t: Any, f: Any, n: int, starts: Any, stops: Any, numbers: Any) -> int:
    """Lines as pieces, numbered without the blank ones; how many pieces."""
    k = number = 0
    start = 0
    while start < n:
        end = start
        blank = True
        while end < n and f[end] & BREAK == 0:
            blank = blank and f[end] & SPACE != 0
            end += 1
        starts[k], stops[k] = start, end
        numbers[k] = -1 if blank else number
        number += not blank
        k += 1
        start = end + (2 if end + 1 < n and t[end] == _RETURN and t[end + 1] == _NEWLINE else 1)
    starts[k] = n
    return k


@inner
def _join_paragraphs(numbers: Any, count: int) -> None:
    """Number the blocks between blank lines instead of lines, if a blank line stands between two that are not."""
    number = -1
    for k in range(count):
        if k > 0 and numbers[k] > 0 and numbers[k - 1] < 0:
            number = 0
    if number < 0:
        return
    number = -1
    for k in range(count):
        if numbers[k] >= 0:
            number += k == 0 or numbers[k - 1] < 0
            numbers[k] = number


@inner
def _boundary(t: Any, f: Any, mark: int, first: int) -> int:
    """Where the sentence begins whose first token is at `first`; the mark before it ends at `mark`."""
    i = mark
    while i < first and f[i] & SPACE == 0:
        i += 1
    if i < first:  # what follows the first white space belongs to the sentence, as quotation marks do
        while f[i] & SPACE:
            i += 1
        return i
    while i > mark:
        opens = False
        for code in _OPENERS:
            opens = opens or t[i - 1] == code
        if not opens:
            break
        i -= 1
    return i


@inner
def _token_sentences(
    t: Any, f: Any, token_starts: Any, token_ends: Any, tokens: int, mark: int, starts: Any, k: int
) -> tuple[int, int]:
    """Begin sentences at tokens, as `words_kernel.count_sentences` counts them.

    mark: where the last mark ended that ends a sentence, -1 if something came after it. The new `k`, and `mark`.
    """
    for token in range(tokens):
        s, e = token_starts[token], token_ends[token]
        if e - s == 1 and f[s] & SENTENCE_END:
            mark = e
        elif mark >= 0:
            i = s
            while i < e and f[i] & PUNCT:
                i += 1
            if i < e:
                starts[k] = _boundary(t, f, mark, s)
                k += 1
                mark = -1
    return k, mark


@inner
def _spaced_sentences(room: Any, s: int, e: int, starts: Any, k: int, lexicon: Any) -> int:
    """Begin the sentences after the first of a line with spaces; only pieces with a mark are cut into tokens."""
    t, f = room.t, room.f
    mark = -1
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
        if any_of & SENTENCE_END:
            tokens = split_piece(t, f, piece, i, room.token_starts, room.token_ends, 0, lexicon)
            k, mark = _token_sentences(t, f, room.token_starts, room.token_ends, tokens, mark, starts, k)
        elif mark >= 0 and all_of & PUNCT == 0:
            starts[k] = _boundary(t, f, mark, piece)
            k += 1
            mark = -1
    return k


@inner
def _cut_sentences(room: Any, lines: int, n: int, lexicon: Any) -> int:
    """Cut the pieces, which are lines, into sentences; how many pieces then.

    The lines are moved to the end of their arrays first: there are never more sentences than characters.
    """
    t, f = room.t, room.f
    starts, stops, numbers = room.starts, room.stops, room.numbers
    unit = word_unit(f, n)
    gap = len(stops) - lines
    for line in range(lines - 1, -1, -1):
        starts[gap + line], stops[gap + line], numbers[gap + line] = starts[line], stops[line], numbers[line]
    k = number = 0
    for line in range(gap, gap + lines):
        s, e, blank = starts[line], stops[line], numbers[line] < 0
        first = k
        starts[k] = s
        k += 1
        if not blank and unit == CHARACTERS:
            tokens = tokens_between(t, f, s, e, room.token_starts, room.token_ends, 0, lexicon)
            cut = cut_characters(f, room.token_starts, room.token_ends, 0, tokens, room.unit_starts, room.unit_ends, 0)
            k, _ = _token_sentences(t, f, room.unit_starts, room.unit_ends, cut, -1, starts, k)
        elif not blank:
            k = _spaced_sentences(room, s, e, starts, k, lexicon)
        for i in range(first, k):
            stops[i] = e if i + 1 == k else starts[i + 1]
            numbers[i] = -1 if blank else number
            number += not blank
    starts[k] = n
    return k


@inner
def _cut(data: Any, start: int, stop: int, unit: int, room: Any, tables: Any) -> tuple[int, int, int]:
    """The pieces of data[start:stop] into `room`: code points, pieces, and how many numbers they have."""
    n = decode(data, start, stop, room.t)
    look_up(room.t, n, tables.pages, tables.flags, room.f)
    count = _cut_lines(room.t, room.f, n, room.starts, room.stops, room.numbers)
    if unit == PARAGRAPH:
        _join_paragraphs(room.numbers, count)
    elif unit == SENTENCES:
        count = _cut_sentences(room, count, n, tables.lexicon)
    numbers = 0
    for k in range(count):
        numbers = max(numbers, room.numbers[k] + 1)
    return n, count, numbers


@inner
def _write(data: Any, room: Any, count: int, gone: Any, out: Any, at: int) -> int:
    """The text without the pieces whose number is `gone`, to out[at:]; where it ends. Rules: `spans.without_spans`."""
    f, places, starts, stops, numbers = room.f, room.places, room.starts, room.stops, room.numbers
    body = bare = at  # end of the last line that is not blank, with and without its line break
    blank = True
    cut = False
    k = 0
    while k < count:
        last = k
        while last + 1 < count and stops[last] == starts[last + 1]:
            last += 1
        after = starts[last + 1]
        if numbers[k] < 0:
            if not (cut and blank):
                at = copy(data, places[starts[k]], places[after], out, at)
                blank, cut = True, False
        else:
            begin = at
            kept = last
            while kept >= k and gone[numbers[kept]]:
                kept -= 1
            for j in range(k, kept + 1):
                end = stops[j]
                while j == kept < last and end > starts[j] and f[end - 1] & SPACE:
                    end -= 1  # the space between two sentences of which the second is gone
                if not gone[numbers[j]]:
                    at = copy(data, places[starts[j]], places[end], out, at)
            if at == begin:
                cut = True
            else:
                bare = at
                at = body = copy(data, places[stops[last]], places[after], out, at)
                blank = cut = False
        k = last + 1
    if cut:
        at = bare if stops[count - 1] == starts[count] else body
    return at


@inner
def _room(longest: int, unit: int) -> Any:
    size = longest + 2
    tokens = size if unit == SENTENCES else 0
    return Room(
        np.empty(size, np.int32),
        np.empty(size, np.uint32),
        np.empty(size, np.int64),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(tokens, np.int32),
        np.empty(tokens, np.int32),
        np.empty(tokens, np.int32),
        np.empty(tokens, np.int32),
    )


@inner
def _piece_hashes(room: Any, count: int, upper: Any, lower: Any, hashes: Any, sizes: Any) -> None:
    """Hash of every number, and its characters as `_text_hash` counts them."""
    starts, stops, numbers = room.starts, room.stops, room.numbers
    k = 0
    while k < count:
        last = k
        while last + 1 < count and numbers[last + 1] == numbers[k]:
            last += 1
        number = numbers[k]
        if number >= 0:
            hashes[number], sizes[number] = _text_hash(room.t, room.f, starts[k], stops[last], upper, lower)
        k = last + 1


@inner
def _window_hashes(pieces: Any, sizes: Any, numbers: int, length: int, least: int, hashes: Any, at: int) -> int:
    """Hashes of `length` consecutive pieces to hashes[at:], 0 below `least` characters; where they end there."""
    for i in range(numbers - length + 1):
        value = SEED
        size = 0
        for k in range(i, i + length):
            value = step(value, pieces[k])
            size += sizes[k]
        hashes[at + i] = max(mixed(value), _ONE) if size >= max(1, least) else np.uint64(0)
    return at + max(0, numbers - length + 1)


def _make_hashes(digest: str) -> Callable[..., Any]:
    def hashes_batch(
        data: Any, offsets: Any, unit: int, length: int, least: int, tables: Any, upper: Any, lower: Any
    ) -> tuple[Any, Any]:
        """Hashes of all spans of `length` pieces, and where those of each text begin."""
        assert digest
        count = len(offsets) - 1
        room = _room(longest_of(offsets), unit)
        bounds = np.zeros(count + 1, np.int64)
        hashes = np.empty(1024, np.uint64)
        pieces, sizes = np.empty(1024, np.uint64), np.empty(1024, np.int64)
        at = 0
        for i in range(count):
            _, cut, numbers = _cut(data, offsets[i], offsets[i + 1], unit, room, tables)
            hashes, pieces, sizes = grown(hashes, at, numbers), grown(pieces, 0, numbers), grown(sizes, 0, numbers)
            _piece_hashes(room, cut, upper, lower, pieces, sizes)
            at = _window_hashes(pieces, sizes, numbers, length, least, hashes, at)
            bounds[i + 1] = at
        return hashes[:at].copy(), bounds

    return hashes_batch


def _make_removal(digest: str) -> Callable[..., Any]:
    def removal_batch(
        data: Any, offsets: Any, unit: int, sentences: int, removed: Any, bounds: Any, tables: Any
    ) -> tuple[Any, Any, int]:
        """UTF-8 of the texts that are left, where each begins in it, and the number of a text without such a span.

        The last is -1 when all are well.
        """
        assert digest
        count = len(offsets) - 1
        room = _room(longest_of(offsets), unit)
        gone = np.zeros(len(room.starts), np.bool_)
        out = np.empty(offsets[count] - offsets[0], np.uint8)
        places = np.zeros(count + 1, np.int64)
        at = 0
        reach = sentences if unit == SENTENCES else 1
        for i in range(count):
            if bounds[i] == bounds[i + 1]:
                at = copy(data, offsets[i], offsets[i + 1], out, at)
            else:
                n, cut, numbers = _cut(data, offsets[i], offsets[i + 1], unit, room, tables)
                byte_places(data, offsets[i], offsets[i + 1], room.t, n, room.places)
                gone[:numbers] = False
                for k in range(bounds[i], bounds[i + 1]):
                    first = np.int64(removed[k])
                    if first + reach > numbers:
                        return out[:0], places, i
                    gone[first : first + reach] = True
                at = _write(data, room, cut, gone, out, at)
            places[i + 1] = at
        return out[:at], places, -1

    return removal_batch


def _make_pieces(digest: str) -> Callable[..., Any]:
    def pieces_of(data: Any, unit: int, tables: Any) -> tuple[Any, Any, Any]:
        """Of one text: first byte and end of each piece, and its number."""
        assert digest
        room = _room(len(data), unit)
        n, count, _ = _cut(data, 0, len(data), unit, room, tables)
        byte_places(data, 0, len(data), room.t, n, room.places)
        return room.places[room.starts[:count]], room.places[room.stops[:count]], room.numbers[:count].copy()

    return pieces_of


hashes_batch = entry(_make_hashes)
removal_batch = entry(_make_removal)
pieces_of = entry(_make_pieces)
