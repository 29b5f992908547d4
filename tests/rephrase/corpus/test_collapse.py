from __future__ import annotations

import math

import pytest

from tests.rephrase.corpus.tables import text_of
from tokenmill.rephrase.corpus.collapse import collapse_of, opener

TEXTS = [text_of(number) for number in range(200)]
TEMPLATE = [
    f"In this lesson we will look at {text_of(number, 3)} It matters a lot, as we will see." for number in range(200)
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In this lesson, we will look", "in this lesson we will"),
        ("**In** this\nlesson we  will!", "in this lesson we will"),
        ("Two words", "two words"),
        ("", ""),
        ("- — *", ""),
        ("港は1835年から1847年にかけて拡張された。", "港は1835年から1"),
    ],
)
def test_opener(text: str, expected: str) -> None:
    assert opener(text) == expected


def test_a_template_is_told_from_varied_texts() -> None:
    varied, collapsed = collapse_of(TEXTS), collapse_of(TEMPLATE)
    assert collapsed["opener"] == "in this lesson we will"
    assert collapsed["opener_share"] == 1.0
    assert collapsed["opener_entropy"] == 0.0
    assert varied["opener_entropy"] > 0.99
    assert varied["opener_share"] < 0.02
    assert collapsed["compression"] < 0.6 * varied["compression"]
    assert collapsed["distinct_2"] < 0.6 * varied["distinct_2"]


@pytest.mark.parametrize(("share", "texts"), [(0.0, 200), (0.1, 200), (0.5, 40)])
def test_share_and_entropy_of_openers(share: float, texts: int) -> None:
    alike = int(share * texts)
    found = collapse_of(["Always the same five words, then " + text for text in TEXTS[:alike]] + TEXTS[alike:texts])
    assert found["opener_share"] == pytest.approx(max(share, 1 / texts))
    rest = (1 - share) * math.log2(texts) + (share * -math.log2(share) if share else 0.0)
    assert found["opener_entropy"] == pytest.approx(rest / math.log2(texts), abs=1e-5)


def test_distinct_grams_are_within_texts() -> None:
    """Twenty texts of two words: one pair each, and none across two texts."""
    found = collapse_of([f"{a} {b}" for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)])
    assert found["distinct_1"] == pytest.approx(21 / 40)
    assert found["distinct_2"] == 1.0
    assert found["distinct_3"] is None


@pytest.mark.parametrize("texts", [[], ["a b"] * 5, ["", " ", "\n"] * 20])
def test_too_few_texts_are_not_measured(texts: list[str]) -> None:
    assert set(collapse_of(texts)) == {"texts"}


def test_texts_without_words() -> None:
    found = collapse_of(["..."] * 30)
    assert found["distinct_1"] is None
    assert found["opener"] == ""
