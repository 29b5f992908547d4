"""Answers: what a model was asked to write is read out of what it wrote, or it is said why that cannot be.

Before any form is looked for: thoughts up to the last `</think>` are left out, and so are a code fence or quotation
marks around the whole. Labels, openings and markers are found in any case, with white space and emphasis around them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenmill.core.errors import did_you_mean
from tokenmill.rephrase.style import Style

_TEXT, _WHOLE, _FLAG, _PAIR = "a text", "a whole number above 0", "true or false", "a list of two texts"
_COMMON = {"strip_markdown": _FLAG}
FORMATS: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "prefix": {"opening": _TEXT},
    "qa": {"labels": _PAIR, "least": _WHOLE, "most": _WHOLE, "append": _FLAG},
    "list": {"least": _WHOLE, "most": _WHOLE},
    "table": {"least": _WHOLE, "with_text": _FLAG},
    "after_marker": {"marker": _TEXT},
    "conversation": {"least": _WHOLE, "speakers": _WHOLE},
    "program": {},
}
"""Kind of format -> its settings and what they are. plain: all of it. prefix: a fixed opening, which is taken off. qa:
blocks of two labelled parts; all must be whole, the first `most` are kept; append: published behind the source. list:
items behind bullets or numbers. table: in Markdown, with rows of one width. after_marker: only what follows a line with
the marker. conversation: turns `Name: text` of at least two and at most `speakers` speakers. program: operations of an
edit (`programs`). least: of pairs, items, rows or turns."""
_WANTED = {"prefix": ("opening",), "after_marker": ("marker",)}
_FENCED = frozenset({"", "markdown", "md", "text", "txt", "plaintext", "json", "jsonl", "ndjson"})
"""Languages of a fence around a whole answer. A fence of another language is content."""
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "‘": "’", "「": "」", "『": "』"}
_EMPHASIS = "*_`#> \t"
_LABELS = ("Question", "Answer")
_STRAIGHT = str.maketrans("’‘ʼ“”", "'''\"\"")

_FENCE = re.compile(r"```([A-Za-z]{0,20})[ \t]{0,20}")
_BULLET = re.compile(r"[ \t]{0,12}(?:[-*+•‣▪–·]|\(?\d{1,3}[.)、．）])[ \t]{1,20}(?=\S)|[ \t]{0,12}[•‣▪](?=\S)")
_SEPARATOR = re.compile(
    r"\|?[ \t]{0,20}:?-{1,200}:?[ \t]{0,20}(?:\|[ \t]{0,20}:?-{1,200}:?[ \t]{0,20}){0,200}\|?[ \t]{0,20}"
)
_SPEAKER = re.compile(r"[*_]{0,3}([^\W\d_][^:：\n*|]{0,39})[*_]{0,3}[:：][*_]{0,3}[ \t]{0,20}(?=\S)")
_STARS = re.compile(r"(\*{1,3})(?=[^\s*])([^*\n]{1,2000})(?<=\S)\1(?!\*)")
_LOW_LINES = re.compile(r"(?<![\w_])(_{1,3})(?=[^\s_])([^_\n]{1,2000})(?<=\S)\1(?!\w|\.\w)")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]{1,20}", re.MULTILINE)
_SHORTENED = re.compile(r"\A([*_# ]{0,6}here)['’ʼ]s(?=\s)", re.IGNORECASE)
_TITLE = re.compile(r"[ \t]{0,3}(?:#{1,6}[ \t][^\n]{1,200}|(\*\*|__)[^*_\n]{1,200}\1[ \t]{0,20})")
"""A heading: of questions and answers, which were asked for without one."""
_RULE = re.compile(r"^[ \t]{0,3}(?:-{3,80}|\*{3,80}|_{3,80})[ \t]{0,20}(?:\n|\Z)", re.MULTILINE)
_NUMBER = re.compile(r"\(?\d{1,3}[.)]")
_MARKS = (
    ("#", _HEADING, ""),
    ("---", _RULE, ""),
    ("***", _RULE, ""),
    ("___", _RULE, ""),
    ("*", _STARS, r"\2"),
    ("_", _LOW_LINES, r"\2"),
)
"""(what a text must hold, pattern, what stays): most texts have none of them."""
_ENDED = re.compile(r"[^\w\s,;]\Z")


class FormatError(ValueError):
    """An answer that has not the form asked for."""


@dataclass(frozen=True)
class Read:
    """What an answer says."""

    text: str
    """As it is published; "" where `kind` is not."""
    kind: str = ""
    """"" where it could be read; else "parse" or "empty"."""
    detail: str = ""
    parts: tuple[Any, ...] = ()
    """qa: (question, answer) pairs. list: items. table: rows of cells. conversation: (name, text) turns. program:
    operations (`programs.ops`). after_marker: (what stands before the marker,)."""


def read_format(style: Style, text: str) -> Read:
    """What a model has answered to a prompt of this style."""
    try:
        bare = unwrapped(text)
        if not bare:
            return Read("", "empty", "no text")
        kind = str(style.format.get("kind", "plain"))
        found, parts = _READERS[kind](bare, style.format)
    except FormatError as error:
        return Read("", "parse", str(error))
    if style.format.get("strip_markdown"):
        found = without_markdown(found)
    return Read(found, parts=parts) if found else Read("", "empty", "no text where the answer should be")


def check_format(given: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(key, what is wrong, why) of the settings of a format; None where they are right."""
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in FORMATS:
        return "kind", f"there is no format {kind!r}", did_you_mean(str(kind), FORMATS)
    known = {"kind": _TEXT, **_COMMON, **FORMATS[kind]}
    for key, value in given.items():
        if key not in known:
            return str(key), f"the format {kind} has no setting {key!r}", did_you_mean(str(key), known)
        if not _IS[known[key]](value):
            return str(key), f"{key} = {value!r} is not {known[key]}", ""
    missing = [key for key in _WANTED.get(kind, ()) if key not in given]
    if missing:
        return "kind", f"the format {kind} needs the setting {missing[0]!r}", ""
    if given.get("most", 1 << 30) < given.get("least", 1):
        return "most", "most is less than least", ""
    return None


