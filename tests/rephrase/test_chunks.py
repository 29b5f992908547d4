"""Passages: exact spans, nothing lost, budgets kept, cut at the coarsest boundary that there is."""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import SHARED
from tests.properties import examples
from tokenmill.rephrase.chunks import before_cluster, halves, passages_of, sentence_ends
from tokenmill.rephrase.counting import Counter
from tokenmill.rephrase.style import Style

ESTIMATE = Counter()
NEOX = SHARED / "tokenizers/gpt-neox-olmo/tokenizer.json"
WORD = "house "
STYLE = Style("s", 1, "t", "rewrite", "", "{document}", "", input_tokens=40, output_tokens=40, min_tokens=8)


@cache
def neox() -> Counter:
    return Counter(str(NEOX))


def style_with(budget: int, least: int) -> Style:
    return dataclasses.replace(STYLE, input_tokens=budget, min_tokens=least)


PIECES = st.sampled_from(
    [
        "word",
        "a",
        "Ein langes Wort: Donaudampfschifffahrtsgesellschaft",
        ". ",
        "! ",
        "。",
        "日本語の文です。",
        "ประเทศไทย",
        "e\u0301\u0323",
        "👩\u200d👩\u200d👧",
        "🇩🇪🇫🇷",
        " ",
        "\n",
        "\n\n",
        "\n \t\n",
        "\u2028",
        "\x00",
        "\ud800",
        "x" * 90,
        "\u0301" * 50,
        "12,345.67",
        "{document}",
    ]
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=40).map("".join))


def check(text: str, style: Style, counter: Counter) -> None:
    found, skipped = passages_of("d", text, style, counter)
    spans = sorted([(p.start, p.end) for p in found] + [(s.start, s.end) for s in skipped])
    done = 0
    for start, end in spans:
        assert done <= start < end <= len(text)
        assert not text[done:start].strip(), "what lies between spans is white space"
        assert text[start:end] == text[start:end].strip()
        done = end
    assert not text[done:].strip()
    assert [p.number for p in found] == list(range(len(found)))
    assert [p.start for p in found] == sorted(p.start for p in found)
    for passage in found:
        assert passage.text == text[passage.start : passage.end]
        count = counter.count(passage.text)
        assert abs(passage.tokens - count) <= 8
        assert style.min_tokens <= min(count, passage.tokens)
        assert max(count, passage.tokens) <= style.input_tokens or len(passage.text) == 1
    for one in skipped:
        assert one.reason == "too_short"
        assert counter.count(text[one.start : one.end]) < style.min_tokens


@examples(40, 120)
@given(TEXTS, st.integers(16, 60), st.integers(1, 8))
def test_nothing_is_lost_and_budgets_hold(text: str, budget: int, least: int) -> None:
    check(text, style_with(budget, least), ESTIMATE)


