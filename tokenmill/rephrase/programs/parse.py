"""From what a model has written to a program.

Two spellings are read, line by line, also mixed:

    {"op": "remove_lines", "first": 3, "last": 5}
    remove_lines(line_start=3, line_end=5)

The second is that of ProX (arXiv:2409.17115), with `normalize(source_str="...", target_str="...")`, `keep_all()`,
`drop_doc()`, and ours (`replace(line=7, find="...", new="...")`). It is read as Python's syntax by `ast` and never
evaluated, so commas, brackets and quotes within strings are what they are. A `normalize` without a line names none: it
is malformed here, for a replacement in the whole document changes what nobody looked at.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from tokenmill.rephrase.programs.ops import Malformed, Operation, Program, ProgramError, operation_of

MOST_OPERATIONS = 1000
"""Of a program; what follows is counted as one malformed operation."""
_MOST_CHARACTERS = 20_000
"""Of one operation."""

_FENCE = re.compile(r"^\s*(```|~~~)")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|\d{1,4}[.)]\s+)(?=[{A-Za-z_])")
_CALL = re.compile(r"^[A-Za-z_]\w{0,40}\s*\(")
_MARK = re.compile(r"^\[?0*(\d{1,9})\]?$")
"""A line number as it is shown: 7, 007, [007]."""

_CALLS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "keep": ("keep", ()),
    "keep_all": ("keep", ()),
    "keep_doc": ("keep", ()),
    "drop": ("drop", ("reason",)),
    "drop_doc": ("drop", ("reason",)),
    "drop_document": ("drop", ("reason",)),
    "remove_lines": ("remove_lines", ("first", "last")),
    "replace": ("replace", ("line", "find", "with")),
    "normalize": ("replace", ("find", "with")),
}
"""Name of a function -> operation, and fields of its arguments by place."""
_ARGUMENTS = {
    "line_start": "first", "start": "first", "line_end": "last", "end": "last", "line_id": "line",
    "line_number": "line", "source_str": "find", "old": "find", "target_str": "with", "new": "with",
}  # fmt: skip


def parse_program(text: str) -> Program:
    """The program. Lines that are neither an operation nor empty are malformed operations, each for itself.

    Code fences, bullets and a JSON list around the objects are taken away. Never raises.
    """
    operations: list[Operation] = []
    malformed: list[Malformed] = []
    for number, piece in enumerate(_pieces(text)):
        if number >= MOST_OPERATIONS:
            malformed.append(Malformed(piece[:200], f"more than {MOST_OPERATIONS} operations"))
            break
        try:
            operations.append(parse_operation(piece))
        except ProgramError as error:
            malformed.append(Malformed(piece[:200], str(error)))
    return Program(tuple(operations), tuple(malformed))


def parse_operation(piece: str) -> Operation:
    """One operation in either spelling. ProgramError says what is wrong with it."""
    piece = piece.strip()
    if len(piece) > _MOST_CHARACTERS:
        raise ProgramError(f"{len(piece):,} characters are more than an operation has")
    if piece.startswith("{"):
        try:
            return operation_of(json.loads(piece, object_pairs_hook=_once))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ProgramError(f"this is no JSON: {error}") from error
    if _CALL.match(piece):
        return operation_of(_called(piece))
    raise ProgramError("neither a JSON object nor a call")


def _pieces(text: str) -> Iterator[str]:
    """What stands for an operation each: the objects of a JSON list, else lines."""
    lines = [line for line in text.split("\n") if line.strip() and not _FENCE.match(line)]
    joined = "\n".join(lines).strip()
    if joined.startswith("["):
        try:
            listed = json.loads(joined)
        except (json.JSONDecodeError, RecursionError):
            listed = None
        if isinstance(listed, list):
            yield from (json.dumps(one, ensure_ascii=False) for one in listed)
            return
    for line in lines:
        line = _BULLET.sub("", line).strip()
        if line not in ("[", "]"):
            yield line.removesuffix(",").rstrip()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values for one field nobody knows which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ProgramError("a field is given twice")
    return found


def _called(piece: str) -> dict[str, Any]:
    """A call as the fields of an operation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # strings with unknown escapes
            call = ast.parse(_plain_numbers(piece.rstrip(";")), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(f"this is no call: {error}") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ProgramError("this is no call of a function by its name")
    known = _CALLS.get(call.func.id)
    if known is None:
        raise ProgramError(f"no function is named {call.func.id[:40]!r}; there are {', '.join(sorted(_CALLS))}")
    name, places = known
    if len(call.args) > len(places):
        raise ProgramError(f"{call.func.id} takes at most {len(places)} values")
    fields: dict[str, Any] = {"op": name}
    for field, value in zip(places, call.args, strict=False):
        fields[field] = _value(value)
    for keyword in call.keywords:
        field = _ARGUMENTS.get(keyword.arg or "", keyword.arg or "**")
        if field in fields:
            raise ProgramError(f"{field!r} is given twice")
        fields[field] = _value(keyword.value)
    return fields


def _value(node: ast.expr) -> Any:
    """A constant, or a list of one (`[7]`, as line numbers are shown)."""
    if isinstance(node, ast.List) and len(node.elts) == 1:
        node = node.elts[0]
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int):
        if isinstance(node.value, str) and node.value.startswith("[") and (number := _MARK.match(node.value)):
            return int(number[1])
        return node.value
    raise ProgramError("values are numbers and strings")


def _plain_numbers(piece: str) -> str:
    """007 -> 7 outside of strings: Python has no numbers with leading zeros, prompts that show [007] do."""
    made: list[str] = []
    quote, at = "", 0
    while at < len(piece):
        one = piece[at]
        if quote:
            if one == "\\":
                made.append(piece[at : at + 2])
                at += 2
                continue
            quote = "" if one == quote else quote
        elif one in "'\"":
            quote = one
        elif one == "0" and (not made or not (made[-1].isalnum() or made[-1] in "._")):
            while at + 1 < len(piece) and piece[at] == "0" and piece[at + 1].isdigit() and piece[at + 1].isascii():
                at += 1
            one = piece[at]
        made.append(one)
        at += 1
    return "".join(made)
