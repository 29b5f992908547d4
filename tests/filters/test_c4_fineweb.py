"""C4's and FineWeb's rules."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.twin import sentences as count_sentences
from tests.text.twin import tokens_of
from tokenmill.core import segment
from tokenmill.core.doc import Doc
from tokenmill.core.rule import Drop
from tokenmill.filters.c4 import C4Lines, C4Quality
from tokenmill.filters.fineweb import FineWebQuality

POLICIES = ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"]


def lines(text: str, **settings: Any) -> str:
    return Doc(text=text).replaced(C4Lines(**settings).rewrite(Doc(text=text))).text


LINES = [
    ("One two three.", "One two three."),
    ("  One two three. \n\n", "One two three."),
    ("no mark at end\nOne two three!", "One two three!"),
    ('He said "one two"', 'He said "one two"'),
    ("one two three...", ""),
    ("one two three…", ""),
    ("One two.", ""),
    ("One two three[1].", "One two three."),
    ("Cited here.[12] [edit]", ""),  # the citation hides the mark: what is left ends in a space
    ("Cited once more.[12]", "Cited once more."),
    ("Two words.[citation needed] x", ""),
    ("Please enable JavaScript now.", ""),
    ("See our Privacy Policy here.", ""),
    ("See our policy for privacy.", "See our policy for privacy."),
    ("a " + "x" * 1000 + " b.", "a " + "x" * 1000 + " b."),
    ("a " + "x" * 1001 + " b.", ""),
    ("One two three.\u2028Four five six.", "One two three.\nFour five six."),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), LINES)
def test_lines(text: str, expected: str) -> None:
    assert lines(text) == expected


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        ({"terminal_punctuation": False}, "no mark at end", "no mark at end"),
        ({"remove_citations": False}, "One two three[1].", "One two three[1]."),
        ({"min_words": None}, "One.", "One."),
        ({"min_words": 2}, "One two.", "One two."),
        ({"remove_javascript": False}, "Some more javascript.", "Some more javascript."),
        ({"remove_policies": False}, "Our privacy policy.", "Our privacy policy."),
        ({"max_word_length": None}, "a b " + "x" * 1001 + ".", "a b " + "x" * 1001 + "."),
        ({"max_word_length": 3}, "abc abc ab.\nabcd ab c.", "abc abc ab."),
    ],
)
def test_line_settings(settings: dict[str, Any], text: str, expected: str) -> None:
    assert lines(text, **settings) == expected


def test_unchanged_text_is_not_returned() -> None:
    assert "text" not in C4Lines().rewrite(Doc(text="One two three."))
    assert C4Lines().rewrite(Doc(text="One two three. "))["text"] == "One two three."


def judge(text: str, quality: C4Quality | None = None) -> str | None:
    doc = Doc(text=text)
    drop = (quality or C4Quality()).judge(doc.replaced(C4Lines().rewrite(doc)))
    assert drop is None or isinstance(drop, Drop)
    return drop.reason if drop else None


FIVE = "One two three. " * 4 + "Four five six."
QUALITY = [
    (FIVE, None),
    ("One two three. " * 3 + "Four five six.", "too_few_sentences"),
    ("", "too_few_sentences"),
    (f"{FIVE}\nHere is Lorem Ipsum text.", "lorem_ipsum"),
    (f"{FIVE}\nHere is a {{ bracket.", "curly_bracket"),
    (f"{FIVE}\nA {{ bracket here.\nSome lorem ipsum here.", "curly_bracket"),
    (f"{FIVE}\nSome lorem ipsum here.\nA {{ bracket here.", "lorem_ipsum"),
    (f"{FIVE}\nSome lorem ipsum and {{ here.", "lorem_ipsum"),
    # Only lines that survive the rules before count.
    (f"{FIVE}\nlorem ipsum without a mark\nfunction() {{\nlorem ipsum.", None),
    (f"{FIVE}\nThis javascript has {{ here.", None),
    (f"{FIVE}\nThis javascript has lorem ipsum.", "lorem_ipsum"),
    (f"{FIVE}\nWe use cookies {{ here.", "curly_bracket"),
    (f"{FIVE}\nWe use cookies and lorem ipsum.", "lorem_ipsum"),
]


@pytest.mark.parametrize(("text", "expected"), QUALITY)
def test_quality(text: str, expected: str | None) -> None:
    assert judge(text) == expected


def test_quality_rules_can_be_switched_off() -> None:
    text = f"{FIVE}\nA {{ bracket here.\nSome lorem ipsum here."
    assert judge(text, C4Quality(max_curly_bracket_lines=None)) == "lorem_ipsum"
    assert judge(text, C4Quality(max_lorem_ipsum_lines=None)) == "curly_bracket"
    assert judge(text, C4Quality(max_lorem_ipsum_lines=None, max_curly_bracket_lines=1)) is None
    assert judge("One two three.", C4Quality(min_sentences=1)) is None
    assert judge("", C4Quality(min_sentences=None)) is None


def slow(text: str) -> tuple[str | None, str]:
    """The original: one pass that stops at the first line that drops the document."""
    kept, sentences = [], 0
    for raw in text.splitlines():
        line = raw.strip()
        words = line.split()
        line = re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line)
        if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...") or len(words) < 3:
            continue
        if "lorem ipsum" in line.lower():
            return "lorem_ipsum", ""
        if "javascript" in line.lower():
            continue
        if "{" in line:
            return "curly_bracket", ""
        if any(policy in line.lower() for policy in POLICIES):
            continue
        sentences += count_sentences(tokens_of(line, segment.SPACED))
        kept.append(line)
    return ("too_few_sentences" if sentences < 5 else None), "\n".join(kept).strip()


PARTS = [
    "One two three. ",
    "lorem ipsum ",
    "Java[1]script ",
    "{",
    "use cookies ",
    "[edit]",
    "[2]",
    "\n",
    "a ",
    ". ",
    "…",
]


@given(st.lists(st.sampled_from(PARTS), max_size=40).map("".join))
def test_equals_the_slow_twin(text: str) -> None:
    expected, kept = slow(text)
    assert judge(text) == expected
    if expected is None:
        assert lines(text) == kept


@given(st.text(), st.booleans())
def test_c4_never_raises(text: str, terminal: bool) -> None:
    changes = C4Lines(terminal_punctuation=terminal).rewrite(Doc(text=text))
    assert set(changes) - {"text"} == set(C4Lines.adds)
    assert all(isinstance(changes[column], int) for column in C4Lines.adds)


def fineweb(text: str, **settings: Any) -> str | None:
    drop = FineWebQuality(**settings).judge(Doc(text=text))
    assert drop is None or isinstance(drop, Drop)
    return drop.reason if drop else None


LONG = "This line has more than thirty characters in it{}"
GOOD = "\n".join(LONG.format(f" {i}.") for i in range(10))


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        (GOOD, {}, None),
        ("", {}, "empty"),
        ("\n \n", {}, "empty"),
        (GOOD.replace(".", ""), {}, "too_few_punctuated_lines"),
        (GOOD.replace(".", ""), {"exclude_zero": True}, None),
        (GOOD.replace(".", "", 9), {"exclude_zero": True}, "too_few_punctuated_lines"),
        (GOOD.replace(".", ""), {"min_line_punct_share": None}, None),
        (GOOD.replace(".", "", 9), {"min_line_punct_share": 0.1}, None),
        (GOOD.replace(".", "", 9), {"min_line_punct_share": 0.11}, "too_few_punctuated_lines"),
        ("a b c d.\n" + LONG.format("."), {"max_short_line_share": 0.5}, None),
        ("a b c d.\n" + LONG.format("."), {"max_short_line_share": 0.49}, "too_many_short_lines"),
        (LONG.format(".\n") * 2, {}, "duplicate_lines"),
        (LONG.format(".\n") * 2, {"max_dup_line_char_share": 0.5}, None),
        (LONG.format(".\n") * 2, {"max_dup_line_char_share": 0.49}, "duplicate_lines"),
        ("aa bb cc.\ndd ee ff.", {"max_short_line_share": None, "max_newline_ratio": 0.125}, None),
        ("aa bb cc.\ndd ee ff.", {"max_short_line_share": None, "max_newline_ratio": 0.12}, "too_many_newlines"),
        ("a.\n\n\n", {"max_short_line_share": None}, "too_many_newlines"),
    ],
)
def test_fineweb(text: str, settings: dict[str, Any], expected: str | None) -> None:
    assert fineweb(text, **settings) == expected


@given(st.text(), st.booleans())
def test_fineweb_never_raises(text: str, exclude_zero: bool) -> None:
    blank = all(not line.strip() for line in text.split("\n"))
    assert (fineweb(text, exclude_zero=exclude_zero) == "empty") == blank
