"""Kernels: the sums of `fasttext_kernel` for models of words and character n-grams without runs of words (lid.176).

Nearly all time goes into n-grams, of which a pruned model knows one in ten; and texts repeat their words. So what a
word gives is kept. A word's sum depends on its bytes only, and a text's sum is that of its words in order, so an answer
never depends on what was kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tokenmill.text.compiled import entry, lean, lean_inlined
from tokenmill.text.fasttext_kernel import (
    _BASIS,
    _END,
    _END_HASH,
    _add,
    _begins_as_label,
    _find,
    _ones,
    _stepped,
    _white,
)

U = np.uint64
_BITS_OF_SLOTS = 15
SLOTS = 1 << _BITS_OF_SLOTS
"""Words that are kept. 5.2 MB for sums of 16 columns; twice as many are no faster."""
LONGEST = 24
"""Bytes of the longest word that is kept: three numbers."""
WORDS = 64
"""Words that are looked up together, so that waiting for their rows overlaps."""
SIEVE = 1 << 12
"""Numbers of the sieve, 32 KB."""
_LOW = U(2**32 - 1)
_IS_LABEL = _LOW
_BITS, _SEVENS, _BELOW_33 = U(0x8080808080808080), U(0x7F7F7F7F7F7F7F7F), U(0x5F5F5F5F5F5F5F5F)
_LOWEST = U(0x0101010101010101)
_A, _B, _C, _D = map(U, (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB))
_SHIFT = U(64 - _BITS_OF_SLOTS)
_MASKS = np.array([2 ** (8 * size) - 1 for size in range(9)], np.uint64)
_END_KEY = U(int.from_bytes(b"</s>", "little"))


class Memory(NamedTuple):
    """Words that were met, one for each slot; of two in one slot the later one is kept. For one call at a time."""

    keys: Any
    """uint64 [SLOTS, 4]: the bytes of the word, 0 behind it; then how many rows it has (_IS_LABEL: it is a label) and,
    in the upper half, the block of words that was the last to have it."""
    sums: Any
    """float64 [SLOTS, columns]: its rows."""
    blocks: Any
    """int64 [1]: blocks of words so far."""
    slots: Any
    """int64 [WORDS]: the words of a block."""
    grams: Any
    """int64 [size]: hashes of n-grams, later their rows."""
    owners: Any
    """int64 [size]: the slot of the word of each n-gram."""
    letters: Any
    """uint8 [LONGEST + 3]: a word that is taken apart."""
    sieve: Any
    """uint64 [SIEVE]: `Table.kept_bits`, laid on top of each other; empty where these are. It fits into the fastest
    cache and already says of most n-grams that they were pruned."""
    total: Any
    """float64 [columns]: the sum of a text."""


def memory(table: Any) -> Memory:
    """An empty one."""
    columns = table.word_rows.shape[1]
    folded = np.zeros(-(-len(table.kept_bits) // SIEVE) * SIEVE, np.uint64)
    folded[: len(table.kept_bits)] = table.kept_bits
    grams = max(4 * WORDS * table.maxn, 2 * (LONGEST + 2) * table.maxn)
    return Memory(
        keys=np.zeros((SLOTS, 4), np.uint64),
        sums=np.zeros((SLOTS, columns)),
        blocks=np.zeros(1, np.int64),
        slots=np.zeros(WORDS, np.int64),
        grams=np.zeros(grams, np.int64),
        owners=np.zeros(grams, np.int64),
        letters=np.zeros(LONGEST + 3, np.uint8),
        sieve=np.bitwise_or.reduce(folded.reshape(-1, SIEVE), axis=0) if len(folded) else folded,
        total=np.zeros(columns),
    )


@lean_inlined
def _block(data: Any, i: Any) -> Any:
    """data[i:i + 8] as one number, first byte lowest."""
    j = U(i)
    low = U(data[j]) | U(data[j + U(1)]) << U(8) | U(data[j + U(2)]) << U(16) | U(data[j + U(3)]) << U(24)
    high = U(data[j + U(4)]) | U(data[j + U(5)]) << U(8) | U(data[j + U(6)]) << U(16) | U(data[j + U(7)]) << U(24)
    return low | high << U(32)


@lean
def _letters(block: Any) -> Any:
    """How many bytes of a block come before the first that is white space or a control character; 8 without one."""
    low = ~(((block & _SEVENS) + _BELOW_33) | block) & _BITS
    if low == U(0):
        return np.int64(8)
    below = (low & (~low + U(1))) - U(1)
    return np.int64((below & _LOWEST) * _LOWEST >> U(56)) - 1


@lean
def _word(data: Any, at: int, stop: int) -> Any:
    """(end, first, second, third number) of the word that begins at a place, without a loop over its bytes.

    The end is -1 where a loop must find it: for long words, at the end of the data, beside control characters.
    """
    none = (np.int64(-1), U(0), U(0), U(0))
    if at + LONGEST > len(data):
        return none
    second = third = U(0)
    first = _block(data, at)
    size = _letters(first)
    if size == 8:
        second = _block(data, at + 8)
        more = _letters(second)
        size += more
        if more == 8:
            third = _block(data, at + 16)
            last = _letters(third)
            size += last
            if last == 8:
                return none
            third &= _MASKS[last]
        else:
            second &= _MASKS[more]
    else:
        first &= _MASKS[size]
    end = at + size
    if end >= stop or _white(data, end, stop, False) == 0:
        return none
    return end, first, second, third


@lean
def _slow_word(data: Any, at: int, stop: int) -> Any:
    """The same for any word; the numbers are 0 for one that is too long to be kept."""
    end = at
    while end < stop and (data[end] > 32 or _white(data, end, stop, False) == 0):
        end += 1
    first = second = third = U(0)
    if end - at <= LONGEST:
        for i in range(min(end - at, 8)):
            first |= U(data[at + i]) << U(8 * i)
        for i in range(8, min(end - at, 16)):
            second |= U(data[at + i]) << U(8 * i - 64)
        for i in range(16, end - at):
            third |= U(data[at + i]) << U(8 * i - 128)
    return np.int64(end), first, second, third


@lean
def _rests(grams: Any, count: int, bucket: int) -> None:
    """Hashes modulo the number of buckets, without a division."""
    share = 1.0 / bucket
    for i in range(count):
        number = grams[i] - np.int64(np.float64(grams[i]) * share) * bucket
        number = number + bucket if number < 0 else number
        grams[i] = number - bucket if number >= bucket else number


@lean
def _kept_rows(grams: Any, owners: Any, count: int, sieve: Any, kept_bits: Any, kept_before: Any) -> int:
    """Instead of the n-grams' numbers the rows of those that are left; how many. Nobody can guess which: no branch."""
    left = 0
    last = U(len(sieve) - 1)
    for i in range(count):
        number = U(grams[i])
        grams[left], owners[left] = grams[i], owners[i]
        left += int(sieve[number >> U(6) & last] >> (number & U(63)) & U(1))
    count, left = left, 0
    for i in range(count):
        number = U(grams[i])
        bits = kept_bits[number >> U(6)] >> (number & U(63))
        grams[left] = np.int64(kept_before[(number >> U(6)) + U(1)]) - np.int64(_ones(bits))
        owners[left] = owners[i]
        left += int(bits & U(1))
    return left


