"""`transformers serve` with a tiny model, started as a user starts a server of models."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.rephrase.pages import page
from tokenmill.io.chat.reply import Reply
from tokenmill.rephrase.engines.command import ServerSettings
from tokenmill.rephrase.engines.digests import model_digests
from tokenmill.rephrase.engines.server import ServerEngine
from tokenmill.rephrase.render import render
from tokenmill.rephrase.request import Passage

COMMAND = "transformers serve {model} --device cpu --continuous-batching --port {port}"
PAGES = 12


@pytest.mark.ci
def test_a_model_of_transformers_is_served_and_rewrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "transformers", "httptools", "fastapi", "uvicorn", "openai"):
        pytest.importorskip(package)
    from tests.rephrase.models import tiny
    from tests.rephrase.vocabulary import short_style

    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    folder = tiny("upper")
    style = short_style()
    texts = [page(seed).text for seed in range(PAGES)]
    asked = [render(style, Passage(str(n), 0, 0, len(text), text, 0), seed=0).messages for n, text in enumerate(texts)]
    env = {"HF_HUB_CACHE": str(tmp_path / "hub"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    settings = ServerSettings(command=COMMAND, model=str(folder), ready_seconds=300.0, env=env)
    engine = ServerEngine(settings, folder=tmp_path / "server", hold=False, linger=0.0)

    async def run() -> tuple[list[Reply], Reply]:
        async with engine:
            await engine.check({"max_tokens": 4, "temperature": 0.0})
            sampling = {"max_tokens": 150, "temperature": 0.0, "seed": 1}
            whole = await asyncio.gather(*(engine.ask(messages, sampling) for messages in asked))
            return list(whole), await engine.ask(asked[0], {**sampling, "max_tokens": 5})

    replies, cut = asyncio.run(run())
    for reply, text in zip(replies, texts, strict=True):
        # of the first word the model is less sure than of the rest
        assert (reply.text.split()[1:], reply.finish_reason) == (text.upper().split()[1:], "stop")
        assert reply.usage["completion_tokens"] > 10
        assert reply.usage["prompt_tokens"] > reply.usage["completion_tokens"] // 2
    assert (cut.finish_reason, cut.usage["completion_tokens"]) == ("length", 5)
    assert (engine.identity.model, engine.identity.weights_digest) == (folder.name, model_digests(folder)[0])
