"""Deciding by a score: `ScoreFilter` keeps what scores high enough, `RoundScore` makes FineWeb-Edu's integer."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.rule import Drop, Rule
from tokenmill.core.stage import Annotate, Filter
from tokenmill.text.quantiles import as_floats

FLOATS = frozenset(("halffloat", "float", "double"))
INTEGERS = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
"""Arrow's names of the types that a score may have."""
_KEYS = ("thresholds", "default", "column", "per", "keep", "source")


class ScoreFilter(Filter):
    """Keeps a page when its score is at least `min_score` and at most `max_score`.

    With `per` the least score depends on a column of strings, such as the language; `min_score` (else the `default` of
    the file) is then for pages whose value the thresholds lack. Null and NaN are no score: such a page goes for
    `no_score`, unless nothing is limited or `keep_null`. `tokenmill threshold` finds the numbers.
    """

    column: str = "edu_score"
    """Column with the score. The plan refuses a column that no earlier stage adds."""
    min_score: float | None = None
    """Least score that is kept (score >= min_score); None: no limit. Unit: the scorer's."""
    max_score: float | None = None
    """Largest score that is kept (score <= max_score); None: no limit. Unit: the scorer's."""
    per: str = ""
    """Column whose value selects the threshold, such as `language`; "": one threshold for all."""
    thresholds: str | dict[str, float | None] | None = None
    """Least score by value of `per`: a mapping, or the path of a YAML file that `tokenmill threshold --write` made.
    Null: no limit for this value."""
    keep_null: bool = False
    """Whether a page without a score is kept."""

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column, self.per) if self.per else (self.column,)

    def digests(self) -> Mapping[str, str]:
        _ = self._least
        if any(limit is not None and math.isnan(limit) for limit in (self.min_score, self.max_score)):
            raise ConfigError(f"a limit of {self.name} is not a number", fix="None switches it off")
        if isinstance(self.thresholds, str):
            return {"thresholds": hashlib.sha256(_content(self.thresholds)).hexdigest()}
        return {}

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        check_score(self.name, self.column, types)
        if self.per and not (pa.types.is_string(types[self.per]) or pa.types.is_large_string(types[self.per])):
            raise ConfigError(
                f"{self.name}.per = {self.per!r} is no column of strings",
                why=f"it is of type {types[self.per]}: no value of it would be one of the thresholds",
                fix="name a column such as language or topic",
            )

    def files(self) -> tuple[str, ...]:
        return (self.thresholds,) if isinstance(self.thresholds, str) else ()

    def rules(self) -> tuple[Rule, ...]:
        if not self.decides_by_rules:
            return ()  # `judge` decides by the columns alone: a stage behind that changes the text forbids no refilter
        low: Any = dict(self._least) if self.per else self.min_score
        return (
            Rule(self.column, "<", low, "low_score", self.per),
            Rule(self.column, ">", self.max_score, "high_score"),
        )

    @property
    def decides_by_rules(self) -> bool:
        """A table of rules says nothing of pages without a score, nor of values of `per` that are not listed."""
        return self.keep_null and not (self.per and self._default is not None)

    def judge(self, doc: Doc) -> Drop | None:
        if not self._limits:
            return None
        score = doc[self.column]
        if isinstance(score, bool) or not isinstance(score, int | float | None):
            raise not_a_score(self.name, self.column, type(score).__name__)
        if score is None or math.isnan(score):
            return None if self.keep_null else Drop("no_score", self.column)
        least = self.least(doc[self.per] if self.per else None)
        if least is not None and score < least:
            return Drop("low_score", self.column, float(score), float(least))
        if self.max_score is not None and score > self.max_score:
            return Drop("high_score", self.column, float(score), float(self.max_score))
        return None

    def least(self, value: Any) -> float | None:
        """The least score of a page whose column `per` has this value."""
        return self._least.get(value, self._default)

    @cached_property
    def _limits(self) -> bool:
        least = any(limit is not None for limit in self._least.values())
        return least or self._default is not None or self.max_score is not None

    @cached_property
    def _default(self) -> float | None:
        """`min_score`, else what the file says for values that it does not list."""
        if self.min_score is None and isinstance(self.thresholds, str):
            found: float | None = _parsed(_content(self.thresholds), self.thresholds).get("default")
            return found
        return self.min_score

    @cached_property
    def _least(self) -> Mapping[str, float | None]:
        """The checked thresholds; ConfigError where they do not fit the other settings."""
        if bool(self.per) != (self.thresholds is not None):
            missing = "thresholds" if self.per else "per"
            raise ConfigError(
                f"{self.name} lacks the setting {missing!r}",
                why="`per` names the column, `thresholds` has a number for each of its values: one needs the other",
                fix='per="language", thresholds={"en": 2.5} or the file of tokenmill threshold --write',
            )
        if self.thresholds is None:
            return {}
        if not isinstance(self.thresholds, str):
            return _checked(self.thresholds, f"{self.name}.thresholds")
        path = self.thresholds
        found = _parsed(_content(path), path)
        for name, value in (("column", self.column), ("per", self.per)):
            if found.get(name, value) != value:
                raise ConfigError(
                    f"{self.name}.{name} is {value!r}, the thresholds are for {found[name]!r}",
                    where=f"{path}: {name}",
                    why="numbers that were found for one score mean nothing for another one",
                    fix=f"set {name}={found[name]!r}, or give another file",
                )
        return _checked(found["thresholds"], f"{path}: thresholds")


