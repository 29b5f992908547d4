"""What programs do to texts, and what they are kept from."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rephrase.programs.test_parse import operations as some_operations
from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.programs.execute import Edit, Guards, apply_diff, execute, number_lines, undo
from tokenmill.rephrase.programs.ops import DropDocument, Keep, Operation, Program, RemoveLines, Replace
from tokenmill.rephrase.programs.parse import parse_program
from tokenmill.rephrase.render import numbered

FREE = Guards(least_words=0, least_words_share=0, most_replaced=1, most_growth=100, links=True, personal_data=True)
TEXT = "\n".join(
    [
        "Home | About | Contact",
        "The bridge of Porto was built in three years by two hundred workers.",
        "",
        "Read more It is 60 metres high, and trains cross it at walking speed.",
        "Share this page",
        "All rights reserved",
    ]
)


def run(*operations: Operation, text: str = TEXT, guards: Guards | None = None) -> tuple[str, list[str]]:
    edited = execute(text, Program(operations), guards or Guards())
    assert apply_diff(text, edited.diff) == edited.text
    assert undo(edited.text, edited.diff) == text
    return edited.text, [one.why for one in edited.refused]


def lines(*numbers: int) -> str:
    every = TEXT.split("\n")
    return "\n".join(every[number - 1] for number in numbers)


CASES: dict[str, tuple[tuple[Operation, ...], str, list[str]]] = {
    "nothing": ((), TEXT, []),
    "keep": ((Keep(),), TEXT, []),
    "first line": ((RemoveLines(1, 1),), lines(2, 3, 4, 5, 6), []),
    "last lines": ((RemoveLines(5, 6),), lines(1, 2, 3, 4), []),
    "numbers are those of the original": ((RemoveLines(1, 1), RemoveLines(5, 6)), lines(2, 3, 4), []),
    "in any order": ((RemoveLines(5, 6), RemoveLines(1, 1)), lines(2, 3, 4), []),
    "the last line there is": ((RemoveLines(6, 6),), lines(1, 2, 3, 4, 5), []),
    "behind the end": ((RemoveLines(6, 7),), TEXT, ["no_such_line"]),
    "overlap: the first wins": ((RemoveLines(5, 6), RemoveLines(4, 5)), lines(1, 2, 3, 4), ["overlap"]),
    "in its line": ((Replace(4, "Read more ", ""),), TEXT.replace("Read more ", ""), []),
    "not in another line": ((Replace(2, "Read more ", ""),), TEXT, ["not_found"]),
    "a line that is gone": ((RemoveLines(4, 4), Replace(4, "Read", "")), lines(1, 2, 3, 5, 6), ["lines_gone"]),
    "a line that was changed": (
        (Replace(4, "Read more ", ""), RemoveLines(4, 4)), TEXT.replace("Read more ", ""), ["overlap"],
    ),
    "two in one line": (
        (Replace(4, "Read more ", ""), Replace(4, "60", "sixty")),
        TEXT.replace("Read more ", "").replace("60", "sixty"), [],
    ),
    "two over each other": ((Replace(4, "Read more ", ""), Replace(4, "more It", "It")), TEXT.replace("Read more ", ""), ["overlap"]),  # noqa: E501
    "too much of the text": ((Replace(2, "The bridge of Porto was built in", ""),), TEXT, ["too_much"]),
    "more put in than taken out": ((Replace(4, "60", "six hundred"),), TEXT, ["grows"]),
    "as much": ((Replace(4, "60", "61"),), TEXT.replace("60", "61"), []),
    "a link": ((Replace(4, "Read more", "www.abc.de"),), TEXT, ["grows"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operations(name: str) -> None:
    operations, wanted, refused = CASES[name]
    assert run(*operations) == (wanted, refused)


BRINGS = [
    ("see it here today", "here today", "a.com/x", "link"),
    ("see it here today or not", "here today", "http://a", "link"),
    ("mail to the office now", "the office", "a@bcd.org", "personal_data"),
    ("mail a@abc.org today ok", "a@abc.org ", "", ""),
    ("http://abc.org/x is old", "/x", "/y", "link"),
    ("ask at jon abc.org now ok", "jon ", "jon@", "personal_data"),  # half of it was there already
]


@pytest.mark.parametrize(("line", "find", "new", "why"), BRINGS)
def test_replacements_bring_no_links_and_no_personal_data(line: str, find: str, new: str, why: str) -> None:
    guards = Guards(most_replaced=1, least_words=0, most_growth=10)
    text, refused = run(Replace(1, find, new), text=line, guards=guards)
    assert refused == ([why] if why else [])
    assert text == (line if why else line.replace(find, new))
    assert run(Replace(1, find, new), text=line, guards=FREE)[1] == []


def test_a_dropped_document_says_why() -> None:
    edited = execute(TEXT, Program((RemoveLines(1, 1), DropDocument("a menu"))))
    assert (edited.dropped, edited.reason, edited.text, edited.removed_share) == (True, "by_program", TEXT, 1.0)
    assert [one.to_json() for one in edited.applied] == [{"op": "drop", "reason": "a menu"}]
    assert [one.why for one in edited.refused] == ["dropped"]


@pytest.mark.parametrize(("left", "dropped"), [(9, True), (10, True), (11, False)])
def test_few_words_left(left: int, dropped: bool) -> None:
    text = "\n".join(["x " * 20, "word " * left])
    edited = execute(text, Program((RemoveLines(1, 1),)))
    assert edited.dropped is dropped
    assert execute(text, Program()).dropped is False  # nothing was done to it


@pytest.mark.parametrize(("left", "dropped"), [(50, True), (51, False)])
def test_a_small_share_of_words_left(left: int, dropped: bool) -> None:
    text = "\n".join(["x " * (1000 - left), "word " * left])
    assert execute(text, Program((RemoveLines(1, 1),))).dropped is dropped


def test_languages_without_spaces_have_words_too() -> None:
    text = "菜单\n" + "这座桥是在三年内由两百名工人建造的。" * 2
    assert execute(text, Program((RemoveLines(1, 1),))).dropped is False


@pytest.mark.parametrize(("bad", "kept"), [(0, False), (1, False), (2, True)])
def test_two_malformed_operations_keep_the_original(bad: int, kept: bool) -> None:
    edited = execute(TEXT, parse_program("remove_lines(1, 1)\n" + "remove it\n" * bad))
    assert (edited.text == TEXT, edited.reason, edited.malformed) == (kept, "malformed" if kept else "", bad)
    assert [one.why for one in edited.refused] == (["text_kept"] if kept else [])


def test_what_was_done_is_plain_json() -> None:
    edited = execute(TEXT, parse_program('remove_lines(1, 1)\n{"op": "remove_lines", "first": 99}'))
    told = json.loads(json.dumps(edited.to_json()))
    assert told["applied"] == [{"op": "remove_lines", "first": 1, "last": 1}]
    assert told["refused"] == [{"op": "remove_lines", "first": 99, "last": 99, "why": "no_such_line"}]
    assert [Edit(**one) for one in told["diff"]] == list(edited.diff)
    assert 0.1 < edited.removed_share < 0.2


def test_a_diff_of_another_text_is_refused() -> None:
    edited = execute(TEXT, Program((RemoveLines(1, 1),)))
    with pytest.raises(ValueError, match="another text"):
        apply_diff(TEXT.upper(), edited.diff)
    with pytest.raises(ValueError, match="another text"):
        undo("", [Edit(0, 1, "a", "b")])


def test_lines_are_numbered_as_prompts_show_them() -> None:
    assert number_lines(TEXT) == numbered(TEXT)
    assert number_lines("a\nb", first=1000) == "[1000] a\n[1001] b"


@pytest.mark.parametrize("setting", [{"most_replaced": 2}, {"least_words": -1}, {"most_growth": float("nan")}])
def test_guards_that_cannot_be(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Guards(**setting)  # type: ignore[arg-type]


texts = st.lists(st.text("ab \u3000é1", max_size=8), max_size=7).map("\n".join)
near = st.one_of(
    some_operations,
    st.builds(lambda first, more: RemoveLines(first, first + more), st.integers(1, 8), st.integers(0, 3)),
    st.builds(Replace, st.integers(1, 8), st.text("ab 1", min_size=1, max_size=2), st.text("abc", max_size=3)),
)


@settings(max_examples=150, deadline=None)
@given(texts, st.lists(near, max_size=6), st.booleans())
def test_any_program_leaves_an_exact_difference(text: str, each: list[Operation], free: bool) -> None:
    edited = execute(text, Program(tuple(each)), FREE if free else Guards())
    assert apply_diff(text, edited.diff) == edited.text
    assert undo(edited.text, edited.diff) == text
    if not any(isinstance(one, DropDocument) for one in each):
        done = len(edited.applied) + len(edited.refused) + sum(isinstance(one, Keep) for one in each)
        assert done == len(each)
    gone = {
        number for one in edited.applied if isinstance(one, RemoveLines) for number in range(one.first, one.last + 1)
    }
    changed = {one.line for one in edited.applied if isinstance(one, Replace)}
    assert not gone & changed
    if not changed and not edited.dropped:  # the readable definition: the lines that are left
        left = [line for number, line in enumerate(text.split("\n"), 1) if number not in gone]
        assert edited.text == "\n".join(left)
