"""Kernels: words of any script and their hashes, picked runs of words, and texts without runs of words.

As in `tokenmill.text.tokens_kernel`, `t` are the code points of a text, `f` their flags, `n` their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tokenmill.text.bytes_kernel import SEED, byte_places, copy, grown, longest_of, step
from tokenmill.text.compiled import entry, inner
from tokenmill.text.hash_kernel import mixed
from tokenmill.text.tables import ALNUM, BREAK, DICTIONARY, IDEOGRAPH, KATAKANA, MARK, SPACE
from tokenmill.text.tokens_kernel import decode, look_up

_UNSPACED = IDEOGRAPH | KATAKANA | DICTIONARY
_STOPS = SPACE | _UNSPACED
_OTHER_SEED, _OTHER_STEP = np.uint64(0xD1B54A32D192ED03), np.uint64(0xA0761D6478BD642F)
_BASE, _OTHER_BASE = np.uint64(0x9FB21C651E98DF25), np.uint64(0xE7037ED1A0B428DB)
"""Multipliers of the rolling hashes of words; odd, so that every word counts."""
_32 = np.uint64(32)
_BLANK = np.uint8(32)


class Words(NamedTuple):
    """Arrays for one text, as long as the longest text of the batch wants them."""

    t: Any
    f: Any
    starts: Any
    ends: Any
    """Word i is t[starts[i]:ends[i]]."""
    first: Any
    second: Any
    """Two independent hashes of each word."""


@inner
def words_room(longest: int) -> Any:
    # Each word but the last has a space after it, or is a character of at least three bytes, or stands before one.
    count = longest // 2 + 2
    return Words(
        np.empty(longest + 1, np.int32),
        np.empty(longest + 1, np.uint32),
        np.empty(count, np.int32),
        np.empty(count, np.int32),
        np.empty(count, np.uint64),
        np.empty(count, np.uint64),
    )


@inner
def _cut_words(data: Any, start: int, stop: int, room: Any, tables: Any) -> tuple[int, int]:
    """Words of data[start:stop], with their hashes, into `room`; code points and words."""
    t, f, starts, ends = room.t, room.f, room.starts, room.ends
    n = decode(data, start, stop, t)
    look_up(t, n, tables.pages, tables.flags, f)
    count = 0
    i = 0
    while i < n:
        flag = f[i]
        if flag & SPACE:
            i += 1
            continue
        starts[count] = i
        first = step(SEED, np.uint64(t[i]))
        second = _other_step(_OTHER_SEED, np.uint64(t[i]))
        i += 1
        alone = flag & _UNSPACED != 0
        while i < n:
            flag = f[i]
            if (alone or flag & _STOPS) and flag & MARK == 0:
                break
            code = np.uint64(t[i])
            first = step(first, code)
            second = _other_step(second, code)
            i += 1
        ends[count] = i
        room.first[count] = mixed(first)
        room.second[count] = mixed(second)
        count += 1
    return n, count


@inner
def _other_step(value: Any, item: Any) -> Any:
    value = (value ^ item) * _OTHER_STEP
    return value ^ (value >> _32)


@inner
def _power(base: Any, exponent: int) -> Any:
    value = np.uint64(1)
    while exponent > 0:
        if exponent & 1:
            value *= base
        base *= base
        exponent >>= 1
    return value


@inner
def gram_length(words: int) -> int:
    return max(1, words // 2)


@inner
def _grams(hashes: Any, count: int, length: int, power: Any, grams: Any) -> None:
    """Hash of every run of `length` words into `grams`; power: the base to the power of `length`."""
    value = np.uint64(0)
    for i in range(count):
        value = value * _BASE + hashes[i]
        if i >= length:
            value -= hashes[i - length] * power
        if i >= length - 1:
            grams[i - length + 1] = mixed(value)


@inner
def _pick(grams: Any, count: int, window: int, hashes: Any, positions: Any, at: int) -> int:
    """The least of every `window` consecutive grams, the last of equals, once each; where they end in `hashes`.

    Looking through a whole window again is needed only when its least one has left it: in the mean that costs one
    comparison per gram.
    """
    best = 0
    picked = -1
    for i in range(count):
        if i - best >= window:
            best = i - window + 1
            for k in range(best + 1, i + 1):
                if grams[k] <= grams[best]:
                    best = k
        elif grams[i] <= grams[best]:
            best = i
        if i >= window - 1 and best != picked:
            picked = best
            hashes[at] = grams[best]
            positions[at] = best
            at += 1
    return at


@inner
def _anchored(room: Any, count: int, words: int, anchors: Any, a: int, stop: int, found: Any, at: int) -> int:
    """Every window of `words` words that contains a gram of anchors[a:stop], which ascend, to `found` from `at` on."""
    keys, checks, starts = found
    spare = words - gram_length(words)
    power, other_power = _power(_BASE, words), _power(_OTHER_BASE, words)
    key = check = np.uint64(0)
    for i in range(count):
        key = key * _BASE + room.first[i]
        check = check * _OTHER_BASE + room.second[i]
        start = i - words + 1
        if start > 0:
            key -= room.first[start - 1] * power
            check -= room.second[start - 1] * other_power
        if start < 0:
            continue
        while a < stop and anchors[a] < start:
            a += 1
        if a == stop:
            break
        if anchors[a] <= start + spare:
            keys[at], checks[at], starts[at] = mixed(key), mixed(check), start
            at += 1
    return at


@inner
def _breaks(f: Any, s: int, e: int) -> int:
    found = 0
    for i in range(s, e):
        found += f[i] & BREAK != 0
    return found


@inner
def _join(data: Any, room: Any, places: Any, before: int, after: int, out: Any, at: int) -> Any:
    """What comes between the kept words `before` and `after`, when those between them are gone, to out[at:]."""
    f, starts, ends = room.f, room.starts, room.ends
    left, left_end = ends[before], starts[before + 1]
    right, right_end = ends[after - 1], starts[after]
    left_breaks, right_breaks = _breaks(f, left, left_end), _breaks(f, right, right_end)
    if left_breaks and left_breaks >= right_breaks:
        return copy(data, places[left], places[left_end], out, at)
    if right_breaks:
        return copy(data, places[right], places[right_end], out, at)
    glued = f[left - 1] & f[right_end] & ALNUM != 0 and (f[left - 1] | f[right_end]) & _UNSPACED == 0
    if left < left_end or right < right_end or glued:
        out[at] = _BLANK
        at += 1
    return at


@inner
def _write(data: Any, room: Any, places: Any, n: int, count: int, covered: Any, out: Any, at: int) -> int:
    """The text without the words that are covered, to out[at:]; where it ends. Rules: `substring.without_windows`."""
    starts, ends = room.starts, room.ends
    before = -1
    begin = at
    at = copy(data, places[0], places[starts[0]], out, at)
    for i in range(count):
        if covered[i] > 0:
            continue
        if before >= 0 and before == i - 1:
            at = copy(data, places[ends[before]], places[starts[i]], out, at)
        elif before >= 0:
            at = _join(data, room, places, before, i, out, at)
        at = copy(data, places[starts[i]], places[ends[i]], out, at)
        before = i
    return copy(data, places[ends[count - 1]], places[n], out, at) if before >= 0 else begin


def _make_fingerprints(digest: str) -> Callable[..., Any]:
    def fingerprints_batch(data: Any, offsets: Any, words: int, tables: Any) -> tuple[Any, Any, Any]:
        """Hashes and word numbers of the picked grams, and where those of each text begin."""
        assert digest
        count = len(offsets) - 1
        longest = longest_of(offsets)
        room = words_room(longest)
        grams = np.empty(longest // 2 + 2, np.uint64)
        length = gram_length(words)
        power = _power(_BASE, length)
        bounds = np.zeros(count + 1, np.int64)
        hashes = np.empty(1024, np.uint64)
        positions = np.empty(1024, np.uint32)
        at = 0
        for i in range(count):
            _, known = _cut_words(data, offsets[i], offsets[i + 1], room, tables)
            if known >= words:
                hashes = grown(hashes, at, known)
                positions = grown(positions, at, known)
                _grams(room.first, known, length, power, grams)
                at = _pick(grams, known - length + 1, words - length + 1, hashes, positions, at)
            bounds[i + 1] = at
        return hashes[:at].copy(), positions[:at].copy(), bounds

    return fingerprints_batch


def _make_windows(digest: str) -> Callable[..., Any]:
    def windows_batch(
        data: Any, offsets: Any, words: int, anchors: Any, anchor_bounds: Any, tables: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Two hashes and the first word of every window with an anchor, and where those of each text begin."""
        assert digest
        count = len(offsets) - 1
        room = words_room(longest_of(offsets))
        bounds = np.zeros(count + 1, np.int64)
        keys, checks = np.empty(1024, np.uint64), np.empty(1024, np.uint64)
        starts = np.empty(1024, np.uint32)
        at = 0
        for i in range(count):
            first, last = anchor_bounds[i], anchor_bounds[i + 1]
            if first < last:
                _, known = _cut_words(data, offsets[i], offsets[i + 1], room, tables)
                keys, checks, starts = grown(keys, at, known), grown(checks, at, known), grown(starts, at, known)
                at = _anchored(room, known, words, anchors, first, last, (keys, checks, starts), at)
            bounds[i + 1] = at
        return keys[:at].copy(), checks[:at].copy(), starts[:at].copy(), bounds

    return windows_batch