class RoundScore(Annotate):
    """Adds `<column>_int`: the score rounded to a whole number (halves to the even one) and clipped to [low, high].

    FineWeb-Edu's integer: its "threshold 3" is `ScoreFilter(column="edu_score_int", min_score=3)`, scores above 2.5, as
    3.5 gives 4 and 2.5 gives 2. `edu_score >= 3` is another, much smaller data set. Null and NaN give null.
    """

    derived = True

    column: str = "edu_score"
    """Column with the score."""
    low: int = 0
    """Least number. Source: FineWeb-Edu."""
    high: int = 5
    """Largest number. Source: FineWeb-Edu."""

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {f"{self.column}_int": pa.int64()}

    def digests(self) -> Mapping[str, str]:
        if self.low > self.high:
            raise ConfigError(f"{self.name}.low = {self.low} is above {self.name}.high = {self.high}")
        return {}

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        check_score(self.name, self.column, types)

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        numbers = scores_in(batch, self.column, self.name)
        missing = np.isnan(numbers)
        # clipped first: infinity is no whole number
        whole = np.rint(np.clip(np.where(missing, self.low, numbers), self.low, self.high)).astype(np.int64)
        return {f"{self.column}_int": pa.array(whole, mask=missing)}


def scores_in(batch: pa.RecordBatch, column: str, stage: str) -> npt.NDArray[np.float64]:
    """The scores of a column of a batch, NaN where there is none; ConfigError unless it is a column of numbers."""
    values = batch.column(column)
    if str(values.type) not in FLOATS | INTEGERS:
        raise not_a_score(stage, column, str(values.type))
    return as_floats(values)[0]


def check_score(stage: str, column: str, types: Mapping[str, pa.DataType]) -> None:
    """ConfigError unless the column, which is among `types`, holds numbers."""
    if str(types[column]) not in FLOATS | INTEGERS:
        raise not_a_score(stage, column, str(types[column]))


def not_a_score(stage: str, column: str, dtype: str) -> ConfigError:
    """The error for a stage that was given a column which holds no numbers."""
    return ConfigError(
        f"{stage} cannot use {column!r} as a score",
        why=f"its values are of type {dtype}, not numbers",
        fix="name a column that a scorer adds",
    )


def check_writable(path: str) -> None:
    """ConfigError where a file cannot be written, before the work that would fill it."""
    place = Path(path)
    why = ""
    if place.is_dir():
        why = "it is a folder"
    elif not place.parent.is_dir():
        why = f"there is no folder {place.parent}"
    elif not os.access(place if place.exists() else place.parent, os.W_OK):
        why = "permission denied"
    if why:
        raise ConfigError(f"cannot write {path}", why=why, fix="give another file")


def write_thresholds(
    path: str, column: str, per: str, thresholds: Mapping[str, float], default: float | None, keep: str, source: str
) -> None:
    """Write the YAML file that `ScoreFilter(per=..., thresholds=path, min_score=default)` reads. UTF-8, sorted."""
    content = {
        "column": column,
        "per": per,
        "keep": keep,
        "source": source,
        "default": default,
        "thresholds": dict(sorted(thresholds.items())),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}", why=str(error.strerror), fix="give another file") from error


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"no thresholds {path!r}",
            why=f"the file cannot be read: {error.strerror}",
            fix="tokenmill threshold RUN --per language --write FILE makes one",
        ) from error


@lru_cache(16)
def _parsed(content: bytes, path: str) -> Mapping[str, Any]:
    try:
        raw = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("the thresholds are not YAML", where=path, why=str(error)) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("thresholds"), dict):
        raise ConfigError("the file has no thresholds", where=path, why="it needs a mapping `thresholds: {en: 2.5}`")
    for key in raw:
        if key not in _KEYS:
            raise ConfigError(f"unknown key {key!r}", where=path, why=did_you_mean(str(key), _KEYS))
    _checked({"default": raw.get("default")}, path)
    return raw


def _checked(raw: Mapping[Any, Any], where: str) -> dict[str, float | None]:
    for value, limit in raw.items():
        if not isinstance(value, str):
            raise ConfigError(
                f"{value!r} is no text",
                where=where,
                why="YAML reads no, yes, on, off as truth values, and digits as numbers",
                fix='write "no"',
            )
        if isinstance(limit, bool) or not isinstance(limit, int | float | None) or limit != limit:
            raise ConfigError(f"{value} = {limit!r} is no number", where=where, fix="a number, or null for no limit")
    return dict(raw)
