"""How many requests are under way, against servers that are simulated by what they answer; and the breaker."""

from __future__ import annotations

import pytest

from tokenmill.core.errors import FatalError
from tokenmill.rephrase.breaker import Breaker
from tokenmill.rephrase.pace import Pace


def rounds(pace: Pace, count: int, per_token: float = 0.01, pushed: float = 0.0, capacity: float = 1e9) -> list[int]:
    """Rounds of as many requests as there is room for; limits after each. capacity: above, time grows with the load."""
    limits = []
    for _ in range(count):
        started = pace.room
        for _ in range(started):
            pace.started()
        slow = per_token * max(1.0, started / capacity)
        for number in range(started):
            if number < pushed * started:
                pace.pushed_back()
            else:
                pace.came(100 * slow, 100)
            pace.ended()
        limits.append(int(pace.limit))
    return limits


def test_doubles_up_to_the_ceiling_while_the_server_gains() -> None:
    assert rounds(Pace(500), 5) == [128, 256, 500, 500, 500]


@pytest.mark.parametrize(("ceiling", "first"), [(1, 1), (8, 8), (64, 64), (65, 64)])
def test_begins_at_64_or_the_ceiling(ceiling: int, first: int) -> None:
    assert int(Pace(ceiling).limit) == first


def test_stops_to_double_where_doubling_brings_nothing() -> None:
    limits = rounds(Pace(4096), 30, capacity=100)
    assert 100 <= limits[-1] <= 600, "not far above what the server can do"
    assert min(limits[2:]) >= 100, "and never below: a longer time per token alone is no sign"


@pytest.mark.parametrize(
    ("share", "least", "most"),
    [(1.0, 1, 1), (0.6, 1, 3), (0.2, 4, 20), (0.02, 20, 200)],
)
def test_falls_with_the_share_of_push_back(share: float, least: int, most: int) -> None:
    pace = Pace(256)
    rounds(pace, 40, pushed=share)
    assert least <= pace.limit <= most


def test_one_slow_window_does_not_end_the_doubling() -> None:
    pace = Pace(1000)
    rounds(pace, 1)
    assert rounds(pace, 1, per_token=0.03) == [128]
    assert rounds(pace, 3)[-1] >= 256


def test_comes_back_when_the_wall_is_gone() -> None:
    pace = Pace(256)
    rounds(pace, 30, pushed=1.0)
    assert pace.limit == 1
    assert rounds(pace, 200)[-1] == 256


def test_a_server_that_breaks_down_is_relieved() -> None:
    pace = Pace(256)
    rounds(pace, 6)
    assert rounds(pace, 12, per_token=0.1)[-1] < 256


def test_an_input_without_work_says_nothing() -> None:
    pace = Pace(256)
    for _ in range(500):  # one at a time
        pace.started()
        pace.came(1.0, 100)
        pace.ended()
    assert pace.limit == 64


def test_the_breaker_opens_probes_and_closes() -> None:
    breaker = Breaker(900)
    for number in range(20):
        assert breaker.allows(number)
        breaker.faulted("gone", number)
    assert breaker.is_open
    assert not breaker.allows(19.9)
    pauses, now = [], 19.0
    for _ in range(8):
        pause = next(step for step in range(1, 200) if breaker.allows(now + step))
        pauses.append(pause)
        now += pause
        breaker.started()
        assert not breaker.allows(now), "one probe at a time"
        breaker.faulted("gone", now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    breaker.answered()
    assert breaker.allows(now)
    assert not breaker.is_open


def test_an_answer_between_faults_keeps_it_closed() -> None:
    breaker = Breaker(900)
    for number in range(100):
        breaker.faulted("oops", number)
        if number % 19 == 0:
            breaker.answered()
    assert not breaker.is_open


@pytest.mark.parametrize(("seconds", "over"), [(899.0, False), (900.0, False), (901.0, True)])
def test_gives_up_after_long_silence(seconds: float, over: bool) -> None:
    breaker = Breaker(900)
    breaker.faulted("429: later", 10.0, counts=False)
    assert not breaker.is_open
    if over:
        with pytest.raises(FatalError, match="901 seconds") as caught:
            breaker.watch(10.0 + seconds)
        assert caught.value.why == "429: later"
    else:
        breaker.watch(10.0 + seconds)
    breaker.answered()
    breaker.watch(1e9)


def test_impossible_counts_of_tokens_stop_nobody() -> None:
    """Of a server that told 3 and -3 by turns the sum was zero."""
    pace = Pace(8)
    for number in range(64):
        pace.started()
        pace.came(0.1, (3, -3)[number % 2])
        pace.ended()
    assert 1 <= pace.limit <= 8
