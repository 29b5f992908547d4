"""Sentences of a line."""

from __future__ import annotations

from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.segment import words
from tokenmill.text.characters import SENTENCE_ENDS
from tokenmill.text.sentences import count_sentences


def slow(line: str) -> int:
    """The rule, token by token."""
    tokens = words(line)
    sentences, ended = min(len(tokens), 1), False
    for token in tokens:
        if token in SENTENCE_ENDS:
            ended = True
        elif ended and not all(category(char).startswith("P") for char in token):
            sentences += 1
            ended = False
    return sentences


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("", 0),
        ("  ", 0),
        ("no end", 1),
        ("One. Two! Three?", 3),
        ("One.Two", 2),
        ("Mr. Smith came.", 1),
        ("wait... what", 1),
        ("It costs 3.50 dollars.", 1),
        ('He said "No." Then he left.', 2),
        ("!?", 1),
        (". Start", 2),
        ("see e.org. Next", 2),
        ("これは。次は。", 1),
    ],
)
def test_count(line: str, sentences: int) -> None:
    assert count_sentences(line.split()) == sentences


@given(st.one_of(st.text(), st.text(alphabet=list("aB1 .!?'\")-。\u00a0"), max_size=40)))
def test_equals_the_slow_twin(line: str) -> None:
    assert count_sentences(line.split()) == slow(line)
