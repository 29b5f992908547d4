"""Benchmarks from JSON Lines files: public ones in a uniform form, or a user's own.

A line is one of three forms (`FORMS`), and a file has one form. All of them come down to the same: an item is some
pairs of a context and a continuation, one of which is the right one. Continuations are scored in cloze form: the text
of an answer, not its letter.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import open_inflated
from tokenmill.tokens.decontaminate.benchmarks import task_of
from tokenmill.train.evaluate.tasks import TASKS, TaskInfo, default_tasks, informative, task_info

__all__ = ["FORMS", "TASKS", "Item", "Task", "TaskInfo", "default_tasks", "informative", "load_kit", "task_info"]

MULTIPLE_CHOICE = "multiple-choice"
MULTIPLE_CONTEXT = "multiple-context"
GOLD = "gold-continuation"
FORMS: Mapping[str, tuple[str, ...]] = {
    MULTIPLE_CHOICE: ("context", "choices", "gold"),
    MULTIPLE_CONTEXT: ("contexts", "continuation", "gold"),
    GOLD: ("context", "continuation"),
}
"""Form -> its keys. A line may also have `id` (unique in the file; else the number of the line), `unit` (items that
belong together when resampling, such as the questions to one passage), and others, which are not looked at."""
SUFFIXES = (".jsonl", ".jsonl.gz")
MANIFEST = "MANIFEST.json"
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Item:
    """A question: answer n is the text `continuations[n]` behind `contexts[n]`."""

    id: str
    unit: str
    """Items with the same one are not independent of each other."""
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: int = 0

    @property
    def choices(self) -> int:
        return len(self.continuations)


@dataclass(frozen=True)
class Task:
    """A benchmark, or a sample of one."""

    name: str
    form: str
    """One of `FORMS`."""
    items: tuple[Item, ...] = field(repr=False)
    """In the order of the file."""
    path: str = ""

    @property
    def info(self) -> TaskInfo:
        """Which of its metrics is usual, and from which size of model on."""
        return task_info(self.name)

    @property
    def chance(self) -> float | None:
        """Accuracy of picking at random: the mean of 1 / choices. None where there is nothing to pick from."""
        if self.form == GOLD:
            return None
        return sum(1 / item.choices for item in self.items) / len(self.items)

    @property
    def units(self) -> int:
        """Independent groups of items."""
        return len({item.unit for item in self.items})

    @cached_property
    def sha256(self) -> str:
        """Of what the items say, hexadecimal: equal for equal items, wherever they were read."""
        digest = hashlib.sha256(self.name.encode())
        for item in self.items:
            digest.update(json.dumps([item.contexts, item.continuations, item.gold, item.unit]).encode())
        return digest.hexdigest()


def load_kit(
    folder: str | Path, tasks: Sequence[str] | None = None, max_items: int | None = None, seed: int = 0
) -> list[Task]:
    """The benchmarks in a folder (or of a single file, or of a pattern), sorted by name or in the order of `tasks`.

    A task is named for its file. tasks: only these. max_items: most items of a task; they are drawn by a hash of
    their units and the seed, whole units only (at least one), so that every model gets the same ones and a larger
    sample holds the smaller. Where a `MANIFEST.json` beside the files names the SHA-256 of one, the file must have it.
    ConfigError with file, line and reason for whatever is no benchmark in one of `FORMS`.
    """
    if max_items is not None and max_items < 1:
        raise ConfigError(f"max_items={max_items} is too small", fix="at least 1, or None for all items")
    files = _files(str(folder))
    for name in tasks or ():
        if name not in files:
            raise ConfigError(f"there is no task {name!r}", where=str(folder), why=did_you_mean(name, files))
    loaded = []
    for name in tasks if tasks is not None else sorted(files):
        _check_digest(files[name])
        task = _read(files[name], name)
        loaded.append(task if max_items is None else sample(task, max_items, seed))
    return loaded


def sample(task: Task, max_items: int, seed: int) -> Task:
    """At most so many items of a task: those of the units with the smallest hashes, in the order of the file."""
    if len(task.items) <= max_items:
        return task
    sizes: dict[str, int] = {}
    for item in task.items:
        sizes[item.unit] = sizes.get(item.unit, 0) + 1
    taken: set[str] = set()
    left = max_items
    for unit in sorted(sizes, key=lambda unit: _hash(seed, task.name, unit)):
        if sizes[unit] > left and taken:
            break
        taken.add(unit)
        left -= sizes[unit]
    return Task(task.name, task.form, tuple(item for item in task.items if item.unit in taken), task.path)


def _hash(seed: int, task: str, unit: str) -> bytes:
    return hashlib.blake2b(json.dumps([seed, task, unit]).encode(), digest_size=16).digest()


def _files(location: str) -> dict[str, InputShard]:
    try:
        shards = list_inputs(location, SUFFIXES)
    except ConfigError as error:
        raise ConfigError(
            f"no benchmarks at {location}",
            why=error.what,
            fix="give a folder with .jsonl or .jsonl.gz files, or one such file",
        ) from error
    files: dict[str, InputShard] = {}
    for shard in shards:
        name = task_of(shard.path)
        if name in files:
            raise ConfigError(
                f"two files are the task {name!r}",
                where=f"{files[name].path} and {shard.path}",
                fix="rename one of them, or give a folder that has one",
            )
        files[name] = shard
    return files


def _check_digest(shard: InputShard) -> None:
    """ConfigError where a manifest says that the file had other bytes."""
    path = Path(shard.path.removeprefix("file://"))
    manifest = path.parent / MANIFEST
    if not manifest.is_file():
        return
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))["tasks"]
        wanted = {entry["file"]: entry.get("sha256") for entry in listed}.get(path.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "the manifest of the benchmarks cannot be read",
            where=str(manifest),
            why=f"{type(error).__name__}: {error}",
            fix='it is an object with "tasks": [{"file", "sha256"}, ...]; it may also be deleted',
        ) from error
    if wanted is not None and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise ConfigError(
            f"{path.name} is not the file that the manifest describes",
            where=str(path),
            why=f"its SHA-256 is not {str(wanted)[:16]}...",
            fix=f"copy it again; where it was changed on purpose, take its entry out of {MANIFEST}",
        )


def _read(shard: InputShard, name: str) -> Task:
    items: list[Item] = []
    seen: dict[str, int] = {}
    form = ""
    for line, row in _objects(shard):
        found = _form(row, shard, line)
        if form and found != form:
            _refuse(shard, line, f"this line is {found}, those before it {form}", "one form in a file")
        form = found
        item = _item(row, form, task_info(name).unit, shard, line)
        if item.id in seen:
            _refuse(shard, line, f"line {seen[item.id]} has the id {item.id!r} as well", "give every item its own id")
        seen[item.id] = line
        items.append(item)
    if not items:
        raise ConfigError(f"{shard.path} has no items", fix="give a file with one JSON object a line, or leave it out")
    return Task(name, form, tuple(items), shard.path)


def _objects(shard: InputShard) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the line from 1, its object); empty lines are passed over."""
    line = 0
    try:
        with open_inflated(shard) as stream:
            for line, data in enumerate(stream, 1):
                if not data.strip():
                    continue
                try:
                    row = json.loads(data)
                except (ValueError, RecursionError) as error:
                    _refuse(shard, line, f"it is no JSON: {error}", "one JSON object a line, in UTF-8")
                if not isinstance(row, dict):
                    _refuse(shard, line, f"it is {type(row).__name__}, no object", "one JSON object a line")
                yield line, row
    except _DAMAGE as error:
        raise ConfigError(
            f"{shard.path} cannot be read", where=f"behind line {line}", why=str(error), fix="copy the file again"
        ) from error


