"""Reading the sections of studies in an ablation, key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenmill.core.amounts import parse_amount
from tokenmill.core.errors import ConfigError, did_you_mean


class Section:
    """The values of one section; each reader checks what it gives."""

    def __init__(self, name: str, data: Any, known: Sequence[str]) -> None:
        """data: as YAML has it; None and true are an empty section. ConfigError for keys that are not known."""
        self.name = name
        if data is None or data is True:
            data = {}
        if not isinstance(data, Mapping):
            raise ConfigError(f"{name} is no mapping", where=name, why=f"it is {data!r}", fix=f"{name}: {{key: value}}")
        for key in data:
            if key not in known:
                raise ConfigError(f"{name} has no setting {key!r}", where=name, why=did_you_mean(str(key), known))
        self._data = data

    def _given(self, key: str) -> Any:
        return self._data.get(key)

    def _error(self, key: str, value: Any, wanted: str) -> ConfigError:
        return ConfigError(f"{value!r} is not {wanted}", where=f"{self.name}.{key}", fix="see docs/ablation.md")

    def count(self, key: str, default: int) -> int:
        """A whole number from 1."""
        value = self._given(key)
        return default if value is None else self.amount_of(value, key)

    def amount_of(self, value: Any, key: str) -> int:
        """A whole number from 1, as people write it."""
        try:
            return parse_amount(value, "a number")
        except ConfigError as error:
            raise ConfigError(error.what, where=f"{self.name}.{key}", why=error.why, fix=error.fix) from None

    def amount(self, key: str) -> int | None:
        """The same, or None where it is not given."""
        value = self._given(key)
        return None if value is None else self.amount_of(value, key)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number between two others, these excluded."""
        value = self._given(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
            raise self._error(key, value, f"a number above {low:g} and below {high:g}")
        return float(value)

    def numbers(self, key: str, default: Sequence[float]) -> list[float]:
        """Numbers above 0, each once."""
        value = self._given(key)
        if value is None:
            return list(default)
        listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
        if not listed or any(isinstance(one, bool) or not isinstance(one, int | float) or one <= 0 for one in listed):
            raise self._error(key, value, "a list of numbers above 0")
        if len(set(listed)) < len(listed):
            raise self._error(key, value, "a list of different numbers")
        return [float(one) for one in listed]

    def texts(self, key: str, default: Sequence[str]) -> list[str]:
        """A list of names or amounts, each once."""
        value = self._given(key)
        if value is None:
            return list(default)
        listed = [str(one) for one in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
        if not listed or len(set(listed)) < len(listed):
            raise self._error(key, value, "a list of different values")
        return listed

    def one_of(self, key: str, known: Sequence[str], default: str) -> str:
        """One of some names."""
        value = self._given(key)
        if value is None:
            return default
        if value not in known:
            raise ConfigError(
                f"{value!r} is not known", where=f"{self.name}.{key}", why=did_you_mean(str(value), known)
            )
        return str(value)

    def mapping(self, key: str, wanted: Sequence[str]) -> Mapping[str, Any] | None:
        """A mapping with exactly these keys, or None."""
        value = self._given(key)
        if value is None:
            return None
        if not isinstance(value, Mapping) or set(value) != set(wanted):
            raise self._error(key, value, f"a mapping of {', '.join(wanted)}")
        return value
