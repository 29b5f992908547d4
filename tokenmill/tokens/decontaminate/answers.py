"""Answers that stand behind a question which was found, so that they are cut out with it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa

from tokenmill.text.overlap import ANSWER_WITHIN, word_hashes

_TAIL = 4000
"""Characters behind a question that are looked at; more than so many words have."""


def answers_behind(text: str, end: int, answers: Collection[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    """Where (in characters) answers begin within `ANSWER_WITHIN` words behind `end`.

    answers: each as the hashes of its words.
    """
    pieces = [found.span() for found in re.finditer(r"\S+", text[end : end + _TAIL])]
    hashes, cuts = word_hashes(pa.array([text[end + first : end + last] for first, last in pieces], pa.large_string()))
    words: list[int] = hashes.tolist()
    piece_of = np.repeat(np.arange(len(pieces)), np.diff(cuts)).tolist()
    for at in range(min(ANSWER_WITHIN, len(words))):
        for answer in answers:
            if tuple(words[at : at + len(answer)]) == answer:
                yield end + pieces[piece_of[at]][0], end + pieces[piece_of[at + len(answer) - 1]][1]
