"""Kernels: MinHash signatures, band keys and shingles of a column of texts.

A text is normalised into a scratch buffer that grows with the longest text, its shingles are hashed in chunks that stay
in the first-level cache, and every chunk lowers the minima of all permutations. Nothing is allocated per text or word.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tokenmill.text.compiled import entry, inner
from tokenmill.text.hash_kernel import mixed, murmur128, word_hash, xxh64
from tokenmill.text.normal_kernel import normalise, room, words_room
from tokenmill.text.vector_kernel import LARGEST, lower, lower_modular

U = np.uint64
CHUNK = 512
"""Shingles that are hashed before the minima see them."""
COMBINE = 0x9FB21C651E98DF25
"""Multiplier of the polynomial over the hashes of a shingle's words."""
_COMBINE = U(COMBINE)
NORMAL_SEED, RAW_SEED = 0x746F6B6E, 0x6D696C6C
"""Seeds of the digests of normalised and of raw text."""
BAND_KEY = 0xD1342543DE82EF95
_BAND_KEY = U(BAND_KEY)


class Settings(NamedTuple):
    """What the kernels need to know of a `MinHash`."""

    a: Any
    b: Any
    """uint64: multiplier and summand of every permutation, filled up to a multiple of `vector_kernel.AT_ONCE`."""
    flip: Any
    """uint64: 2^63 where 2^63 was added to `b`, so that the minima of signed numbers are those of unsigned ones."""
    shingle_words: int
    bands: int
    rows: int
    modular: bool
    """Scheme datatrove-v1."""


@inner
def _power(shingle_words: int) -> Any:
    power = U(1)
    for _ in range(shingle_words):
        power *= _COMBINE
    return power


@inner
def _combined(data: Any, ends: Any, first: int, last: int, width: int, hashes: Any, out: Any) -> None:
    """Hashes of the shingles first to last (excluded) into `out`: a polynomial over their words' hashes, mixed.

    hashes: room for the hashes of all their words.
    """
    start = ends[first - 1] + 1 if first else 0
    drop = _power(width)
    value = U(0)
    for i in range(last - first + width - 1):
        stop = ends[first + i]
        hashes[i] = word_hash(data, start, stop)
        start = stop + 1
        shingle = i - width + 1
        gone = hashes[shingle - 1] * drop if shingle > 0 else U(0)
        value = value * _COMBINE + (hashes[i] - gone)
        out[max(shingle, 0)] = value
    for i in range(last - first):
        out[i] = mixed(out[i])


@inner
def _sliced(data: Any, ends: Any, first: int, last: int, width: int, out: Any) -> None:
    """The same for datatrove-v1: XXH64 of the shingle's bytes."""
    start = ends[first - 1] + 1 if first else 0
    for shingle in range(first, last):
        out[shingle - first] = xxh64(data, start, ends[shingle + width - 1])
        start = ends[shingle] + 1


@inner
def _sign(data: Any, ends: Any, words: int, settings: Any, hashes: Any, chunk: Any, minima: Any) -> None:
    """The signature of a normalised text into `minima`; zeros where it has no shingle."""
    width = settings.shingle_words
    shingles = words - width + 1
    minima[:] = LARGEST if shingles > 0 else settings.flip
    for first in range(0, shingles, CHUNK):
        last = min(first + CHUNK, shingles)
        if settings.modular:
            _sliced(data, ends, first, last, width, chunk)
        else:
            _combined(data, ends, first, last, width, hashes, chunk)
        if settings.modular:
            lower_modular(chunk, last - first, settings.a, settings.b, minima)
        else:
            lower(chunk, last - first, settings.a, settings.b, minima)
    for i in range(len(minima)):
        minima[i] ^= settings.flip


@inner
def _band_keys(minima: Any, bands: int, rows: int, keys: Any) -> None:
    """One key per band; the same values in another band are another key."""
    for band in range(bands):
        key = U(band + 1)
        for row in range(band * rows, band * rows + rows):
            key = mixed(key * _BAND_KEY + minima[row])
        keys[band] = key


