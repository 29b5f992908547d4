"""How much is to be kept, as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError
from tokenmill.report.keep import Keep


@pytest.mark.parametrize(
    ("text", "target", "weight"),
    [
        ("12%-of-tokens", 120.0, "tokens"),
        (" 12 %-of-bytes ", 120.0, "bytes"),
        ("0.5%-of-documents", 5.0, "documents"),
        ("12%tokens", 120.0, "tokens"),
        ("100%-of-tokens", 1000.0, "tokens"),
        ("1.3e12-tokens", 1.3e12, "tokens"),
        ("1.3T-tokens", 1.3e12, "tokens"),
        ("300B-bytes", 3e11, "bytes"),
        ("5k-documents", 5000.0, "documents"),
        (".5M-tokens", 5e5, "tokens"),
    ],
)
def test_shares_and_amounts(text: str, target: float, weight: str) -> None:
    found = Keep.parse(text)
    assert found.target(1000) == pytest.approx(target)
    assert (found.weight, found.relative, found.text) == (weight, "%" in text, text)


@pytest.mark.parametrize(
    "text",
    ["", "12", "12%", "0%-of-tokens", "101%-of-tokens", "-5%-of-tokens", "0-tokens", "1e999-tokens", "5k%-of-tokens"],
)
def test_what_means_nothing_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"1\.3e12-tokens"):
        Keep.parse(text)


@given(st.text("0123456789.eE+-%kTof tokens", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = Keep.parse(text)
    except ConfigError:
        return
    assert 0 < found.target(1000) < float("inf")