@given(TEXTS, st.integers(16, 60), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_with_a_real_tokenizer_as_well(text: str, budget: int, least: int) -> None:
    if not NEOX.is_file():
        pytest.skip("the developers' shared data is not beside this checkout")
    check(text.replace("\ud800", ""), style_with(budget, least), neox())


WORDS = st.sampled_from(["a", "house", "Donaudampfschiff", "x.", "of", "日本語"])
ENDS = st.sampled_from([" ", " ", " ", ". ", "\n", "\n\n"])


@given(st.lists(st.tuples(WORDS, ENDS), min_size=1, max_size=120), st.integers(24, 80), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_a_short_piece_of_a_long_text_is_never_left_over(
    pieces: list[tuple[str, str]], budget: int, least: int
) -> None:
    text = "".join(word + end for word, end in pieces)
    found, skipped = passages_of("d", text, style_with(budget, min(least, budget // 4)), ESTIMATE)
    assert bool(found) != bool(skipped)


def test_real_pages_in_many_languages(shared: Path) -> None:
    rows = pq.read_table(shared / "pool/pool-003.parquet", columns=["main_text", "raw_text", "language"]).to_pylist()
    by_language: dict[str, list[str]] = {}
    for row in rows:
        by_language.setdefault(row["language"], []).append((row["main_text"] or row["raw_text"] or "")[:20_000])
    texts = [text for found in by_language.values() for text in found[:4] if text.strip()]
    assert len(by_language) > 15
    skipped = 0
    for text in texts:
        check(text, style_with(512, 30), ESTIMATE)
        found, left = passages_of("d", text, style_with(512, 30), ESTIMATE)
        skipped += bool(found and left)
    assert skipped == 0, "a short piece of a longer page always finds a neighbour"


@given(TEXTS.filter(lambda text: len(text.strip()) > 1))
@settings(max_examples=60, deadline=None)
def test_halves_are_the_passage(text: str) -> None:
    found, _ = passages_of("d", "prefix\n\n" + text, style_with(1000, 1), ESTIMATE)
    for passage in found:
        parts = halves(passage, ESTIMATE)
        assert len(parts) in (0, 2)
        if parts:
            first, second = parts
            begin = passage.start
            assert (first.start, second.end) == (passage.start, passage.end)
            assert first.end <= second.start
            assert not passage.text[first.end - begin : second.start - begin].strip()
            for part in parts:
                assert part.text == passage.text[part.start - begin : part.end - begin]
                assert part.number == passage.number
                assert 0 < part.tokens <= passage.tokens


@pytest.mark.parametrize(
    ("text", "budget", "expected"),
    [
        # all of it fits: one passage, white space around it outside
        ("\n  One. Two.\n\nThree. \n", 40, ["One. Two.\n\nThree."]),
        # paragraphs, joined as far as they fit
        ("\n\n".join([WORD * 12] * 3).strip(), 40, [f"{WORD * 12}\n\n{WORD * 12}".strip(), (WORD * 12).strip()]),
        # a paragraph that is too large, at its lines
        ("\n".join([(WORD * 20).strip()] * 2), 30, [(WORD * 20).strip()] * 2),
        # a line that is too large, at sentences and not within them
        (
            (WORD * 19).strip() + ". " + (WORD * 20).strip() + ".",
            31,
            [(WORD * 19).strip() + ".", (WORD * 20).strip() + "."],
        ),
        # a sentence that is too large, at words
        ((WORD * 40).strip(), 30, None),
        # a word that is too large, within
        ("x" * 400, 30, None),
        # Chinese and Japanese sentences end without a space
        ("これは文です。" * 8, 50, None),
    ],
)
def test_the_coarsest_boundary_is_taken(text: str, budget: int, expected: list[str] | None) -> None:
    found, skipped = passages_of("d", text, style_with(budget, 2), ESTIMATE)
    assert skipped == []
    texts = [passage.text for passage in found]
    if expected is not None:
        assert texts == expected
    else:
        assert len(texts) > 1
        assert "".join(texts) == text.replace(" ", "") or " ".join(texts) == text
    if "文" in text:
        assert all(one.endswith("。") for one in texts)


def test_a_long_line_without_a_space_is_passages() -> None:
    found, skipped = passages_of("d", "ab1" * 120_000, style_with(512, 5), ESTIMATE)
    assert skipped == []
    assert sum(len(passage.text) for passage in found) == 360_000
    assert all(passage.tokens <= 512 for passage in found)


@pytest.mark.parametrize(
    ("words", "kept"),
    [(2, 0), (40, 1)],
    ids=["too short", "long enough"],
)
def test_short_documents_are_listed(words: int, kept: int) -> None:
    found, skipped = passages_of("d", WORD * words, style_with(100, 30), ESTIMATE)
    assert (len(found), len(skipped)) == (kept, 1 - kept)
    assert passages_of("d", " \n\t", style_with(100, 30), ESTIMATE) == ([], [])


@pytest.mark.parametrize("short", ["tail", "head"])
def test_a_short_piece_shares_with_its_neighbour(short: str) -> None:
    long = (WORD * 38).strip()
    text = f"{long}\n\nThe end." if short == "tail" else f"A title\n\n{long}"
    found, skipped = passages_of("d", text, style_with(ESTIMATE.count(long) + 1, 15), ESTIMATE)
    assert skipped == []
    assert len(found) == 2
    assert min(passage.tokens for passage in found) >= 15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two. Three four.", ["One two."]),
        ("Dr. Smith came. He left.", ["Dr. Smith came."]),
        ("J. S. Bach wrote it. Then he slept.", ["J. S. Bach wrote it."]),
        ('He said "Stop!" Then he left.', ['He said "Stop!"']),
        ("Pi is 3.14 and more. See e.g. this. End", ["Pi is 3.14 and more.", " See e.g. this."]),
        ("真的吗？是的。好", ["真的吗？", "是的。"]),
        ("क्या यह है? हाँ। ठीक", ["क्या यह है?", " हाँ।"]),
        ("no end here", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    places = [0, *sentence_ends(text, 0, len(text))]
    assert [text[a:b] for a, b in itertools.pairwise(places)] == expected


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("abc", 2, 2),
        ("e\u0301a", 1, 1),  # the accent belongs to the letter, and nothing stands before them
        ("ae\u0301", 2, 1),
        ("a👩\u200d👩\u200d👧", 3, 1),
        ("a🇩🇪🇫🇷", 2, 1),
        ("a🇩🇪🇫🇷", 4, 3),
        ("aกำ", 2, 1),
        ("a\r\nb", 2, 1),
        ("한국어", 1, 1),
    ],
)
def test_characters_as_readers_see_them_stay_whole(text: str, place: int, expected: int) -> None:
    assert before_cluster(text, 0, place) == expected


def test_cuts_within_a_word_spare_accents() -> None:
    text = "e\u0301" * 300
    found, _ = passages_of("d", text, style_with(40, 1), ESTIMATE)
    assert len(found) > 5
    assert not any(unicodedata.combining(passage.text[0]) for passage in found)


def test_the_same_text_is_cut_the_same_way_whoever_counts_first() -> None:
    text = "\n\n".join((WORD * n).strip() for n in range(1, 60))
    first = passages_of("d", text, STYLE, Counter())
    passages_of("other", "x" * 1000, STYLE, ESTIMATE)
    assert passages_of("d", text, STYLE, ESTIMATE) == first