_IS: Mapping[str, Callable[[Any], bool]] = {
    _TEXT: lambda value: isinstance(value, str) and bool(value.strip()),
    _WHOLE: lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
    _FLAG: lambda value: isinstance(value, bool),
    _PAIR: lambda value: isinstance(value, list | tuple) and len(value) == 2 and all(map(_IS[_TEXT], value)),
}


def unwrapped(text: str) -> str:
    """An answer without thoughts, and without a fence or quotation marks around the whole of it."""
    text = text.replace("\r\n", "\n").rpartition("</think>")[2].strip()
    if text[:7].lower() == "<think>":
        raise FormatError("the thoughts have no end")
    while (inner := _unquoted(_unfenced(text))) != text:
        text = inner
    return text


def _unfenced(text: str) -> str:
    if not text.startswith("```") or not text.endswith("```"):
        return text
    lines = text.split("\n")
    opening = _FENCE.fullmatch(lines[0])
    fences = sum(line.lstrip().startswith("```") for line in lines)
    if (
        opening is None
        or opening[1].lower() not in _FENCED
        or len(lines) < 2
        or lines[-1].strip() != "```"
        or fences != 2
    ):
        return text
    return "\n".join(lines[1:-1]).strip()


def _unquoted(text: str) -> str:
    """Without quotation marks around the whole: marks that stand within it again belong to what they quote."""
    close = _QUOTES.get(text[:1])
    inner = text[1:-1]
    if close is None or len(text) < 2 or text[-1] != close or text[0] in inner or close in inner:
        return text
    return inner.strip()


def without_markdown(text: str) -> str:
    """Without marks of headings and emphasis and without rules; lists, tables and code stay."""
    parts = text.split("```")
    for number in range(0, len(parts), 2):  # the others are code
        for mark, pattern, kept in _MARKS:
            if mark in parts[number]:
                parts[number] = pattern.sub(kept, parts[number])
    return "```".join(parts).strip()