@lean
def _add_to_words(keys: Any, sums: Any, rows: Any, grams: Any, owners: Any, count: int) -> None:
    """Add each n-gram's row to the sum of its word."""
    for i in range(count):
        owner, row = U(owners[i]), U(grams[i])
        keys[owner, 3] += U(1)
        if sums.shape[1] == 16:  # a constant bound becomes vectors
            for c in range(16):
                sums[owner, c] += rows[row, c]
        else:
            for c in range(sums.shape[1]):
                sums[owner, c] += rows[row, c]


@lean
def _add_to_text(rows: Any, numbers: Any, count: int, total: Any) -> None:
    """Add the rows of these numbers, or the words of these slots, to the sum of a text."""
    for i in range(count):
        row = U(numbers[i])
        if len(total) == 16:
            for c in range(16):
                total[c] += rows[row, c]
        else:
            for c in range(len(total)):
                total[c] += rows[row, c]


@lean_inlined
def _found_rows(table: Any, memory: Any, noted: int) -> Any:
    """The rows of the noted n-grams take their places; how many there are."""
    _rests(memory.grams, noted, np.int64(table.bucket))
    if len(table.kept_bits) == 0:
        return noted
    return _kept_rows(memory.grams, memory.owners, noted, memory.sieve, table.kept_bits, table.kept_before)


