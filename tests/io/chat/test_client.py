"""The client against a real server on localhost: what passes is tried again, what does not is told at once."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.classifiers.label.server import KEY, MODEL, Rater, serving
from tests.io.chat.raw_server import Asked, raw, whole
from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.client import ChatClient, _words, retry_after
from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.io.chat.reply import ChatFault, ContextOverflow, Reply, RequestFailed

pytest.importorskip("httptools")
MESSAGES = [{"role": "user", "content": "hello"}]


def endpoint(rater: Rater, **changes: Any) -> Endpoint:
    fields = {"base_url": rater.url, "model": MODEL, "first_wait": 0.001, "longest_wait": 0.02, "timeout": 5.0}
    return Endpoint(**{**fields, **changes})


def ask(at: Endpoint) -> Reply:
    async def once() -> Reply:
        async with ChatClient(at) as client:
            return await client.ask(MESSAGES, {"temperature": 0})

    return asyncio.run(once())


def check(at: Endpoint) -> None:
    async def once() -> None:
        async with ChatClient(at) as client:
            await client.check({"temperature": 0})

    asyncio.run(once())


def script(*faults: str) -> Callable[[str, int], str]:
    """These faults one after the other, then none."""
    return lambda prompt, before: faults[before] if before < len(faults) else ""


def test_faults_that_pass_cost_tries_only() -> None:
    faults = ("429 0.01", "500", "503", "408", "cut", "drop", "not_json", "no_choice")
    with serving(script(*faults)) as rater:
        reply = ask(endpoint(rater, tries=9))
    assert (reply.text, reply.finish_reason, reply.model) == ("ready", "stop", MODEL)
    assert reply.usage == {"prompt_tokens": 1, "completion_tokens": 1}
    cut = {"cut_body": 2, "not_json": 1, "no_choice": 1}
    assert reply.faults == {"429": 1, "500": 1, "503": 1, "408": 1, **cut}


def test_a_server_that_stalls() -> None:
    with serving(script("stall")) as rater:
        started = time.monotonic()
        reply = ask(endpoint(rater, timeout=1.0))
    assert reply.faults == {"timeout": 1}
    assert time.monotonic() - started >= 1.0


def test_tries_end() -> None:
    with serving(lambda prompt, before: "500") as rater, pytest.raises(RequestFailed) as caught:
        ask(endpoint(rater, tries=3))
    assert caught.value.kind == "server"
    assert "after 3 tries" in caught.value.detail
    assert rater.others == 3


def test_the_wait_that_a_server_asks_for() -> None:
    with serving(script("429 0.3")) as rater:
        started = time.monotonic()
        ask(endpoint(rater, longest_wait=1.0))
        assert time.monotonic() - started >= 0.3
    with serving(script("429 999")) as rater:
        ask(endpoint(rater, longest_wait=0.02))  # five times as much as the client's own, and no more


def testretry_after_as_date_and_nonsense() -> None:
    assert retry_after("7") == 7.0
    assert retry_after("-3") == retry_after("soon") == retry_after("") == retry_after("nan") == 0.0
    then = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < retry_after(email.utils.format_datetime(then, usegmt=True)) <= 30
    assert retry_after("Wed, 21 Oct 2015 07:28:00 -0000") == 0.0


def test_messages_of_several_parts() -> None:
    assert _words([{"type": "text", "text": "a"}, {"type": "image"}, "x", {"type": "text", "text": "b"}]) == "ab"
    assert (_words("a"), _words(None), _words({"text": "a"})) == ("a", "", "")


def test_a_document_that_is_refused_is_no_reason_to_stop() -> None:
    for status in ("400", "413", "422"):
        with serving(script(status)) as rater, pytest.raises(RequestFailed) as caught:
            ask(endpoint(rater))
        assert (caught.value.kind, rater.others) == ("bad_request", 1)


def test_an_account_without_credit_stops_at_once() -> None:
    for fault in ("402", "429 quota"):
        with serving(script(fault)) as rater, pytest.raises(FatalError, match="no credit left"):
            ask(endpoint(rater))
        assert rater.others == 1


def test_a_key_that_is_refused_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(key=KEY) as rater:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        check(endpoint(rater))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-987654")
        with pytest.raises(ConfigError, match="refuses the API key") as caught:
            check(endpoint(rater))
        assert "987654" not in str(caught.value)  # the server has repeated it
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(ConfigError, match="no API key was sent"):
            check(endpoint(rater))
        monkeypatch.setenv("OTHER_KEY", KEY)
        check(endpoint(rater, key_env="OTHER_KEY"))
        with pytest.raises(ConfigError, match="MISSING_KEY is not set"):
            ChatClient(endpoint(rater, key_env="MISSING_KEY"))
        monkeypatch.setenv("OTHER_KEY", "two\nlines")
        with pytest.raises(ConfigError, match="odd characters"):
            ChatClient(endpoint(rater, key_env="OTHER_KEY"))


@pytest.mark.parametrize("key", ["sk-0123456789abcdefghij", 'sk/with+some/signs"\\'])
def test_no_part_of_a_key_is_left_in_what_a_server_says(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for status, cut in ((400, 300), (401, 300), (404, 300), (500, 300), (200, 80)):  # where texts are cut
        for before in (cut - 6, cut - len(key) + 1):
            fault = f"echo {status} {before}"
            with serving(lambda prompt, times, fault=fault: fault) as rater:
                with pytest.raises((RequestFailed, FatalError)) as caught:
                    ask(endpoint(rater, tries=1))
                told = str(caught.value)
            assert key[:5] not in told, fault
            assert "eee" in told, fault
    with serving(script("echo 200 0")) as rater, pytest.raises(RequestFailed) as failed:
        ask(endpoint(rater))
    assert (failed.value.kind, failed.value.detail) == ("bad_request", "the answer repeats the API key")


def test_other_spellings_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = 'sk/a+b="c'
    monkeypatch.setenv("OPENAI_API_KEY", key)
    client = ChatClient(Endpoint(base_url="https://a/v1", model="m"))
    for spelt in (key, 'sk/a+b=\\"c', 'sk\\/a+b=\\"c', "sk%2Fa%2Bb%3D%22c", "sk/a%2Bb%3D%22c"):
        assert client.plain(f"bad key {spelt}!") == "bad key ***!"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ChatClient(Endpoint(base_url="https://a/v1", model="m")).plain("any") == "any"


@pytest.mark.parametrize("key", ["the", "none", "EMPTY", "x", "not-needed-locally", "1234567", "Some words of text"])
def test_a_key_that_is_a_word_changes_no_answer(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    text = f"She forgets {key} harbour; none of the x is EMPTY."
    choice = {"message": {"content": text, "refusal": text}, "finish_reason": key}
    reply = once(completion(choices=[choice], model=f"m-{key}", usage={key: 3}))
    assert (reply.text, reply.refusal, reply.finish_reason, reply.model) == (text, text, key, f"m-{key}")
    assert reply.usage == {key: 3}
    error = json.dumps({"error": {"message": f"no: the header was Bearer {key}"}}).encode()
    with pytest.raises(RequestFailed) as caught:
        once(whole(error, b"400 Bad Request"))
    assert "the header was Bearer ***" in caught.value.detail


@pytest.mark.parametrize("place", ["message", "model", "finish_reason", "refusal", "usage"])
def test_an_answer_with_the_key(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    choice: dict[str, Any] = {"message": {"content": "hi"}, "finish_reason": "stop"}
    body: dict[str, Any] = {"choices": [choice], "model": "m"}
    {
        "message": lambda: choice["message"].update(content=f"a {KEY} b"),
        "refusal": lambda: choice["message"].update(refusal=KEY),
        "finish_reason": lambda: choice.update(finish_reason=KEY),
        "model": lambda: body.update(model=KEY),
        "usage": lambda: body.update(usage={KEY: 1}),
    }[place]()
    if place == "message":
        with pytest.raises(RequestFailed, match="the answer repeats the API key"):
            once(completion(**body))
    else:
        assert KEY not in repr(once(completion(**body)))


KEYS_403 = b'{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}'
MODERATED_403 = b'{"error": {"message": "Your input was flagged by our moderation"}}'
POLICY_403 = b'{"error": {"message": "denied by policy 7"}}'
PAGE_403 = b"<html><h1>403 Forbidden</h1>gateway</html>"
SILENT_403 = b'{"detail": "no"}'


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        (KEYS_403, "FatalError", "FatalError"),
        (MODERATED_403, "content_filter", "content_filter"),
        (POLICY_403, "FatalError", "content_filter"),
        (PAGE_403, "FatalError", "content_filter"),
        (SILENT_403, "FatalError", "content_filter"),
        (b"", "FatalError", "content_filter"),
        (b'{"error": {"message": "the token has no permission"}}', "FatalError", "FatalError"),
    ],
)
def test_forbidden_for_a_page_or_for_all(body: bytes, before: str, after: str) -> None:
    """Of a key that has been good before, what does not speak of keys is about the page."""

    async def run() -> tuple[str, str]:
        good = False

        async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(completion() if good else whole(body, b"403 Forbidden"))

        async def told(client: ChatClient) -> str:
            try:
                await client.once(MESSAGES, {})
            except RequestFailed as error:
                return error.kind
            except FatalError as error:
                return type(error).__name__
            return ""

        async with raw(answer) as server:
            at = Endpoint(base_url=f"http://127.0.0.1:{server.port}/v1", model=MODEL)
            async with ChatClient(at) as client:
                first = await told(client)
                good = True
                assert await told(client) == ""
                good = False
                second = await told(client)
                if second == "content_filter":
                    assert [await told(client) for _ in range(19)] == ["content_filter"] * 18 + ["FatalError"]
                return first, second

    assert asyncio.run(run()) == (before, after)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "content_filter", "message": "The response was filtered"}, "content_filter"),
        ({"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}, "content_filter"),
        ({"code": "invalid_value", "message": "content_filter is no setting"}, "bad_request"),
        ("content_filter", "bad_request"),
    ],
)
def test_a_filter_that_says_400(error: Any, kind: str) -> None:
    with pytest.raises(RequestFailed) as caught:
        once(whole(json.dumps({"error": error}).encode(), b"400 Bad Request"))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 205 Reset Content\r\n\r\n",
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        whole(b"", b"202 Accepted"),
        whole(b" ", b"200 OK"),
    ],
)
def test_success_without_a_body_may_pass(answer: bytes) -> None:
    with pytest.raises(ChatFault, match="without a body") as caught:
        once(answer)
    assert caught.value.kind == "not_json"


def test_an_answer_under_another_status_of_success_is_one() -> None:
    assert once(completion().replace(b"200 OK", b"201 Created")).text == "hi"


def test_wrong_models_and_addresses_are_told_before_work() -> None:
    with serving() as rater:
        with pytest.raises(ConfigError, match="did you mean 'rater-1'"):
            check(endpoint(rater, model="rater-2"))
        with pytest.raises(ConfigError, match=r"up to and with /v1"):
            check(endpoint(rater, base_url=rater.url.removesuffix("/v1")))
    with serving(script("400")) as rater, pytest.raises(ConfigError, match="refuses a plain request"):
        check(endpoint(rater))
    with pytest.raises(ConfigError, match="does not answer"):  # that server is gone
        check(endpoint(rater))
    assert rater.others == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "localhost:8000"}, "no web address"),
        ({"base_url": "http://"}, "no web address"),
        ({"base_url": "http://a:99999/"}, "no web address"),
        ({"base_url": "https://user:secret@a/v1"}, "a password"),
        ({"base_url": "https://a/v1?key=secret"}, "a query"),
        ({"model": ""}, "no model"),
        ({"tries": 0}, "not positive"),
        ({"timeout": 0.0}, "not positive"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Endpoint(**{"base_url": "https://a/v1", "model": "m", **changes})
    assert "secret" not in str(caught.value)


def once(answer: bytes, messages: Any = MESSAGES, **changes: Any) -> Reply:
    """One try, answered with these bytes."""

    async def run() -> Reply:
        async with raw(answer) as server:
            fields = {"base_url": f"http://127.0.0.1:{server.port}/v1", "model": MODEL, "timeout": 5.0, **changes}
            async with ChatClient(Endpoint(**fields)) as client:
                return await client.once(messages, {"temperature": 0})

    return asyncio.run(run())


def completion(**changes: Any) -> bytes:
    choice = {"message": {"content": "hi"}, "finish_reason": "stop"}
    return whole(json.dumps({"model": MODEL, "choices": [choice], **changes}).encode())


def test_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for status in (b"301 Moved", b"302 Found", b"307 Temporary Redirect", b"308 Permanent Redirect"):
        to = b"Location: https://evil.example.org/%b\r\n" % KEY.encode()
        with pytest.raises(FatalError, match="redirects") as caught:
            once(whole(b"", status, to))
        assert "https://evil.example.org/***" in str(caught.value)
        assert KEY not in str(caught.value)


def test_prompts_that_are_too_long() -> None:
    said = b'{"error": {"message": "This model\'s maximum context length is 512 tokens.", "code": 400}}'
    with pytest.raises(ContextOverflow) as caught:
        once(whole(said, b"400 Bad Request"))
    assert "maximum context length is 512" in caught.value.detail

    async def asked() -> None:
        async with raw(whole(said, b"400 Bad Request")) as server:
            at = Endpoint(base_url=f"http://127.0.0.1:{server.port}/v1", model=MODEL)
            async with ChatClient(at) as client:
                with pytest.raises(RequestFailed) as caught:
                    await client.ask(MESSAGES, {})
            assert (caught.value.kind, len(server.asked)) == ("bad_request", 1)

    asyncio.run(asked())


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}, {"prompt_tokens": 5, "completion_tokens": 3}),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, {"prompt_tokens": 5, "cached_tokens": 4}),
        ({"completion_tokens_details": {"reasoning_tokens": 2, "x": 1}}, {"reasoning_tokens": 2}),
        ({"prompt_tokens": True, "completion_tokens": "3", "x": 1.5, "prompt_tokens_details": None}, {}),
        ({"prompt_tokens_details": {"cached_tokens": True}}, {}),
        ({"prompt_tokens": 10**25, "completion_tokens": -1, "prompt_tokens_details": {"cached_tokens": -2}}, {}),
        ({"prompt_tokens": 2**31, "completion_tokens": 2**31 + 1}, {"prompt_tokens": 2**31}),
        (None, {}),
        ([1], {}),
    ],
)
def test_counts_of_tokens(usage: Any, wanted: dict[str, int]) -> None:
    found = dict(once(completion(usage=usage)).usage)
    found.pop("total_tokens", None)
    assert found == wanted


def test_half_a_surrogate_pair_from_a_server_can_be_written() -> None:
    reply = once(whole(b'{"model": "m", "choices": [{"message": {"content": "a\\ud83d b\\ud83d\\ude00"}}]}'))
    assert reply.text == "a\ufffd b\U0001f600"
    assert reply.finish_reason == ""


def test_half_a_surrogate_pair_in_a_page_costs_only_that_page() -> None:
    with pytest.raises(RequestFailed) as caught:
        once(completion(), [{"role": "user", "content": "a\ud83d b"}])
    assert caught.value.kind == "bad_request"


def test_what_is_sent_is_plain_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    async def run() -> None:
        async with raw(completion()) as server:
            at = Endpoint(base_url=f"http://127.0.0.1:{server.port}/v1/", model=MODEL)
            async with ChatClient(at) as client:
                await client.once(({"role": "user", "content": "naïve 页"},), {"seed": 7, "temperature": 0.5})
            async with ChatClient(dataclasses.replace(at, key_env="")) as client:
                await client.once(MESSAGES, {})
        first, second = server.asked
        assert first.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert f"Authorization: Bearer {KEY}\r\n".encode() in first.head
        assert b"Authorization" not in second.head
        message = {"role": "user", "content": "naïve 页"}
        assert json.loads(first.body) == {"model": MODEL, "messages": [message], "seed": 7, "temperature": 0.5}
        assert "页".encode() in first.body

    asyncio.run(run())


def test_a_body_without_end_is_no_answer() -> None:
    with pytest.raises(RequestFailed) as caught:
        once(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"\xff\xfe\x00", b"null", b"3", b'{"choices": []}', b'{"choices": [3]}']
)
def test_answers_that_are_no_completion(body: bytes) -> None:
    with pytest.raises(ChatFault) as caught:
        once(whole(body))
    assert caught.value.kind in ("not_json", "no_choice")


def test_whether_a_server_is_alive() -> None:
    async def alive(statuses: dict[bytes, bytes]) -> bool:
        async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(b"{}", statuses[asked.head.split()[1]]))

        async with raw(answer) as server:
            async with ChatClient(Endpoint(base_url=f"http://127.0.0.1:{server.port}/v1", model=MODEL)) as client:
                return await client.alive()

    good, absent, wrong = b"200 OK", b"404 Not Found", b"500 Internal Server Error"
    assert asyncio.run(alive({b"/health": good}))
    assert asyncio.run(alive({b"/health": absent, b"/v1/models": good}))
    assert not asyncio.run(alive({b"/health": absent, b"/v1/models": wrong}))

    async def nobody() -> bool:
        async with ChatClient(Endpoint(base_url="http://127.0.0.1:9/v1", model=MODEL)) as client:
            return await client.alive()

    assert not asyncio.run(nobody())
