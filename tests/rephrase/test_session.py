"""What becomes of requests: an engine that transforms pages, and fails by script, in this process."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError, FatalError, ShardError
from tokenmill.io.chat.reply import ChatFault, ContextOverflow, Reply, RequestFailed
from tokenmill.rephrase.answering import fixed_of, line_of_answer, row_of
from tokenmill.rephrase.engines.base import Identity, Messages
from tokenmill.rephrase.ledger import Entry, Ledger, part_of, read_entries
from tokenmill.rephrase.meter import Meter, Spent
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.request import Passage, Request, request_key
from tokenmill.rephrase.segments import line_of
from tokenmill.rephrase.session import SessionSettings, run_session
from tokenmill.rephrase.supply import Job

SAMPLING = {"temperature": 0.0, "max_tokens": 50, "seed": 5}
QUICK = {"first_wait": 0.001, "longest_wait": 0.004}

Script = Callable[[str, int, Mapping[str, Any]], Any]
"""(page, how often it has come before, settings) -> an exception to raise, changes to the reply, or nothing."""


class Engine:
    """Turns the words of a page round, and does what the script says."""

    def __init__(self, script: Script = lambda *_: None, *, model: str = "m") -> None:
        self.identity = Identity(model)
        self.script = script
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.seen: Counter[str] = Counter()
        self.most = self.now = self.entered = 0

    async def __aenter__(self) -> Engine:
        self.entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def check(self, sampling: Mapping[str, Any]) -> None: ...

    async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
        page = messages[-1]["content"]
        before = self.seen[page]
        self.seen[page] += 1
        self.asked.append((page, dict(sampling)))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
        finally:
            self.now -= 1
        found = self.script(page, before, sampling)
        if isinstance(found, Exception):
            raise found
        words = page.split()[::-1]
        reply = {
            "text": " ".join(words), "finish_reason": "stop", "model": "served",
            "usage": {"prompt_tokens": len(words), "completion_tokens": len(words)}, "refusal": "", "seconds": 0.01,
        }  # fmt: skip
        return Reply(**{**reply, **(found or {})})


def request(text: str, *, start: int = 0, depth: int = 0, model: str = "m", sampling: Any = SAMPLING) -> Request:
    messages = ({"role": "user", "content": text},)
    key = request_key(Identity(model).to_json(), "digest", messages, sampling)
    return Request(key, "style", messages, sampling, Passage("d", 0, start, start + len(text), text, 9), depth)


def halves(asked: Request) -> Sequence[Request]:
    """Halves at the middle word."""
    words, start = asked.passage.text.split(), asked.passage.start
    if len(words) < 2:
        return ()
    first, second = " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])
    after = start + len(first) + 1
    return [request(first, start=start, depth=asked.depth + 1), request(second, start=after, depth=asked.depth + 1)]


def run(
    folder: Path,
    engine: Engine,
    requests: Iterable[Request],
    *,
    read: Callable[[Request, Reply], Reading] = lambda *_: Reading(),
    meter: Meter | None = None,
    alive: Callable[[], None] = lambda: None,
    **changes: Any,
) -> dict[str, Entry]:
    """A session on the ledger of a folder; text -> what became of it."""
    settings = SessionSettings(**{**QUICK, **changes})
    asked = {}

    def noted() -> Iterable[Request]:
        for one in requests:
            asked[one.passage.text] = one.key
            yield one

    with Ledger(folder / "ledger") as ledger:
        run_session(engine, ledger, settings, noted(), read=read, rechunk=halves, meter=meter, alive=alive)
        return {text: ledger.entries[key] for text, key in asked.items()}


def test_answers_are_kept_and_equal_requests_asked_once(tmp_path: Path) -> None:
    engine = Engine()
    found = run(tmp_path, engine, [request("a b c"), request("d e"), request("a b c")])
    assert {text: entry.response for text, entry in found.items()} == {"a b c": "c b a", "d e": "e d"}
    assert len(engine.asked) == 2
    row = found["a b c"].row
    assert (row["part"], row["served_by"], row["tokens"]) == (part_of("a b c"), "served", [3, 3, 0])
    assert row["sampling"] == SAMPLING
    again = Engine()
    assert run(tmp_path, again, [request("d e"), request("a b c")])["d e"].response == "e d"
    assert again.asked == []
    assert again.entered == 0, "a finished run needs no server"


@pytest.mark.parametrize("change", [{"model": "other"}, {"sampling": {**SAMPLING, "temperature": 0.1}}])
def test_another_model_or_temperature_gets_no_old_answer(tmp_path: Path, change: dict[str, Any]) -> None:
    run(tmp_path, Engine(), [request("a b")])
    engine = Engine()
    run(tmp_path, engine, [request("a b", **change)])
    assert len(engine.asked) == 1


LENGTH = {"finish_reason": "length", "text": "cut"}
GONE = ChatFault("connection", "refused")


@pytest.mark.parametrize(
    ("script", "outcome", "attempts", "asked"),
    [
        ([None], "answer", 1, 1),
        ([ChatFault("429", "slow", 0.002), None], "answer", 1, 2),
        ([ChatFault("500", "oops")] * 3 + [None], "answer", 1, 4),
        ([ChatFault("500", "oops")] * 4, "server", 0, 4),
        ([LENGTH, None], "answer", 2, 2),
        ([LENGTH, LENGTH], "length", 2, 2),
        ([{"finish_reason": ""}], "answer", 1, 1),
        ([{"finish_reason": "", "usage": {"completion_tokens": 50}}] * 1 + [LENGTH], "length", 2, 2),
        ([{"finish_reason": "", "usage": {"completion_tokens": 49}}], "answer", 1, 1),
        ([{"finish_reason": "abort"}, None], "answer", 2, 2),
        ([{"text": " \n"}, None], "answer", 2, 2),
        ([{"text": ""}] * 3, "empty", 3, 3),
        ([{"text": "bad"}, {"text": "bad"}, None], "answer", 3, 3),
        ([{"text": "bad"}] * 3, "parse", 3, 3),
        ([{"text": "bad"}, LENGTH, {"text": "bad"}, None], "answer", 4, 4),
        ([{"text": "raise"}] * 3, "parse", 3, 3),
        ([{"text": "no", "refusal": ""}], "refusal", 1, 1),
        ([{"text": "", "refusal": "I cannot"}], "refusal", 1, 1),
        ([{"finish_reason": "content_filter"}], "content_filter", 1, 1),
        ([RequestFailed("content_filter", "flagged")], "content_filter", 0, 1),
        ([{"finish_reason": "", "usage": {"completion_tokens": 51}}] * 1 + [LENGTH], "length", 2, 2),
        ([RequestFailed("bad_request", "no such setting")], "bad_request", 0, 1),
        ([RequestFailed("server", "gone")], "server", 0, 1),
    ],
)
def test_what_becomes_of_a_request(tmp_path: Path, script: list[Any], outcome: str, attempts: int, asked: int) -> None:
    engine = Engine(lambda page, before, sampling: script[before])

    def read(_: Request, reply: Reply) -> Reading:
        if reply.text == "raise":
            raise RecursionError("too deep")
        return Reading({"bad": "parse", "no": "refusal"}.get(reply.text, ""), "by the test")

    entry = run(tmp_path, engine, [request("a b")], read=read, tries=4)["a b"]
    assert (entry.kind or entry.outcome, entry.attempts, len(engine.asked)) == (outcome, attempts, asked)
    assert sum(entry.faults.values()) == sum(isinstance(one, ChatFault) for one in script)
    if outcome == "answer":
        assert entry.response == "b a"
    resumed = Engine()
    run(tmp_path, resumed, [request("a b")])
    assert len(resumed.asked) == (outcome == "server"), "only what failed for want of a server is asked again"


def test_later_attempts_change_seed_temperature_and_room(tmp_path: Path) -> None:
    script = [{"text": "bad"}, LENGTH, {"text": "bad"}, None]
    engine = Engine(lambda page, before, sampling: script[before])
    run(tmp_path, engine, [request("a b")], read=lambda _, reply: Reading("parse" if reply.text == "bad" else ""))
    told = [(one["seed"], one["temperature"], one["max_tokens"]) for _, one in engine.asked]
    assert told == [(5, 0.0, 50), (6, 0.0, 50), (7, 0.3, 100), (8, 0.3, 100)]


def test_failures_are_asked_again_when_named_and_counted_on(tmp_path: Path) -> None:
    run(tmp_path, Engine(lambda *_: LENGTH), [request("a b")])
    engine = Engine(lambda page, before, sampling: None if sampling["max_tokens"] >= 200 else LENGTH)
    entry = run(tmp_path, engine, [request("a b")], retry=frozenset({"length"}))["a b"]
    assert [one["max_tokens"] for _, one in engine.asked] == [200]
    assert (entry.outcome, entry.row["attempt"], entry.attempts) == ("answer", 3, 3)
    assert run(tmp_path, Engine(), [request("a b")], retry=frozenset({"length"}))["a b"].response == "b a"


def test_long_passages_are_asked_in_halves(tmp_path: Path) -> None:
    def script(page: str, before: int, sampling: Any) -> Any:
        return ContextOverflow("too long") if len(page.split()) > 2 else None

    text = "one two three four five six"
    engine = Engine(script)
    with Ledger(tmp_path / "ledger", (part_of(text), part_of(text))) as ledger:
        for _ in range(2):
            run_session(engine, ledger, SessionSettings(), [request(text)], read=lambda *_: Reading(), rechunk=halves)
        entries = ledger.entries
    leaves, waiting = [], [request(text).key]
    while waiting:
        entry = entries[waiting.pop()]
        waiting += [key for key, _, _ in reversed(entry.parts)]
        leaves += [entry.response] if entry.outcome == "answer" else []
        assert all(text[start:end].split() for _, start, end in entry.parts)
    assert " ".join(leaves).split() == ["one", "three", "two", "four", "six", "five"]
    with Ledger(tmp_path / "ledger", (part_of(text), part_of(text))) as again:
        assert again.entries == entries, "pieces lie with the whole"
        count = len(engine.asked)
        run_session(engine, again, SessionSettings(), [request(text)], read=lambda *_: Reading(), rechunk=halves)
    assert len(engine.asked) == count


@pytest.mark.parametrize("text", ["word", " ".join("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz")])
def test_what_fits_into_no_context_ends(tmp_path: Path, text: str) -> None:
    engine = Engine(lambda *_: ContextOverflow("too long"))
    run(tmp_path, engine, [request(text)])
    with Ledger(tmp_path / "ledger") as ledger:
        ends = Counter(entry.kind or entry.outcome for entry in ledger.entries.values())
    assert set(ends) <= {"split", "context"}
    assert len(engine.asked) <= 31


def test_no_more_under_way_than_allowed_and_input_taken_as_needed(tmp_path: Path) -> None:
    engine = Engine()
    taken = []

    def requests() -> Iterable[Request]:
        for number in range(200):
            taken.append(number)
            assert number - len(engine.asked) <= 8
            yield request(f"page {number}")

    assert len(run(tmp_path, engine, requests(), concurrency=7)) == 200
    assert engine.most == 7


def test_a_waiting_request_holds_no_place(tmp_path: Path) -> None:
    """The first page waits for long; with one place, all others go before."""
    engine = Engine(lambda page, before, _: ChatFault("500", "oops") if page == "page 0" and before < 1 else None)
    run(tmp_path, engine, [request(f"page {n}") for n in range(5)], concurrency=1, first_wait=0.3, longest_wait=0.3)
    assert [page for page, _ in engine.asked] == ["page 0", "page 1", "page 2", "page 3", "page 4", "page 0"]


def test_retry_after_holds_for_all(tmp_path: Path) -> None:
    moments: list[float] = []

    def script(page: str, before: int, _: Any) -> Any:
        moments.append(time.monotonic())
        return ChatFault("429", "slow", 0.15) if page == "page 0" and not before else None

    run(tmp_path, Engine(script), [request(f"page {n}") for n in range(6)], concurrency=1, longest_wait=1.0)
    assert moments[1] - moments[0] >= 0.15


def test_a_server_that_goes_away_for_a_while_costs_no_request(tmp_path: Path) -> None:
    calls = itertools.count()
    engine = Engine(lambda *_: GONE if 30 <= next(calls) < 55 else None)
    found = run(tmp_path, engine, [request(f"page {n}") for n in range(80)], tries=3, concurrency=30)
    assert {entry.outcome for entry in found.values()} == {"answer"}


@pytest.mark.parametrize(
    ("stale", "outcome", "told"), [(1, "answer", {}), (3, "answer", {}), (4, "server", {"stale": 1})]
)
def test_connections_that_the_server_had_closed_cost_no_try(
    tmp_path: Path, stale: int, outcome: str, told: dict[str, int]
) -> None:
    """Asked again at once; but a page on which a server dies looks the same, and must end."""
    closed = ChatFault("stale", "a kept connection ended")
    engine = Engine(lambda page, before, _: closed if before < stale else None)
    started = time.monotonic()
    entry = run(tmp_path, engine, [request("a b")], tries=1, first_wait=30.0, longest_wait=30.0)["a b"]
    assert time.monotonic() - started < 15.0
    assert (entry.kind or entry.outcome, entry.faults) == (outcome, told)
    assert len(engine.asked) == min(stale + 1, 4)


@pytest.mark.parametrize("concurrency", [8, 200])
def test_rows_are_in_the_file_long_before_the_session_ends(tmp_path: Path, concurrency: int) -> None:
    """What a killed process leaves behind: the last page looks at what a reader finds while it is asked about."""
    found: list[int] = []

    class Slow(Engine):
        async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
            if messages[-1]["content"] == "page 39":
                while len(self.asked) < 39 or (len(found) < 500 and (found or [0])[-1] < 39):
                    await asyncio.sleep(0.01)
                    found.append(len(read_entries(tmp_path / "ledger")[0]))
            return await super().ask(messages, sampling)

    run(tmp_path, Slow(), [request(f"page {n}") for n in range(40)], concurrency=concurrency)
    assert found[-1] == 39


def test_a_disk_that_fails_behind_the_session_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises((FatalError, ShardError)):
            run(tmp_path, Engine(), [request(f"page {n}") for n in range(5)])
    assert read_entries(tmp_path / "ledger") == ({}, 0), "what may not be on the disk is not there at all"
    found = run(tmp_path, Engine(), [request(f"page {n}") for n in range(5)])
    assert {entry.outcome for entry in found.values()} == {"answer"}


def test_silence_for_too_long_ends_the_run(tmp_path: Path) -> None:
    engine = Engine(lambda *_: GONE)
    with pytest.raises(FatalError, match="no answer from the server"):
        run(tmp_path, engine, [request(f"page {n}") for n in range(50)], tries=100, give_up_seconds=0.2)
    found = run(tmp_path, Engine(), [request(f"page {n}") for n in range(50)])
    assert {entry.outcome for entry in found.values()} == {"answer"}


def test_requests_given_up_in_a_row_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="10 requests in a row"):
        run(tmp_path, Engine(lambda *_: ChatFault("429", "slow")), [request(f"page {n}") for n in range(50)], tries=2)


@pytest.mark.parametrize(("count", "fatal"), [(9, False), (10, True)])
def test_bad_requests_from_the_start_are_wrong_settings(tmp_path: Path, count: int, fatal: bool) -> None:
    engine = Engine(lambda *_: RequestFailed("bad_request", "temperature is not allowed"))
    requests = [request(f"page {n}") for n in range(count)]
    if fatal:
        with pytest.raises(FatalError, match="refused the first 10"):
            run(tmp_path, engine, requests)
        found = run(tmp_path, Engine(), requests)
        assert {entry.outcome for entry in found.values()} == {"answer"}, "none was noted as bad"
    else:
        assert {entry.kind for entry in run(tmp_path, engine, requests).values()} == {"bad_request"}


def test_what_has_come_is_kept_when_an_error_stops_the_run(tmp_path: Path) -> None:
    engine = Engine(lambda page, *_: FatalError("no credit left") if page == "page 20" else None)
    with pytest.raises(FatalError, match="no credit"):
        run(tmp_path, engine, [request(f"page {n}") for n in range(50)], concurrency=1)
    again = Engine()
    run(tmp_path, again, [request(f"page {n}") for n in range(50)])
    assert again.asked
    assert not {f"page {n}" for n in range(20)} & set(dict(again.asked))


def test_errors_of_the_input_and_of_the_beat_come_out(tmp_path: Path) -> None:
    def broken() -> Iterable[Request]:
        yield request("a b")
        yield request("c d")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        run(tmp_path, Engine(), broken())

    def stop() -> None:
        raise FatalError("stopped from outside")

    with pytest.raises(FatalError, match="from outside"):
        run(tmp_path, Engine(), [request("e f")], alive=stop)


def test_stops_at_the_budget_and_goes_on_with_more(tmp_path: Path) -> None:
    requests = [request(f"page {n}") for n in range(40)]  # 4 tokens each

    def meter(limit: int) -> Meter:
        return Meter(tmp_path / "spent", "run", "all", max_tokens=limit, every=0.0)

    engine = Engine()
    with pytest.raises(FatalError, match="budget") as caught:
        run(tmp_path, engine, requests, meter=meter(120), concurrency=4)
    assert len(engine.asked) == 15, "each may take 60 tokens and takes 4"
    assert "60 tokens are spent" in caught.value.why
    stopped = Engine()
    with pytest.raises(FatalError, match="budget"):
        run(tmp_path, stopped, requests, meter=meter(60))
    assert (stopped.asked, stopped.entered) == ([], 0)

    published = run(tmp_path, stopped, requests, meter=meter(60), when_spent="publish")
    counts = Counter(entry.kind or entry.outcome for entry in published.values())
    assert counts == {"answer": len(engine.asked), "budget": 40 - len(engine.asked)}
    size = sum(path.stat().st_size for path in (tmp_path / "ledger" / "segments").iterdir())
    run(tmp_path, stopped, requests, meter=meter(60), when_spent="publish")
    assert size == sum(path.stat().st_size for path in (tmp_path / "ledger" / "segments").iterdir()), "said once"

    more, last = Engine(), meter(1000)
    found = run(tmp_path, more, requests, meter=last)
    assert {entry.outcome for entry in found.values()} == {"answer"}
    assert len(more.asked) + len(engine.asked) == 40
    total = last.total()
    assert (total.requests, total.answers, total.reused, total.failed) == (40, 40, len(engine.asked), {})


def test_a_finished_run_needs_no_budget(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "spent", "run", "all", max_tokens=8, every=0.0)
    run(tmp_path, Engine(), [request("a b"), request("c d")], concurrency=1)
    run(tmp_path, Engine(), [request("a b"), request("c d")], meter=meter, concurrency=1)


class Dear(Engine):
    """Answers take all the tokens they may, and come together; notes the most that can have been paid for."""

    async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
        self.asked.append((messages[-1]["content"], dict(sampling)))
        await asyncio.sleep(0.01)
        tokens = {"prompt_tokens": 10, "completion_tokens": sampling["max_tokens"]}
        return Reply("an answer", "stop", tokens, "m", "", 0.01)


@pytest.mark.parametrize("limits", [{"max_tokens": 500}, {"max_cost": 0.0005}])
def test_what_is_under_way_is_paid_from_the_budget_too(tmp_path: Path, limits: dict[str, Any]) -> None:
    """64 may be under way at once and would take 3,840 tokens."""
    meter = Meter(tmp_path / "spent", "run", "all", price_in=1.0, price_out=1.0, every=0.0, **limits)
    engine = Dear()
    with pytest.raises(FatalError, match="budget") as caught:
        run(tmp_path, engine, [request(f"page {n}") for n in range(100)], meter=meter)
    spent = meter.own.tokens_in + meter.own.tokens_out
    assert spent == 60 * len(engine.asked)
    assert 300 < spent <= 500
    told = f"{spent:,} tokens are spent" if "max_tokens" in limits else f"{spent / 1e6:.2f} US dollars are spent"
    assert told in caught.value.why, "said when all had come back"


def test_a_budget_smaller_than_one_request_stops_before_the_engine_starts(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "spent", "run", "all", max_tokens=40, every=0.0)
    engine = Engine()
    with pytest.raises(FatalError, match="budget") as caught:
        run(tmp_path, engine, [request("page 1")], meter=meter)
    assert caught.value.why == "0 tokens are spent, the next request may take 60, the limit is 40"
    assert (engine.entered, engine.asked) == (0, [])


def test_prompts_that_take_more_than_was_thought_are_learned_from(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "spent", "run", "all", max_tokens=3000, every=0.0)
    engine = Engine(lambda *_: {"usage": {"prompt_tokens": 500, "completion_tokens": 5}})
    with pytest.raises(FatalError, match="budget"):
        run(tmp_path, engine, [request(f"page {n}") for n in range(100)], meter=meter, concurrency=1)
    assert meter.own.tokens_in + meter.own.tokens_out <= 3000


def test_waits_for_what_others_have_under_way(tmp_path: Path) -> None:
    """Another process has reserved the rest, and gives some of it back after a while."""
    other = Meter(tmp_path / "spent", "run", "other", max_tokens=200, every=0.0)
    assert other.reserve(100, 90)
    other.begin(Spent())
    calls = itertools.count()

    def alive() -> None:
        if next(calls) == 2:
            other.release(100, 90)
        other.save()

    meter = Meter(tmp_path / "spent", "run", "all", max_tokens=200, every=0.0)
    found = run(tmp_path, Engine(), [request("a b")], meter=meter, alive=alive)
    assert found["a b"].outcome == "answer"
    assert next(calls) >= 2


BAD = RequestFailed("bad_request", "model unloaded")
FLAGGED = RequestFailed("content_filter", "flagged")


@pytest.mark.parametrize("fault", [BAD, FLAGGED])
@pytest.mark.parametrize(("good", "refused", "fatal"), [(5, 19, False), (5, 20, True)])
def test_many_refused_in_a_row_later_on(
    tmp_path: Path, fault: RequestFailed, good: int, refused: int, fatal: bool
) -> None:
    engine = Engine(lambda page, *_: fault if int(page.split()[1]) >= good else None)
    requests = [request(f"page {n}") for n in range(good + refused)]
    if fatal:
        with pytest.raises(FatalError, match="refused 20 requests in a row"):
            run(tmp_path, engine, requests, concurrency=1)
        found = run(tmp_path, Engine(), requests)
        assert {entry.outcome for entry in found.values()} == {"answer"}, "none is remembered as bad"
    else:
        found = run(tmp_path, engine, requests, concurrency=1)
        assert Counter(entry.kind or "answer" for entry in found.values()) == {fault.kind: refused, "answer": good}


def test_refused_ones_between_answers_never_end_a_session(tmp_path: Path) -> None:
    engine = Engine(lambda page, *_: BAD if int(page.split()[1]) % 3 else None)
    found = run(tmp_path, engine, [request(f"page {n}") for n in range(90)], concurrency=1)
    assert Counter(entry.kind for entry in found.values()) == {"": 30, "bad_request": 60}


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        ({"prompt_tokens": 10**25, "completion_tokens": 3}, (2, 3, 0, 1)),
        ({"prompt_tokens": -5, "completion_tokens": -1}, (2, 2, 0, 1)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cached_tokens": -4}, (7, 3, 0, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cached_tokens": 10**20}, (7, 3, 0, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cached_tokens": 9}, (7, 3, 7, 0)),
        ({"prompt_tokens": 2**31, "completion_tokens": 0}, (2**31, 0, 0, 0)),
    ],
)
def test_impossible_usage_counts_as_not_told(
    tmp_path: Path, usage: dict[str, int], wanted: tuple[int, int, int, int]
) -> None:
    entry = run(tmp_path, Engine(lambda *_: {"usage": usage}), [request("aaa bbbb")])["aaa bbbb"]
    assert (entry.tokens_in, entry.tokens_out, entry.tokens_cached, entry.estimated) == wanted


def test_rows_that_a_failed_sync_took_back_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full for a moment, while the last requests are under way: the run stops, and no answer is lost."""
    real, failed = os.fsync, []

    def once(descriptor: int) -> None:
        if not failed:
            failed.append(descriptor)
            raise OSError(28, "no space")
        real(descriptor)

    class Slow(Engine):
        async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
            if len(self.asked) >= 6:
                await asyncio.sleep(30)
            return await super().ask(messages, sampling)

    engine = Slow()
    monkeypatch.setattr(os, "fsync", once)
    with pytest.raises((FatalError, ShardError)):
        run(tmp_path, engine, [request(f"page {n}") for n in range(9)], concurrency=3)
    found, _ = read_entries(tmp_path / "ledger")
    assert len(found) == len(engine.asked) == 6
    assert {entry.attempts for entry in found.values()} == {1}


