"""The compiled n-gram measurements against a slow and plain twin."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.text.repetition import DUPLICATE_SIZES, TOP_SIZES, ngram_characters
from tokenmill.text.words import WordTable, word_table


def slow_top(words: list[str], n: int) -> int:
    grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams:
        return 0
    gram, count = grams.most_common(1)[0]  # the first of equals
    return len(gram) * count


def slow_duplicates(words: list[str], n: int) -> int:
    seen: set[str] = set()
    characters = at = 0
    while at <= len(words) - n:
        gram = "".join(words[at : at + n])
        if gram in seen:
            characters += len(gram)
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


def slow(words: list[str]) -> dict[str, int]:
    found = {f"top_{n}gram": slow_top(words, n) for n in TOP_SIZES}
    return found | {f"dup_{n}gram": slow_duplicates(words, n) for n in DUPLICATE_SIZES}


def fast(words: list[str]) -> dict[str, int]:
    doc = Doc(text="")
    doc._cache["words"] = words
    return ngram_characters(words, word_table(doc))


# Few letters, so that n-grams repeat, and that different words join to equal strings.
WORDS = st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=120)
ANY = st.lists(st.text(min_size=1, max_size=4), max_size=40)


@settings(max_examples=300)
@given(st.one_of(WORDS, ANY))
def test_equals_the_slow_twin(words: list[str]) -> None:
    assert fast(words) == slow(words)


@given(ANY, st.integers(1, 6))
def test_equals_the_slow_twin_on_repeated_blocks(block: list[str], times: int) -> None:
    assert fast(block * times) == slow(block * times)


def test_values() -> None:
    words = "a b c d e x a b c d e y".split()
    found = fast(words)
    assert found["top_2gram"] == 3 * 2  # "a b", twice
    assert found["top_4gram"] == 7 * 2  # "a b c d", twice
    assert found["dup_5gram"] == 5  # "abcde" once more
    assert found["dup_6gram"] == 0


def test_first_of_equally_common_ngrams_counts() -> None:
    assert fast(["long", "words", "x"])["top_2gram"] == len("long words")
    assert fast(["x", "long", "words"])["top_2gram"] == len("x long")


def test_joined_words_repeat_across_word_boundaries() -> None:
    words = ["ab", "c", "d", "e", "f", "-", "a", "bc", "d", "e", "f"]
    assert fast(words)["dup_5gram"] == 6


def test_runs_do_not_overlap() -> None:
    assert fast(["a"] * 20)["dup_5gram"] == slow(["a"] * 20)["dup_5gram"] == 15


def test_few_words() -> None:
    assert set(fast([]).values()) == {0}
    assert set(fast(["one"]).values()) == {0}
    assert fast(["\ud800", "\ud800"])["top_2gram"] == 3


def test_word_table() -> None:
    table = word_table(Doc(text="to be or not to be"))
    assert isinstance(table, WordTable)
    assert table.vocabulary == ["to", "be", "or", "not"]
    assert table.ids.tolist() == [0, 1, 2, 3, 0, 1]
    assert table.counts.tolist() == [2, 2, 1, 1]
    assert table.lengths.tolist() == [2, 2, 2, 3]
    empty = word_table(Doc(text=" "))
    assert (empty.vocabulary, empty.ids.tolist(), empty.counts.tolist()) == ([], [], [])
