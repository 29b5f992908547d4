"""How many requests are under way: more while the server gains by it, fewer when it pushes back.

Windows of as many answers as requests may be under way. The limit doubles (slow start) until a sign of saturation, or
two windows in a row that gain nothing; then it grows by a sixteenth of itself. Signs are: answers 429 and 503 and
time-outs, after which the limit falls by half their share in the window (the rule of DCTCP, Alizadeh et al., SIGCOMM
2010: a lone 429 in a hundred costs little, a wall of them halves); and a server that gets through less than it did
while each token takes longer, which is what a full key-value cache looks like: times 0.7. A longer time per token alone
is no sign: continuous batching trades it for throughput. Throughput is that of a server that is kept busy, by Little's
law: requests under way over the time that each token takes. Pauses, be they asked for by the server or of the input, do
not count.
"""

from __future__ import annotations

START = 64
"""Requests under way at the beginning."""
_LEAST = 8
"""Answers of the shortest window."""
_NEAR = 2.0
"""Time per token up to so many times the best seen: the server has room."""
_GAIN = 1.02
"""Growth of throughput that justifies more requests."""
_DOUBLING_GAIN = 1.1
"""The same for slow start, which has doubled them."""
_LOSS = 0.8
"""Share of the best throughput below which a slower server counts as overloaded, if it is so in `_SURE` windows."""
_SURE = 3
_CUT = 0.7
_PROBE = 10
"""Windows without growth, after which one more step is tried: conditions change."""
_FADE = 0.99
"""The best values seen lose so much for each window, so that they do not outlive their time."""


class Pace:
    """The limit on requests under way, from 1 to `ceiling`."""

    def __init__(self, ceiling: int) -> None:
        self.under_way = 0
        self.limit = float(min(ceiling, START))
        self._ceiling = ceiling
        self._slow_start = True
        self._doubted = False
        self._best_rate = 0.0
        self._floor = float("inf")
        self._last_rate = 0.0
        self._held = self._slow = 0
        self._begin()

    def _begin(self) -> None:
        self._wanted = max(int(self.limit), _LEAST)
        self._came = self._pushed = self._tokens = self._beside = 0
        self._seconds = 0.0
        self._full = False

    @property
    def room(self) -> int:
        """Requests that may be started now."""
        return int(self.limit) - self.under_way

    def started(self) -> None:
        """A request goes out."""
        self.under_way += 1
        if self.under_way >= int(self.limit):
            self._full = True

    def ended(self) -> None:
        """A request is no longer under way."""
        self.under_way -= 1

    def came(self, seconds: float, tokens: int) -> None:
        """An answer of so many tokens has come after so many seconds."""
        self._came += 1
        self._seconds += seconds
        self._tokens += max(1, tokens)
        self._beside += self.under_way
        if self._came + self._pushed >= self._wanted:
            self._decide()

    def pushed_back(self) -> None:
        """The server has said that it is too much, or has not answered in time."""
        self._pushed += 1
        if self._came + self._pushed >= self._wanted:
            self._decide()

    def _decide(self) -> None:
        if self._pushed:
            self._slow_start = False
            share = self._pushed / (self._came + self._pushed)
            self._set(self.limit * (1 - share / 2) + (share < 0.5))
            self._held = 0
        elif self._seconds > 0:
            per_token = self._seconds / self._tokens
            self._weigh(self._beside / self._came / per_token, per_token)
        self._begin()

    def _weigh(self, rate: float, per_token: float) -> None:
        """A window without push-back: rate in tokens a second, per_token in seconds."""
        self._floor = min(self._floor / _FADE, per_token)
        before = self._best_rate * _FADE
        self._best_rate = max(before, rate)
        near = per_token <= _NEAR * self._floor
        self._slow = self._slow + 1 if not near and rate < _LOSS * before else 0
        if self._slow >= _SURE:
            self._slow_start, self._slow = False, 0
            self._set(self.limit * _CUT)
        elif not self._full:
            pass  # the input is the limit, and says nothing about the server
        elif self._slow_start and rate >= _DOUBLING_GAIN * self._last_rate:
            self._set(2 * self.limit)
            self._doubted = False
        elif self._slow_start and not self._doubted:
            self._doubted = True  # one window may be slow for any reason, and the climb after slow start is long
        else:
            self._slow_start = False
            self._held += 1
            if near or rate >= _GAIN * before or self._held >= _PROBE:
                self._set(self.limit + max(1.0, self.limit / 16))
                self._held = 0
        self._last_rate = rate

    def _set(self, limit: float) -> None:
        self.limit = min(max(limit, 1.0), float(self._ceiling))