@lean_inlined
def _end_block(table: Any, memory: Any, count: int, noted: int) -> Any:
    """Finish the words that were met and add all words of the block to the text; (rows, words)."""
    if noted > 0:
        left = _found_rows(table, memory, noted)
        _add_to_words(memory.keys, memory.sums, table.bucket_rows, memory.grams, memory.owners, left)
    _add_to_text(memory.sums, memory.slots, count, memory.total)  # that of a label is 0
    rows = words = np.int64(0)
    for i in range(count):
        more = memory.keys[U(memory.slots[i]), 3] & _LOW
        if more != _IS_LABEL:
            rows += np.int64(more)
            words += 1
    memory.blocks[0] += 1
    return rows, words


@lean
def _note_ngrams(letters: Any, size: int, minn: int, maxn: int, grams: Any, owners: Any, noted: int, slot: Any) -> int:
    """Note the hashes of the n-grams of letters[:size], "<" + word + ">" with a 0 behind; how many are noted then."""
    for i in range(size):
        if letters[i] & 0xC0 == 0x80:
            continue
        h = _stepped(_BASIS, letters[i])
        j = i + 1
        for n in range(1, maxn + 1):
            while letters[j] & 0xC0 == 0x80:
                h = _stepped(h, letters[j])
                j += 1
            if n >= minn and not (n == 1 and (i == 0 or j == size)):
                grams[noted], owners[noted] = np.int64(h), np.int64(slot)
                noted += 1
            if j >= size:
                break
            h = _stepped(h, letters[j])
            j += 1
    return noted


@lean
def _hash(data: Any, start: int, stop: int) -> Any:
    h = _BASIS
    for at in range(start, stop):
        h = _stepped(h, data[at])
    return h


@lean_inlined
def _learn(table: Any, memory: Any, data: Any, start: int, stop: int, slot: Any, noted: int) -> Any:
    """The rows of a new word, or its n-grams noted; (rows so far or _IS_LABEL, how many are noted)."""
    h = _hash(data, start, stop)
    found = _find(table.slots, table.places, table.letters, h, data, start, stop)
    for c in range(memory.sums.shape[1]):
        memory.sums[slot, c] = 0.0
    rows = U(0)
    if found >= table.words or (found < 0 and _begins_as_label(data, start, stop)):
        rows = _IS_LABEL
    elif found >= 0:
        for c in range(memory.sums.shape[1]):
            memory.sums[slot, c] = table.word_rows[found, c]
        rows = U(table.word_sizes[found])
    else:
        letters, size = memory.letters, stop - start + 2
        letters[0] = 60
        for i in range(size - 2):
            letters[i + 1] = data[start + i]
        letters[size - 1], letters[size] = 62, 0
        noted = _note_ngrams(letters, size, table.minn, table.maxn, memory.grams, memory.owners, noted, slot)
    return rows, noted


