"""Phrases typical of machine-written text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.text.phrases import found_phrases, pattern_of, phrases


def named(text: str) -> list[str]:
    return [phrases()[place] for place in found_phrases(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("As an AI language\n\tmodel, I cannot say.", ["as an ai language model"]),
        ("Let’s dive into it", ["let's dive into"]),
        ("LET'S DIVE INTO IT", ["let's dive into"]),
        ("undelve into delve intox", []),
        ("We (delve into) this.", ["delve into"]),
        ("Certainly! Here's the text", ["certainly! here's"]),
        ("", []),
        ("\ud800 delve into \x00", ["delve into"]),
        ("日本delve into日本", ["delve into"]),
    ],
)
def test_phrases_are_found_as_words(text: str, found: list[str]) -> None:
    assert named(text) == found


def test_the_list_is_in_lower_case_and_without_repetition() -> None:
    assert len(set(phrases())) == len(phrases()) > 50
    assert all(phrase == " ".join(phrase.lower().split()) for phrase in phrases())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*phrases()[::7], "x", " ", ".", "’", "\n", "é"]), max_size=6))
def test_all_at_once_equals_one_by_one(parts: list[str]) -> None:
    text = "".join(parts)
    raw = text.encode()
    expected = [phrase for phrase in phrases() if re.search(pattern_of(phrase).encode(), raw)]
    assert named(text) == expected
