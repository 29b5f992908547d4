"""Long pages in windows of whole lines, so that a model of a short context can write programs for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tokenmill.rephrase.programs.ops import Malformed, Operation, Program

WINDOW_TOKENS = 1500
"""Of a window. Source: ProX, arXiv:2409.17115."""


@dataclass(frozen=True, slots=True)
class Window:
    """Lines of a page, joined by newlines. All windows joined by newlines are the page."""

    first: int
    """Number of its first line in the page, from 1."""
    text: str


def windows(text: str, count: Callable[[str], int], most: int = WINDOW_TOKENS) -> list[Window]:
    """As many lines in each as fit into `most` tokens; a longer line is one of its own. count: tokens of a text."""
    found: list[Window] = []
    held: list[str] = []
    first, size = 1, 0
    for number, line in enumerate(text.split("\n"), 1):
        tokens = count(line) + 1  # the newline
        if held and size + tokens > most:
            found.append(Window(first, "\n".join(held)))
            held, first, size = [], number, 0
        held.append(line)
        size += tokens
    found.append(Window(first, "\n".join(held)))
    return found


def joined(programs: Iterable[tuple[Window, Program]]) -> Program:
    """One program for the page from those for its windows, whose lines are counted from 1 in each."""
    operations: list[Operation] = []
    malformed: list[Malformed] = []
    for window, program in programs:
        operations += program.shifted(window.first - 1).operations
        malformed += program.malformed
    return Program(tuple(operations), tuple(malformed))
