"""The types of settings: what YAML and people write becomes what a field is of, or is refused by name.

PyYAML reads `4e-3` as text and `0.1` as a number, whatever it is meant for: a warm-up of 0.1 steps would pass every
comparison, and the first rate would be ten times the peak.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from numbers import Integral, Real
from typing import Any, cast

from tokenmill.core.amounts import parse_amount
from tokenmill.core.errors import ConfigError


def settle(settings: object) -> None:
    """Give every field of a frozen dataclass the type that it is declared with. ConfigError where that cannot be."""
    values = vars(settings)
    for name, kind in _kinds(cast(Hashable, type(settings))).items():
        value = values[name]
        if type(value).__name__ != kind:  # thousands of shapes are made to choose one; most values fit
            object.__setattr__(settings, name, fitting(name, value, kind))


def from_words(of: type[object], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of fields as people write them, with amounts (`8k`) for whole numbers, as the fields have them."""
    kinds = _kinds(cast(Hashable, of))
    return {name: fitting(name, value, kinds[name], words=True) for name, value in given.items() if name in kinds}


@cache
def _kinds(of: Hashable) -> Mapping[str, str]:
    """What the fields of a dataclass (`of`, a class) are declared as, by name."""
    return {one.name: str(one.type) for one in dataclasses.fields(cast(Any, of))}


def fitting(name: str, value: Any, kind: str, *, words: bool = False) -> Any:
    """A value as the type that an annotation names. words: whether `8k` and 1e6 are whole numbers too."""
    base = kind.removesuffix(" | None")
    if value is None and base != kind:
        return None
    if base.startswith("tuple["):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name}={value!r} is no list", fix=f"{name}: [100, 200]")
        return tuple(fitting(name, one, base[len("tuple[") : -len(", ...]")], words=words) for one in value)
    return _READERS[base](name, value, words)


def _whole(name: str, value: Any, words: bool) -> int:
    if not isinstance(value, bool) and isinstance(value, Integral):
        return int(value)
    if words and isinstance(value, str | float):
        text = str(value).strip()
        return int(text) if text.removeprefix("-").isdecimal() else parse_amount(value, f"{name}, a whole number")
    raise ConfigError(
        f"{name}={value!r} is no whole number", why=f"it is of type {type(value).__name__}", fix="an integer"
    )


def _number(name: str, value: Any, words: bool) -> float:
    if not isinstance(value, bool) and isinstance(value, Real):
        return float(value)
    try:
        if isinstance(value, str):
            return float(value)
    except ValueError:
        pass
    raise ConfigError(f"{name}={value!r} is no number", why=f"it is of type {type(value).__name__}", fix="as 0.004")


def _flag(name: str, value: Any, words: bool) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r} is neither true nor false", fix=f"{name}: true, or {name}: false")
    return value


def _text(name: str, value: Any, words: bool) -> str:
    if not isinstance(value, str):
        raise ConfigError(
            f"{name}={value!r} is no text", why=f"it is of type {type(value).__name__}", fix="quote it, or give a name"
        )
    return value


_READERS: Mapping[str, Callable[[str, Any, bool], Any]] = {
    "int": _whole,
    "float": _number,
    "bool": _flag,
    "str": _text,
}