def _form(row: Mapping[str, Any], shard: InputShard, line: int) -> str:
    fitting = [form for form, keys in FORMS.items() if all(key in row for key in keys)]
    if len(fitting) == 1:
        return fitting[0]
    forms = "; ".join(f"{form}: {', '.join(keys)}" for form, keys in FORMS.items())
    why = "it fits several forms" if fitting else f"it has the keys {', '.join(sorted(row)) or '(none)'}"
    _refuse(shard, line, why, f"the keys of one form ({forms})")


def _item(row: Mapping[str, Any], form: str, mark: str, shard: InputShard, line: int) -> Item:
    many = {MULTIPLE_CHOICE: "choices", MULTIPLE_CONTEXT: "contexts"}.get(form, "")
    texts: dict[str, tuple[str, ...]] = {}
    for key in FORMS[form]:
        if key == "gold":
            continue
        value = row[key]
        if (key == many) != isinstance(value, list) or not all(isinstance(v, str) for v in _listed(value)):
            wanted = "a list of texts" if key == many else "a text"
            _refuse(shard, line, f"{key!r} is no {wanted.removeprefix('a ')}", f"{key!r} is {wanted}")
        texts[key] = tuple(_listed(value))
    count = len(texts[many]) if many else 1
    if many and count < 2:
        _refuse(shard, line, f"{many!r} has {count} text(s)", "at least two to choose from")
    contexts = texts.get("contexts") or texts["context"] * count
    continuations = texts.get("choices") or texts["continuation"] * count
    gold = row.get("gold", 0) if many else 0
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < count:
        _refuse(shard, line, f"gold is {gold!r}, of {count} {many}", f"the number of the right one, 0 to {count - 1}")
    _check_texts(contexts, continuations, shard, line)
    name = row.get("id", str(line))
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    unit = row.get("unit", name.partition(mark)[0] if mark and isinstance(name, str) else name)
    if not isinstance(name, str) or not isinstance(unit, str):
        _refuse(shard, line, "id or unit is no text", "texts, or leave them out")
    return Item(name, unit, contexts, continuations, gold)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else (value,)


def _check_texts(contexts: Sequence[str], continuations: Sequence[str], shard: InputShard, line: int) -> None:
    for text in (*contexts, *continuations):
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse(shard, line, "a text holds half of a surrogate pair", "spell characters whole")
    if not all(continuations):
        _refuse(shard, line, "an answer is empty", "there must be something to score")
    if any(context.endswith(" ") for context in contexts):
        _refuse(
            shard,
            line,
            "a context ends in a space",
            "begin the continuations with that space: tokens hold the space before a word",
        )


def _refuse(shard: InputShard, line: int, why: str, fix: str) -> NoReturn:
    raise ConfigError("a line is no benchmark item", where=f"{shard.path}, line {line}", why=why, fix=fix)
