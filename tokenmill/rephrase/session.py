"""A session: requests go to a model, many at a time, and every one of them ends in the ledger.

What becomes of a request:

    its kept connection had been closed      asked again at once, as if nothing had been
    429, 5xx, time-out, broken or nonsense   asked again after a wait that doubles; after `tries`: failed "server"
    does not fit into the context            its passage is halved: "split"; where it cannot be: failed "context"
    cut at the limit of tokens               asked again with twice the room; cut again: failed "length"
    no text, or not of its style's form      asked again with another seed, `readings` in all: failed "empty", "parse"
    refusal; filter of the server            failed "refusal"; "content_filter"
    the server calls the request bad         failed "bad_request"; many in a row end the session, and are not remembered

A request that waits holds no place. Many faults in a row open the breaker (`breaker.py`), a server that is too busy
slows everybody down (`pace.py`; Retry-After holds for all). A killed process costs the requests under way and those
answered within the last few milliseconds (`journal.py`), no others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tokenmill.core.errors import FatalError
from tokenmill.io.chat.reply import ChatFault, ContextOverflow, Reply, RequestFailed
from tokenmill.rephrase.answering import judge, tokens_of
from tokenmill.rephrase.breaker import Breaker
from tokenmill.rephrase.engines.base import Engine
from tokenmill.rephrase.journal import Journal
from tokenmill.rephrase.ledger import Ledger
from tokenmill.rephrase.ledger_rows import Entry
from tokenmill.rephrase.meter import Meter
from tokenmill.rephrase.pace import Pace
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.request import Request
from tokenmill.rephrase.session_settings import SessionSettings
from tokenmill.rephrase.stopping import stop_of
from tokenmill.rephrase.supply import Job, Supply, is_open

__all__ = ["DEEPEST", "Session", "SessionSettings", "run_session"]

DEEPEST = 4
"""Times that a passage is halved: a sixteenth of a budget that fits into no context is no matter of length."""
_IN_A_ROW = 10
"""Requests given up one after the other, or refused as bad from the very start: the fault is not theirs."""
_REFUSED_IN_A_ROW = 20
"""The same of requests refused as bad, or by a filter, later on."""
_REFUSED = frozenset({"bad_request", "content_filter"})
_FINAL = frozenset({"refusal", "content_filter"})
"""Readings after which no other answer is asked for."""
_LATE = 0.001
"""Timers of event loops round to a millisecond, and may come before the clock says so."""
_BEAT = 0.5
"""Seconds between two calls of `alive`; also how late one may be who waits for the breaker or the disk."""
_STALE = 3
"""Times that a request meets a kept connection which the server had closed, before that counts as a fault: a page on
which a server dies looks the same."""
_WAITING = 4
"""Requests that wait for another try, for each place, before no more are taken from the input."""


def _nothing() -> None: ...


class Session:
    """Asks an engine what the ledger lacks. For one call of `run`.

    read: judges the form of an answer. rechunk: the same question about pieces of its passage, each with `depth` one
    higher; fewer than two where it cannot be cut. alive: called about twice a second; what it raises ends the session.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        settings: SessionSettings,
        *,
        read: Callable[[Request, Reply], Reading],
        rechunk: Callable[[Request], Sequence[Request]],
        meter: Meter | None = None,
        alive: Callable[[], None] = _nothing,
    ) -> None:
        self._engine, self._ledger, self._settings = engine, ledger, settings
        self._read, self._rechunk = read, rechunk
        self._meter = meter
        self._alive = alive
        self._pace = Pace(settings.concurrency)
        self._breaker = Breaker(settings.give_up_seconds)
        self._gate = 0.0
        """Nobody sends before this time: a server has asked for it."""
        self._parked: deque[asyncio.Future[None]] = deque()
        self._workers = 0
        self._stopped = False
        """An error ends the session: a worker that began now would be left behind."""
        self._given_up = 0
        self._answered = False
        """Whether there has been an answer."""
        self._bad: list[tuple[Job, Reading]] = []
        """Requests refused since the last answer: it is not yet known whose fault that is."""

    async def run(self, requests: Iterable[Request]) -> None:
        """Bring every request to an end. The engine is entered here, if there is anything to ask.

        FatalError where the run had to stop: what has been answered stays, and the same call goes on.
        """
        most = max(_WAITING * self._settings.concurrency, 64)
        self._supply = Supply(requests, self._ledger, self._known, most)
        self._journal = Journal(
            self._ledger, self._meter, self._engine.identity, concurrency=self._settings.concurrency
        )
        try:
            first = None if self._journal.spent else self._supply.next(time.monotonic())
            if first is not None:
                self._supply.back(first)
                self._journal.reserve(first)  # tells whether there is money for one at all
                self._journal.release(first)
            if first is not None and not self._journal.spent:
                async with self._engine:
                    await self._ask_all()
            self._end()
        finally:
            await self._journal.close()

    async def _ask_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as helpers:
                beside = (self._clock(), self._journal.write(), self._journal.sync())
                tasks = [helpers.create_task(one) for one in beside]
                async with asyncio.TaskGroup() as self._group:
                    self._wake(self._pace.room)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group:
            found = stop_of(group)
            if found is None:
                raise
            raise found from None

    def _end(self) -> None:
        """Rows for what is left: bad requests without any good one, and what there was no budget for."""
        self._fail_refused()
        spent = self._journal.spent
        for job in self._supply.rest() if spent else ():
            if self._settings.when_spent == "stop":
                fix = "the same command with a larger --max-cost or --max-tokens"
                raise FatalError("the budget of this run is spent", why=spent, fix=fix)
            entry = self._ledger.entries.get(job.request.key)
            if entry is not None and entry.kind == "budget":
                self._journal.count("budget")
            else:
                self._fail(job, Reading("budget", spent))

    # -- who asks, and when

    async def _work(self) -> None:
        try:
            await self._work_on()
        except BaseException:
            self._stopped = True
            raise

    async def _work_on(self) -> None:
        while True:
            job = self._take()
            if job is not None:
                await self._try(job)
            elif self._over:
                self._wake(len(self._parked))
                return
            else:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._parked.append(waiter)
                await waiter

    def _take(self) -> Job | None:
        """A job whose request goes out now."""
        now = time.monotonic()
        if self._pace.room < 1 or now < self._gate or not self._breaker.allows(now):
            return None
        job = self._supply.next(now)
        if job is not None and not self._journal.reserve(job):
            self._supply.back(job)
            return None
        if job is not None:
            job.probe = self._breaker.is_open
            self._pace.started()
            self._breaker.started()
            if self._pace.room > 0 and self._supply.has_more(now):
                self._wake(1)
        return job

    def _wake(self, count: int) -> None:
        """Let so many workers look for a job; there are as many as were ever needed at once."""
        while count > 0 and self._parked:
            waiter = self._parked.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1
        for _ in range(0 if self._stopped else min(count, self._settings.concurrency - self._workers)):
            self._workers += 1
            self._group.create_task(self._work())

    @property
    def _over(self) -> bool:
        return self._pace.under_way == 0 and bool(self._journal.spent or self._supply.ended)

    async def _clock(self) -> None:
        """Tells the world that we live."""
        while True:
            self._alive()
            self._breaker.watch(time.monotonic())
            self._journal.tell()
            self._rouse()
            await asyncio.sleep(_BEAT)

    def _rouse(self) -> None:
        """Time has passed: those who may go on do so."""
        now = time.monotonic()
        if self._parked and now >= self._gate and self._breaker.allows(now):
            if self._over or self._supply.has_more(now):
                self._wake(min(len(self._parked), max(self._pace.room, 1)))

    # -- one try

    async def _try(self, job: Job) -> None:
        request, sampling = job.request, job.sampling()
        try:
            if self._settings.timeout:
                async with asyncio.timeout(self._settings.timeout):
                    reply = await self._engine.ask(request.messages, sampling)
            else:
                reply = await self._engine.ask(request.messages, sampling)
        except ChatFault as fault:
            self._faulted(job, fault)
        except TimeoutError:
            self._faulted(job, ChatFault("timeout", f"no answer within {self._settings.timeout:g} s"))
        except ContextOverflow as error:
            self._alive_again()
            self._split(job, error.detail)
        except RequestFailed as error:
            self._refused(job, error)
        else:
            self._alive_again()
            self._came(job, sampling, reply)
        finally:
            self._pace.ended()
            self._journal.release(job)

    def _faulted(self, job: Job, fault: ChatFault) -> None:
        if fault.kind == "stale" and not job.probe and job.stale < _STALE:
            job.stale += 1
            self._supply.again(job)
            return
        now = time.monotonic()
        settings = self._settings
        job.faults[fault.kind] = job.faults.get(fault.kind, 0) + 1
        longest = 5 * settings.longest_wait
        if fault.kind in ("429", "503", "timeout"):
            self._pace.pushed_back()
            if fault.after > 0:
                self._gate = max(self._gate, now + min(fault.after, longest))
        was_open = self._breaker.is_open
        if job.probe or not was_open or fault.kind == "429":
            self._breaker.faulted(fault.detail, now, counts=fault.kind != "429")
        if not was_open:  # of a server that is gone no request is at fault
            job.tries += 1
        if job.tries >= settings.tries:
            self._give_up(job, f"given up after {sum(job.faults.values())} tries {job.faults}; last: {fault.detail}")
            return
        wait = min(settings.first_wait * 2.0 ** max(job.tries - 1, 0), settings.longest_wait)
        wait *= 0.5 + job.share() / 2
        wait = max(wait, min(fault.after, longest), self._gate - now)
        self._supply.later(job, now + wait)
        asyncio.get_running_loop().call_later(wait + _LATE, self._rouse)

    def _give_up(self, job: Job, detail: str) -> None:
        self._fail(job, Reading("server", detail))
        self._given_up += 1
        if self._given_up >= _IN_A_ROW:
            fix = "the same command goes on where this one stopped"
            raise FatalError(f"{_IN_A_ROW} requests in a row were given up", why=detail, fix=fix)

    def _refused(self, job: Job, error: RequestFailed) -> None:
        for kind, count in error.faults.items():
            job.faults[kind] = job.faults.get(kind, 0) + count
        if error.kind == "server":
            self._give_up(job, error.detail)
            return
        self._breaker.answered()
        if error.kind not in _REFUSED:
            self._fail(job, Reading(error.kind, error.detail))
            return
        self._bad.append((job, Reading(error.kind, error.detail)))
        count = len(self._bad)
        if not self._answered and count >= _IN_A_ROW and all(found.kind == "bad_request" for _, found in self._bad):
            what = f"the server has refused the first {count} requests"
            raise FatalError(what, why=error.detail, fix="check --model and the settings of sampling")
        if count >= _REFUSED_IN_A_ROW:
            fix = "see to what it says; the same command asks these again"
            raise FatalError(f"the server has refused {count} requests in a row", why=error.detail, fix=fix)

    def _alive_again(self) -> None:
        """The server has answered a request, so that what went wrong before was not all its fault."""
        self._breaker.answered()
        self._given_up = 0
        self._answered = True
        self._fail_refused()

    def _fail_refused(self) -> None:
        while self._bad:
            self._fail(*self._bad.pop(0))

    # -- what becomes of it

    def _came(self, job: Job, sampling: Any, reply: Reply) -> None:
        tokens = tokens_of(job.request, reply)
        self._pace.came(reply.seconds, tokens[1])
        reading = judge(job.request, reply, sampling, self._read)
        for kind, count in reply.faults.items():
            job.faults[kind] = job.faults.get(kind, 0) + count
        if not reading.kind:
            self._journal.record(job, "answer", sampling, reply=reply, tokens=tokens)
            self._journal.count("answer")
            return
        length = reading.kind == "length"
        job.cut += length
        job.bad += not length
        over = job.cut > 1 if length else job.bad >= self._settings.readings or reading.kind in _FINAL
        self._journal.record(job, "failed" if over else "attempt", sampling, reply=reply, tokens=tokens, error=reading)
        if over:
            self._journal.count(reading.kind)
            return
        job.longer += length
        job.attempt += 1
        job.tries = job.stale = 0
        self._supply.again(job)

    def _split(self, job: Job, detail: str) -> None:
        pieces = self._rechunk(job.request) if job.request.depth < DEEPEST else ()
        if len(pieces) < 2:
            self._fail(job, Reading("context", detail))
            return
        self._journal.record(job, "split", job.request.sampling, parts=_spans(pieces))
        self._journal.count("split")
        self._supply.instead(pieces, job.part)

    def _fail(self, job: Job, error: Reading) -> None:
        job.attempt -= 1  # that of the last answer
        self._journal.record(job, "failed", job.request.sampling, error=error)
        self._journal.count(error.kind)

    def _known(self, job: Job, entry: Entry) -> bool:
        """Whether what the ledger has of a request is its end."""
        if entry.outcome == "failed":
            if is_open(entry, self._settings.retry):
                return False
            self._journal.count(entry.kind)
        elif entry.outcome == "split":
            pieces = self._rechunk(job.request)
            if len(pieces) < 2:
                return False  # what it was cut into is no longer known
            if _spans(pieces) != list(entry.parts):
                self._journal.record(job, "split", job.request.sampling, parts=_spans(pieces))
            self._journal.count("split")
            self._supply.instead(pieces, job.part)
        else:
            self._journal.count("answer", reused=True)
        return True


def _spans(pieces: Sequence[Request]) -> list[tuple[str, int, int]]:
    return [(piece.key, piece.passage.start, piece.passage.end) for piece in pieces]


def run_session(
    engine: Engine,
    ledger: Ledger,
    settings: SessionSettings,
    requests: Iterable[Request],
    *,
    read: Callable[[Request, Reply], Reading],
    rechunk: Callable[[Request], Sequence[Request]],
    meter: Meter | None = None,
    alive: Callable[[], None] = _nothing,
) -> None:
    """A `Session` in an event loop of its own: uvloop's where it is installed."""

    async def run() -> None:
        session = Session(engine, ledger, settings, read=read, rechunk=rechunk, meter=meter, alive=alive)
        await session.run(requests)

    try:
        from uvloop import new_event_loop
    except ImportError:
        asyncio.run(run())
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run())
