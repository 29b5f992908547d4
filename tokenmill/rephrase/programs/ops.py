"""The operations of an edit program. All of them name lines of the original text, from 1.

As JSON, one object each:

    {"op": "keep"}
    {"op": "drop", "reason": "only navigation"}
    {"op": "remove_lines", "first": 3, "last": 5}
    {"op": "replace", "line": 7, "find": "Read more", "with": ""}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OPERATIONS = ("keep", "drop", "remove_lines", "replace")
MOST_LINES = 10**9
"""A line number above this is no number of a line."""


class ProgramError(ValueError):
    """An operation that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing is to be done."""

    def to_json(self) -> dict[str, Any]:
        return {"op": "keep"}


@dataclass(frozen=True, slots=True)
class DropDocument:
    """The whole text is of no use."""

    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"op": "drop", "reason": self.reason}


@dataclass(frozen=True, slots=True)
class RemoveLines:
    """Lines `first` to `last`, both included."""

    first: int
    last: int
    reason: str = ""

    def __post_init__(self) -> None:
        if self.first < 1 or self.last < self.first:
            raise ProgramError(f"lines {self.first} to {self.last} are no range: lines are counted from 1")

    def to_json(self) -> dict[str, Any]:
        said = {"reason": self.reason} if self.reason else {}
        return {"op": "remove_lines", "first": self.first, "last": self.last, **said}


@dataclass(frozen=True, slots=True)
class Replace:
    """`new` for every `find` in one line, and in no other."""

    line: int
    find: str
    new: str

    def __post_init__(self) -> None:
        if self.line < 1:
            raise ProgramError(f"line {self.line}: lines are counted from 1")
        if not self.find:
            raise ProgramError(f"line {self.line}: nothing to be found is named")
        if "\n" in self.find or "\n" in self.new:
            raise ProgramError(f"line {self.line}: a replacement stays within its line")

    def to_json(self) -> dict[str, Any]:
        return {"op": "replace", "line": self.line, "find": self.find, "with": self.new}


Operation = Keep | DropDocument | RemoveLines | Replace


@dataclass(frozen=True, slots=True)
class Malformed:
    """A piece of a program that is no operation."""

    source: str
    """As it was written, cut to 200 characters."""
    why: str

    def to_json(self) -> dict[str, Any]:
        return {"op": "malformed", "source": self.source, "why": self.why}


@dataclass(frozen=True, slots=True)
class Program:
    """Operations in the order in which they were written, and what could not be understood."""

    operations: tuple[Operation, ...] = ()
    malformed: tuple[Malformed, ...] = field(default=())

    def to_json(self) -> list[dict[str, Any]]:
        return [one.to_json() for one in (*self.operations, *self.malformed)]

    def to_lines(self) -> str:
        """JSON Lines, as models are asked to write them; `parse_program` reads them."""
        return "\n".join(json.dumps(one.to_json(), ensure_ascii=False) for one in self.operations)

    def shifted(self, lines: int) -> Program:
        """The same for a text that has so many lines before those of this program."""
        moved: list[Operation] = []
        for one in self.operations:
            if isinstance(one, RemoveLines):
                one = RemoveLines(one.first + lines, one.last + lines, one.reason)
            elif isinstance(one, Replace):
                one = Replace(one.line + lines, one.find, one.new)
            moved.append(one)
        return Program(tuple(moved), self.malformed)


def operation_of(data: object) -> Operation:
    """The operation that a JSON object describes. ProgramError says what is wrong with it."""
    if not isinstance(data, Mapping):
        raise ProgramError(f"an operation is an object, not {type(data).__name__}")
    name = data.get("op")
    fields = {key: value for key, value in data.items() if key != "op"}
    if name == "keep":
        _only(fields, (), ("reason",))
        return Keep()
    if name == "drop":
        _only(fields, (), ("reason",))
        return DropDocument(_text(fields, "reason", ""))
    if name == "remove_lines":
        _only(fields, ("first",), ("last", "reason"))
        first = _number(fields, "first")
        return RemoveLines(first, _number(fields, "last") if "last" in fields else first, _text(fields, "reason", ""))
    if name == "replace":
        _only(fields, ("line", "find", "with"), ("reason",))
        return Replace(_number(fields, "line"), _text(fields, "find"), _text(fields, "with"))
    raise ProgramError(f"no operation is named {str(name)[:40]!r}; there are {', '.join(OPERATIONS)}")


def _only(fields: Mapping[str, Any], needed: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in fields]
    if missing:
        raise ProgramError(f"{missing[0]!r} is missing")
    other = [name for name in fields if name not in needed and name not in allowed]
    if other:
        raise ProgramError(f"{str(other[0])[:40]!r} is not a field of this operation")


def _number(fields: Mapping[str, Any], name: str) -> int:
    """A line number: an integer, or one written as a string of digits, as models do."""
    value = fields[name]
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_LINES:
        raise ProgramError(f"{name!r} is {str(value)[:40]!r}, not the number of a line")
    return value


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise ProgramError(f"{name!r} is no string")
    return value
