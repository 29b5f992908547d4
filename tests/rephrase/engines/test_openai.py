"""The engine for a server elsewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.io.chat.raw_server import Asked, raw, whole
from tokenmill.core.errors import ConfigError
from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.io.chat.reply import ChatFault
from tokenmill.rephrase.engines.base import Engine, Identity
from tokenmill.rephrase.engines.digests import model_digests
from tokenmill.rephrase.engines.openai import OpenAIEngine

pytest.importorskip("httptools")


async def upper(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Upper-cases what is said; 503 for the word "busy"."""
    said = json.loads(asked.body)
    text = said["messages"][-1]["content"]
    if text == "busy":
        writer.write(whole(b"{}", b"503 Service Unavailable", b"Retry-After: 7\r\n"))
        return
    choice = {"message": {"role": "assistant", "content": text.upper()}, "finish_reason": "stop"}
    usage = {"prompt_tokens": len(text), "prompt_tokens_details": {"cached_tokens": 1}}
    writer.write(whole(json.dumps({"model": said["model"], "choices": [choice], "usage": usage}).encode()))


def test_one_try_each() -> None:
    async def run() -> None:
        async with raw(upper) as server:
            at = Endpoint(base_url=f"http://127.0.0.1:{server.port}/v1", model="m")
            engine: Engine = OpenAIEngine(at, concurrency=4)
            async with engine:
                await engine.check({"max_tokens": 3})
                replies = await asyncio.gather(
                    *(engine.ask([{"role": "user", "content": f"page {n}"}], {"seed": n}) for n in range(20))
                )
                assert [reply.text for reply in replies] == [f"PAGE {n}" for n in range(20)]
                assert replies[0].usage == {"prompt_tokens": 6, "cached_tokens": 1}
                with pytest.raises(ChatFault) as caught:
                    await engine.ask([{"role": "user", "content": "busy"}], {})
                assert (caught.value.kind, caught.value.after) == ("503", 7.0)
            assert server.connections <= 4
            assert len(server.asked) == 22
            assert [json.loads(one.body)["max_tokens"] for one in server.asked[:1]] == [3]

    asyncio.run(run())


def test_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    at = Endpoint(base_url="https://api.example.org/v1", model="m")
    assert OpenAIEngine(at, revision="v3").identity == Identity("m", "v3")
    assert OpenAIEngine(at, weights="ab" * 32).identity == Identity("m", "", "ab" * 32)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "chat_template.jinja").write_text("x")
    weights, template = model_digests(tmp_path / "model")
    assert OpenAIEngine(at, weights=str(tmp_path / "model")).identity == Identity("m", "", weights, template)
    with pytest.raises(ConfigError, match="no model at"):
        _ = OpenAIEngine(at, weights=str(tmp_path / "absent")).identity


def test_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="at once"):
        OpenAIEngine(Endpoint(base_url="https://a/v1", model="m"), concurrency=0)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        OpenAIEngine(Endpoint(base_url="https://a/v1", model="m", key_env="NO_SUCH_KEY"))

    async def run() -> None:
        async with OpenAIEngine(Endpoint(base_url="http://127.0.0.1:9/v1", model="m", first_wait=0.0)) as engine:
            with pytest.raises(ConfigError, match="does not answer"):
                await engine.check({})

    asyncio.run(run())


def test_a_key_is_taken_out_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345")
    engine = OpenAIEngine(Endpoint(base_url="https://a/v1", model="m"))
    assert engine.plain("it says sk-12345") == "it says ***"
    assert "sk-12345" not in repr(engine.identity)
