"""Hashes of texts, and sets of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.classifiers.corpus import hashes
from tokenmill.classifiers.corpus.hashes import HashSet, draw_key, text_digest


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40)), st.lists(st.integers(0, 50)))
def test_a_set_is_a_set(values: list[int], asked: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "_BUFFER", 3)
        found = HashSet()
        for value in values:
            found.add(value)
    assert len(found) == len(set(values))
    assert [value in found for value in [*values, *asked]] == [value in set(values) for value in [*values, *asked]]


def test_many_values() -> None:
    chance = random.Random(4)
    values = [chance.getrandbits(64) for _ in range(100_000)]
    found = HashSet()
    for value in values * 2:
        found.add(value)
    assert len(found) == len(set(values))
    assert all(value in found for value in values[::97])


@given(st.text())
def test_white_space_is_no_difference(text: str) -> None:
    spread = "\n ".join(["", *text.split(), ""])
    assert text_digest(text) == text_digest(spread)
    assert text_digest(text) != text_digest(text + " more")
    assert draw_key(text_digest(text), 1) != draw_key(text_digest(text), 2)