def test_a_time_out_of_the_session(tmp_path: Path) -> None:
    class Slow(Engine):
        async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
            if not self.seen["slow"]:
                self.seen["slow"] += 1
                await asyncio.sleep(30)
            return await super().ask(messages, sampling)

    entry = run(tmp_path, Slow(), [request("a b")], timeout=0.05)["a b"]
    assert (entry.outcome, entry.faults) == ("answer", {"timeout": 1})


def test_tokens_are_estimated_where_no_usage_is_told(tmp_path: Path) -> None:
    entry = run(tmp_path, Engine(lambda *_: {"usage": {}}), [request("12345 789")])["12345 789"]
    assert (entry.tokens_in, entry.tokens_out, entry.estimated) == (3, 3, 1)


def test_a_request_of_another_range_is_a_mistake(tmp_path: Path) -> None:
    part = part_of("a b")
    with Ledger(tmp_path, ("0000", f"{int(part, 16) - 1:04x}")) as ledger, pytest.raises(ValueError, match="outside"):
        run_session(Engine(), ledger, SessionSettings(), [request("a b")], read=lambda *_: Reading(), rechunk=halves)


@pytest.mark.parametrize(
    "wrong", [{"concurrency": 0}, {"tries": 0}, {"readings": 0}, {"first_wait": -1.0}, {"when_spent": "never"}]
)
def test_settings_that_cannot_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SessionSettings(**wrong)


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=[]), max_size=30),
    usage=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
    seconds=st.floats(0, 1e7),
    faults=st.dictionaries(st.sampled_from(["429", "timeout"]), st.integers(1, 3)),
)
def test_the_quick_line_of_an_answer_says_what_its_row_says(
    text: str, usage: dict[str, int], seconds: float, faults: dict[str, int]
) -> None:
    job = Job(request(f'a "page" \\ {text.encode("utf-8", "replace").decode()}'), "8000", None)
    job.faults = faults
    reply = Reply(text, "stop", usage, text, "", seconds)
    task, model = ('a "run"', "t"), Identity("m").to_json()
    row = row_of(job, "answer", job.sampling(), task=task, model=model, reply=reply, tokens=(1, 2, 3, True))
    try:
        line = line_of_answer(row, fixed_of(task, model))
    except UnicodeEncodeError:
        line = line_of(row)
    assert json.loads(line) == row
    assert line.count(b"\n") == 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_faults_any_order_any_stops_give_one_set(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """What a page meets is fixed; order, places and stops of the session are not."""
    kinds = [None, LENGTH, {"text": "bad"}, ChatFault("500", "oops"), ChatFault("429", "slow")]
    scripts = data.draw(st.lists(st.lists(st.sampled_from(kinds), max_size=4), min_size=1, max_size=12))
    pages = [f"page {number}" for number in range(len(scripts))]

    def outcome(folder: Path, order: Sequence[str], concurrency: int, stop: int | None) -> dict[str, str]:
        calls = itertools.count()

        def script(page: str, before: int, _: Any) -> Any:
            if next(calls) == stop:
                engine.seen[page] -= 1
                return FatalError("stop")
            met = scripts[pages.index(page)]
            return met[before] if before < len(met) else None

        engine = Engine(script)

        def read(_: Request, reply: Reply) -> Reading:
            return Reading("parse" if reply.text == "bad" else "")

        requests = [request(page) for page in order]
        options: dict[str, Any] = {"read": read, "concurrency": concurrency, "first_wait": 0.0, "longest_wait": 0.0}
        if stop is not None:
            try:
                run(folder, engine, requests, **options)
            except FatalError:
                pass
        found = run(folder, engine, requests, **options)
        return {page: entry.response or entry.kind for page, entry in found.items()}

    first = outcome(tmp_path_factory.mktemp("a"), pages, 1, None)
    order = data.draw(st.permutations(pages))
    assert outcome(tmp_path_factory.mktemp("b"), order, data.draw(st.integers(1, 5)), None) == first
    stop = data.draw(st.integers(0, 20))
    assert outcome(tmp_path_factory.mktemp("c"), order, 1, stop) == first