def _make_sketch(digest: str) -> Any:
    def sketch_batch(
        data: Any, offsets: Any, tables: Any, settings: Any, digests: Any, words: Any, keys: Any, signatures: Any
    ) -> None:
        """Fills digests (n, 2) and words (n,); keys (n, bands), signatures (n, bands * rows) where they have rows.

        Keys and signatures of texts without a shingle are zero.
        """
        assert digest  # the sources' digest is part of the cache's key
        out, ends = np.empty(room(0, 0), np.uint8), np.empty(words_room(0, 0), np.int64)
        hashes = np.empty(CHUNK + settings.shingle_words, np.uint64)
        chunk, minima = np.empty(CHUNK, np.uint64), np.empty(len(settings.a), np.uint64)
        for i in range(len(offsets) - 1):
            start, stop = offsets[i], offsets[i + 1]
            if room(start, stop) > len(out):
                out, ends = np.empty(room(start, stop), np.uint8), np.empty(words_room(start, stop), np.int64)
            size, count = normalise(data, start, stop, tables, out, ends)
            words[i] = count
            if count >= settings.shingle_words:
                digests[i, 0], digests[i, 1] = murmur128(out, 0, size, NORMAL_SEED)
            else:
                digests[i, 0], digests[i, 1] = murmur128(data, start, stop, RAW_SEED)
            if len(keys) or len(signatures):
                _sign(out, ends, count, settings, hashes, chunk, minima)
            if len(keys) and count >= settings.shingle_words:
                _band_keys(minima, settings.bands, settings.rows, keys[i])
            if len(signatures):
                signatures[i] = minima[: signatures.shape[1]]

    return sketch_batch


def _make_words(digest: str) -> Any:
    def sign_words(data: Any, ends: Any, settings: Any, signature: Any) -> None:
        """The signature of words that are given, joined by single spaces and followed by 16 bytes of anything."""
        assert digest
        hashes = np.empty(CHUNK + settings.shingle_words, np.uint64)
        _sign(data, ends, len(ends), settings, hashes, np.empty(CHUNK, np.uint64), signature)

    return sign_words


def _make_shingles(digest: str) -> Any:
    def shingles_batch(data: Any, offsets: Any, tables: Any, width: int, bounds: Any) -> Any:
        """Sorted hashes of the distinct shingles of every text, one text after the other, and `bounds` filled."""
        assert digest
        out, ends = np.empty(room(0, 0), np.uint8), np.empty(words_room(0, 0), np.int64)
        hashes, values = np.empty(CHUNK + width, np.uint64), np.empty(CHUNK, np.uint64)
        total = 0
        bounds[0] = 0
        for i in range(len(offsets) - 1):
            start, stop = offsets[i], offsets[i + 1]
            if room(start, stop) > len(out):
                out, ends = np.empty(room(start, stop), np.uint8), np.empty(words_room(start, stop), np.int64)
            _, words = normalise(data, start, stop, tables, out, ends)
            shingles = max(words - width + 1, 0)
            if total + shingles > len(values):
                grown = np.empty(2 * (total + shingles), np.uint64)
                grown[:total] = values[:total]
                values = grown
            for first in range(0, shingles, CHUNK):
                last = min(first + CHUNK, shingles)
                _combined(out, ends, first, last, width, hashes, values[total + first : total + last])
            values[total : total + shingles].sort()
            begin = total
            for j in range(begin, begin + shingles):
                if total == begin or values[j] != values[total - 1]:
                    values[total] = values[j]
                    total += 1
            bounds[i + 1] = total
        return values[:total].copy()

    return shingles_batch


def _make_normal(digest: str) -> Any:
    def normal_text(data: Any, tables: Any) -> Any:
        """The normalised text, UTF-8."""
        assert digest
        out = np.empty(room(0, len(data)), np.uint8)
        size, _ = normalise(data, 0, len(data), tables, out, np.empty(words_room(0, len(data)), np.int64))
        return out[:size].copy()

    return normal_text


sketch_batch = entry(_make_sketch)
sign_words = entry(_make_words)
shingles_batch = entry(_make_shingles)
normal_text = entry(_make_normal)
