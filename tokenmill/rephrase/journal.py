"""What a session writes: rows into the ledger, in groups, and sums into the meter."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tokenmill.core.errors import TokenmillError
from tokenmill.rephrase.answering import fixed_of, line_of_answer, row_of
from tokenmill.rephrase.engines.base import Identity
from tokenmill.rephrase.ledger import Ledger
from tokenmill.rephrase.meter import Meter, Spent
from tokenmill.rephrase.reading import READABLE, Reading
from tokenmill.rephrase.supply import LIMITS, Job

GATHER_SECONDS = 0.005
"""Rows wait so long for others to share a frame, where `_MANY` requests are under way: at 5,000 a second 25 of them
compress to what all together would, and are a tenth of what a kill costs anyhow. With fewer under way each row is
written before its place is free for another request: a kill costs what is under way and nothing else."""
_MANY = 64
_DEAREST = 64.0
_BYTES_PER_TOKEN = 3.0
"""Of prompts, in UTF-8: English has 4 to 5, Chinese and code about 3. What a model takes is learned."""
_MESSAGE_TOKENS = 8
"""Of a chat template, for each message."""
_UNLIMITED = 4096
"""Tokens of an answer where no setting limits it."""
SYNC_SECONDS = 0.25
"""Between two waits for the disk: so much, and the time of one wait, is lost with the power."""


def room_of(job: Job) -> tuple[int, int]:
    """Tokens that prompt and answer of the next try of a job may take, estimated; both are at least 1."""
    asked = 0
    for message in job.request.messages:
        text = message["content"]
        asked += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    sampling = job.sampling()
    limits = [sampling[name] for name in LIMITS if isinstance(sampling.get(name), int)]
    tokens_in = math.ceil(asked / _BYTES_PER_TOKEN) + _MESSAGE_TOKENS * len(job.request.messages)
    return max(tokens_in, 1), max(max(limits, default=_UNLIMITED), 1)


class Journal:
    """The one writer of a session. `write` and `sync` run beside the workers; `close` at the end, whatever happened.

    Rows are in the hands of the operating system after milliseconds, so that a killed process loses next to none, and
    on the disk a little later, in a thread of its own: nobody waits for that but `close`, before which nothing is built
    on them.
    """

    def __init__(self, ledger: Ledger, meter: Meter | None, model: Identity, *, concurrency: int = _MANY) -> None:
        self.spent = ""
        """Why nothing more may be asked, once that is so."""
        self._ledger, self._meter = ledger, meter
        self._model = model.to_json()
        self._task = (meter.run, meter.name) if meter is not None else ("", "")
        self._fixed = fixed_of(self._task, self._model)
        self._own = Spent()
        self._dear = [1.0, 1.0]
        """What prompts and answers took at most, in parts of what was reserved for them."""
        if meter is not None:
            meter.begin(ledger.paid.get(self._task, Spent()))
            self._own = meter.own
            self.spent = meter.exceeded() or ""
        self._lines: list[bytes] = []
        self._gather = GATHER_SECONDS if concurrency >= _MANY else 0.0
        self._dirty, self._unsynced = asyncio.Event(), asyncio.Event()
        self._syncing: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    def reserve(self, job: Job) -> bool:
        """Whether there is money for a job, which is then kept back for it. `spent` where there will be none."""
        meter = self._meter
        if meter is None or not meter.limited:
            return True
        if self.spent:
            return False
        tokens_in, tokens_out = room_of(job)
        room = math.ceil(tokens_in * self._dear[0]), math.ceil(tokens_out * self._dear[1])
        if not meter.reserve(*room):
            self.spent = meter.short(*room) or ""
            return False
        job.reserved = room
        return True

    def release(self, job: Job) -> None:
        """A try of the job is over, and what came of it is recorded."""
        if job.reserved is not None and self._meter is not None:
            self._meter.release(*job.reserved)
            job.reserved = None

    def _learn(self, job: Job, tokens: tuple[int, int, int, bool]) -> None:
        """Prompts may have more tokens than was thought, and answers more than they were given room for."""
        for place, thought in enumerate(room_of(job)):
            self._dear[place] = max(self._dear[place], min(tokens[place] / thought, _DEAREST))

    def record(
        self,
        job: Job,
        event: str,
        sampling: Mapping[str, Any],
        *,
        error: Reading = READABLE,
        parts: Sequence[tuple[str, int, int]] | None = None,
        **came: Any,
    ) -> None:
        """A row about a job; its faults are then told. came: `reply` and `tokens`."""
        row = row_of(job, event, sampling, task=self._task, model=self._model, error=error, parts=parts, **came)
        job.faults = {}
        if job.reserved is not None and "tokens" in came:
            self._learn(job, came["tokens"])
        line = None
        if event == "answer":
            with contextlib.suppress(UnicodeEncodeError):
                line = line_of_answer(row, self._fixed)
        line = self._ledger.note(row, line)
        self._own.pay(row)
        self._lines.append(line)
        if self._gather:
            self._dirty.set()
        else:
            self._flush()

    def count(self, outcome: str, *, reused: bool = False) -> None:
        """A request has come to its end: "answer", "split", or the kind of its failure."""
        if outcome == "answer":
            self._own.answers += 1
            self._own.reused += reused
        elif outcome == "split":
            self._own.splits += 1
        else:
            self._own.failed[outcome] = self._own.failed.get(outcome, 0) + 1

    def tell(self) -> None:
        """Save the sums, if they were not just saved."""
        if self._meter is not None:
            self._meter.save()

    async def write(self) -> None:
        """For ever: rows that have come together go into a frame.

        Not in a thread: to get the interpreter back from a busy event loop costs it 5 ms, several times for each frame,
        and to hand bytes to the operating system takes microseconds.
        """
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self._gather)
            self._flush()

    async def sync(self) -> None:
        """For ever: what was written is brought to the disk, beside further writing."""
        while True:
            await self._unsynced.wait()
            await asyncio.sleep(SYNC_SECONDS)
            self._unsynced.clear()
            self._syncing = asyncio.get_running_loop().run_in_executor(self._thread, self._ledger.sync)
            await asyncio.shield(self._syncing)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._dirty.clear()
        if lines:
            self._ledger.write(lines)
            self._unsynced.set()

    async def close(self) -> None:
        """Return when all rows are on the disk: what has been answered is written, whatever stopped the session."""
        failed: TokenmillError | None = None
        loop = asyncio.get_running_loop()
        try:
            if self._syncing is not None:
                try:
                    await self._syncing
                except TokenmillError as error:  # a disk that is full for a moment: what was taken back is paid for
                    failed = error
                    await loop.run_in_executor(self._thread, self._ledger.rescue)
            self._flush()
            await loop.run_in_executor(self._thread, self._ledger.sync)
            if failed is not None:
                raise failed
        finally:
            await asyncio.to_thread(self._thread.shutdown)
            if self._meter is not None:
                self._meter.save(force=True)
