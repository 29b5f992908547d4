"""Values of the signals."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenmill.text  # registers the signals
from tokenmill.core.doc import Doc
from tokenmill.core.signals import known_signals
from tokenmill.text.characters import PUNCTUATION, SENTENCE_ENDS

FAMILIES = ("gopher_", "repetition_", "fineweb_")
NAMES = sorted(name for name in known_signals() if name.startswith(FAMILIES))


def test_all_signals_are_described() -> None:
    assert tokenmill.text.signals_gopher.STOP_WORDS
    assert len(NAMES) == 8 + 5 + 9 + 6
    for name in NAMES:
        entry = known_signals()[name]
        assert entry.meaning.endswith(".")
        assert entry.unit
        assert entry.source.startswith("arXiv:")


@pytest.mark.parametrize(
    ("text", "signal", "value"),
    [
        ("one two, three", "gopher_word_count", 3),
        ("... -- !", "gopher_word_count", 0),
        ("one three", "gopher_mean_word_length", 4.0),
        ("a, bcd.", "gopher_mean_word_length", 2.0),
        ("# a # b", "gopher_hash_ratio", 0.5),
        ("a... b…", "gopher_ellipsis_ratio", 0.5),
        ("- a\n  • b\nc\nd", "gopher_bullet_line_share", 0.5),
        ("a-b\nc", "gopher_bullet_line_share", 0.0),
        ("a...\nb… \nc\nd", "gopher_ellipsis_line_share", 0.5),
        ("a 1 b .", "gopher_alpha_word_share", 0.5),
        ("The the of and", "gopher_stop_words", 3),
        ("abc", "repetition_characters", 3),
        ("a\n\na\n\nb\n\nc", "repetition_dup_paragraph_share", 0.25),
        ("aa\n\naa\n\nb", "repetition_dup_paragraph_char_share", 2 / 9),
        ("a\na\nb\nc", "repetition_dup_line_share", 0.25),
        ("aa\naa\nb", "repetition_dup_line_char_share", 2 / 7),
        ("a b a b", "repetition_top_2gram_char_share", 6 / 7),
        ("a b c d e a b c d e", "repetition_dup_5gram_char_share", 5 / 19),
        ("a\n\n \nb", "fineweb_line_count", 2),
        ("a.\nb?\nc\nd", "fineweb_line_punct_share", 0.5),
        ('a."\nb', "fineweb_line_punct_share", 0.0),
        ("a. \nb", "fineweb_line_punct_share", 0.0),
        ("a\nb", "fineweb_line_punct_share_or_one", 1.0),
        ("a.\nb", "fineweb_line_punct_share_or_one", 0.5),
        ("x" * 30 + "\n" + "x" * 31, "fineweb_short_line_share", 0.5),
        ("aa\naa\nbb\ncc", "fineweb_dup_line_char_share", 0.25),
        ("a b\nc d", "fineweb_newline_ratio", 0.25),
    ],
)
def test_value(text: str, signal: str, value: float) -> None:
    assert Doc(text=text).value(signal) == pytest.approx(value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", " ", "\n", "\n\n\n", "\x00", "\ud800", "\u2028"])
def test_texts_without_words(name: str, text: str) -> None:
    value = Doc(text=text).value(name)
    assert 0 <= value <= len(text) + 1


@given(st.text())
def test_shares_are_shares(text: str) -> None:
    doc = Doc(text=text)
    for name in NAMES:
        value = doc.value(name)
        assert value >= 0, name
        if name.endswith("_share"):
            assert value <= 1 or "top_" in name, name  # occurrences of the top n-gram may overlap


def test_characters() -> None:
    assert {".", "!", "?", "。", "۔", "।"} <= SENTENCE_ENDS
    assert not {'"', "'", "…", ":"} & SENTENCE_ENDS
    assert len(SENTENCE_ENDS) == 159
    assert set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") <= PUNCTUATION
    assert not any(char.isalpha() for char in PUNCTUATION)


def test_importing_a_filter_loads_nothing_heavy() -> None:
    code = (
        "import sys, tokenmill.filters.gopher, tokenmill.filters.repetition, tokenmill.filters.url\n"
        "heavy = {'torch', 'ray', 'pandas', 'numba', 'tldextract', 'fasttext', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
