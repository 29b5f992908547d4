from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rephrase.checks import twin
from tests.rephrase.checks.pairs import INSTRUCTION, PAGE, PARAPHRASE, reason, style, value
from tokenmill.rephrase.checks import words_kernel as kernel

WORDS = st.lists(st.integers(0, 3), max_size=40)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_kernel_counts_as_its_twin_does(rows: list[tuple[list[int], list[int], list[int]]], copies: bool) -> None:
    """Few different words, so that runs repeat and overlap in every way."""
    if copies:
        rows = [(source, source[2:] + output + source[:9], words) for source, output, words in rows]
    columns = [[row[place] for row in rows] for place in range(3)]
    arrays = []
    for column in columns:
        flat = np.array([word for words in column for word in words], np.uint64)
        arrays.append((flat, np.cumsum([0, *map(len, column)]).astype(np.int64)))
    every = np.arange(len(rows))
    (sources, outputs, instructions) = arrays
    found = kernel.compare_batch(*outputs, *sources, every, *instructions, every)
    for row, (source, output, instruction) in zip(found, rows, strict=True):
        assert row[kernel.WORDS] == len(output)
        assert row[kernel.SOURCE_WORDS] == len(source)
        assert row[kernel.LONGEST] == twin.longest_run(source, output)
        assert row[kernel.CONTAINED] == twin.contained(source, output)
        assert row[kernel.ECHO] == twin.echo(source, output, instruction)
        assert row[kernel.REPEATED] == twin.repeated(source, output)


W = [f"w{i}" for i in range(100)]


@pytest.mark.parametrize(
    ("output", "run", "contained"),
    [
        (" ".join(W), 100, 1.0),
        ("W0, w1; (W2) w3. w4 w5 w6 w7!", 8, 1.0),  # case and marks make no difference
        (" ".join(W[:7]), 7, None),  # too short for a run of 8
        (" ".join([*W[:8], "x", *W[20:28]]), 8, 0.2),  # 2 of 10 runs
        (" ".join(reversed(W)), 1, 0.0),
        ("entirely other words stand here and nothing else at all", 0, 0.0),
        ("", 0, None),
    ],
)
def test_copies(output: str, run: int, contained: float | None) -> None:
    source = " ".join(W)
    assert value("copy_longest_run", source, output) == run
    assert value("copy_ngram", source, output) == (None if contained is None else pytest.approx(contained))


def test_copies_in_a_script_without_spaces() -> None:
    source = "港は1835年から1847年にかけて拡張された。灯台の高さは二十五メートルである。"
    assert value("copy_ngram", source, source) == 1.0
    assert value("copy_longest_run", source, "灯台の高さは二十五メートルである。") >= 10
    assert value("copy_ngram", source, "昔この町では多くの船が魚をとっていたと言われている。") == 0.0


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (PARAPHRASE, None),
        (PAGE, "copied_run"),
        (PAGE.upper(), "copied_run"),
        (PAGE[: len(PAGE) // 2] + ".", "copied_run"),
    ],
)
def test_a_copy_is_rejected_and_a_paraphrase_is_not(output: str, expected: str | None) -> None:
    assert reason(PAGE, output) == expected


def test_copies_shuffled_by_sentence() -> None:
    sentences = PAGE.split(". ")
    checks = {"copy_ngram": {"max": 0.6}, "truncated_end": None}
    assert reason(PAGE, ". ".join(sentences[::-1]), style=style(checks=checks)) == "copied"


@pytest.mark.parametrize(
    ("words", "ratio", "expected"),
    [
        (3, 0.03, "too_short"),
        (29, 0.29, "too_short"),
        (30, 0.3, None),
        (100, 1.0, None),
        (250, 2.5, None),
        (251, 2.51, "too_long"),
    ],
)
def test_length_ratio(words: int, ratio: float, expected: str | None) -> None:
    source, output = " ".join(W), " ".join(f"v{i}" for i in range(words)) + "."
    assert value("length_ratio", source, output) == pytest.approx(ratio)
    assert reason(source, output, style=style(checks={"script": None})) == expected


def test_length_ratio_counts_characters_where_words_have_no_spaces() -> None:
    assert value("length_ratio", "春夏秋冬春夏秋冬", "東西南北") == pytest.approx(0.5)
    assert value("length_ratio", "", "Something.") is None


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        (PAGE, PARAPHRASE, 0.0),
        (PAGE, INSTRUCTION, 1.0),
        (INSTRUCTION, INSTRUCTION, 0.0),  # a page about prompts
        (PAGE, PARAPHRASE + " Keep every fact of the page and do not add others.", 7 / 24),
    ],
)
def test_echo(source: str, output: str, expected: float) -> None:
    assert value("echo", source, output) == pytest.approx(expected, abs=0.02)


def test_echo_rejects() -> None:
    assert reason(PAGE, PARAPHRASE + " " + INSTRUCTION) == "prompt_echo"
    assert value("echo", PAGE, PARAPHRASE, instruction="Rewrite this.") is None


LOOP = "The boats came home with herring. " * 12


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        (PAGE, PARAPHRASE, None),
        (PAGE, PARAPHRASE[:200] + LOOP, "repeated_ngrams"),
        (LOOP, LOOP, None),  # a page that repeats itself may be told as it is
        (LOOP, LOOP * 2, "repeated_ngrams"),
    ],
)
def test_repetition(source: str, output: str, expected: str | None) -> None:
    copies = {"copy_ngram": None, "copy_longest_share": None, "compression": None, "truncated_end": None}
    assert reason(source, output, style=style(checks=copies)) == expected


def test_repetition_boundary() -> None:
    """Six words again in thirty: exactly the share that is allowed."""
    once = [f"w{i}" for i in range(24)]
    output = " ".join(once + once[:6])
    assert value("repetition_ngram", PAGE, output) == pytest.approx(0.2)
    at, below = ({"repetition_ngram": {"max": most}, "compression": None, "length_ratio": None} for most in (0.2, 0.19))
    assert reason(PAGE, output + ".", style=style(checks=at)) is None
    assert reason(PAGE, output + ".", style=style(checks=below)) == "repeated_ngrams"
