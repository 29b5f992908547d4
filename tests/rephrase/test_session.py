"""What becomes of requests: an engine that transforms pages, and fails by script, in this process."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.reply import ChatFault, ContextOverflow, Reply, RequestFailed
from tokenmill.rephrase.engines.base import Identity, Messages
from tokenmill.rephrase.ledger import Entry, Ledger, part_of
from tokenmill.rephrase.meter import Meter
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.request import Passage, Request, request_key
from tokenmill.rephrase.session import SessionSettings, run_session

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
        ([{"finish_reason": "content_filter"}], "refusal", 1, 1),
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
        run(tmp_path, engine, requests, meter=meter(60), concurrency=4)
    assert "the limit is 60" in caught.value.why
    assert 15 <= len(engine.asked) <= 19, "no more than were under way"
    stopped = Engine()
    with pytest.raises(FatalError, match="budget"):
        run(tmp_path, stopped, requests, meter=meter(60))
    assert stopped.asked == []

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
    run(tmp_path, Engine(), [request("a b"), request("c d")], meter=meter, concurrency=1)
    run(tmp_path, Engine(), [request("a b"), request("c d")], meter=meter, concurrency=1)


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
