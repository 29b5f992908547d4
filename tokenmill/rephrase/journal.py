"""What a session writes: rows into the ledger, in groups, and sums into the meter."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tokenmill.rephrase.answering import row_of
from tokenmill.rephrase.engines.base import Identity
from tokenmill.rephrase.ledger import Ledger
from tokenmill.rephrase.meter import Meter, Spent
from tokenmill.rephrase.reading import READABLE, Reading
from tokenmill.rephrase.supply import Job

GATHER_SECONDS = 0.02
"""Rows wait so long for others, to share a frame and a wait for the disk: little beside the requests under way."""
MOST_UNWRITTEN = 16 << 20
"""Bytes of rows that may wait for a slow disk."""


class Journal:
    """The one writer of a session. `write` runs beside the workers; `close` in the end, whatever has happened."""

    def __init__(self, ledger: Ledger, meter: Meter | None, model: Identity) -> None:
        self.spent = ""
        """Why nothing more may be asked, once that is so."""
        self._ledger, self._meter = ledger, meter
        self._model = model.to_json()
        self._task = (meter.run, meter.name) if meter is not None else ("", "")
        self._own = Spent()
        if meter is not None:
            meter.begin(ledger.paid.get(self._task, Spent()))
            self._own = meter.own
            self.spent = meter.exceeded() or ""
        self._lines: list[bytes] = []
        self._size = 0
        self._dirty = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    @property
    def full(self) -> bool:
        """Whether the disk must catch up first."""
        return self._size > MOST_UNWRITTEN

    def may_ask(self) -> bool:
        """Whether there is money left for another request."""
        if self._meter is not None and not self.spent:
            self.spent = self._meter.exceeded() or ""
        return not self.spent

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
        line = self._ledger.note(row)
        self._own.pay(row)
        self._lines.append(line)
        self._size += len(line)
        self._dirty.set()

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
        """For ever: rows that wait go to the disk together."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(GATHER_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._dirty.clear()
        if lines:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._ledger.commit, lines)
            self._size -= sum(map(len, lines))

    async def close(self) -> None:
        """Return when all rows are on the disk: what has been answered is written, whatever stopped the session."""
        try:
            await self._flush()
        finally:
            await asyncio.to_thread(self._thread.shutdown)  # one that was under way when the session was stopped
            if self._meter is not None:
                self._meter.save(force=True)
