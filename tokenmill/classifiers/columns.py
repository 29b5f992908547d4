"""Names of the columns that classifiers add."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tokenmill.core.errors import ConfigError


def label_columns(column: str, labels: Sequence[str]) -> tuple[str, ...]:
    """`<column>_<label>` for each label. ConfigError where two labels would share a column."""
    names = tuple(f"{column}_{slug(label)}" for label in labels)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(
            f"several labels of the model would be the column {twice[0]!r}",
            why="labels become lower case, and other characters than letters and digits an underscore",
            fix="train the model with labels that differ by more",
        )
    return names


def slug(label: str) -> str:
    """A label as part of a column name: lower case, runs of other characters than letters and digits become `_`."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_") or "label"
