"""Checks on runs of words: length, copies, echo of the prompt, repetition.

Words are folded (`tokenmill.text.overlap`): case, diacritics and punctuation make no difference, and in scripts without
spaces every character is a word. About 0.1 ms a pair of 300 words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.text.overlap import word_hashes

Places = npt.NDArray[np.int64]


class Texts:
    """Texts of which many are equal: each is looked at once. `place[i]` is that of text i among `distinct`."""

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        self.place: Places = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
        self.distinct: list[str] = list(numbers)

    def __len__(self) -> int:
        return len(self.place)


def word_checks(outputs: Sequence[str], sources: Texts, instructions: Texts) -> dict[str, pa.Array]:
    """words, length_ratio, echo, repetition_ngram and copy_*; null where a text is too short for the measure."""
    from tokenmill.rephrase.checks import words_kernel as kernel

    rows = kernel.compare_batch(
        *word_hashes(_array(outputs)),
        *word_hashes(_array(sources.distinct)),
        sources.place,
        *word_hashes(_array(instructions.distinct)),
        instructions.place,
    )
    words, source_words, longest = rows[:, kernel.WORDS], rows[:, kernel.SOURCE_WORDS], rows[:, kernel.LONGEST]
    return {
        "words": pa.array(words.astype(np.int32)),
        "length_ratio": share(words, source_words),
        "echo": measured(rows[:, kernel.ECHO]),
        "repetition_ngram": measured(rows[:, kernel.REPEATED]),
        "copy_longest_run": pa.array(longest.astype(np.int32)),
        "copy_longest_share": share(longest, words),
        "copy_ngram": measured(rows[:, kernel.CONTAINED]),
    }


def measured(values: npt.NDArray[np.float64]) -> pa.Array:
    """As float64, by which thresholds are exact; null for negative values, which stand for "not measured"."""
    missing = values < 0
    return pa.array(np.where(missing, 0.0, values), mask=missing)


def share(parts: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> pa.Array:
    """parts / whole; null where the whole is 0."""
    empty = whole <= 0
    return measured(np.where(empty, -1.0, parts / np.where(empty, 1.0, whole)))


def _array(texts: Sequence[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())