def _make_removal(digest: str) -> Callable[..., Any]:
    def removal_batch(
        data: Any, offsets: Any, words: int, removed: Any, bounds: Any, tables: Any
    ) -> tuple[Any, Any, Any, int]:
        """UTF-8 of the texts that are left, where each begins in it, how many words of each are gone.

        The last is the number of a text without such a window, -1 when all are well.
        """
        assert digest
        count = len(offsets) - 1
        longest = longest_of(offsets)
        room = words_room(longest)
        places = np.empty(longest + 1, np.int64)
        covered = np.empty(len(room.starts) + 1, np.int32)  # how many windows cover a word
        out = np.empty(offsets[count] - offsets[0], np.uint8)
        new = np.zeros(count + 1, np.int64)
        gone = np.zeros(count, np.int64)
        at = 0
        for i in range(count):
            if bounds[i] == bounds[i + 1]:
                at = copy(data, offsets[i], offsets[i + 1], out, at)
            else:
                n, known = _cut_words(data, offsets[i], offsets[i + 1], room, tables)
                byte_places(data, offsets[i], offsets[i + 1], room.t, n, places)
                covered[: known + 1] = 0
                for k in range(bounds[i], bounds[i + 1]):
                    start = np.int64(removed[k])
                    if start + words > known:
                        return out[:0], new, gone, i
                    covered[start] += 1
                    covered[start + words] -= 1
                for k in range(known):
                    if k:
                        covered[k] += covered[k - 1]
                    gone[i] += covered[k] > 0
                at = _write(data, room, places, n, known, covered, out, at)
            new[i + 1] = at
        return out[:at], new, gone, -1

    return removal_batch


