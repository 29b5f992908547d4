"""Every test is in exactly one part, and the parts are about equally large."""

from __future__ import annotations

import pytest

from tests.parts import is_in, parse

NAMES = [f"tests/a/test_{file}.py::test_{number}[{case}]" for file in range(20) for number in range(9) for case in "xy"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_parts_are_a_partition(count: int) -> None:
    found = [[number for number in range(1, count + 1) if is_in(name, number, count)] for name in NAMES]
    assert all(len(one) == 1 for one in found)
    sizes = [sum(one == [number] for one in found) for number in range(1, count + 1)]
    assert max(sizes) < 1.5 * len(NAMES) / count
    assert found[::2] == found[1::2], "the cases of a test stay together"


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("1/1", (1, 1)),
        ("3/3", (3, 3)),
        ("0000000/3", (1, 3)),
        ("d034b89/3", (0xD034B89 % 3 + 1, 3)),
        ("1234567/3", None),
    ],
)
def test_parts_by_number_and_by_commit(value: str, part: tuple[int, int] | None) -> None:
    assert parse(value) == (part or (0x1234567 % 3 + 1, 3))


@pytest.mark.parametrize("value", ["", "3", "0/3", "4/3", "a/3", "1/x", "1/0", "-1/3", "xyz4567/3", "1234567/0"])
def test_what_is_no_part_is_refused(value: str) -> None:
    with pytest.raises(pytest.UsageError, match="--part"):
        parse(value)