@lean_inlined
def _add_long(table: Any, memory: Any, data: Any, start: int, stop: int) -> Any:
    """Add a word that is too long to be kept to the text, in the order of `fasttext_kernel`; its rows, -1: a label."""
    h = _hash(data, start, stop)
    found = _find(table.slots, table.places, table.letters, h, data, start, stop)
    if found >= table.words or (found < 0 and _begins_as_label(data, start, stop)):
        return np.int64(-1)
    if found >= 0:
        _add(table.word_rows, found, memory.total)
        return np.int64(table.word_sizes[found])
    grams, minn, maxn = memory.grams, table.minn, table.maxn
    rows = noted = 0
    for at in range(start - 1, stop + 1):
        byte = np.uint8(60) if at < start else np.uint8(62) if at == stop else data[at]
        if byte & 0xC0 != 0x80:
            h = _stepped(_BASIS, byte)
            j = at + 1
            for n in range(1, maxn + 1):
                while j < stop and data[j] & 0xC0 == 0x80:
                    h = _stepped(h, data[j])
                    j += 1
                if n >= minn and not (n == 1 and (at < start or j == stop + 1)):
                    grams[noted] = np.int64(h)
                    noted += 1
                if j > stop:
                    break
                h = _stepped(h, data[j] if j < stop else np.uint8(62))
                j += 1
        if noted + maxn > len(grams) or at == stop:
            left = _found_rows(table, memory, noted)
            _add_to_text(table.bucket_rows, grams, left, memory.total)
            rows += left
            noted = 0
    return np.int64(rows)


@lean
def sum_text(table: Any, memory: Any, data: Any, start: int, stop: int) -> Any:
    """The sum of a text's rows in memory.total; (rows, words). Newlines are spaces."""
    keys = memory.keys
    memory.total[:] = 0.0
    rows = words = np.int64(0)
    count = noted = 0
    at = start
    while at < stop:
        if _white(data, at, stop, False):
            at += 1
            continue
        begin = at
        at, first, second, third = _word(data, begin, stop)
        if at < 0:
            at, first, second, third = _slow_word(data, begin, stop)
        if first == _END_KEY and second == U(0):
            break  # ends a text wherever it stands
        slot = first * _A + second * _B + third * _C
        slot = ((slot ^ slot >> U(32)) * _D) >> _SHIFT
        known = keys[slot, 0] == first and keys[slot, 1] == second and keys[slot, 2] == third
        stamp = U(memory.blocks[0]) << U(32)
        clash = not known and keys[slot, 3] & ~_LOW == stamp
        if first == U(0) or count == WORDS or clash or noted + table.maxn * (LONGEST + 2) > len(memory.grams):
            more, judged = _end_block(table, memory, count, noted)
            rows, words, count, noted = rows + more, words + judged, 0, 0
            stamp = U(memory.blocks[0]) << U(32)
        if first == U(0):
            more = _add_long(table, memory, data, begin, at)
            if more >= 0:
                rows, words = rows + more, words + 1
            continue
        if not known:
            found, noted = _learn(table, memory, data, begin, at, slot, noted)
            keys[slot, 0], keys[slot, 1], keys[slot, 2], keys[slot, 3] = first, second, third, found | stamp
        keys[slot, 3] = keys[slot, 3] & _LOW | stamp
        memory.slots[count] = np.int64(slot)
        count += 1
    more, judged = _end_block(table, memory, count, noted)
    rows, words = rows + more, words + judged
    found = _find(table.slots, table.places, table.letters, _END_HASH, _END, 0, len(_END))
    if 0 <= found < table.words:
        _add(table.word_rows, found, memory.total)
        rows += np.int64(table.word_sizes[found])
    return rows, words


def _sum_known_of(digest: str) -> Callable[..., None]:
    def sum_known(data: Any, offsets: Any, table: Any, memory: Any, sums: Any, rows: Any, words: Any) -> None:
        """As `fasttext_kernel.sum_batch`, newlines being spaces, for models without runs of words."""
        _ = digest
        for i in range(len(offsets) - 1):
            rows[i], words[i] = sum_text(table, memory, data, offsets[i], offsets[i + 1])
            for c in range(sums.shape[1]):
                sums[i, c] = memory.total[c]

    return sum_known


sum_known = entry(_sum_known_of, _nrt=False)