def _plain(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    return text, ()


def _prefix(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    opening = "".join(_folded(str(given["opening"])).split())
    text = _SHORTENED.sub(r"\1 is", text, count=1) if opening.startswith("hereis") else text
    wanted, place = opening, 0
    for place, char in enumerate(text):  # noqa: B007 - where the opening ends
        if not wanted:
            break
        if char.isspace() or (char in _EMPHASIS and not wanted.startswith(char)):
            continue
        folded = _folded(char)
        if not wanted.startswith(folded):
            raise FormatError(f"it begins with {text[:40]!r}, not with {given['opening']!r}")
        wanted = wanted[len(folded) :]
    else:
        place = len(text)
    if wanted:
        raise FormatError(f"it ends before {given['opening']!r} is complete")
    return _unquoted(text[place:].lstrip("*_`").strip()), ()


def _folded(text: str) -> str:
    """Without case, in plain width (NFKC), with straight apostrophes: ZH and JA models write a full-width colon."""
    return unicodedata.normalize("NFKC", text.translate(_STRAIGHT)).casefold().strip()


def without_labels(text: str, style: Style) -> str:
    """A published answer without the labels of its format, which are in English whatever the language of the page."""
    given = style.format
    if given.get("kind") != "qa":
        return text
    labels = [str(label) for label in given.get("labels", _LABELS)]
    lines = text.split("\n")
    for number, line in enumerate(lines):
        for label in labels:
            if line.startswith(f"{label}:"):
                lines[number] = line[len(label) + 1 :].lstrip()
                break
    return "\n".join(lines)


def _qa(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    first, second = (str(label) for label in given.get("labels", _LABELS))
    pairs: list[list[list[str]]] = []
    for line in text.split("\n"):
        asked, told = _behind_label(line, first), _behind_label(line, second)
        if asked is not None:
            if pairs and len(pairs[-1]) < 2:
                raise FormatError(f"two lines {first!r} without {second!r} between them")
            pairs.append([[asked]])
        elif told is not None:
            if not pairs or len(pairs[-1]) > 1:
                raise FormatError(f"a line {second!r} without a line {first!r} before it")
            pairs[-1].append([told])
        elif pairs:
            pairs[-1][-1].append(line.rstrip())
        elif line.strip() and not line.rstrip(_EMPHASIS).endswith((":", "：")) and not _TITLE.fullmatch(line):
            raise FormatError(f"it begins with {line.strip()[:40]!r}, not with {first!r}")
    if not pairs or len(pairs[-1]) < 2:
        raise FormatError(f"{second!r} is missing at the end" if pairs else f"no line {first!r}")
    whole = [(_block(asked), _block(told)) for asked, told in pairs]
    if not all(asked and told for asked, told in whole):
        raise FormatError(f"an empty {first!r} or {second!r}")
    _enough(len(whole), given, 1, "pairs")
    kept = tuple(whole[: given.get("most", len(whole))])
    return "\n\n".join(f"{first}: {asked}\n{second}: {told}" for asked, told in kept), kept


def _behind_label(line: str, label: str) -> str | None:
    """What follows `Label:` in a line, which may be numbered and emphasised; None where it does not begin so."""
    bare = line[:80].lstrip(_EMPHASIS + "-•")
    number = _NUMBER.match(bare)
    bare = bare[number.end() :].lstrip(_EMPHASIS) if number is not None else bare
    if _folded(bare[: len(label)]) != _folded(label):
        return None
    rest = bare[len(label) :].lstrip(_EMPHASIS + "0123456789.")
    if not rest.startswith((":", "：")):
        return None
    said = (rest[1:] + line[80:]).strip().removeprefix("**").removeprefix("__").strip()
    return said[:-2].rstrip() if said.endswith("**") and said.count("**") % 2 else said  # all of the line was bold


def _block(lines: list[str]) -> str:
    """Lines of a part without the blank ones and rules around them."""
    return _RULE.sub("", "\n".join(line for line in lines if line.strip())).strip()


def _list(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    items: list[str] = []
    closing = ""
    ahead = blank = 0
    for line in text.split("\n"):
        bullet = _BULLET.match(line)
        if bullet is not None:
            if closing:
                raise FormatError(f"a line among the items is none: {closing[:40]!r}")
            items.append(line[bullet.end() :].strip())
            blank = 0
        elif not line.strip():
            blank += 1
        elif not items:
            ahead += 1
            if ahead > 1:
                raise FormatError(f"two lines that are no items before the first: {line.strip()[:40]!r}")
        elif line[:1] in " \t" or not (blank or closing or _ENDED.search(items[-1])):
            items[-1] = f"{items[-1]} {line.strip()}"
        elif closing:
            raise FormatError(f"lines behind the items are none: {line.strip()[:40]!r}")
        else:
            closing = line.strip()  # one sentence behind the list is left out
    _enough(len(items), given, 1, "items")
    kept = tuple(items[: given.get("most", len(items))])
    return "\n".join(kept), kept


def _table(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    lines = text.split("\n")
    for number in range(1, len(lines)):
        if (
            "|" in lines[number - 1]
            and "-" in lines[number]
            and "|" in lines[number]
            and _SEPARATOR.fullmatch(lines[number].strip())
        ):
            break
    else:
        raise FormatError("no table: a line of names and a line of dashes, both with |")
    header = _cells(lines[number - 1])
    end = number + 1
    while end < len(lines) and "|" in lines[end]:
        end += 1
    rows = [_cells(line) for line in lines[number + 1 : end]]
    widths = {len(_cells(lines[number])), *map(len, rows)}
    if widths != {len(header)}:
        raise FormatError(f"rows have {sorted(widths | {len(header)})} cells")
    _enough(len(rows), given, 1, "rows")
    around = "\n".join([*lines[: number - 1], *lines[end:]]).strip()
    if given.get("with_text") and not around:
        raise FormatError("no text besides the table")
    return text, (tuple(header), *map(tuple, rows))


def _cells(line: str) -> list[str]:
    bare = line.strip().replace("\\|", "\0")
    bare = bare.removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\0", "|") for cell in bare.split("|")]


def _after_marker(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    marker = str(given["marker"]).strip(_EMPHASIS + ":：")
    lines = text.split("\n")
    for number, line in enumerate(lines):
        bare = line.strip(_EMPHASIS)
        rest = bare[len(marker) :].lstrip(_EMPHASIS)
        if _folded(bare[: len(marker)]) == _folded(marker) and (not rest or rest[0] in ":："):
            behind = "\n".join([rest[1:].lstrip("*_` "), *lines[number + 1 :]]).strip()
            return _unquoted(_unfenced(behind)), ("\n".join(lines[:number]).strip(),)
    raise FormatError(f"no line {given['marker']!r}")


def _conversation(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    turns: list[tuple[str, list[str]]] = []
    most = given.get("speakers", 6)
    lines = text.split("\n")
    names = _speakers([found[1].strip().casefold() for found in map(_SPEAKER.match, lines) if found])
    for line in lines:
        found = _SPEAKER.match(line)
        if found is not None and found[1].strip().casefold() in names:
            turns.append((found[1].strip(), [line[found.end() :].strip()]))
        elif turns:
            turns[-1][1].append(line.rstrip())
        elif line.strip():
            raise FormatError(f"it begins with {line.strip()[:40]!r}, not with a speaker")
    said = tuple((name, _block(lines)) for name, lines in turns)
    if not 2 <= len(names) <= most:
        raise FormatError(f"{len(names)} speakers")
    _enough(len(said), given, 2, "turns")
    return "\n\n".join(f"{name}: {text}" for name, text in said), said


def _speakers(labels: list[str]) -> frozenset[str]:
    """Who speaks: beside two who speak again, a label that stands once and is not among the first two is text."""
    counts = Counter(labels)
    first = set(list(counts)[:2])
    if sum(count > 1 for count in counts.values()) < 2:
        return frozenset(counts)
    return frozenset(label for label, count in counts.items() if count > 1 or label in first)


def _program(text: str, given: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Whether the operations fit the page is told where they are executed; here, that most lines are operations."""
    from tokenmill.rephrase.programs.parse import parse_program

    found = parse_program(text)
    if not found.operations:
        raise FormatError(f"no operation: {text[:60]!r}")
    if len(found.malformed) > len(found.operations):
        worst = found.malformed[0]
        raise FormatError(f"{len(found.malformed)} malformed operations, such as {worst.source[:60]!r}: {worst.why}")
    return text, found.operations


def _enough(count: int, given: Mapping[str, Any], default: int, noun: str) -> None:
    if count < given.get("least", default):
        raise FormatError(f"{count} {noun}, at least {given.get('least', default)} were asked for")


_READERS: Mapping[str, Callable[[str, Mapping[str, Any]], tuple[str, tuple[Any, ...]]]] = {
    "plain": _plain,
    "prefix": _prefix,
    "qa": _qa,
    "list": _list,
    "table": _table,
    "after_marker": _after_marker,
    "conversation": _conversation,
    "program": _program,
}
