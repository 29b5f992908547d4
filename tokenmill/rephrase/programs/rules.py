"""Edit programs without a model: lines that are no content, by phrases in several languages and by what lines are like.

Each rule gives `RemoveLines` with its name as the reason; a rule never replaces anything. They are meant for what an
extractor has left over, so all of them look at short lines alone: a sentence that mentions cookies stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.rephrase.programs.ops import Operation, Program, RemoveLines

PHRASES = Path(__file__).with_name("boilerplate.yaml")
PHRASE_RULES = ("cookie_notice", "navigation", "call_to_action", "rights")
RULES = (*PHRASE_RULES, "repeated_line", "short_run")
"""In the order in which they are tried: the first that holds is the reason."""

REPEATS = 3
"""A line that stands there so often is repeated: all but the first go."""
REPEATED_CHARACTERS = 12
"""Shorter lines may well be repeated: values of tables, "* * *"."""
RUN_LINES = 5
RUN_WORDS = 3
"""Menus: at least so many lines in a row, of at most so many words each, none of which looks like a sentence."""

_WORD = re.compile(r"\w+")
_ENDS = re.compile(r"[.!?:;,。！？：；，।؟…]['\"”’)\]]*$")
_LISTED = re.compile(r"\s*(?:[-*•·‣–—]|\d{1,3}[.)]|[a-z][.)])\s")
"""An item of a list: content, more often than not."""
_CELL = re.compile(r"[\d|\t=]")
"""Tables and figures are not menus."""


@dataclass(frozen=True)
class _Phrases:
    kind: str
    words: int
    """Most words of a line that is looked at."""
    whole: frozenset[tuple[str, ...]]
    within: frozenset[tuple[str, ...]]
    longest: int


def rule_program(text: str, rules: Sequence[str] = RULES) -> Program:
    """The program that these rules write for a text. ConfigError for a rule that there is not."""
    for name in rules:
        if name not in RULES:
            raise ConfigError(f"no rule of edit programs is named {name!r}", why=did_you_mean(name, RULES))
    lines = text.split("\n")
    found: dict[int, str] = {}
    chosen = [phrases for phrases in _phrases() if phrases.kind in rules]
    most = max((phrases.words for phrases in chosen), default=0)
    for number, line in enumerate(lines, 1):
        # a word has a letter and a gap at least; the longest line that may match is not much longer than this
        if chosen and 0 < len(line) <= 20 * most and (kind := _phrase_kind(line, chosen)):
            found[number] = kind
    if "repeated_line" in rules:
        for number in _repeated(lines):
            found.setdefault(number, "repeated_line")
    if "short_run" in rules:
        for number in _short_runs(lines, found):
            found.setdefault(number, "short_run")
    return Program(tuple(_as_operations(found, lines)))


def _as_operations(found: Mapping[int, str], lines: Sequence[str]) -> list[Operation]:
    """Neighbours with one reason as one operation, over blank lines between them."""
    operations: list[Operation] = []
    first = last = 0
    for number in sorted(found):
        if last and found[number] == found[last] and not any(line.strip() for line in lines[last : number - 1]):
            last = number
            continue
        if last:
            operations.append(RemoveLines(first, last, found[last]))
        first = last = number
    if last:
        operations.append(RemoveLines(first, last, found[last]))
    return operations


def _phrase_kind(line: str, chosen: Sequence[_Phrases]) -> str:
    words = _words(line)
    for phrases in chosen:
        if not 0 < len(words) <= phrases.words:
            continue
        if words in phrases.whole:
            return phrases.kind
        for start in range(len(words)):
            ends = range(start + 2, min(start + phrases.longest, len(words)) + 1)
            if any(words[start:end] in phrases.within for end in ends):
                return phrases.kind
    return ""


def _repeated(lines: Sequence[str]) -> list[int]:
    places: dict[str, list[int]] = {}
    for number, line in enumerate(lines, 1):
        if len(line.strip()) >= REPEATED_CHARACTERS:
            places.setdefault(line.strip(), []).append(number)
    return [number for numbers in places.values() if len(numbers) >= REPEATS for number in numbers[1:]]


def _short_runs(lines: Sequence[str], found: Mapping[int, str]) -> list[int]:
    """Numbers of lines that stand in runs of short ones, which are menus. Blank lines neither break nor lengthen one;
    what other rules have found counts as a part of it. One between sentences must hold such a line: a list of names is
    content, and at the edges of a page it hardly ever is.
    """
    filled = [number for number, line in enumerate(lines, 1) if line.strip()]
    runs: list[list[int]] = [[]]
    for number in filled:
        if number in found or _looks_like_an_entry(lines[number - 1]):
            runs[-1].append(number)
        elif runs[-1]:
            runs.append([])
    menus = []
    for run in runs:
        at_edge = bool(run) and (run[0] == filled[0] or run[-1] == filled[-1])
        if len(run) >= RUN_LINES and len(run) < len(filled) and (at_edge or any(number in found for number in run)):
            menus += run
    return menus


def _looks_like_an_entry(line: str) -> bool:
    if len(line) > 60 or _ENDS.search(line.rstrip()) or _LISTED.match(line) or _CELL.search(line):
        return False
    words = line.split()
    # without spaces between words, four characters count as two words
    return len(words) <= RUN_WORDS and (line.isascii() or len(line.strip()) <= 8 * RUN_WORDS)


@lru_cache(maxsize=1)
def _phrases() -> tuple[_Phrases, ...]:
    data: Mapping[str, Any] = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
    made = []
    for kind in PHRASE_RULES:
        entry = data[kind]
        whole, within = (frozenset(_words(str(phrase)) for phrase in entry[name]) for name in ("whole", "within"))
        made.append(_Phrases(kind, entry["words"], whole, within, max(map(len, within))))
    return tuple(made)


@lru_cache(maxsize=4096)
def _words(line: str) -> tuple[str, ...]:
    """Words without case and accents: pages write "menü", "menu" and "MENÜ"."""
    if not line.isascii():
        line = "".join(one for one in unicodedata.normalize("NFKD", line) if not unicodedata.combining(one))
    return tuple(_WORD.findall(line.casefold()))
