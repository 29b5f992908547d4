"""Labelled documents from Parquet or JSON Lines, checked before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tokenmill.classifiers.corpus.rows import read_rows
from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.groups import group_of, host_group, join_equal_texts
from tokenmill.classifiers.train.labels import classes_of
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl

SUFFIXES = (".parquet", *ReadJsonl.suffixes)
_IDS = ("id", "record_id", "doc_id")
_LABELS = ("labels.parquet", "labels.json")
"""What is in a folder of `tokenmill label`, beside its ledger."""
_SHOWN = 4


@dataclass(frozen=True)
class Labelled:
    """Documents with labels, in the order of their identity, so that the order of the input does not matter."""

    texts: tuple[str, ...]
    labels: Ints
    """int64 [n], classes from 0."""
    targets: Floats
    """float64 [n], what is learned: the labels, or grades before they were rounded."""
    names: tuple[str, ...]
    """Name of each class; of grades all from 0 to the highest."""
    groups: tuple[str, ...]
    """Documents of one group are never on both sides of a split."""
    splits: tuple[str, ...]
    """Value of the column `split`, or ""."""
    others: Mapping[str, Floats]
    """Column -> float64 [n], scores of others; NaN where there is none."""
    digest: str
    """SHA-256, hexadecimal, of texts, labels and groups."""
    skipped: int
    """Rows without text or label."""
    ungrouped: int = 0
    """Documents without a group of their own accord: each is one by itself."""
    joined: int = 0
    """Documents whose text is there under several groups, which have become one."""

    @property
    def fractions(self) -> int:
        """Documents whose grade was no whole number."""
        return int((self.targets != self.labels).sum())


@dataclass(frozen=True, slots=True)
class _Row:
    """What is kept of a row."""

    id: str
    text: str
    label: Any
    group: str
    split: str
    others: tuple[float, ...]


def load_labelled(location: str, settings: TrainSettings, say: Callable[[str], None] = lambda line: None) -> Labelled:
    """The labelled documents of a file or folder. ConfigError where columns or labels cannot be used.

    say: is told of files that are not read, and of documents without a group or with texts of several groups.
    """
    rows: list[_Row] = []
    skipped = 0
    for row in _rows(location, settings, say):
        kept = _kept(row, settings)
        if kept is None:
            skipped += 1
        else:
            rows.append(kept)
    if not rows:
        raise ConfigError(
            "there is no labelled document",
            where=location,
            why=f"{skipped} rows lack a text in {settings.text!r} or a label in {settings.label!r}",
            fix="--text and --label name the columns",
        )
    rows.sort(key=lambda row: (row.id, row.text, str(row.label)))
    labels, targets, names = classes_of([row.label for row in rows], settings, location)
    texts = tuple(row.text for row in rows)
    ungrouped = _ungrouped(rows, settings, location, say)
    groups, joined = join_equal_texts([row.group or f"id:{row.id}" for row in rows], texts)
    if joined:
        say(f"{joined} documents have texts that are there under several groups: those groups are one")
    return Labelled(
        texts=texts,
        labels=labels,
        targets=targets,
        names=names,
        groups=groups,
        splits=tuple(row.split for row in rows),
        others={name: np.array([row.others[at] for row in rows]) for at, name in enumerate(settings.compare)},
        digest=_digest(texts, targets, groups),
        skipped=skipped,
        ungrouped=ungrouped,
        joined=joined,
    )


def _kept(row: Mapping[str, Any] | None, settings: TrainSettings) -> _Row | None:
    """What is needed of a row; None without text or label."""
    if row is None:
        return None
    text, label = row.get(settings.text), row.get(settings.label)
    if not isinstance(text, str) or not text.strip() or label in (None, "") or label != label:
        return None
    split = row.get(settings.split) if settings.split else None
    return _Row(
        id=_identity(row, text),
        text=text.encode("utf-8", "replace").decode(),
        label=label,
        group=group_of(row.get(settings.group)) if settings.group else host_group(row.get("url")),
        split=group_of(split),
        others=tuple(_number(row.get(name)) for name in settings.compare),
    )


def _ungrouped(rows: Sequence[_Row], settings: TrainSettings, where: str, say: Callable[[str], None]) -> int:
    """How many documents have no group. ConfigError where none has: nobody would know what is on both sides."""
    count = sum(not row.group for row in rows)
    if count == len(rows):
        raise ConfigError(
            "no document has a group",
            where=where,
            why=f"the column {settings.group!r} is empty" if settings.group else "no row has a host in a column 'url'",
            fix="--group COLUMN keeps documents of a value together; --group id treats each document alone",
        )
    if count:
        lacks = f"no value in {settings.group!r}" if settings.group else "no host in 'url'"
        say(f"{count} of {len(rows)} documents have {lacks}: each is a group by itself")
    return count


def _rows(location: str, settings: TrainSettings, say: Callable[[str], None]) -> Iterator[Mapping[str, Any] | None]:
    """Row by row; None for a line that is no object. A row may lack any key, but each must be somewhere in its file."""
    needed = {settings.text, settings.label, *settings.compare}
    needed |= {name for name in (settings.group, settings.split) if name}
    for shard in _files(location, say):
        seen: set[str] = set()
        for row in read_rows(shard, (), (*needed, *_IDS, "url")):
            seen.update(row or ())
            yield row
        for name in sorted(needed - seen) if seen else ():
            raise ConfigError(
                f"there is no column {name!r}",
                where=shard.path,
                why=did_you_mean(name, sorted(seen)),
                fix="name a column that is there",
            )


def _files(location: str, say: Callable[[str], None]) -> list[InputShard]:
    """The files to read; of a folder of `tokenmill label` its labels, not its ledger."""
    folder = Path(location)
    if not folder.is_dir():
        return list_inputs(location, SUFFIXES)
    if all((folder / name).is_file() for name in _LABELS):
        found = list_inputs(str(folder / _LABELS[0]), SUFFIXES)
        read = {_LABELS[0]}
    else:
        found = list_inputs(location, SUFFIXES)
        read = {shard.name for shard in found}
    every = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    ignored = sorted(name for name in every if name not in read)
    if ignored:
        more = f" and {len(ignored) - _SHOWN} more" if len(ignored) > _SHOWN else ""
        say(f"not read in {location}: {', '.join(ignored[:_SHOWN])}{more}")
    return found


def _identity(row: Mapping[str, Any], text: str) -> str:
    for name in _IDS:
        if row.get(name) not in (None, ""):
            return str(row[name]).encode("utf-8", "replace").decode()
    return hashlib.sha256(f"{row.get('url')}\n{text}".encode("utf-8", "replace")).hexdigest()


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _digest(texts: Sequence[str], targets: Floats, groups: Sequence[str]) -> str:
    total = hashlib.sha256()
    for text, target, group in zip(texts, targets.tolist(), groups, strict=True):
        total.update(json.dumps([text, int(target) if target.is_integer() else target, group]).encode())
    return total.hexdigest()
