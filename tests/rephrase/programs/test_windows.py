"""Long pages in windows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.rephrase.programs.execute import execute, number_lines
from tokenmill.rephrase.programs.ops import Program, RemoveLines
from tokenmill.rephrase.programs.windows import Window, joined, windows


def count(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("text", "most", "wanted"),
    [
        ("", 5, [Window(1, "")]),
        ("a b\nc", 5, [Window(1, "a b\nc")]),
        ("a b\nc", 4, [Window(1, "a b"), Window(2, "c")]),
        ("a b c d e f\ng\n", 3, [Window(1, "a b c d e f"), Window(2, "g\n")]),
    ],
)
def test_windows(text: str, most: int, wanted: list[Window]) -> None:
    assert windows(text, count, most) == wanted


@settings(max_examples=50, deadline=None)
@given(st.text("a \n", max_size=60), st.integers(1, 8))
def test_windows_are_the_page(text: str, most: int) -> None:
    each = windows(text, count, most)
    assert "\n".join(one.text for one in each) == text
    assert "\n".join(number_lines(one.text, one.first) for one in each) == number_lines(text)


def test_programs_of_windows_are_one() -> None:
    text = "\n".join(f"line {number} of the page about a bridge" for number in range(1, 41))
    parts = [(one, Program((RemoveLines(1, 1),))) for one in windows(text, count, 90)]
    left = execute(text, joined(parts)).text.split("\n")
    assert len(parts) == 4
    assert len(left) == 36
    assert not {one.text.split("\n")[0] for one, _ in parts} & set(left)