def _make_run_bytes(digest: str) -> Callable[..., Any]:
    def run_bytes_batch(
        data: Any, offsets: Any, starts: Any, lengths: Any, bounds: Any, tables: Any
    ) -> tuple[Any, int]:
        """Bytes of every run of words; then the number of a text without such a run, -1 when all are well."""
        assert digest
        longest = longest_of(offsets)
        room = words_room(longest)
        places = np.empty(longest + 1, np.int64)
        found = np.zeros(len(starts), np.int64)
        for i in range(len(offsets) - 1):
            if bounds[i] == bounds[i + 1]:
                continue
            n, known = _cut_words(data, offsets[i], offsets[i + 1], room, tables)
            byte_places(data, offsets[i], offsets[i + 1], room.t, n, places)
            for k in range(bounds[i], bounds[i + 1]):
                first = np.int64(starts[k])
                last = first + np.int64(lengths[k]) - 1
                if last < first or last >= known:
                    return found, i
                found[k] = places[room.ends[last]] - places[room.starts[first]]
        return found, -1

    return run_bytes_batch


def _make_words(digest: str) -> Callable[..., Any]:
    def words_of(data: Any, tables: Any) -> tuple[Any, Any]:
        """First byte and end of every word of one text."""
        assert digest
        room = words_room(len(data))
        n, known = _cut_words(data, 0, len(data), room, tables)
        places = np.empty(n + 1, np.int64)
        byte_places(data, 0, len(data), room.t, n, places)
        return places[room.starts[:known]], places[room.ends[:known]]

    return words_of


fingerprints_batch = entry(_make_fingerprints)
windows_batch = entry(_make_windows)
removal_batch = entry(_make_removal)
run_bytes_batch = entry(_make_run_bytes)
words_of = entry(_make_words)
