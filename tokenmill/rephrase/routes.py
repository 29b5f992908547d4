"""Routes: which styles a document gets, by the value of a column, or by the bin that a number falls into."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.errors import ConfigError, did_you_mean

_KEYS = ("by", "styles", "default", "edges")


@dataclass(frozen=True)
class Routes:
    """Value of the column `by` -> styles. ConfigError for what cannot be meant.

    styles: by value, as text; an empty tuple asks nothing. default: for values that are not named, and for null.
    edges: rising; the column is a number then, and the values are numbers of bins: 0 below the first edge, 1 from there
    on (a number equal to an edge belongs above it), and so on.
    """

    by: str = ""
    styles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.styles, Mapping):
            raise ConfigError(
                f"routes are {self.styles!r}, no mapping", fix='value -> styles: {"low": ["wikipedia"], "high": []}'
            )
        named: dict[str, tuple[str, ...]] = {}
        for value, names in self.styles.items():
            if key_of(value) in named:
                raise ConfigError(f"the value {key_of(value)!r} has two routes", fix="leave one out")
            named[key_of(value)] = _names(names, f"routes.{value}")
        object.__setattr__(self, "styles", named)
        object.__setattr__(self, "default", _names(self.default, "default"))
        object.__setattr__(self, "edges", _edges(self.edges))
        if self.styles and not self.by:
            raise ConfigError("routes without a column", why="`by` is empty", fix="name the column that decides")
        self._check_bins()

    def _check_bins(self) -> None:
        if not self.edges:
            return
        bins = [str(number) for number in range(len(self.edges) + 1)]
        if not self.by:
            raise ConfigError("edges without a column", why="`by` is empty", fix="name the column of numbers")
        for value in self.styles:
            if value not in bins:
                raise ConfigError(
                    f"there is no bin {value!r}",
                    why=f"{len(self.edges)} edges make the bins {', '.join(bins)}",
                    fix="routes by number of the bin, 0 for values below the first edge",
                )

    @classmethod
    def parse(cls, data: Any) -> Routes:
        """Routes from plain values: {by, styles, default, edges}, or a list of styles for every document."""
        if isinstance(data, str | list | tuple):
            return cls(default=_names(data, "styles"))
        if not isinstance(data, Mapping):
            raise ConfigError(f"routes are {data!r}", fix="a list of styles, or by, styles, default and edges")
        for key in data:
            if key not in _KEYS:
                raise ConfigError(f"routes have no key {key!r}", why=did_you_mean(str(key), _KEYS))
        by = data.get("by") or ""
        if not isinstance(by, str):
            raise ConfigError(f"the column of routes is {by!r}", fix="by: NAME")
        return cls(by, data.get("styles") or {}, data.get("default") or (), data.get("edges") or ())

    def to_json(self) -> dict[str, Any]:
        """Plain values that `parse` reads."""
        styles = {value: list(names) for value, names in self.styles.items()}
        return {"by": self.by, "styles": styles, "default": list(self.default), "edges": list(self.edges)}

    def styles_of(self, value: Any) -> tuple[str, ...]:
        """The styles of a document whose column `by` holds this value. ConfigError where bins need a number."""
        if not self.by or value is None:
            return self.default
        if self.edges:
            if isinstance(value, bool) or not isinstance(value, int | float):
                what = f"{self.by} = {str(value)[:80]!r} is no number"
                raise ConfigError(what, why=f"it is to be binned at {self.edges}", fix="leave the edges out")
            if math.isnan(value):
                return self.default
            value = bisect.bisect_right(self.edges, value)
        return self.styles.get(key_of(value), self.default)

    def names(self) -> tuple[str, ...]:
        """All styles that a document may get, each once."""
        return tuple(dict.fromkeys((*self.default, *itertools.chain.from_iterable(self.styles.values()))))


def key_of(value: Any) -> str:
    """A value as routes name it: 3 and 3.0 are "3", true is "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _names(value: Any, place: str) -> tuple[str, ...]:
    """Names of styles from a list, or from text with commas; each once."""
    found: Iterable[Any] = (
        [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    )
    if value is None:
        found = ()
    if not isinstance(found, Sequence) or not all(isinstance(name, str) and name for name in found):
        raise ConfigError(f"{place} = {value!r} names no styles", fix=f'{place}: ["wikipedia", "diverse_qa"]')
    return tuple(dict.fromkeys(found))


def _edges(value: Any) -> tuple[float, ...]:
    good = isinstance(value, Sequence) and not isinstance(value, str)
    if not good or not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in value):
        raise ConfigError(f"edges are {value!r}", fix="a list of rising numbers")
    if any(low >= high for low, high in itertools.pairwise(value)):
        raise ConfigError(f"edges {list(value)} do not rise", fix="a list of rising numbers")
    return tuple(float(edge) for edge in value)
