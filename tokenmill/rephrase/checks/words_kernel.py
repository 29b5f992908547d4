"""Kernel: what an output, its source and its instruction have in common, as runs of words.

Words are 64-bit hashes. The three texts of a pair stand one behind the other in one row of words with the hashes of all
its beginnings (polynomials modulo 2^64), so that the hash of any run takes one multiplication; runs with equal hashes
are compared word by word, so that every count is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.text.compiled import entry, inner

WORDS, SOURCE_WORDS, LONGEST, CONTAINED, ECHO, REPEATED = range(6)
"""Columns of the result; -1 where a text is too short for the measure."""
COLUMNS = 6
COPY_WORDS, ECHO_WORDS, REPEAT_WORDS = 8, 5, 6
"""Words of a run, per measure."""
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_IN_SOURCE, _IN_OUTPUT, _COUNTED = 1, 2, 4


@inner
def _slot(key: Any, mask: int) -> Any:
    return np.int64((key * _SPREAD) >> _HALF) & mask


@inner
def _put(words: Any, at: int, others: Any, start: int, count: int) -> None:
    for i in range(count):
        words[at + i] = others[start + i]


@inner
def _table(entries: int) -> Any:
    """Slots for runs, of which at most half will be filled; -1 is free."""
    size = 16
    while size < 2 * entries:
        size *= 2
    table = np.empty(size, np.int32)
    for i in range(size):  # a loop compiles in a tenth of the time that np.full takes
        table[i] = -1
    return table


@inner
def _find(words: Any, prefix: Any, powers: Any, table: Any, i: int, width: int) -> Any:
    """The slot of a run equal to that of `width` words at `i`, or the free one where it belongs."""
    mask = len(table) - 1
    key = prefix[i + width] - prefix[i] * powers[width]
    slot = _slot(key, mask)
    while table[slot] >= 0:
        other = table[slot]
        if prefix[other + width] - prefix[other] * powers[width] == key:
            same = True
            for k in range(width):
                if words[other + k] != words[i + k]:
                    same = False
                    break
            if same:
                return slot
        slot = (slot + 1) & mask
    return slot


@inner
def _index(words: Any, prefix: Any, powers: Any, table: Any, stop: int, width: int) -> None:
    """Put all runs of `width` words before `stop` into a table, each at its first place."""
    for i in range(stop - width + 1):
        slot = _find(words, prefix, powers, table, i, width)
        if table[slot] < 0:
            table[slot] = i


@inner
def _shares_run(words: Any, prefix: Any, powers: Any, n_source: int, n_output: int, width: int) -> bool:
    """Whether output and source share a run of `width` words."""
    if width > n_source or width > n_output:
        return False
    table = _table(n_source - width + 1)
    _index(words, prefix, powers, table, n_source, width)
    for i in range(n_source, n_source + n_output - width + 1):
        if table[_find(words, prefix, powers, table, i, width)] >= 0:
            return True
    return False


@inner
def _longest(words: Any, prefix: Any, powers: Any, n_source: int, n_output: int) -> int:
    """Words of the longest shared run: doubled until there is none, then halved in between."""
    low, high = 0, 1
    while _shares_run(words, prefix, powers, n_source, n_output, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _shares_run(words, prefix, powers, n_source, n_output, middle):
            low = middle
        else:
            high = middle
    return low


@inner
def _contained(words: Any, prefix: Any, powers: Any, n_source: int, n_output: int) -> float:
    """Share of the output's runs of COPY_WORDS that the source has."""
    runs = n_output - COPY_WORDS + 1
    if runs < 1:
        return -1.0
    table = _table(max(n_source - COPY_WORDS + 1, 0))
    _index(words, prefix, powers, table, n_source, COPY_WORDS)
    found = 0
    for i in range(n_source, n_source + runs):
        found += table[_find(words, prefix, powers, table, i, COPY_WORDS)] >= 0
    return found / runs


