"""RefinedWeb's formatting, line corrections and the rule on what they removed."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Drop
from tokenmill.filters.refinedweb import RefinedWebFormat, RefinedWebLines, RefinedWebQuality


def changed(text: str, **settings: Any) -> Doc:
    doc = Doc(text=text)
    return doc.replaced(RefinedWebLines(**settings).rewrite(doc))


LINES = [
    ("An ordinary line.", "An ordinary line."),
    ("One line.\n\nAnother one, after a blank.", "One line.\n\nAnother one, after a blank."),
    # mainly upper case: more than half of all characters
    ("ALL IS LOUD HERE", ""),
    ("ABCde FGhij", "ABCde FGhij"),  # 5 of 11
    ("AB CDef", ""),  # 4 of 7
    ("ÄÖÜ ÉÈ ab", ""),  # 5 of 9
    ("Ä bc dÖ", "Ä bc dÖ"),
    # digits only
    ("12 34", ""),
    ("2024 01 02 17", ""),
    ("12 a4", "12 a4"),
    ("١٢ ٣٤", ""),
    # counters
    ("3 likes", ""),
    ("1.2K views", ""),
    ("1,024 Comments", ""),
    ("(12 replies)", ""),
    ("• 5 shares •", ""),
    ("1 comment", ""),
    ("3 likes were given", "3 likes were given"),
    ("three likes", "three likes"),
    ("about 3 likes", "about 3 likes"),
    ("3 apples", "3 apples"),
    # one word
    ("Word", ""),
    ("  Word  ", ""),
    ("Two words", "Two words"),
    # short lines are corrected
    ("Sign-in to go on", "to go on"),
    ("sign-in", ""),
    ("SIGN-in then go on now", "then go on now"),
    ("Sign-ins are counted here", "Sign-ins are counted here"),
    ("Please sign-in to go on", "Please sign-in to go on"),
    ("The story began Read more...", "The story began"),
    ("The story began read more…", "The story began"),
    ("Read more... of it", "Read more... of it"),
    ("Read more...", ""),
    ("3 items in cart", "3"),
    ("You have 3 items in cart now", "You have 3 now"),
    ("Items in cart", ""),
    # up to ten words
    ("a b c d e f g items in cart", "a b c d e f g"),
    ("a b c d e f g h items in cart", "a b c d e f g h items in cart"),
    ("", ""),
    ("\n \n", "\n \n"),
]


@pytest.mark.parametrize(("text", "expected"), LINES)
def test_lines(text: str, expected: str) -> None:
    assert changed(text).text == expected


OFF = {"max_uppercase_share": None, "remove_numeric": False, "remove_counters": False, "min_words": None}
OFF |= {"at_start": (), "at_end": (), "anywhere": ()}


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"max_uppercase_share": 0.5}, "ALL LOUD"),
        ({"remove_numeric": True}, "1 2"),
        ({"remove_counters": True}, "3 likes"),
        ({"min_words": 2}, "word"),
        ({"at_start": ("sign-in",)}, "Sign-in"),
        ({"at_end": ("read more...",)}, "Read more..."),
        ({"anywhere": ("items in cart",)}, "items in cart"),
        ({"anywhere": ("a+b (c",)}, "A+B (C"),  # phrases are no patterns
    ],
)
def test_each_rule_alone(setting: dict[str, Any], line: str) -> None:
    assert changed(line, **OFF).text == line
    assert changed(line, **{**OFF, **setting}).text == ""


def test_columns() -> None:
    doc = changed("Nine words stand in this line, and no more.\nMENU\nShop 3 items in cart\n\nTwo words")
    assert doc.text == "Nine words stand in this line, and no more.\nShop 3\n\nTwo words"
    assert doc["refinedweb_removed_lines"] == 1
    assert doc["refinedweb_edited_lines"] == 1
    assert doc["refinedweb_removed_word_share"] == (1 + 3) / 17


def test_an_unchanged_text_is_not_written_again() -> None:
    assert "text" not in RefinedWebLines().rewrite(Doc(text="  Nothing to do here. "))


@pytest.mark.parametrize(
    ("kept", "removed", "reason"),
    [(19, 1, None), (20, 1, None), (18, 1, "too_many_removed_words"), (0, 0, None), (0, 1, "too_many_removed_words")],
)
def test_quality(kept: int, removed: int, reason: str | None) -> None:
    """1 of 20 words is the threshold itself."""
    drop = RefinedWebQuality().judge(changed(" ".join(["word"] * kept) + "\nword" * removed))
    assert (drop.reason if isinstance(drop, Drop) else drop) == reason


def test_quality_can_be_switched_off() -> None:
    assert RefinedWebQuality(max_removed_word_share=None).judge(changed("WORD")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See http://a.org/x?y=1#z. Then go.", "See. Then go."),
        ("HTTPS://A.ORG", ""),
        ("(www.b.de/c) and ftp://d.e/f, too", "() and, too"),
        ("mail a@www.b.de, or xwww.c.de", "mail a@www.b.de, or xwww.c.de"),
        ("a://b", "a://b"),
        ("a\n\n\n\nb\n\nc\nd", "a\n\nb\n\nc\nd"),
        ("plain", "plain"),
    ],
)
def test_format(text: str, expected: str) -> None:
    doc = Doc(text=text)
    assert doc.replaced(RefinedWebFormat().rewrite(doc)).text == expected


def test_format_can_be_switched_off() -> None:
    assert RefinedWebFormat(remove_urls=False, max_newlines=None).rewrite(Doc(text="http://a.b\n\n\n\nc")) == {}


PIECES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from([line for line, _ in LINES]),
        st.sampled_from(
            ["\n", "\r\n", " ", "\x85", "sign-in ", " Read more...", "items in cart", "http://a.b", "www."]
        ),
    ),
    max_size=8,
)


@given(PIECES)
def test_any_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    doc = changed(text)
    assert changed(text).text == doc.text
    assert 0.0 <= doc["refinedweb_removed_word_share"] <= 1.0
    before = {line.strip() for line in text.split("\n")} | {""}
    edited = sum(line.strip() not in before for line in doc.text.split("\n"))
    assert edited <= doc["refinedweb_edited_lines"]
    assert len(doc.text) <= len(text)
    assert len(RefinedWebFormat().rewrite(Doc(text=text)).get("text", text)) <= len(text)


HOSTILE = {
    "hosts": "www." * 100_000,
    "dots": "http://" + "." * 400_000,
    "number": "1" + "." * 400_000,
    "spaces": " " * 400_000,
    "starts": "sign-in " * 50_000,
    "numbers": "1,1 " * 100_000,
    "counters": "\n".join(["(" * 9 + "1" * 16] * 20_000),
    "anywhere": "items in" * 50_000,
    "capitals": "A" * 400_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_take_no_time(text: str) -> None:
    """400,000 characters take some hundredths of a second; a quadratic search would take minutes."""
    started = process_time()
    RefinedWebLines().rewrite(Doc(text=text))
    RefinedWebFormat().rewrite(Doc(text=text))
    assert process_time() - started < 2
