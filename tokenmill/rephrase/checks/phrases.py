"""Refusals and talk about the task, by phrases at places where content does not stand (`phrases.yaml`).

What the source has at the same place, or in the same words, is content and never counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from tokenmill.rephrase.checks.words import Texts

_FILE = Path(__file__).with_name("phrases.yaml")
FAMILIES = ("refusal", "meta")
OPENING, CLOSING, ANYWHERE = "opening", "closing", "anywhere"
_OPENING_CHARACTERS, _CLOSING_CHARACTERS = 300, 400
_QUOTES = tuple(zip("’‘ʼ“”„\u00a0\u202f", "'''\"\"\"  ", strict=True))
_MARKS = re.compile(r"[\s#*_>\"'`~=-]+")
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = r"(?:^|[.!?。！？:)*_]\s*|\n\s*)"
_MEMORY = 256 << 20
"""Bytes that RE2 may use for a pattern; its 8 MB are too few for some hundred phrases in Unicode."""
_SHOWN = 80
"""Characters of a phrase that are recorded."""


def phrases_digest() -> str:
    """SHA-256 of the file of phrases."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()


def phrase_checks(outputs: Sequence[str], sources: Texts) -> dict[str, pa.Array]:
    """refusal, meta and phrase: what was found, of the first family that found something."""
    found: dict[str, list[bool]] = {family: [] for family in FAMILIES}
    phrases: list[str | None] = []
    for output, place in zip(outputs, sources.place.tolist(), strict=True):
        first: str | None = None
        for family in FAMILIES:
            phrase = find_phrase(family, output, sources.distinct[place])
            found[family].append(phrase is not None)
            first = phrase if first is None else first
        phrases.append(first)
    columns = {family: pa.array(held, pa.bool_()) for family, held in found.items()}
    return {**columns, "phrase": pa.array(phrases, pa.string())}


def find_phrase(family: str, output: str, source: str) -> str | None:
    """The first phrase of a family that the output has and the source has not; None where there is none."""
    pieces = _pieces(output)
    source_pieces: dict[str, bytes] | None = None
    for where, piece in pieces.items():
        pattern = _pattern(family, where)
        if pattern is None:
            continue
        for match in pattern.finditer(piece):
            source_pieces = source_pieces if source_pieces is not None else _pieces(source)
            phrase = match.group().strip(b" \n.!?:)*_")
            if phrase in source_pieces[ANYWHERE]:
                continue
            if where != ANYWHERE and pattern.search(source_pieces[where]):
                continue
            return str(phrase.decode("utf-8", "replace"))[:_SHOWN]
    return None


def _pieces(text: str) -> dict[str, bytes]:
    """The stretches that are searched, in lower case, UTF-8."""
    for mark, straight in () if text.isascii() else _QUOTES:  # a tenth of what str.translate takes
        text = text.replace(mark, straight)
    plain = text.lower().strip()
    opening = _MARKS.sub("", plain[:_OPENING_CHARACTERS], count=1) if _MARKS.match(plain) else plain
    last = _PARAGRAPH.split(plain[-4 * _CLOSING_CHARACTERS :])[-1]
    cut = len(last) > _CLOSING_CHARACTERS
    closing = f" {last[-_CLOSING_CHARACTERS:]}" if cut else last
    return {
        OPENING: opening[:_OPENING_CHARACTERS].encode("utf-8", "replace"),
        CLOSING: closing.encode("utf-8", "replace"),
        ANYWHERE: " ".join(plain.split()).encode("utf-8", "replace"),
    }


@cache
def _pattern(family: str, where: str) -> Any:
    """All phrases of a family at a place as one RE2 pattern; None where it has none."""
    import re2  # type: ignore[import-untyped]

    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    phrases = [phrase for listed in content[family].get(where, {}).values() for phrase in listed]
    if not phrases:
        return None
    begin = {OPENING: r"\A", CLOSING: _SENTENCE, ANYWHERE: ""}[where]
    options = re2.Options()
    options.max_mem = _MEMORY
    joined = "|".join(f"(?:{phrase})" for phrase in phrases)
    return re2.compile(f"(?m){begin}(?:{joined})".encode(), options)
