"""Benchmark files: what their items say, as plain passages without the words of prompts.

Two kinds of JSON Lines (plain or compressed) are read:

- the forms of likelihood benchmarks: `context` + `choices` + `gold` (multiple choice), `contexts` + `continuation` +
  `gold` (multiple context), `context` + `continuation`. A context is cut where lines begin with a label that many
  items of the task have (`Question:`, `Answer:`, `Passage:`), and a piece that many items share is the instruction of
  the prompt: both are of the harness, and a leaked item does not have them.
- any other objects: every string, and every string in a list, of the fields asked for, or of all. `question`
  (`problem`, `prompt`, `query`) and `answer` (`target`, `solution`, `output`; a number is an index into `choices`)
  are told apart where they are so named.

Only right answers are looked for: wrong choices are of no use to who has learned them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs, open_binary
from tokenmill.io.jsonl import ReadJsonl, open_inflated

SUFFIXES = ReadJsonl.suffixes
"""Files that are taken from a folder; any file may be named."""
_LABEL = re.compile(r"^[ \t]*([A-Z][A-Za-z]*(?: [A-Za-z]+)?):[ \t]*", re.MULTILINE)
_LABEL_SHARE = 0.2
"""Share of a task's items that have a label or an instruction."""
_SHARED_ITEMS = 64
"""Items that share an instruction, at least: a passage may belong to some dozens of questions."""
_QUESTIONS = ("question", "problem", "prompt", "query", "instruction", "input")
_ANSWERS = ("answer", "answers", "target", "solution", "output", "response", "gold", "label")
_NAMES = ("id", "_id", "task_id", "question_id", "qid", "uid", "idx", "index")
_NOT_TEXT = frozenset({*_NAMES, "task", "subject", "source", "url", "split", "category", "level", "type", "license"})


@dataclass(frozen=True)
class Item:
    """One item of a benchmark."""

    task: str
    id: str
    pieces: tuple[tuple[str, str], ...]
    """(field, text) in order; the last one asks."""
    answer: str
    """The right answer, "" where the file has none."""
    flows: bool = False
    """Whether the answer goes on with the sentence of the last piece, rather than answer a question."""
    source: str = field(default="", repr=False)
    """The item as its file has it, prompt and right answer."""

    @property
    def name(self) -> str:
        return f"{self.task}:{self.id}"

    @property
    def question(self) -> str:
        """The piece that asks."""
        return self.pieces[-1][1] if self.pieces else ""


def benchmark_files(against: Sequence[str]) -> list[InputShard]:
    """The files that paths, folders and patterns name, each once, sorted by path. ConfigError where there are none."""
    if not against:
        raise ConfigError("no benchmark files given", fix="name files, folders or patterns of JSON Lines in `against`")
    found: dict[str, InputShard] = {}
    for location in against:
        try:
            found.update((shard.path, shard) for shard in list_inputs(location, SUFFIXES))
        except ConfigError as error:
            raise ConfigError(
                f"no benchmark files at {location}",
                why=f"{error.what}; {error.why}" if error.why else error.what,
                fix="name files, folders or quoted patterns of JSON Lines",
            ) from error
    return [found[path] for path in sorted(found)]


def file_digests(against: Sequence[str]) -> dict[str, str]:
    """Task -> SHA-256 of its file, for all benchmark files. ConfigError where one cannot be read."""
    digests: dict[str, str] = {}
    for shard in benchmark_files(against):
        name = task_of(shard.path)
        with open_binary(shard.path) as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
        while name in digests:
            name += "'"
        digests[name] = digest
    return digests


def read_items(against: Sequence[str], fields: Sequence[str] = (), *, sources: bool = True) -> list[Item]:
    """The items of all benchmark files, in order of path and line.

    fields: names of the fields to look at in objects of no known form; () for all. sources: whether items keep
    `Item.source`. ConfigError where a file is no JSON
    Lines, or holds no text.
    """
    items: list[Item] = []
    for shard in benchmark_files(against):
        found = [_item(row, task_of(shard.path), number, fields) for number, row in enumerate(_rows(shard))]
        if not any(item.pieces for item in found):
            raise ConfigError(
                f"{shard.path} holds no benchmark items",
                why=f"no text in the fields {list(fields)}" if fields else "its objects have no text",
                fix="name the fields that hold questions and answers, or leave the file out",
            )
        found = _without_prompts(found)
        items += found if sources else [replace(item, source="") for item in found]
    return items


