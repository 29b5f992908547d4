"""Programs as models write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.rephrase.programs.ops import DropDocument, Keep, Operation, Program, ProgramError, RemoveLines, Replace
from tokenmill.rephrase.programs.parse import MOST_OPERATIONS, parse_operation, parse_program

GOOD: dict[str, Operation] = {
    '{"op": "keep"}': Keep(),
    '{"op": "drop", "reason": "only a menu"}': DropDocument("only a menu"),
    '{"op": "drop"}': DropDocument(),
    '{"op": "remove_lines", "first": 3, "last": 5}': RemoveLines(3, 5),
    '{"op": "remove_lines", "first": 3}': RemoveLines(3, 3),
    '{"op": "remove_lines", "first": "003", "last": "012"}': RemoveLines(3, 12),
    '{"op": "replace", "line": 7, "find": "a, b", "with": ""}': Replace(7, "a, b", ""),
    '{"op": "replace", "line": 7, "find": "\\u00e4", "with": "ae"}': Replace(7, "ä", "ae"),
    "keep_all()": Keep(),
    "drop_doc()": DropDocument(),
    "remove_lines(line_start=3, line_end=5)": RemoveLines(3, 5),
    "remove_lines(3, 5)": RemoveLines(3, 5),
    "remove_lines(line_start=[003], line_end=[1005])": RemoveLines(3, 1005),
    'remove_lines(line_start="[003]", line_end="[005]")': RemoveLines(3, 5),
    "remove_lines(line_start=0100, line_end=0100);": RemoveLines(100, 100),
    'replace(line=7, find="a, b) (", new="say \\"x\\", 007")': Replace(7, "a, b) (", 'say "x", 007'),
    "replace(7, 'it''s', '')": Replace(7, "its", ""),
    'normalize(line_id=7, source_str="[007] drop_doc()", target_str="x")': Replace(7, "[007] drop_doc()", "x"),
}

BAD = {
    "drop": "neither",
    "I would drop this document.": "neither",
    '{"op": "remove_lines", "first": 3, "last": 2}': "no range",
    '{"op": "remove_lines", "first": 0, "last": 2}': "counted from 1",
    '{"op": "remove_lines", "first": -1}': "not the number",
    '{"op": "remove_lines", "first": true}': "not the number",
    '{"op": "remove_lines", "first": 1.5}': "not the number",
    '{"op": "remove_lines", "last": 5}': "'first' is missing",
    '{"op": "remove_lines", "first": 1, "lines": 5}': "not a field",
    '{"op": "replace", "line": 1, "find": "", "with": "x"}': "nothing to be found",
    '{"op": "replace", "line": 1, "find": "a", "with": "x\\ny"}': "within its line",
    '{"op": "replace", "line": 1, "find": "a"}': "'with' is missing",
    '{"op": "replace", "line": 1, "find": "a", "with": null}': "no string",
    '{"op": "keep", "op": "drop"}': "twice",
    '{"op": "format_disk"}': "no operation",
    '{"op": "keep"': "no JSON",
    '"keep"': "neither",
    "remove_lines(1, 2, 3)": "at most 2",
    "remove_lines(line_start=1, first=1)": "twice",
    "remove_lines(1 + 1, 3)": "numbers and strings",
    "remove_lines(*[1, 2])": "numbers and strings",
    "remove_lines(line_start=1": "no call",
    '__import__("os").system("true")': "by its name",
    'system("true")': "no function",
    'normalize(source_str="a", target_str="b")': "'line' is missing",
    "keep_all() or drop_doc()": "by its name",
}


@pytest.mark.parametrize("piece", GOOD)
def test_operations_in_both_spellings(piece: str) -> None:
    assert parse_operation(piece) == GOOD[piece]


@pytest.mark.parametrize("piece", BAD)
def test_what_is_no_operation_says_why(piece: str) -> None:
    with pytest.raises(ProgramError, match=BAD[piece]):
        parse_operation(piece)


PROGRAMS = {
    "": ((), 0),
    "\n \n": ((), 0),
    '```json\n{"op": "keep"}\n```': ((Keep(),), 0),
    '- {"op": "keep"}\n* drop_doc()\n2. remove_lines(1, 2)': ((Keep(), DropDocument(), RemoveLines(1, 2)), 0),
    '[\n  {"op": "keep"},\n  {"op": "drop"}\n]': ((Keep(), DropDocument()), 0),
    '[{"op": "keep"}, 3]': ((Keep(),), 1),
    '[\n{"op": "keep"},\n{"op": "dro\n]': ((Keep(),), 1),
    'Sure! Here it is:\n{"op": "keep"}': ((Keep(),), 1),
    '{"op": "keep"}\nremove_lines(line_start=1, line_end=1)': ((Keep(), RemoveLines(1, 1)), 0),
}


@pytest.mark.parametrize("text", PROGRAMS)
def test_programs_around_their_operations(text: str) -> None:
    program = parse_program(text)
    assert (program.operations, len(program.malformed)) == PROGRAMS[text]


def test_an_endless_program_is_cut() -> None:
    program = parse_program("keep_all()\n" * (MOST_OPERATIONS + 50))
    assert len(program.operations) == MOST_OPERATIONS
    assert [one.why for one in program.malformed] == [f"more than {MOST_OPERATIONS} operations"]


numbers = st.integers(1, 10**6)
strings = st.text(max_size=20).filter(lambda text: "\n" not in text)
operations = st.one_of(
    st.just(Keep()),
    st.builds(DropDocument, strings),
    st.builds(lambda first, more: RemoveLines(first, first + more), numbers, st.integers(0, 9)),
    st.builds(Replace, numbers, strings.filter(bool), strings),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(operations, max_size=6))
def test_what_is_written_is_read_again(each: list[Operation]) -> None:
    program = Program(tuple(each))
    assert parse_program(program.to_lines()) == program
    assert parse_program(json.dumps(program.to_json())) == program


@settings(max_examples=40, deadline=None)
@given(st.builds(Replace, numbers, strings.filter(bool), strings))
def test_calls_hold_any_string(one: Replace) -> None:
    assert parse_operation(f"replace(line={one.line:04d}, find={one.find!r}, new={one.new!r})") == one


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(), st.text("remove_lines(0123=,)[]{}\"':op\n drop_doc")))
def test_no_text_raises(text: str) -> None:
    program = parse_program(text)
    assert len(program.operations) + len(program.malformed) <= max(
        1, sum(bool(x.strip()) for x in text.split("\n")), text.count(",") + 1
    )


def test_lines_of_a_part_are_moved() -> None:
    program = Program((RemoveLines(1, 2), Replace(3, "a", "b"), Keep()))
    assert program.shifted(10).operations == (RemoveLines(11, 12), Replace(13, "a", "b"), Keep())
