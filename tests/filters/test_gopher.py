"""Gopher's quality and repetition rules, each with a text that passes, one that fails and the boundary."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Drop
from tokenmill.core.segment import UNKNOWN, word_unit
from tokenmill.core.stage import Filter
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.repetition import GopherRepetition

OFF = dict.fromkeys(
    (
        "min_words",
        "max_words",
        "min_mean_word_length",
        "max_mean_word_length",
        "max_hash_ratio",
        "max_ellipsis_ratio",
        "max_bullet_line_share",
        "max_ellipsis_line_share",
        "min_alpha_word_share",
        "min_stop_words",
    )
)


def reason(stage: Filter, text: str) -> str | None:
    drop = stage.judge(Doc(text=text))
    return drop.reason if isinstance(drop, Drop) else drop


def only(**setting: Any) -> GopherQuality:
    return GopherQuality(**{**OFF, **setting})


QUALITY = [
    (only(min_words=3), "one two three", None),
    (only(min_words=3), "one two ... ! three", None),
    (only(min_words=3), "one two !", "too_few_words"),
    (only(max_words=3), "one two three", None),
    (only(max_words=3), "one two three four", "too_many_words"),
    (only(min_mean_word_length=3), "two four", None),
    (only(min_mean_word_length=3), "abc abc", None),
    (only(min_mean_word_length=3), "ab abc", "short_mean_word_length"),
    (only(max_mean_word_length=4), "four four", None),
    (only(max_mean_word_length=4), "fours four", "long_mean_word_length"),
    (only(max_hash_ratio=0.5), "# a", None),
    (only(max_hash_ratio=0.4), "# a", "too_many_hashes"),
    (only(max_ellipsis_ratio=0.5), "a ...", None),
    (only(max_ellipsis_ratio=0.4), "a …", "too_many_ellipses"),
    (only(max_bullet_line_share=0.5), "- a\nb", None),
    (only(max_bullet_line_share=0.5), "- a\n• b\nc", "too_many_bullet_lines"),
    (only(max_ellipsis_line_share=0.5), "a...\nb", None),
    (only(max_ellipsis_line_share=0.5), "a...\nb…\nc", "too_many_ellipsis_lines"),
    (only(min_alpha_word_share=0.5), "a 1", None),
    (only(min_alpha_word_share=0.5), "a 1 2", "too_few_alpha_words"),
    (only(min_stop_words=2), "the cat and dog", None),
    (only(min_stop_words=2), "the cat the dog The And", "too_few_stop_words"),
    (only(), "", None),
    (GopherQuality(), "", "too_few_words"),
    (GopherQuality(), "word " * 50, "too_few_stop_words"),
    (GopherQuality(), "the cat and that dog have to be with me. " * 6, None),
    (GopherQuality(), "the cat and that dog have to be with me. " * 4, "too_few_words"),
    # Both apply; the rule that comes first is the reason.
    (GopherQuality(), "# " * 80 + "a b " * 30, "short_mean_word_length"),
]


@pytest.mark.parametrize(("stage", "text", "expected"), QUALITY)
def test_quality(stage: GopherQuality, text: str, expected: str | None) -> None:
    assert reason(stage, text) == expected


def test_the_drop_tells_the_number() -> None:
    drop = GopherQuality().judge(Doc(text="one two three"))
    assert drop == Drop("too_few_words", "gopher_word_count", 3.0, 50.0)


def test_all_quality_rules_can_be_switched_off() -> None:
    assert not GopherQuality(**OFF)._active_rules
    assert len(GopherQuality()._active_rules) == 10


def prose(n: int) -> str:
    """n different words."""
    return " ".join(f"w{i}x" for i in range(n))


REPETITION = [
    ("", "empty"),
    ("   ", None),
    (prose(100), None),
    ("a\n\nb\n\n" + "a\n\nb\n\n" + prose(50), "dup_paragraph_share"),
    (f"{prose(30)}\n\n{prose(30)}\n\n1\n\n2\n\n3", "dup_paragraph_char_share"),
    ("a\nb\na\nb\n" + prose(50), "dup_line_share"),
    (f"{prose(30)}\n{prose(30)}\n1\n2\n3", "dup_line_char_share"),
    ("ab cd " * 10 + prose(30), "top_2gram"),
    (prose(60) + " " + "".join(f"a b c d e {i} " for i in range(12)) + prose(20), "dup_5gram"),
]


@pytest.mark.parametrize(("text", "expected"), REPETITION)
def test_repetition(text: str, expected: str | None) -> None:
    assert reason(GopherRepetition(), text) == expected


@pytest.mark.parametrize("n", [5, 6, 7, 8, 9, 10])
def test_duplicate_ngram_rules(n: int) -> None:
    names = {f"max_dup_{size}gram_char_share": None for size in range(5, 11) if size != n}
    off = {**names, **{f"max_top_{size}gram_char_share": None for size in (2, 3, 4)}}
    block = " ".join(f"q{i}" for i in range(n))
    text = f"{prose(20)} {block} - {block}"
    share = 2 * n / len(text)  # the second block, joined without spaces
    assert reason(GopherRepetition(**off, **{f"max_dup_{n}gram_char_share": share}), text) is None
    assert reason(GopherRepetition(**off, **{f"max_dup_{n}gram_char_share": share * 0.99}), text) == f"dup_{n}gram"


@pytest.mark.parametrize(("n", "gram"), [(2, "a b"), (3, "a b c"), (4, "a b c d")])
def test_top_ngram_rules(n: int, gram: str) -> None:
    off = {f"max_dup_{size}gram_char_share": None for size in range(5, 11)}
    off |= {f"max_top_{size}gram_char_share": None for size in (2, 3, 4) if size != n}
    text = f"{gram} x {gram} y {gram}"
    share = 3 * len(gram) / len(text)
    assert reason(GopherRepetition(**off, **{f"max_top_{n}gram_char_share": share}), text) is None
    assert reason(GopherRepetition(**off, **{f"max_top_{n}gram_char_share": share * 0.99}), text) == f"top_{n}gram"


def test_repetition_boundary_is_strict() -> None:
    lines = "\n".join(["aa", "aa", *(f"w{i}x v{i}y u{i}z" for i in range(8))])
    assert reason(GopherRepetition(max_dup_line_share=0.1), lines) is None
    assert reason(GopherRepetition(max_dup_line_share=0.09), lines) == "dup_line_share"


def test_repetition_setup_compiles() -> None:
    GopherRepetition().setup()
    assert len(GopherRepetition()._active_rules) == 14


@given(st.text())
def test_never_raises(text: str) -> None:
    # where words cannot be told apart (Thai...), nothing is measured and no rule holds
    assert reason(GopherQuality(), text) or word_unit(text) == UNKNOWN
    assert (reason(GopherRepetition(), text) == "empty") == (text == "")
