"""Signals: named measurements of a document, registered once with meaning, unit and source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tokenmill.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from tokenmill.core.doc import Doc

Compute = Callable[["Doc"], Any]


@dataclass(frozen=True)
class Signal:
    """One measurement. `meaning` is one line; `unit` such as words, characters, share; `source` a paper.

    `compute` measures one document; None for those that a kernel measures. `reads` are the columns that it needs.
    """

    name: str
    compute: Compute | None = None
    meaning: str = ""
    unit: str = ""
    source: str = ""
    integer: bool = False
    reads: tuple[str, ...] = ("text",)

    @property
    def dtype(self) -> pa.DataType:
        """Type of the signal as a column; null means: not measured."""
        return pa.int64() if self.integer else pa.float64()


_SIGNALS: dict[str, Signal] = {}
_KERNELS: list[Callable[[Doc], dict[str, Any]]] = []


def register(signal: Signal) -> None:
    """Make a signal known; ValueError when another one has its name."""
    known = _SIGNALS.get(signal.name)
    if known is not None and _origin(known) != _origin(signal):
        raise ValueError(f"signal {signal.name!r} is registered twice")
    _SIGNALS[signal.name] = signal


def _origin(signal: Signal) -> str:
    return signal.compute.__qualname__ if signal.compute is not None else "kernel"


def signal(
    name: str, *, unit: str, source: str, integer: bool = False, reads: Iterable[str] = ("text",)
) -> Callable[[Compute], Compute]:
    """Register the decorated function as a signal; its docstring's first line is the meaning.

    `reads` names the columns that it looks at; integer: whether the values are whole numbers.
    """

    def decorate(compute: Compute) -> Compute:
        meaning = (compute.__doc__ or "").strip().partition("\n")[0]
        register(Signal(name, compute, meaning, unit, source, integer, tuple(reads)))
        return compute

    return decorate


def register_kernel(measure: Callable[[Doc], dict[str, Any]]) -> None:
    """Set what measures all signals without `compute` of one document at once."""
    _KERNELS[:] = [measure]


def known_signals() -> dict[str, Signal]:
    """All registered signals by name. Those of `tokenmill.text` appear once that package is imported."""
    return dict(_SIGNALS)


def is_signal(name: str) -> bool:
    """Whether a signal of that name is registered."""
    return name in _SIGNALS


def compute(name: str, doc: Doc) -> Any:
    """The value of a registered signal for a document."""
    if name not in _SIGNALS:
        raise ConfigError(f"no signal named {name!r}", why=did_you_mean(name, _SIGNALS))
    found = _SIGNALS[name]
    if found.compute is not None:
        return found.compute(doc)
    measured: dict[str, Any] = doc.cached("kernel", _KERNELS[0])
    return measured[name]
