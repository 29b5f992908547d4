"""Output for people: consoles, tables, and text from the web made harmless for a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tokenmill.core.errors import TokenmillError
from tokenmill.report.funnel import Funnel
from tokenmill.report.overlap import Overlap
from tokenmill.report.units import human_bytes, percent

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FORMAT = re.compile(
    "[\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f\ud800-\udfff]"
)
"""Characters that are not seen and change how others are shown, such as the order of a line, and those that cannot be
printed (surrogates). Joiners (U+200C, U+200D), soft hyphens and the signs of Arabic numbers belong to ordinary text."""
RichText = str | Text
_BREAK = re.compile(r"\r\n|[\t\n\r]")
_INDENT = " " * len("  where: ")


def output_console() -> Console:
    """Results go to stdout."""
    return _console()


def error_console() -> Console:
    """Progress and problems go to stderr."""
    return _console(stderr=True)


def _console(**options: bool) -> Console:
    """A console; where there is no terminal to ask for its width, lines may be long (logs wrap badly)."""
    console = Console(**options)  # type: ignore[arg-type]
    if not console.is_terminal:
        console.width = 140
    return console


def print_json(value: Any) -> None:
    """Print a value for programs: one JSON document on stdout, and nothing beside it. What JSON does not know, such as
    a path, is given as text, and sets are sorted."""
    print(json.dumps(value, indent=1, default=_plain_value))


def _plain_value(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def counted(number: int, noun: str) -> str:
    """`1 document`, `2,000 documents`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def make_table(*columns: str, title: RichText = "", show_lines: bool = False) -> Table:
    """A table as all commands show them: no frame, a rule below the names of the columns, so that in a pipe every row
    is a line of plain text. columns: names of left-aligned ones. title: markup, so text from archives goes through
    `safe_line`. show_lines: a rule between rows, for rows of several lines."""
    above = title if isinstance(title, Text) else Text.from_markup(title)
    above.no_wrap, above.overflow = True, "ignore"  # a narrow table does not fold its title
    table = Table(
        title=Text("\n", no_wrap=True, overflow="ignore").append_text(above) if above else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        border_style="dim",
        pad_edge=False,
        show_edge=False,
        show_lines=show_lines,
    )
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def safe(text: str) -> str:
    """Text from archives without control sequences and markup; it may have several lines.

    Characters that would reorder or hide others are shown by their number: <U+202E>.
    """
    return escape(_plain(text))


def safe_line(text: str) -> str:
    """The same for a name or another value of one line: none may begin a line of its own."""
    return safe(_BREAK.sub(" ", text))


def _plain(text: str) -> str:
    return _FORMAT.sub(lambda found: f"<U+{ord(found.group()):04X}>", _CONTROL.sub("", text))


def error_text(error: TokenmillError) -> str:
    """The message of an error, as plain text without control sequences.

    Names from lists and archives get into messages: what is not in the first line of a part is indented, so that it
    cannot pass for another part or message.
    """
    parts = {name: _part(getattr(error, name)) for name in ("what", "where", "why", "fix")}
    return str(TokenmillError(parts.pop("what"), **parts))


def print_error(error: TokenmillError) -> None:
    """The message of an error on stderr, its first word in colour on a terminal."""
    console = error_console()
    console.print("error:", style="bold red", end=" ", highlight=False)
    console.print(error_text(error), markup=False, highlight=False, soft_wrap=True)


def _part(text: str) -> str:
    lines = (_plain(line) for line in text.split("\n"))
    return f"\n{_INDENT}".join(line for line in lines if line.strip())


def funnel_table(funnel: Funnel) -> Table:
    """The funnel with the most frequent reasons of every stage."""
    counted = f"{funnel.records:,} records read, {funnel.kept:,} kept"
    table = make_table(title=f"{safe_line(funnel.run['recipe'])}: {counted}")
    for name in ("stage", "in", "out", "lost", "of all", "bytes out", "seconds"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    table.add_column("why", overflow="fold")
    records = max(funnel.records, 1)
    for stage in funnel.stages:
        reasons = (stage.dropped + stage.quarantined).most_common(4)
        table.add_row(
            safe_line(stage.stage),
            f"{stage.into:,}",
            f"{stage.out:,}",
            f"{stage.into - stage.out:,}",
            percent(stage.out / records),
            human_bytes(stage.bytes_out),
            f"{stage.seconds:.1f}",
            safe_line(", ".join(f"{reason} {n:,}" for reason, n in reasons)),
        )
    return table


def overlap_table(overlap: Overlap) -> Table:
    """What each rule of an annotated run removes, alone and together with others."""
    table = make_table(title=f"rules on {overlap.documents:,} documents, of which {overlap.kept:,} pass all")
    for name in ("rule", "removes", "of all", "first", "only it"):
        table.add_column(name, justify="left" if name == "rule" else "right", no_wrap=name != "rule")
    table.add_column("most in common with", overflow="fold")
    for rule in overlap.rules:
        nearest, common = overlap.nearest(rule)
        removes = overlap.removes(rule)
        table.add_row(
            safe_line(rule),
            f"{removes:,}",
            percent(removes / max(overlap.documents, 1)),
            f"{overlap.first[rule]:,}",
            f"{overlap.only[rule]:,}",
            safe_line(f"{nearest} {common:,} ({percent(common / removes)})") if nearest else "",
        )
    return table