@inner
def _echo(words: Any, prefix: Any, powers: Any, n_source: int, n_output: int, n_instruction: int) -> float:
    """Share of the instruction's distinct runs of ECHO_WORDS that the output has and the source has not."""
    if n_instruction < ECHO_WORDS:
        return -1.0
    total = len(words)
    table = _table(total)
    flags = np.zeros(len(table), np.uint8)
    for start, stop, flag in (
        (0, n_source, _IN_SOURCE),
        (n_source, n_source + n_output, _IN_OUTPUT),
    ):
        for i in range(start, stop - ECHO_WORDS + 1):
            slot = _find(words, prefix, powers, table, i, ECHO_WORDS)
            if table[slot] < 0:
                table[slot] = i
            flags[slot] |= flag
    distinct = echoed = 0
    for i in range(n_source + n_output, total - ECHO_WORDS + 1):
        slot = _find(words, prefix, powers, table, i, ECHO_WORDS)
        if table[slot] < 0:
            table[slot] = i
        if not flags[slot] & _COUNTED:
            distinct += 1
            echoed += flags[slot] == _IN_OUTPUT
            flags[slot] |= _COUNTED
    return echoed / distinct


@inner
def _repeated(words: Any, prefix: Any, powers: Any, n_source: int, n_output: int) -> float:
    """Share of the output's words in runs of REPEAT_WORDS that it had before, more often than its source."""
    if n_output < 1:
        return -1.0
    table = _table(n_source + n_output)
    left = np.zeros(len(table), np.int32)  # how often a run may still occur
    for i in range(n_source - REPEAT_WORDS + 1):
        slot = _find(words, prefix, powers, table, i, REPEAT_WORDS)
        if table[slot] < 0:
            table[slot] = i
        left[slot] += 1
    covered = 0
    free = n_source  # the first word that no repeated run has covered
    for i in range(n_source, n_source + n_output - REPEAT_WORDS + 1):
        slot = _find(words, prefix, powers, table, i, REPEAT_WORDS)
        if table[slot] < 0:
            table[slot] = i
            left[slot] = 1
        if left[slot] > 0:
            left[slot] -= 1
        else:
            covered += i + REPEAT_WORDS - max(i, free)
            free = i + REPEAT_WORDS
    return covered / n_output


def _make(digest: str) -> Callable[..., Any]:
    def compare_batch(
        outputs: Any,
        output_cuts: Any,
        sources: Any,
        source_cuts: Any,
        source_of: Any,
        instructions: Any,
        instruction_cuts: Any,
        instruction_of: Any,
    ) -> Any:
        """(n, COLUMNS). Hashes of words and where each text begins; source and instruction of each output."""
        assert digest
        count = len(output_cuts) - 1
        found = np.empty((count, COLUMNS), np.float64)
        powers = np.empty(0, np.uint64)
        for row in range(count):
            s, t = source_of[row], instruction_of[row]
            n_source = source_cuts[s + 1] - source_cuts[s]
            n_output = output_cuts[row + 1] - output_cuts[row]
            n_instruction = instruction_cuts[t + 1] - instruction_cuts[t]
            total = n_source + n_output + n_instruction
            words = np.empty(total, np.uint64)
            _put(words, 0, sources, source_cuts[s], n_source)
            _put(words, n_source, outputs, output_cuts[row], n_output)
            _put(words, n_source + n_output, instructions, instruction_cuts[t], n_instruction)
            if len(powers) <= total:
                powers = np.empty(2 * total + 1, np.uint64)
                powers[0] = 1
                for i in range(1, len(powers)):
                    powers[i] = powers[i - 1] * _BASE
            prefix = np.empty(total + 1, np.uint64)
            prefix[0] = 0
            for i in range(total):
                prefix[i + 1] = prefix[i] * _BASE + words[i]
            found[row, WORDS] = n_output
            found[row, SOURCE_WORDS] = n_source
            found[row, LONGEST] = _longest(words, prefix, powers, n_source, n_output)
            found[row, CONTAINED] = _contained(words, prefix, powers, n_source, n_output)
            found[row, ECHO] = _echo(words, prefix, powers, n_source, n_output, n_instruction)
            found[row, REPEATED] = _repeated(words, prefix, powers, n_source, n_output)
        return found

    return compare_batch


compare_batch = entry(_make)
