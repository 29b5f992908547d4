"""Numbers as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.amounts import parse_amount
from tokenmill.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("250M", 250_000_000),
        ("10B", 10**10),
        ("10G", 10**10),
        ("1.3T", 1_300_000_000_000),
        ("32k", 32_000),
        ("32K", 32_000),
        ("1_000_000", 10**6),
        ("1e9", 10**9),
        ("1.5e3", 1500),
        (" 2 M ", 2_000_000),
        (7, 7),
        (1e6, 10**6),
        ("0.001M", 1000),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_amounts(text: str | int | float, number: int) -> None:
    assert parse_amount(text) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1.0001k", "M", "1MB", "1m", "ten", "nan", "inf", True, "1e-3"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ConfigError, match="tokens"):
        parse_amount(text, "a number of tokens")


@given(st.integers(1, 10**18))
def test_whole_numbers_are_themselves(number: int) -> None:
    assert parse_amount(number) == parse_amount(str(number)) == parse_amount(f"{number:_}") == number
