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
VOICED = "voiced_"
"""Before the places of lists that are used instead for voiced texts: new ones, and conversations."""
_OPENING_CHARACTERS, _CLOSING_CHARACTERS = 300, 400
_QUOTES = tuple(zip("’‘ʼ“”„\u00a0\u202f", "'''\"\"\"  ", strict=True))
_MARKS = re.compile(r"[\s#*_>\"'`~=-]+")
_QUOTED = re.compile(r'"[^"\n]{1,1000}"|「[^「」\n]{1,1000}」|«[^«»\n]{1,1000}»')
_SUBJECT = re.compile(
    r"\b(?:ai|language models?|chatbots?|llms?)\b|künstliche intelligenz|sprachmodell|intelligence artificielle|"
    r"modèles? de langage|inteligencia artificial|人工|语言模型|言語モデル|인공지능"
)
"""A page about these has talks in which somebody quotes them."""
_ALONE = 160
"""Bytes of a text that is nothing but its refusal: new texts and conversations are longer."""
_NEAR = 200
"""Characters behind the beginning of a refusal in which it says what it is about."""
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = r"(?:^|[.!?。！？:)*_]\s*|\n\s*)"
_MEMORY = 256 << 20
"""Bytes that RE2 may use for a pattern; its 8 MB are too few for some hundred phrases in Unicode."""
_SHOWN = 80
"""Characters of a phrase that are recorded."""


def phrases_digest() -> str:
    """SHA-256 of the file of phrases."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()


def phrase_checks(outputs: Sequence[str], sources: Texts, voiced: Sequence[bool]) -> dict[str, pa.Array]:
    """refusal, meta and phrase: what was found, of the first family that found something.

    voiced: whether in output i persons may speak who are not its author.
    """
    found: dict[str, list[bool]] = {family: [] for family in FAMILIES}
    phrases: list[str | None] = []
    for output, place, spoken in zip(outputs, sources.place.tolist(), voiced, strict=True):
        first: str | None = None
        for family in FAMILIES:
            phrase = find_phrase(family, output, sources.distinct[place], spoken)
            found[family].append(phrase is not None)
            first = phrase if first is None else first
        phrases.append(first)
    columns = {family: pa.array(held, pa.bool_()) for family, held in found.items()}
    return {**columns, "phrase": pa.array(phrases, pa.string())}


def find_phrase(family: str, output: str, source: str, voiced: bool = False) -> str | None:
    """The first phrase of a family that the output has and the source has not; None where there is none."""
    pieces = _pieces(output)
    source_pieces: dict[str, bytes] | None = None
    for where, piece in pieces.items():
        pattern = _pattern(family, where, voiced)
        if pattern is None:
            continue
        for match in pattern.finditer(piece):
            source_pieces = source_pieces if source_pieces is not None else _pieces(source)
            phrase = match.group().strip(b" \n.!?:)*_")
            if phrase in source_pieces[ANYWHERE]:
                continue
            if where != ANYWHERE and pattern.search(source_pieces[where]):
                continue
            alone = len(pieces[ANYWHERE]) < _ALONE
            if voiced and not alone and family == "refusal" and not _declines(where, match, piece, source):
                continue
            return str(phrase.decode("utf-8", "replace"))[:_SHOWN]
    return None


def _declines(where: str, match: Any, piece: bytes, source: str) -> bool:
    """Whether a phrase of a voiced text is the model's own refusal: it names the task, or the page has no such talk."""
    if where == ANYWHERE:
        return _SUBJECT.search(source.lower()) is None
    return _task().search(piece[match.start() : match.start() + _NEAR]) is not None


@cache
def _task() -> Any:
    import re2  # type: ignore[import-untyped]

    return re2.compile(_content()["refusal"]["task"].encode())


@cache
def _content() -> Any:
    return yaml.safe_load(_FILE.read_text(encoding="utf-8"))


def _pieces(text: str) -> dict[str, bytes]:
    """The stretches that are searched, in lower case, UTF-8."""
    for mark, straight in () if text.isascii() else _QUOTES:  # a tenth of what str.translate takes
        text = text.replace(mark, straight)
    plain = text.lower().strip()
    opening = _MARKS.sub("", plain[:_OPENING_CHARACTERS], count=1) if _MARKS.match(plain) else plain
    if '"' in plain or "「" in plain or "«" in plain:
        plain = _QUOTED.sub(" \u2026 ", plain)
    last = _PARAGRAPH.split(plain[-4 * _CLOSING_CHARACTERS :])[-1]
    cut = len(last) > _CLOSING_CHARACTERS
    closing = f" {last[-_CLOSING_CHARACTERS:]}" if cut else last
    return {
        OPENING: opening[:_OPENING_CHARACTERS].encode("utf-8", "replace"),
        CLOSING: closing.encode("utf-8", "replace"),
        ANYWHERE: " ".join(plain.split()).encode("utf-8", "replace"),
    }


@cache
def _pattern(family: str, where: str, voiced: bool) -> Any:
    """All phrases of a family at a place as one RE2 pattern; None where it has none."""
    import re2

    lists = _content()[family]
    own = lists.get(VOICED + where, {}) if voiced else {}
    lists = own if own and where == CLOSING else {**lists.get(where, {}), **own}
    phrases = [phrase for listed in lists.values() for phrase in listed]
    if not phrases:
        return None
    begin = {OPENING: r"\A", CLOSING: _SENTENCE, ANYWHERE: ""}[where]
    options = re2.Options()
    options.max_mem = _MEMORY
    joined = "|".join(f"(?:{phrase})" for phrase in phrases)
    return re2.compile(f"(?m){begin}(?:{joined})".encode(), options)
