"""Kernels: hashes of bytes. Called by other kernels only; places are uint64, as in `normal_kernel`.

`word_hash` is our own, made for words of natural languages: up to 16 bytes cost the same and take no branch. It is part
of the scheme `affine64-v1`, so it must never change. `xxh64` is XXH64 with seed 0 (https://github.com/Cyan4973/xxHash,
doc/xxhash_spec.md); `murmur128` is MurmurHash3_x64_128 (Austin Appleby, public domain).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import inner
from tokenmill.text.normal_kernel import block

U = np.uint64
_XX1, _XX2, _XX3, _XX4, _XX5 = map(
    U, (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_MM1, _MM2, _MM3, _MM4 = map(U, (0x87C37B91114253D5, 0x4CF5AD432745937F, 0x52DCE729, 0x38495AB5))
_FM1, _FM2 = U(0xFF51AFD7ED558CCD), U(0xC4CEB9FE1A85EC53)
WORD_HASH = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
"""Odd multipliers of `word_hash`."""
_W0, _W1, _W2, _W3 = map(U, WORD_HASH)
_MASKS = np.array([2 ** (8 * min(max(size - 8, 0), 8)) - 1 for size in range(25)], np.uint64)
"""[size]: what a word of that size has in its second block; [size + 8]: in its first. No branch, for nobody can guess
how long the next word is."""


@inner
def rotated(x: Any, bits: int) -> Any:
    return x << U(bits) | x >> U(64 - bits)


@inner
def mixed(x: Any) -> Any:
    """MurmurHash3's finaliser: a bijection in which every bit of the input reaches every bit of the output."""
    x = (x ^ x >> U(33)) * _FM1
    x = (x ^ x >> U(33)) * _FM2
    return x ^ x >> U(33)


@inner
def _last(data: Any, at: int, stop: int) -> Any:
    """data[at:stop], less than eight bytes, as one number; reads nothing else."""
    word = U(0)
    for j in range(U(stop - at)):
        word |= U(data[U(at) + j]) << (U(8) * j)
    return word


@inner
def word_hash(data: Any, start: int, stop: int) -> Any:
    """64-bit hash of data[start:stop]. Reads up to 16 bytes behind `stop`."""
    size = stop - start
    capped = U(min(size, 16))
    value = ((block(data, start) & _MASKS[capped + U(8)]) + U(size) * _W0) * _W1
    value ^= value >> U(32)
    value = (value + rotated((block(data, start + 8) & _MASKS[capped]) * _W2, 32)) * _W3
    at = start + 16
    while at < stop:
        value ^= value >> U(32)
        value = (value + rotated((block(data, at) & _MASKS[U(min(stop - at, 8) + 8)]) * _W2, 32)) * _W3
        at += 8
    return value ^ value >> U(29)


@inner
def _xx_round(total: Any, word: Any) -> Any:
    return rotated(total + word * _XX2, 31) * _XX1


@inner
def xxh64(data: Any, start: int, stop: int) -> Any:
    """XXH64 with seed 0 of data[start:stop]. Reads up to eight bytes behind `stop`."""
    size = stop - start
    at = start
    if size >= 32:
        v1, v2, v3, v4 = _XX1 + _XX2, _XX2, U(0), U(0) - _XX1
        while at + 32 <= stop:
            v1 = _xx_round(v1, block(data, at))
            v2 = _xx_round(v2, block(data, at + 8))
            v3 = _xx_round(v3, block(data, at + 16))
            v4 = _xx_round(v4, block(data, at + 24))
            at += 32
        total = rotated(v1, 1) + rotated(v2, 7) + rotated(v3, 12) + rotated(v4, 18)
        for v in (v1, v2, v3, v4):
            total = (total ^ _xx_round(U(0), v)) * _XX1 + _XX4
    else:
        total = _XX5
    total += U(size)
    while at + 8 <= stop:
        total = rotated(total ^ _xx_round(U(0), block(data, at)), 27) * _XX1 + _XX4
        at += 8
    if at + 4 <= stop:
        total = rotated(total ^ (block(data, at) & U(0xFFFFFFFF)) * _XX1, 23) * _XX2 + _XX3
        at += 4
    while at < stop:
        total = rotated(total ^ U(data[U(at)]) * _XX5, 11) * _XX1
        at += 1
    total = (total ^ total >> U(33)) * _XX2
    total = (total ^ total >> U(29)) * _XX3
    return total ^ total >> U(32)


@inner
def murmur128(data: Any, start: int, stop: int, seed: Any) -> Any:
    """MurmurHash3_x64_128 of data[start:stop]. Reads nothing else."""
    h1 = h2 = U(seed)
    at = start
    while at + 16 <= stop:
        h1 ^= rotated(block(data, at) * _MM1, 31) * _MM2
        h1 = (rotated(h1, 27) + h2) * U(5) + _MM3
        h2 ^= rotated(block(data, at + 8) * _MM2, 33) * _MM1
        h2 = (rotated(h2, 31) + h1) * U(5) + _MM4
        at += 16
    if stop - at > 8:
        h2 ^= rotated(_last(data, at + 8, stop) * _MM2, 33) * _MM1
    if stop - at >= 8:
        h1 ^= rotated(block(data, at) * _MM1, 31) * _MM2
    elif stop > at:
        h1 ^= rotated(_last(data, at, stop) * _MM1, 31) * _MM2
    h1 ^= U(stop - start)
    h2 ^= U(stop - start)
    h1 += h2
    h2 += h1
    h1, h2 = mixed(h1), mixed(h2)
    h1 += h2
    return h1, h2 + h1
