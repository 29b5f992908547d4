"""What is to be asked next: requests of the input, pieces of those that were too long, and those that wait."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tokenmill.rephrase.ledger import Ledger
from tokenmill.rephrase.ledger_rows import PASSING, Entry, part_of
from tokenmill.rephrase.request import Request

LIMITS = ("max_tokens", "max_completion_tokens")
"""Names under which samplings limit the tokens of an answer."""
_RAISED = 0.3
"""Temperature from the third answer on: below, another seed may change nothing."""


class Job:
    """A request on its way, with what is known of its earlier attempts."""

    __slots__ = ("attempt", "bad", "cut", "faults", "longer", "part", "probe", "request", "reserved", "stale", "tries")

    def __init__(self, request: Request, part: str, entry: Entry | None) -> None:
        self.request = request
        self.part = part
        """Where its rows lie: those of pieces with the whole."""
        self.tries = 0
        """Faults since the last answer."""
        self.stale = 0
        """Kept connections since then that the server had closed."""
        self.faults: dict[str, int] = {}
        """The same by kind, for the next row."""
        self.probe = False
        """Sent while the server counted as gone."""
        self.reserved: tuple[int, int] | None = None
        """Tokens of prompt and answer that are kept back for it while it is under way, where a limit is set."""
        self.attempt, self.longer, self.cut, self.bad = 1, 0, 0, 0
        if entry is not None:
            self.attempt = entry.attempts + 1
            self.longer = entry.hits("length")
            self.cut = entry.hits("length", after=entry.settled)
            self.bad = entry.attempts - entry.settled - self.cut

    def sampling(self) -> Mapping[str, Any]:
        """Settings of the next attempt: those of the request, another seed for each, twice the room after a cut."""
        first = self.request.sampling
        if self.attempt == 1:
            return first
        changed = dict(first)
        if isinstance(changed.get("seed"), int):
            changed["seed"] += self.attempt - 1
        if self.attempt > 2 and isinstance(changed.get("temperature", 0.0), (int, float)):
            changed["temperature"] = max(changed.get("temperature", 0.0), _RAISED)
        for name in LIMITS:
            if isinstance(changed.get(name), int):
                changed[name] <<= self.longer
        return changed

    def share(self) -> float:
        """A number in [0, 1) that differs between requests and between tries of one: spreads their waits."""
        return ((int(self.request.key[:8], 16) + 0x9E3779B9 * self.tries) % (1 << 32)) / (1 << 32)


class Supply:
    """Jobs in the order in which they can be sent; of the input no more is taken than is needed.

    settle(job, entry): what the ledger has may be final; True where nothing is left to ask. most: jobs that may wait at
    once before the input has to.
    """

    def __init__(
        self,
        requests: Iterable[Request],
        ledger: Ledger,
        settle: Callable[[Job, Entry], bool],
        most: int,
    ) -> None:
        self._input: Iterator[Request] | None = iter(requests)
        self._ledger = ledger
        self._settle = settle
        self._most = most
        self._seen: set[str] = set()
        self._first: deque[tuple[Request, str]] = deque()
        self._ready: deque[Job] = deque()
        self._waiting: list[tuple[float, int, Job]] = []
        self._number = 0

    def next(self, now: float) -> Job | None:
        """A job that can be sent now."""
        if self._waiting and self._waiting[0][0] <= now:
            return heapq.heappop(self._waiting)[2]
        if self._ready:
            return self._ready.popleft()
        if len(self._waiting) >= self._most:
            return None
        return self._fresh()

    def _fresh(self) -> Job | None:
        while True:
            if self._first:
                request, part = self._first.popleft()
            elif self._input is not None:
                taken = next(self._input, None)
                if taken is None:
                    self._input = None
                    return None
                request, part = taken, part_of(taken.passage.text)
                if not self._ledger.first <= part <= self._ledger.last:
                    raise ValueError(f"{request.key} lies in part {part}, outside of the range that is open")
            else:
                return None
            if request.key in self._seen:
                continue
            self._seen.add(request.key)
            entry = self._ledger.entries.get(request.key)
            job = Job(request, part, entry)
            if entry is None or not entry.outcome or not self._settle(job, entry):
                return job

    def has_more(self, now: float) -> bool:
        """Whether `next` may find something."""
        if self._ready or (self._waiting and self._waiting[0][0] <= now):
            return True
        return bool(self._first or self._input is not None) and len(self._waiting) < self._most

    @property
    def ended(self) -> bool:
        """Whether nothing is left that is not under way."""
        return self._input is None and not (self._first or self._ready or self._waiting)

    def again(self, job: Job) -> None:
        """At once."""
        self._ready.append(job)

    def back(self, job: Job) -> None:
        """What `next` gave cannot be sent yet."""
        self._ready.appendleft(job)

    def later(self, job: Job, due: float) -> None:
        """Not before `due`. Of equal times the first one comes first."""
        self._number += 1
        heapq.heappush(self._waiting, (due, self._number, job))

    def instead(self, pieces: Iterable[Request], part: str) -> None:
        """Requests that take the place of one of this part, before others of the input."""
        self._first.extend((piece, part) for piece in pieces)

    def rest(self) -> Iterator[Job]:
        """All that is left, whether it waits or not."""
        while self._waiting:
            yield heapq.heappop(self._waiting)[2]
        while self._ready:
            yield self._ready.popleft()
        while (job := self._fresh()) is not None:
            yield job


def is_open(entry: Entry, retry: frozenset[str]) -> bool:
    """Whether a failed request is asked again."""
    return entry.kind in PASSING or entry.kind in retry
