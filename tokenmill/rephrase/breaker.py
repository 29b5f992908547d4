"""When a server is gone: nobody asks but one probe now and then, and after a while the run stops."""

from __future__ import annotations

from tokenmill.core.errors import FatalError

THRESHOLD = 20
"""Faults in a row, without any answer between them, after which the server counts as gone."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Breaker:
    """Counts faults (all but 429, which only a living server says) until an answer comes. Times in seconds."""

    def __init__(self, give_up: float, *, threshold: int = THRESHOLD, first_pause: float = FIRST_PAUSE) -> None:
        self._give_up = give_up
        self._threshold = threshold
        self._first_pause = first_pause
        self._faults = 0
        self._pause = 0.0
        self._next = 0.0
        self._since: float | None = None
        """The first fault after the last answer."""
        self._last = ""
        self.is_open = False
        self._probing = False

    def allows(self, now: float) -> bool:
        """Whether a request may be sent."""
        return not self.is_open or (not self._probing and now >= self._next)

    def started(self) -> None:
        """A request goes out; of an open breaker it is the probe."""
        self._probing = self.is_open

    def answered(self) -> None:
        """The server lives."""
        self._faults, self._since, self._pause = 0, None, 0.0
        self.is_open = self._probing = False

    def faulted(self, detail: str, now: float, *, counts: bool = True) -> None:
        """A try has failed. counts: whether the server may be gone, by what it was.

        FatalError after `give_up` seconds without any answer.
        """
        self._last = detail
        if self._since is None:
            self._since = now
        self._faults += counts
        if self._faults >= self._threshold and (not self.is_open or self._probing):
            self.is_open, self._probing = True, False
            self._pause = min(2 * self._pause or self._first_pause, LONGEST_PAUSE)
            self._next = now + self._pause
        self.watch(now)

    def watch(self, now: float) -> None:
        """FatalError where no answer has come for too long."""
        if self._since is not None and now - self._since > self._give_up:
            raise FatalError(
                f"no answer from the server for {now - self._since:.0f} seconds",
                why=self._last,
                fix="the same command goes on where this one stopped, once the server answers",
            )
