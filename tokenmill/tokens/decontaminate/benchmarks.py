"""Benchmark files: what their items say, as plain passages without the words of prompts.

What an object says follows from its form (`forms`). Of all texts of a task the words of the prompt are taken away: a
text is cut where lines begin with a label that many items of the task have (`Question:`, `Answer:`, `Passage:`), and a
piece that many items share is the instruction. Both are of the harness, and a leaked item does not have them. In
objects of no known form a label that comes again in a text is of a speaker, and stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs, open_binary
from tokenmill.io.jsonl import ReadJsonl, open_inflated
from tokenmill.tokens.decontaminate.forms import FormError, Item, item_of

SUFFIXES = ReadJsonl.suffixes
"""Files that are taken from a folder; any file may be named."""
_LABEL = re.compile(r"^[ \t]*([A-Z][A-Za-z]*(?: [A-Za-z]+)?):[ \t]*", re.MULTILINE)
_LABEL_SHARE = 0.2
"""Share of a task's items that have a label or an instruction."""
_SHARED_ITEMS = 64
"""Items that share an instruction, at least: a passage may belong to some dozens of questions."""
_SPLITS = frozenset({"test", "train", "dev", "val", "valid", "validation"})
"""Names of files that say which part of a task they are, and not which task."""
_DATA = (".json", ".parquet", ".arrow", ".csv", ".tsv", ".txt")
"""Files that may well hold benchmarks, and are not read."""
_ABOUT = frozenset({"manifest", "readme", "license", "dataset_info", "dataset_infos"})
"""Names of files that tell of benchmarks."""
_DAMAGE = (ValueError, RecursionError, OSError, EOFError, zlib.error, lzma.LZMAError)
"""What lines and files raise that are no JSON Lines; the last four come from compressed files."""


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
    `Item.source`. ConfigError where a file is no JSON Lines, contradicts its form, or holds no text.
    """
    items: list[Item] = []
    for shard in benchmark_files(against):
        found = [*_items(shard, fields)]
        if not any(any(map(str.isalpha, text)) for item in found for _, text in item.pieces):
            raise ConfigError(
                f"{shard.path} holds no benchmark items",
                why=f"no text in the fields {list(fields)}" if fields else "its objects have no text",
                fix="name the fields that hold questions and answers, or leave the file out",
            )
        found = _without_prompts(found)
        items += found if sources else [replace(item, source="") for item in found]
    return items


def task_of(path: str) -> str:
    """The name of a task: that of its file, without endings; that of its folder where the file is named for a split."""
    place = PurePosixPath(path.rsplit("?", 1)[0])
    name = re.sub(r"(\.(jsonl|ndjson|json))?(\.(gz|zst|xz|bz2))?$", "", place.name) or place.name
    return (place.parent.name or name) if name.lower() in _SPLITS else name


def skipped_files(against: Sequence[str]) -> list[str]:
    """Files beside the benchmarks that look like data, and are of no kind that is read; sorted by path."""
    taken = {shard.path for shard in benchmark_files(against)}
    found: set[str] = set()
    for location in against:
        with contextlib.suppress(ConfigError):
            found.update(
                shard.path
                for shard in list_inputs(location, _DATA)
                if PurePosixPath(shard.path).stem.lower() not in _ABOUT
            )
    return sorted(found - taken)


def _items(shard: InputShard, fields: Sequence[str]) -> Iterator[Item]:
    """The items of a file, with the words of the prompt. ConfigError with the line that cannot be read."""
    line, task, made = 0, task_of(shard.path), 0
    try:
        with open_inflated(shard) as stream:
            for data in stream:
                line += 1
                if not data.strip():
                    continue
                row = json.loads(data)
                if not isinstance(row, dict):
                    raise ValueError(f"{type(row).__name__} instead of an object")
                yield item_of(row, task, made, fields)
                made += 1
    except ConfigError:
        raise
    except FormError as error:
        raise ConfigError(
            f"{shard.path} has an item without a right answer",
            where=f"line {line}",
            why=str(error),
            fix="give the number of the right one, from 0, or leave the line out",
        ) from error
    except _DAMAGE as error:
        raise ConfigError(
            f"{shard.path} is no JSON Lines",
            where=f"line {line}" if isinstance(error, ValueError | RecursionError) else f"behind line {line}",
            why=str(error) or type(error).__name__,
            fix="give benchmark items as one JSON object a line, or leave the file out",
        ) from error


def _without_prompts(items: Sequence[Item]) -> list[Item]:
    """The items of one task, cut at labels, without the instructions of prompts."""
    often = max(2, _LABEL_SHARE * len(items))
    seen = Counter(
        label for item in items for label in {found[1] for _, text in item.pieces for found in _labels_in(item, text)}
    )
    labels = {label for label, times in seen.items() if times >= often}
    cut = [_cut(item, labels) for item in items]
    shared = Counter(text for item in cut for text in {text for _, text in item.pieces})
    instructions = {text for text, times in shared.items() if times >= max(_SHARED_ITEMS, often)}
    return [replace(item, pieces=tuple(p for p in item.pieces if p[1] not in instructions)) for item in cut]


def _labels_in(item: Item, text: str) -> list[re.Match[str]]:
    """Where lines of a text begin with labels. Those of speakers, which come again, are none; prompts of known forms
    may hold a question twice.
    """
    places = [*_LABEL.finditer(text)]
    times = Counter(found[1] for found in places)
    return [found for found in places if not item.loose or times[found[1]] == 1]


def _cut(item: Item, labels: set[str]) -> Item:
    """The item with its pieces cut at labels. An answer behind a label does not go on with a sentence."""
    pieces: list[tuple[str, str]] = []
    labelled = False
    for name, text in item.pieces:
        places = [found for found in _labels_in(item, text) if found[1] in labels]
        edges = [0, *(place for found in places for place in found.span()), len(text)]
        names = [name, *(found[1].lower() for found in places)]
        for label, start, stop in zip(names, edges[::2], edges[1::2], strict=True):
            if text[start:stop].strip():
                pieces.append((label, text[start:stop].strip()))
        labelled = bool(places) and not text[edges[-2] :].strip()  # the last one is "Answer:"
    return replace(item, pieces=tuple(pieces), answer=item.answer.strip(), flows=item.flows and not labelled)
