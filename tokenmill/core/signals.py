"""Signals: named measurements of a document, registered once with meaning, unit and source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenmill.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from tokenmill.core.doc import Doc

Compute = Callable[["Doc"], Any]


@dataclass(frozen=True)
class Signal:
    """One measurement. `meaning` is one line; `unit` such as words, characters, share; `source` a paper."""

    name: str
    compute: Compute
    meaning: str
    unit: str
    source: str


_SIGNALS: dict[str, Signal] = {}


def signal(name: str, *, unit: str, source: str) -> Callable[[Compute], Compute]:
    """Register the decorated function as a signal; its docstring's first line is the meaning."""

    def register(compute: Compute) -> Compute:
        known = _SIGNALS.get(name)
        if known is not None and known.compute.__qualname__ != compute.__qualname__:
            raise ValueError(f"signal {name!r} is registered twice")
        meaning = (compute.__doc__ or "").strip().splitlines()[0]
        _SIGNALS[name] = Signal(name, compute, meaning, unit, source)
        return compute

    return register


def known_signals() -> dict[str, Signal]:
    """All registered signals by name. Those of `tokenmill.text` appear once that package is imported."""
    return dict(_SIGNALS)


def compute(name: str, doc: Doc) -> Any:
    """The value of a registered signal for a document."""
    if name not in _SIGNALS:
        raise ConfigError(f"no signal named {name!r}", why=did_you_mean(name, _SIGNALS))
    return _SIGNALS[name].compute(doc)
