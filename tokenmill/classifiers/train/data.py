"""Labelled documents from Parquet or JSON Lines, checked before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.splits import group_names
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.core.errors import ConfigError, ShardError, did_you_mean
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.io.jsonl import ReadJsonl, open_inflated

SUFFIXES = (".parquet", *ReadJsonl.suffixes)
_IDS = ("id", "record_id", "doc_id")


@dataclass(frozen=True)
class Labelled:
    """Documents with labels, in the order of their identity, so that the order of the input does not matter."""

    texts: tuple[str, ...]
    labels: Ints
    """int64 [n], classes from 0."""
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


def load_labelled(location: str, settings: TrainSettings) -> Labelled:
    """The labelled documents of a file or folder. ConfigError where columns or labels cannot be used."""
    rows: list[tuple[str, str, Any, str, Mapping[str, Any]]] = []
    skipped = 0
    for row in _rows(location, settings):
        text, label = row.get(settings.text), row.get(settings.label)
        if not isinstance(text, str) or not text.strip() or label in (None, "") or label != label:
            skipped += 1
            continue
        rows.append((_identity(row, text), text.encode("utf-8", "replace").decode(), label, _group(row, settings), row))
    if not rows:
        raise ConfigError(
            "there is no labelled document",
            where=location,
            why=f"{skipped} rows lack a text in {settings.text!r} or a label in {settings.label!r}",
            fix="--text and --label name the columns",
        )
    rows.sort(key=lambda row: (row[0], row[1], str(row[2])))
    labels, names = _classes([row[2] for row in rows], settings, location)
    groups = tuple(row[3] or f"id:{row[0]}" for row in rows)
    return Labelled(
        texts=tuple(row[1] for row in rows),
        labels=labels,
        names=names,
        groups=groups,
        splits=tuple(str(row[4].get(settings.split, "")) if settings.split else "" for row in rows),
        others={name: np.array([_number(row[4].get(name)) for row in rows]) for name in settings.compare},
        digest=_digest(rows, labels, groups),
        skipped=skipped,
    )


def _rows(location: str, settings: TrainSettings) -> Iterator[dict[str, Any]]:
    needed = {settings.text, settings.label, *settings.compare}
    needed |= {name for name in (settings.group, settings.split) if name}
    for shard in list_inputs(location, SUFFIXES):
        try:
            if shard.name.endswith(".parquet") or shard.path.endswith(".parquet"):
                with open_input(shard) as stream:
                    file = pq.ParquetFile(stream)
                    names = file.schema_arrow.names
                    _check_columns(needed, names, shard.path)
                    wanted = [name for name in names if name in needed or name in (*_IDS, "url")]
                    for batch in file.iter_batches(columns=wanted):
                        yield from batch.to_pylist()
                continue
            seen = 0
            with open_inflated(shard) as stream:
                for line in stream:
                    row = json.loads(line) if line.strip() else None
                    if isinstance(row, dict):
                        if not seen:
                            _check_columns(needed, row, shard.path)
                        seen += 1
                        yield row
        except (pa.ArrowException, OSError, EOFError, ValueError, ShardError) as error:
            raise ConfigError(
                "the labelled documents cannot be read",
                where=shard.path,
                why=f"{type(error).__name__}: {error}",
                fix="give Parquet, or JSON Lines (also .gz)",
            ) from error


def _check_columns(needed: set[str], names: Any, where: str) -> None:
    for name in sorted(needed - set(names)):
        raise ConfigError(f"there is no column {name!r}", where=where, why=did_you_mean(name, list(names)))


def _identity(row: Mapping[str, Any], text: str) -> str:
    for name in _IDS:
        if row.get(name) not in (None, ""):
            return str(row[name])
    return hashlib.sha256(f"{row.get('url')}\n{text}".encode("utf-8", "replace")).hexdigest()


def _group(row: Mapping[str, Any], settings: TrainSettings) -> str:
    if settings.group:
        return str(row.get(settings.group) or "")
    name = group_names([str(row.get("url") or "")], [""])[0]
    return "" if name == "id:" else name


def _classes(labels: Sequence[Any], settings: TrainSettings, where: str) -> tuple[Ints, tuple[str, ...]]:
    """Labels as whole numbers, and the names of the classes."""
    if settings.problem == "ordinal":
        try:
            grades = np.array([float(label) for label in labels])
        except (TypeError, ValueError):
            grades = np.array([-1.0])
        if (grades < 0).any() or (grades != np.round(grades)).any() or (grades > 100).any() or grades.max() < 1:
            raise ConfigError(
                f"the labels in {settings.label!r} are no grades",
                where=where,
                why=f"grades are whole numbers from 0 to 100; there are {sorted(set(map(str, labels)))[:8]}",
                fix="--problem classes, or another --label",
            )
        return grades.astype(np.int64), tuple(map(str, range(int(grades.max()) + 1)))
    words = [str(int(label)) if isinstance(label, bool | float) else str(label) for label in labels]
    names = tuple(sorted(set(words)))
    if len(names) < 2 or (settings.problem == "binary" and len(names) > 2):
        raise ConfigError(
            f"{settings.label!r} holds {len(names)} different labels: {', '.join(names[:8])}",
            where=where,
            why="binary needs two, classes two or more",
            fix="another --label or --problem",
        )
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[word] for word in words], dtype=np.int64), names


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _digest(rows: Sequence[tuple[str, str, Any, str, Mapping[str, Any]]], labels: Ints, groups: Sequence[str]) -> str:
    total = hashlib.sha256()
    for (_, text, *_rest), label, group in zip(rows, labels.tolist(), groups, strict=True):
        total.update(json.dumps([text, label, group]).encode())
    return total.hexdigest()