def task_of(path: str) -> str:
    """The name of a task: that of its file, without endings."""
    name = PurePosixPath(path.rsplit("?", 1)[0]).name
    return re.sub(r"(\.(jsonl|ndjson|json))?(\.(gz|zst|xz|bz2))?$", "", name) or name


def _rows(shard: InputShard) -> Iterator[Mapping[str, Any]]:
    with open_inflated(shard) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{type(row).__name__} instead of an object")
            except ValueError as error:
                raise ConfigError(
                    f"{shard.path} is no JSON Lines",
                    where=f"line {number}",
                    why=str(error),
                    fix="give benchmark items as one JSON object a line, or leave the file out",
                ) from error
            yield row


def _item(row: Mapping[str, Any], task: str, number: int, fields: Sequence[str]) -> Item:
    name = next((str(row[key]) for key in _NAMES if row.get(key) is not None), str(number))
    gold = row.get("gold")
    if not fields and isinstance(row.get("contexts"), list) and isinstance(gold, int) and "continuation" in row:
        return _flowing(task, name, row["contexts"][gold], row["continuation"])
    if not fields and isinstance(row.get("context"), str) and isinstance(row.get("choices"), list) and "gold" in row:
        return _flowing(task, name, row["context"], row["choices"][int(row["gold"])])
    if not fields and isinstance(row.get("context"), str) and isinstance(row.get("continuation"), str):
        return _flowing(task, name, row["context"], row["continuation"])
    return _other(row, task, name, fields)


def _flowing(task: str, name: str, context: Any, answer: Any) -> Item:
    before, after = _text(context), _text(answer)
    return Item(task, name, (("context", before),), after, True, before + after)


def _other(row: Mapping[str, Any], task: str, name: str, fields: Sequence[str]) -> Item:
    """An item of no known form: its fields as they are, the question last."""
    chosen = fields or [key for key in row if key not in _NOT_TEXT]
    asks = next((key for key in _QUESTIONS if key in chosen and isinstance(row.get(key), str)), "")
    tells = next((key for key in _ANSWERS if key in chosen and row.get(key) is not None), "") if asks else ""
    pieces = [
        (key, text) for key in chosen if key not in (asks, tells, "choices", "options") for text in _texts(row.get(key))
    ]
    if asks:
        pieces.append((asks, _text(row[asks])))
    answer: Any = row.get(tells) if tells else ""
    choices = row.get("choices", row.get("options"))
    if isinstance(choices, Mapping):
        choices = choices.get("text")
    if isinstance(answer, int) and isinstance(choices, list) and 0 <= answer < len(choices):
        answer = choices[answer]
    told = next(iter(_texts(answer)), "")
    return Item(task, name, tuple(pieces), told, False, "\n".join([*(text for _, text in pieces), told]))


def _texts(value: Any) -> list[str]:
    """The strings in a value, in order."""
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    if isinstance(value, str):
        return [_text(value)] if value.strip() else []
    return [str(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _text(value: Any) -> str:
    """A string that UTF-8 can hold: JSON can spell lone surrogates."""
    return str(value).encode("utf-8", "replace").decode()


def _without_prompts(items: Sequence[Item]) -> list[Item]:
    """The items of one task, cut at labels, without the instructions of prompts."""
    often = max(2, _LABEL_SHARE * len(items))
    seen = Counter(
        label for item in items for label in {found for _, text in item.pieces for found in _LABEL.findall(text)}
    )
    labels = {label for label, times in seen.items() if times >= often}
    cut = [_cut(item, labels) for item in items]
    shared = Counter(text for item in cut for text in {text for _, text in item.pieces})
    instructions = {text for text, times in shared.items() if times >= max(_SHARED_ITEMS, often)}
    return [replace(item, pieces=tuple(p for p in item.pieces if p[1] not in instructions)) for item in cut]


def _cut(item: Item, labels: set[str]) -> Item:
    """The item with its pieces cut at labels. An answer behind a label does not go on with a sentence."""
    pieces: list[tuple[str, str]] = []
    labelled = False
    for name, text in item.pieces:
        places = [found for found in _LABEL.finditer(text) if found[1] in labels]
        edges = [0, *(place for found in places for place in found.span()), len(text)]
        names = [name, *(found[1].lower() for found in places)]
        for label, start, stop in zip(names, edges[::2], edges[1::2], strict=True):
            if text[start:stop].strip():
                pieces.append((label, text[start:stop].strip()))
        labelled = bool(places) and not text[edges[-2] :].strip()  # the last one is "Answer:"
    return replace(item, pieces=tuple(pieces), answer=item.answer.strip(), flows=item.flows and not labelled)
