"""Kernels: hashes, and the bytes behind code points, for kernels that look for what occurs again and cut it out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.text.compiled import inner

SEED = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0xD6E8FEB86659FD93)
_32 = np.uint64(32)
_REPLACEMENT = 0xFFFD


@inner
def step(value: Any, item: Any) -> Any:
    """A hash after one more item; `hash_kernel.mixed` comes last. What differs stays so when equal items follow."""
    value = (value ^ item) * _STEP
    return value ^ (value >> _32)


@inner
def byte_places(data: Any, start: int, stop: int, t: Any, n: int, places: Any) -> None:
    """Where each code point that `decode` found in data[start:stop] begins, and where the last one ends."""
    at = start
    for i in range(n):
        places[i] = at
        code = t[i]
        if code < 0x80:
            at += 1
        elif code < 0x800:
            at += 2
        elif code >= 0x10000:
            at += 4
        elif code == _REPLACEMENT and not _is_replacement(data, at, stop):
            at += 1  # stands for one byte that is no UTF-8
        else:
            at += 3
    places[n] = at


@inner
def _is_replacement(data: Any, at: int, stop: int) -> bool:
    return at + 2 < stop and data[at] == 0xEF and data[at + 1] == 0xBF and data[at + 2] == 0xBD


@inner
def copy(data: Any, start: int, stop: int, out: Any, at: int) -> int:
    """data[start:stop] to out[at:]; where it ends there."""
    for i in range(start, stop):
        out[at + i - start] = data[i]
    return at + stop - start


@inner
def longest_of(offsets: Any) -> int:
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return longest


@inner
def grown(array: Any, used: int, needed: int) -> Any:
    """The array, or a longer copy of what is used of it, with room for `needed` more."""
    if used + needed <= len(array):
        return array
    longer = np.empty(2 * (used + needed), array.dtype)
    longer[:used] = array[:used]
    return longer
