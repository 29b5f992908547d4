"""How patiently a session asks, and what it does at the limit of its budget."""

from __future__ import annotations

from dataclasses import dataclass

from tokenmill.core.errors import ConfigError

_SPENT = ("stop", "publish")


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How patiently a model is asked. Times in seconds."""

    concurrency: int = 256
    """Most requests under way at once; `Pace` decides how many."""
    tries: int = 8
    """Faults in a row after which a request is given up."""
    first_wait: float = 0.5
    """Longest wait after the first fault; it doubles with each further one."""
    longest_wait: float = 60.0
    """Longest wait of our own; Retry-After may ask for five times as much."""
    give_up_seconds: float = 900.0
    """Time without any answer after which the run stops."""
    timeout: float = 0.0
    """For one try, in addition to the engine's own; 0: none."""
    readings: int = 3
    """Answers of one request that are looked at: the first, and others where it cannot be used."""
    retry: frozenset[str] = frozenset()
    """Kinds of failures that are asked again though the ledger has them."""
    when_spent: str = "stop"
    """At the limit of the meter. stop: FatalError, to go on with a larger one; publish: the rest fails as "budget"."""

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.tries < 1 or self.readings < 1:
            raise ConfigError("concurrency, tries and readings are at least 1")
        if min(self.first_wait, self.longest_wait, self.give_up_seconds, self.timeout) < 0:
            raise ConfigError("a wait or a time-out is negative")
        if self.when_spent not in _SPENT:
            raise ConfigError(f"when_spent = {self.when_spent!r}", fix=f"one of {', '.join(_SPENT)}")
