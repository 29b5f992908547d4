"""Labels as numbers: grades, classes by their names, yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.core.errors import ConfigError

_HIGHEST = 100.0
_SHOWN = 8


def classes_of(labels: Sequence[Any], settings: TrainSettings, where: str) -> tuple[Ints, Floats, tuple[str, ...]]:
    """Classes from 0 [n], what is learned [n], and the names of the classes.

    What is learned are the classes; of grades the grades as they are, whose class is the nearest whole one (halves to
    the even one). ConfigError, with the labels in question, where the settings cannot be right.
    """
    if settings.problem == "ordinal":
        return _grades(labels, settings, where)
    words = [_word(label) for label in labels]
    wrong = [label for label, word in zip(labels, words, strict=True) if word is None]
    if wrong:
        raise ConfigError(
            f"{len(wrong)} labels in {settings.label!r} name no class",
            where=where,
            why=f"classes have names or whole numbers; there are {_some(wrong)}",
            fix="--problem ordinal for grades, or another --label",
        )
    names = tuple(sorted({word for word in words if word is not None}))
    if len(names) < 2 or (settings.problem == "binary" and len(names) > 2):
        raise ConfigError(
            f"{settings.label!r} holds {len(names)} different labels: {', '.join(names[:_SHOWN])}",
            where=where,
            why="binary needs two, classes two or more",
            fix="another --label or --problem",
        )
    place = {name: number for number, name in enumerate(names)}
    found = np.array([place[word] for word in words if word is not None], dtype=np.int64)
    return found, found.astype(np.float64), names


def _grades(labels: Sequence[Any], settings: TrainSettings, where: str) -> tuple[Ints, Floats, tuple[str, ...]]:
    targets = np.array([_number(label) for label in labels])
    wrong = ~((targets >= 0) & (targets <= _HIGHEST))  # NaN is neither
    if wrong.any():
        raise ConfigError(
            f"{int(wrong.sum())} labels in {settings.label!r} are no grades",
            where=where,
            why=f"grades are numbers from 0 to {_HIGHEST:g}; there are"
            f" {_some([label for label, bad in zip(labels, wrong.tolist(), strict=True) if bad])}",
            fix="--problem classes, or another --label",
        )
    grades = np.rint(targets).astype(np.int64)
    if grades.min() == grades.max():
        raise ConfigError(
            f"all grades in {settings.label!r} are {grades.max()}",
            where=where,
            why="there is nothing to tell apart",
            fix="label documents of other grades too, or name another --label",
        )
    return grades, targets, tuple(map(str, range(int(grades.max()) + 1)))


def _word(label: Any) -> str | None:
    """The name of a label; None for fractions, infinity, lists and structures."""
    if isinstance(label, str):
        return label.encode("utf-8", "replace").decode()
    if isinstance(label, bool | int):
        return str(int(label))
    if isinstance(label, float | Decimal):
        return str(int(label)) if label == label and abs(label) != float("inf") and label == int(label) else None
    return None if isinstance(label, list | dict | tuple) else str(label)


def _number(label: Any) -> float:
    try:
        return float(label)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _some(labels: Sequence[Any]) -> str:
    different = sorted(set(map(repr, labels)))
    return f"{', '.join(different[:_SHOWN])}{', ...' if len(different) > _SHOWN else ''}"
