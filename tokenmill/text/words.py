"""The distinct words of a document: one pass over `doc.words`, shared by every signal that counts words."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.doc import Doc


@dataclass(frozen=True, slots=True)
class WordTable:
    """`ids[i]` numbers the i-th word of the text; `vocabulary[ids[i]]` is it; `counts` are per distinct word."""

    vocabulary: list[str]
    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def word_table(doc: Doc) -> WordTable:
    """The table of `doc`, built once per text."""
    table: WordTable = doc.cached("word_table", _build)
    return table


def _build(doc: Doc) -> WordTable:
    words = doc.words
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    ids: npt.NDArray[Any] = np.fromiter(map(number.__getitem__, words), np.int64, len(words))
    vocabulary = list(number)
    lengths: npt.NDArray[Any] = np.fromiter(map(len, vocabulary), np.int64, len(vocabulary))
    return WordTable(vocabulary, ids, np.bincount(ids, minlength=len(vocabulary)), lengths)
