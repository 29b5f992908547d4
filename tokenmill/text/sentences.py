"""Sentences of a line, counted by the rule of spaCy's sentencizer on the tokens of `doc.words`.

A sentence ends at a token that is one sentence-ending mark, and the next one starts at the first token after
it that is not punctuation. "..." is a token of its own and ends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import category

from tokenmill.core.segment import words
from tokenmill.text.characters import SENTENCE_ENDS

_PLAIN = (1, False, 0, False)  # a word
_LAST = (1, True, 0, True)  # a word and the end of its sentence


def _effect(piece: str) -> tuple[int, bool, int, bool]:
    """What a piece does: sentences it starts and whether an end is open, after an open end, and after none."""
    if SENTENCE_ENDS.isdisjoint(piece) and (piece[0].isalnum() or piece[-1].isalnum()):
        return _PLAIN
    tokens = words(piece)
    if len(tokens) == 2 and tokens[0].isalnum() and tokens[1] in SENTENCE_ENDS:
        return _LAST
    result: list[tuple[int, bool]] = []
    for ended in (True, False):
        started = 0
        for token in tokens:
            if token in SENTENCE_ENDS:
                ended = True
            elif ended and not all(category(char).startswith("P") for char in token):
                started += 1
                ended = False
        result.append((started, ended))
    return (*result[0], *result[1])


class _Effects(dict[str, tuple[int, bool, int, bool]]):
    """Piece -> effect, remembered for short pieces."""

    MAX_ENTRIES = 1 << 14

    def __missing__(self, piece: str) -> tuple[int, bool, int, bool]:
        effect = _effect(piece)
        if len(piece) <= 24:
            if len(self) >= self.MAX_ENTRIES:
                self.clear()
            self[piece] = effect
        return effect


_EFFECTS = _Effects()


def count_sentences(pieces: Sequence[str]) -> int:
    """Sentences of a line given as its pieces between white space (`line.split()`); 0 without pieces."""
    if not pieces:
        return 0
    sentences = 1
    ended = False
    for piece in pieces:
        if piece.isalpha():
            if ended:
                sentences += 1
                ended = False
            continue
        effect = _EFFECTS[piece]
        if ended:
            sentences += effect[0]
            ended = effect[1]
        else:
            sentences += effect[2]
            ended = effect[3]
    return sentences
