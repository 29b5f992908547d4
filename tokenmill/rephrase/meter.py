"""What a run has spent, over all its processes: the live display, and the stop by tokens or money.

Every writer keeps one small file, `<folder>/<run>/<name>.json`, and reads those of the others. Its own numbers come
from the rows of the ledger that carry its name, so that one that is killed and starts again loses and repeats none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tokenmill.io.runfolder import disk_error

EVERY = 1.0
"""Seconds between two writings of the own file, and two readings of the others'."""


@dataclass(slots=True)
class Spent:
    """Sums over answers that came, and the outcomes of requests."""

    requests: int = 0
    """Answers that came and were paid for, whether they could be used or not."""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    """Of `tokens_in`, those that the server says it had in its prefix cache."""
    seconds: float = 0.0
    """Latency of these answers, added up."""
    estimated: int = 0
    """Answers whose tokens are estimated, because the server tells no usage."""
    answers: int = 0
    """Requests with an answer, `reused` among them."""
    reused: int = 0
    """Requests whose answer the ledger already had when they were asked for."""
    splits: int = 0
    """Requests asked in pieces, which are requests of their own."""
    failed: dict[str, int] = field(default_factory=dict)
    """Requests without an answer, by reason."""
    faults: dict[str, int] = field(default_factory=dict)
    """Tries that brought nothing, by kind."""
    dollars: float = 0.0

    def add(self, other: Spent) -> None:
        """Add the sums of another."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("failed", "faults"):
            mine = getattr(self, name)
            for kind, count in getattr(other, name).items():
                mine[kind] = mine.get(kind, 0) + count

    def pay(self, row: Mapping[str, Any]) -> None:
        """Add what a row of the ledger has cost."""
        for kind, count in row["faults"].items():
            self.faults[kind] = self.faults.get(kind, 0) + count
        if row["response"] is not None:
            tokens_in, tokens_out, cached = row["tokens"]
            self.requests += 1
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out
            self.tokens_cached += cached
            self.seconds += row["latency_s"]
            self.estimated += not row["told"]

    @property
    def settled(self) -> int:
        """Requests that have come to an end."""
        return self.answers + self.splits + sum(self.failed.values())

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> Spent:
        """As `asdict` wrote it. KeyError, TypeError or ValueError for anything else."""
        spent = Spent(failed=dict(plain["failed"]), faults=dict(plain["faults"]))
        for name in _NUMBERS:
            setattr(spent, name, type(getattr(spent, name))(plain[name]))
        return spent


_NUMBERS = (
    "requests", "tokens_in", "tokens_out", "tokens_cached", "seconds", "estimated",
    "answers", "reused", "splits", "dollars",
)  # fmt: skip


class Meter:
    """The spending of one writer of a run, and of the run.

    price_in, price_out: US dollars for a million tokens. max_tokens: of prompts and answers together; None: no limit.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        run: str,
        name: str,
        *,
        price_in: float = 0.0,
        price_out: float = 0.0,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        every: float = EVERY,
    ) -> None:
        self.run = run
        self.name = name
        self.own = Spent()
        self._folder = Path(folder) / run
        self._path = self._folder / f"{name}.json"
        self._price_in, self._price_out = price_in, price_out
        self._max_tokens, self._max_cost = max_tokens, max_cost
        self._every = every
        self._saved = self._read = float("-inf")
        self._others = Spent()

    def begin(self, paid: Spent) -> None:
        """Take over what this writer has paid for in earlier sessions: `Ledger.paid[run, name]`."""
        self.own = Spent()
        self.own.add(paid)
        self.save(force=True)

    def save(self, *, force: bool = False) -> None:
        """Write the own file, at most once in `every` seconds. ShardError or FatalError where that fails."""
        now = time.monotonic()
        if not force and now - self._saved < self._every:
            return
        self._saved = now
        self.own.dollars = self.dollars(self.own)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(self.own), sort_keys=True), encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            raise disk_error(error, str(self._path)) from error

    def total(self) -> Spent:
        """Of all writers of the run; what the others have written is up to `2 * every` seconds old."""
        now = time.monotonic()
        if now - self._read >= self._every:
            self._read = now
            self._others = _sum(self._folder, self._path.name)
        total = Spent()
        total.add(self._others)
        total.add(self.own)
        total.dollars = self.dollars(total)
        return total

    def dollars(self, spent: Spent) -> float:
        """What so many tokens cost."""
        return (spent.tokens_in * self._price_in + spent.tokens_out * self._price_out) / 1e6

    def exceeded(self) -> str | None:
        """The sentence that says which limit is reached, if any."""
        if self._max_tokens is None and self._max_cost is None:
            return None
        if time.monotonic() - self._read >= self._every:
            self.total()
        tokens_in = self._others.tokens_in + self.own.tokens_in
        tokens_out = self._others.tokens_out + self.own.tokens_out
        if self._max_tokens is not None and tokens_in + tokens_out >= self._max_tokens:
            return f"{tokens_in + tokens_out:,} tokens are spent, the limit is {self._max_tokens:,}"
        dollars = (tokens_in * self._price_in + tokens_out * self._price_out) / 1e6
        if self._max_cost is not None and dollars >= self._max_cost:
            return f"{dollars:.2f} US dollars are spent, the limit is {self._max_cost:g}"
        return None


def spent_in(folder: str | os.PathLike[str], run: str) -> Spent:
    """What all writers of a run have written, for a display that has no meter of its own."""
    return _sum(Path(folder) / run, "")


def _sum(folder: Path, but: str) -> Spent:
    total = Spent()
    for path in sorted(folder.glob("*.json")):
        if path.name != but:
            total.add(_load(path))
    return total


def _load(path: Path) -> Spent:
    """The numbers of one writer; zeros for a file that is gone or broken: its owner writes it anew from the ledger."""
    try:
        return Spent.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Spent()
