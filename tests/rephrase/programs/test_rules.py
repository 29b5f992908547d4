"""Rule-made programs: lines that go, lines that stay, and what is just between."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.rephrase.programs.ops import RemoveLines
from tokenmill.rephrase.programs.rules import rule_program
from tokenmill.rephrase.programs.stage import EditLines

BODY = "The bridge of Porto was built in three years by two hundred workers, and it still stands.\n"
LINES = {
    "We use cookies to make this site better.": "cookie_notice",
    "Diese Website verwendet Cookies.": "cookie_notice",
    "Nous utilisons des cookies pour améliorer votre visite": "cookie_notice",
    "Мы используем файлы cookie": "cookie_notice",
    "She baked cookies for the workers, and they used to buy them.": "",
    "we use cookies " + "and say so " * 14: "cookie_notice",  # 45 words
    "we use cookies " + "and say so " * 14 + "again": "",
    "Skip to content": "navigation",
    "» Weiterlesen": "navigation",
    "Menü": "navigation",
    "HOME": "navigation",
    "Home is where the heart is": "",
    "Search parties were sent": "",
    "Share on Facebook": "call_to_action",
    "Votre adresse e-mail ne sera pas publiée.": "call_to_action",
    "Please subscribe to our newsletter!": "call_to_action",
    "Newsletters were read aloud in the square.": "",
    "© 2019 Bridge Society. All rights reserved.": "rights",
    "Все права защищены": "rights",
    "They held all the rights that they had reserved.": "",
    "": "",
}


@pytest.mark.parametrize("line", LINES)
def test_phrases(line: str) -> None:
    wanted = (RemoveLines(2, 2, LINES[line]),) if LINES[line] else ()
    assert (
        rule_program(f"{BODY}{line}\n{BODY}", ("cookie_notice", "navigation", "call_to_action", "rights")).operations
        == wanted
    )


@pytest.mark.parametrize(("times", "removed"), [(2, 0), (3, 2), (5, 4)])
def test_a_line_that_comes_again_and_again(times: int, removed: int) -> None:
    text = "".join(f"{BODY[:-1]} {number}\nChapter of bridges\n" for number in range(times))
    operations = rule_program(text, ("repeated_line",)).operations
    assert operations == tuple(RemoveLines(4 + 2 * n, 4 + 2 * n, "repeated_line") for n in range(removed))
    assert rule_program("* * *\n" * 9, ("repeated_line",)).operations == ()


MENU = "News\nSports Today\nLocal Weather\nCity Life\nTravel\n"
RUNS = {
    MENU + BODY: True,
    BODY + MENU: True,
    MENU.replace("Travel\n", "") + BODY: False,  # four lines
    BODY + MENU + BODY: False,  # between sentences: a list of names may be one
    BODY + MENU + "Read more\n" + BODY: True,
    MENU: False,  # nothing else: a list
    "- News\n- Sports\n- Weather\n- City\n- Travel\n" + BODY: False,
    "News.\nSports.\nWeather.\nCity.\nTravel.\n" + BODY: False,
    "1 News\n2 Sports\n3 Weather\n4 City\n5 Travel\n" + BODY: False,
}


@pytest.mark.parametrize("text", RUNS)
def test_runs_of_short_lines(text: str) -> None:
    assert bool(rule_program(text, ("navigation", "short_run")).operations) is RUNS[text] or "Read more" in text
    assert (
        any(one.reason == "short_run" for one in rule_program(text).operations if isinstance(one, RemoveLines))
        is RUNS[text]
    )


PAGE = "Home\nAbout us\nContact\n" + BODY + BODY.replace("three", "four") + "\nAll rights reserved"


def test_the_stage_edits_and_says_how() -> None:
    found = EditLines().rewrite(Doc(text=PAGE))
    assert not isinstance(found, Drop)
    assert found["text"] == BODY + BODY.replace("three", "four").rstrip("\n") + "\n"
    assert json.loads(found["edit_operations"]) == [
        {"op": "remove_lines", "first": 1, "last": 3, "reason": "navigation"},
        {"op": "remove_lines", "first": 7, "last": 7, "reason": "rights"},
    ]
    assert found["edit_removed_share"] == pytest.approx(1 - len(found["text"]) / len(PAGE))


def test_a_dry_run_leaves_the_page_alone() -> None:
    dry, wet = (EditLines(dry_run=dry).rewrite(Doc(text=PAGE)) for dry in (True, False))
    assert not isinstance(dry, Drop)
    assert not isinstance(wet, Drop)
    assert dry == {key: value for key, value in wet.items() if key != "text"}


def test_a_page_of_nothing_else_is_dropped() -> None:
    page = "Home\nContact\nOur bridge\nAll rights reserved"
    assert EditLines().rewrite(Doc(text=page)) == Drop("few_words_left")
    said = EditLines(dry_run=True).rewrite(Doc(text=page))
    assert not isinstance(said, Drop)
    assert json.loads(said["edit_operations"])[-1] == {"op": "drop", "reason": "few_words_left"}
    assert said["edit_removed_share"] == 1.0


def test_a_clean_page_stays_as_it_is() -> None:
    assert EditLines().rewrite(Doc(text=BODY)) == {"edit_operations": "[]", "edit_removed_share": 0.0}
    assert set(EditLines.adds.values()) == {pa.string(), pa.float64()}


def test_a_rule_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="navigatio"):
        EditLines(rules=("navigatio",)).digests()
