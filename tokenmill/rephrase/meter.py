"""What a run has spent, over all its processes: the live display, and the stop by tokens or money.

Every writer keeps one small file, `<folder>/<run>/<name>.json`, and reads those of the others. Its own numbers come
from the rows of the ledger that carry its name, so that one that is killed and starts again loses and repeats none.

Where a limit is set, what requests under way may cost is kept back before they begin, and the files tell that too: the
limit is passed by no more than what others have reserved since their files were last written and read (`2 * every`).
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
from tokenmill.rephrase.ledger_rows import paid_for

EVERY = 1.0
"""Seconds between two writings of the own file, and two readings of the others'."""
VOID_SECONDS = 30.0
"""After so long without a word of its owner a file's reservations count no more: he writes each second, or is dead."""


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
            tokens_in, tokens_out, cached, told = paid_for(row)
            self.requests += 1
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out
            self.tokens_cached += cached
            self.seconds += row["latency_s"]
            self.estimated += not told

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
        self._reserved = [0, 0]
        """Tokens of prompts and of answers that requests under way may take."""
        self._held = [0, 0]
        """The same of the others."""
        self._heard: dict[str, tuple[float, float]] = {}
        """Name of a file -> (its own time, when that was first seen)."""

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
            told = {**asdict(self.own), "reserved": self._reserved, "time": time.time()}
            temporary.write_text(json.dumps(told, sort_keys=True), encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            raise disk_error(error, str(self._path)) from error

    def total(self) -> Spent:
        """Of all writers of the run; what the others have written is up to `2 * every` seconds old."""
        self._look()
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
        self._look()
        tokens_in, tokens_out = self._paid()
        if self._max_tokens is not None and tokens_in + tokens_out >= self._max_tokens:
            return f"{tokens_in + tokens_out:,} tokens are spent, the limit is {self._max_tokens:,}"
        dollars = (tokens_in * self._price_in + tokens_out * self._price_out) / 1e6
        if self._max_cost is not None and dollars >= self._max_cost:
            return f"{dollars:.2f} US dollars are spent, the limit is {self._max_cost:g}"
        return None

    @property
    def limited(self) -> bool:
        """Whether there is a limit, so that requests must be reserved."""
        return self._max_tokens is not None or self._max_cost is not None

    def reserve(self, tokens_in: int, tokens_out: int) -> bool:
        """Keep back what a request may take, until `release`. False where it does not fit beside what is under way."""
        self._look()
        mine, held = self._reserved, self._held
        if self._passed(mine[0] + held[0] + tokens_in, mine[1] + held[1] + tokens_out):
            return False
        mine[0] += tokens_in
        mine[1] += tokens_out
        return True

    def release(self, tokens_in: int, tokens_out: int) -> None:
        """The request has ended; what it has taken is in `own` by now."""
        self._reserved[0] -= tokens_in
        self._reserved[1] -= tokens_out

    def short(self, tokens_in: int, tokens_out: int) -> str | None:
        """The sentence that says that there is no room for a request, once nothing is under way that may leave some."""
        if any(self._reserved) or any(self._held) or not (found := self._passed(tokens_in, tokens_out)):
            return None
        return found

    def _passed(self, tokens_in: int, tokens_out: int) -> str | None:
        """Which limit so many tokens would pass."""
        paid_in, paid_out = self._paid()
        more = tokens_in + tokens_out
        if self._max_tokens is not None and paid_in + paid_out + more > self._max_tokens:
            spent = f"{paid_in + paid_out:,} tokens are spent"
            return f"{spent}, the next request may take {more:,}, the limit is {self._max_tokens:,}"
        if self._max_cost is not None:
            dollars = (paid_in * self._price_in + paid_out * self._price_out) / 1e6
            cost = (tokens_in * self._price_in + tokens_out * self._price_out) / 1e6
            if cost > 0 and dollars + cost > self._max_cost:
                spent = f"{dollars:.2f} US dollars are spent"
                return f"{spent}, the next request may cost {cost:.2g}, the limit is {self._max_cost:g}"
        return None

    def _paid(self) -> tuple[int, int]:
        return self._others.tokens_in + self.own.tokens_in, self._others.tokens_out + self.own.tokens_out

    def _look(self) -> None:
        """Read the files of the others, if that is long ago."""
        now = time.monotonic()
        if now - self._read < self._every:
            return
        self._read = now
        self._others, self._held = Spent(), [0, 0]
        for path in sorted(self._folder.glob("*.json")):
            if path.name == self._path.name:
                continue
            found, reserved, told = _load(path)
            self._others.add(found)
            heard = self._heard.get(path.name)
            if heard is None or heard[0] != told:
                heard = self._heard[path.name] = (told, now)
            if now - heard[1] < VOID_SECONDS:
                self._held[0] += reserved[0]
                self._held[1] += reserved[1]


def spent_in(folder: str | os.PathLike[str], run: str) -> Spent:
    """What all writers of a run have written, for a display that has no meter of its own."""
    total = Spent()
    for path in sorted((Path(folder) / run).glob("*.json")):
        total.add(_load(path)[0])
    return total


def _load(path: Path) -> tuple[Spent, tuple[int, int], float]:
    """(numbers of one writer, tokens that it has reserved, when it wrote so); zeros for a file that is gone or broken:
    its owner writes it anew from the ledger."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        tokens_in, tokens_out = plain.get("reserved", (0, 0))
        return Spent.from_json(plain), (max(0, int(tokens_in)), max(0, int(tokens_out))), float(plain.get("time", 0.0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Spent(), (0, 0), 0.0
