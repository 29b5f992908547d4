"""What stands on the pages: fenced blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)`*[ ]*$", re.S | re.M)
_NAME = re.compile(r"^:name: (\S+)\n", re.M)
_SPAN = re.compile(r"(?<!`)`(tokenmill [a-z][^`]*)`(?!`)")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the name that it is given, and what stands in it."""

    language: str
    name: str
    body: str


def written() -> list[Path]:
    """Every page that people have written, the README too."""
    pages = sorted(DOCS.rglob("*.md"))
    return [ROOT / "README.md", *(p for p in pages if p.relative_to(DOCS).parts[0] not in ("_build", "reference"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page in order."""
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        info, body = found["info"].strip(), found["body"]
        language = info.removeprefix("{code-block}").strip()
        name = _NAME.search(body) if info.startswith("{code-block}") else None
        if name:
            body = body[name.end() :].lstrip("\n")
        yield Block(language, name[1] if name else "", body)


def commands(page: Path) -> list[list[str]]:
    """Words of every command `tokenmill ...` that a page shows: in blocks, in indented code, and in the text."""
    text = page.read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", " ", text)
    lines, fenced = [], False
    for line in joined.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif re.match(r"^\s*tokenmill [a-z]", line) and (fenced or line.startswith("    ")):
            lines.append(line.strip())
    return [_words(line) for line in (*lines, *(" ".join(span.split()) for span in _SPAN.findall(joined)))]


def _words(line: str) -> list[str]:
    shown = re.split(r"\s+#\s", line)[0]
    try:
        return shlex.split(shown)[1:]
    except ValueError:  # a quotation mark that belongs to the text around it
        return shown.split()[1:]


def matches(expected: str, found: str) -> bool:
    """Whether a text is as shown: a line of dots stands for any lines, dots in a line for any words."""
    pattern = []
    for line in expected.strip("\n").splitlines():
        words = line.split()
        if words == ["..."]:
            pattern.append(r"(?:.*\n)*?")
        else:
            pattern.append(r"\s+".join(".*" if word == "..." else re.escape(word) for word in words) + r"\s*\n")
    shown = "\n".join(" ".join(line.split()) for line in found.strip("\n").splitlines()) + "\n"
    return re.fullmatch("".join(pattern), shown) is not None
