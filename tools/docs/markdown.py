"""Markdown (MyST) from plain values: tables, inline text, and text from archives as a literal block."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\*_{}\[\]<>#|$~^])")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_CODE = re.compile(r"(`+)(.+?)\1", re.S)
_RUN = re.compile(r"`+")


def inline(text: str) -> str:
    """One line of documentation: spans between backticks are code, papers are links, all else is literal."""
    text = " ".join(text.split())
    out, end = [], 0
    for found in _CODE.finditer(text):
        out += [_plain(text[end : found.start()]), code(found.group(2))]
        end = found.end()
    return "".join([*out, _plain(text[end:])])


def _plain(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\1", text.replace("`", "'"))
    return _ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", escaped)


def code(text: str) -> str:
    """A span of code that may stand in a cell of a table."""
    text = " ".join(str(text).split()).replace("|", r"\|")
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in _RUN.findall(text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; nothing where there are no rows."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *lines]) + "\n"


def prose(text: str) -> str:
    """A docstring as Markdown: paragraphs and lists stay, indented code stays, nothing becomes HTML or a role."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if all(line.startswith("    ") for line in block.splitlines()):
            blocks.append("```text\n" + "\n".join(line[4:] for line in block.splitlines()) + "\n```")
        elif re.match(r"[-*] ", block):
            items = re.split(r"\n(?=[-*] )", block)
            blocks.append("\n".join("- " + inline(item[2:]) for item in items))
        else:
            blocks.append(inline(block))
    return "\n\n".join(blocks) + "\n"


def literal(text: str) -> str:
    """Text from an archive as a block in which nothing has a meaning, without characters that are not seen."""
    shown = "".join(mark for mark in text if mark == "\n" or unicodedata.category(mark) not in ("Cc", "Cf", "Co", "Cs"))
    fence = "`" * max(3, 1 + max((len(run) for run in _RUN.findall(shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}\n"


def cut(text: str, characters: int) -> str:
    """The beginning of a text, with a mark where something was left out."""
    text = text.strip()
    if len(text) <= characters:
        return text
    return text[:characters].rsplit(maxsplit=1)[0] + " […]"


def shorten(value: object) -> str:
    """A value of a setting as it would be typed; long ones are cut."""
    text = str(value) if isinstance(value, bool) or value is None else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
