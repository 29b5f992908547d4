"""Groups: hosts in all their spellings, and copies of a text."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.classifiers.train.groups import group_of, host_group, join_equal_texts


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.Example.org:80/a", "example.org"),
        ("example.org/a", "example.org"),
        ("example.org:8080/a", "example.org"),
        ("//www.example.org/a", "example.org"),
        ("www.", ""),
        ("not an address", ""),
        ("page-1", ""),
        ("http://[broken", ""),
        ("http://localhost/a", "localhost"),
        ("", ""),
        (None, ""),
        (3, ""),
    ],
)
def test_hosts(url: Any, host: str) -> None:
    assert host_group(url) == host


@given(st.text(st.characters(exclude_categories=())))
def test_any_address_has_a_name_that_can_be_written(url: str) -> None:
    host_group(url).encode()
    group_of(url).encode()


def test_nought_and_false_are_groups() -> None:
    assert [group_of(value) for value in (0, False, 0.0, "", None)] == ["0", "False", "0.0", "", ""]


@examples(30, 100)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), max_size=12), st.integers(0, 99))
def test_groups_that_share_a_text_are_one(pairs: list[tuple[str, str]], seed: int) -> None:
    groups, texts = [group for group, _ in pairs], [text for _, text in pairs]
    found, joined = join_equal_texts(groups, texts)
    # the oracle: names spread over equal groups and equal texts until nothing changes
    expected = list(groups)
    for _ in pairs:
        for places in (
            [[at for at, one in enumerate(column) if one == value] for value in set(column)]
            for column in (groups, texts)
        ):
            for members in places:
                least = min(expected[at] for at in members)
                for at in members:
                    expected[at] = least
    assert list(found) == expected
    assert joined == sum(len({group for group, one in pairs if one == text}) > 1 for text in texts)
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    again, _ = join_equal_texts([groups[at] for at in order], [texts[at] for at in order])
    assert list(again) == [found[at] for at in order]


def test_white_space_makes_no_other_text() -> None:
    assert join_equal_texts(["b", "a", "c"], ["x  y", " x\ny", "xy"]) == (("a", "a", "c"), 2)


def test_long_chains_end() -> None:
    names = [f"{number:05d}" for number in range(3000)]
    pairs = list(pairwise(names))
    texts = [str(at // 2) for at in range(2 * len(pairs))]
    found, _ = join_equal_texts([name for pair in pairs for name in pair], texts)
    assert set(found) == {"00000"}
