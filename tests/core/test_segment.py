"""Words, lines, paragraphs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core import segment

MARKS = st.text(alphabet=list("aZz0 .,:;-–'’\"()[]/@&$%+#…\n\t\u00a0kms😀é日"), max_size=60)

# What spaCy 3.8's blank English pipeline gives for the same text.
CASES = [
    ("", []),
    (" \n\t ", []),
    ("Hello, world.", ["Hello", ",", "world", "."]),
    ("(don't)", ["(", "do", "n't", ")"]),
    ("It’s we'll I've they'd've", ["It", "’s", "we", "'ll", "I", "'ve", "they", "'d", "'ve"]),
    ("the dog's bone, dogs' bones", ["the", "dog", "'s", "bone", ",", "dogs", "'", "bones"]),
    ("well-known x-1 1-2 a–b", ["well", "-", "known", "x-1", "1", "-", "2", "a", "–", "b"]),
    ("and/or either/or 1/2", ["and/or", "either", "/", "or", "1/2"]),
    ("3.14 1,000 12:30", ["3.14", "1,000", "12:30"]),
    ("10km 5% $20 20€", ["10", "km", "5", "%", "$", "20", "20", "€"]),
    ("Mr. Smith e.g. U.S. USA.", ["Mr.", "Smith", "e.g.", "U.S.", "USA", "."]),
    ("end.Next lower.lower", ["end", ".", "Next", "lower.lower"]),
    ("wait... what…", ["wait", "...", "what", "…"]),
    ("-- --- -foo", ["--", "---", "-foo"]),
    ("http://e.org/a-b/c,d", ["http://e.org/a-b/c,d"]),
    ("(see www.e-x.org).", ["(", "see", "www.e-x.org", ")", "."]),
    ("a@b-c.org", ["a@b-c.org"]),
    ("snake_case f(x)", ["snake_case", "f(x", ")"]),
    ('"Quoted," he said', ['"', "Quoted", ",", '"', "he", "said"]),
    ("ok😀😀", ["ok", "😀", "😀"]),
    ("a=b key:value", ["a", "=", "b", "key", ":", "value"]),
    ("日本語。", ["日", "本", "語", "。"]),
    ("これはテスト123です", ["こ", "れ", "は", "テスト", "123", "で", "す"]),
    ("mostly English words, one 日本語 name", ["mostly", "English", "words", ",", "one", "日本語", "name"]),
]


@pytest.mark.parametrize(("text", "tokens"), CASES)
def test_words(text: str, tokens: list[str]) -> None:
    assert segment.words(text) == tokens


@settings(deadline=None)
@given(st.one_of(st.text(), MARKS))
def test_words_lose_nothing_but_white_space(text: str) -> None:
    tokens = segment.words(text)
    assert "".join(tokens) == "".join(text.split())
    assert all(tokens)


@settings(deadline=None)
@given(MARKS, MARKS)
def test_words_do_not_depend_on_neighbours(left: str, right: str) -> None:
    assert segment.spaced_words(f"{left} {right}") == segment.spaced_words(left) + segment.spaced_words(right)


@settings(deadline=None)
@given(st.lists(MARKS, max_size=30))
def test_remembered_pieces_do_not_change_the_answer(texts: list[str]) -> None:
    small = segment._Pieces()
    small.MAX_ENTRIES = 3  # type: ignore[misc]
    for text in texts:
        for piece in text.split():
            assert small[piece] == segment._split_piece(piece)
        assert len(small) <= 3


ATTACKS = ["(", ")", ".", "..,", "a.", "a@", "a@a-", "a-", "1-", "a'", "n't", "http://", "a/", "'s", "5km", ".,", "$"]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_words_of_one_long_piece_cost_linear_time(attack: str) -> None:
    def seconds(length: int) -> float:
        piece = (attack * length)[:length]
        best = 9e9
        for _ in range(3):
            start = time.thread_time()
            segment.words(piece)
            best = min(best, time.thread_time() - start)
        return best

    # Eight times the length; a quadratic cost would be 64 times (exponent 2), 8**1.3 is 15.
    assert seconds(80_000) < 30 * max(seconds(10_000), 0.001)


def test_lines_and_paragraphs() -> None:
    assert segment.lines("a\nb\n\n\nc\n") == ["a", "b", "c", ""]
    assert segment.lines("a\nb") == ["a", "b"]
    assert segment.lines("") == [""]
    assert segment.paragraphs("\n\na\nb\n\n\nc\n") == ["a\nb", "c"]
    assert segment.paragraphs("a\nb ") == ["a\nb"]
    assert segment.paragraphs("") == [""]
