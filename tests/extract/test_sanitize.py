"""Which characters survive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.extract.sanitize import sanitize, sanitize_encoded, without_forbidden_references

ANY_TEXT = st.text(st.characters(categories=None, exclude_categories=())) | st.text(
    "\0\r\n\t\x0b\x7f\ud800\udfff\ufffe\uffff\ufdd0aé"
)


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("", ""),
        ("a\tb\nc é 中 \U0001f600", "a\tb\nc é 中 \U0001f600"),
        ("a\0b", "ab"),
        ("a\x01\x08\x0b\x0c\x0e\x1f\x7fb", "ab"),
        ("a\r\nb\rc\r\r\nd\n\re", "a\nb\nc\n\nd\n\ne"),
        ("a\ud800b\udfffc", "a\ufffdb\ufffdc"),
        ("\ud83d\ude00", "\U0001f600"),  # a pair written as two halves is one character
        ("a\ufffeb\uffffc", "a\ufffdb\ufffdc"),
        ("\ufdd0\u0085\x9f\u2028", "\ufdd0\u0085\x9f\u2028"),  # valid, if odd
        ("中\0\r\n\ud800", "中\n\ufffd"),
    ],
)
def test_sanitize(dirty: str, clean: str) -> None:
    assert sanitize(dirty) == clean


def test_clean_text_is_returned_as_it_is() -> None:
    text = "clean " * 10
    assert sanitize(text) is text


@given(ANY_TEXT)
def test_result_is_clean_and_stable(text: str) -> None:
    clean, encoded = sanitize_encoded(text)
    assert encoded == clean.encode()
    assert not set(clean) & {*map(chr, [*range(9), *range(11, 32), 0x7F, 0xFFFE, 0xFFFF])}
    assert sanitize(clean) is clean


@pytest.mark.parametrize(
    ("page", "clean"),
    [
        ("a&#12;b&#x0C;c&#1d", "a b c d"),
        ("a&#xFFFE;&#65535;&#x1f", "a   "),
        ("&#9;&#10;&#13;&#32;&#120;&#x1f600;&#65;&#128;&#x10;", "&#9;&#10;&#13;&#32;&#120;&#x1f600;&#65;&#128; "),
        ("&# &#; &#x; &#xg; &amp;", "&# &#; &#x; &#xg; &amp;"),
    ],
)
def test_references(page: str, clean: str) -> None:
    assert without_forbidden_references(page) == clean
