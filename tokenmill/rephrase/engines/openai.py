"""A server somewhere that speaks OpenAI's chat completions: vLLM, SGLang, TGI, llama.cpp, or a hosted one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.io.chat.client import ChatClient
from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.io.chat.reply import Reply
from tokenmill.rephrase.engines.base import Identity, Messages
from tokenmill.rephrase.engines.digests import is_digest, model_digests

__all__ = ["OpenAIEngine", "model_digests"]


class OpenAIEngine:
    """Asks an endpoint. ConfigError at once where the address, the key or a package is wrong.

    revision: the version of the model, as the user knows it; a server does not tell. weights: the folder (or GGUF file)
    of the model, where it lies on this machine too, or a digest of it.
    """

    def __init__(self, endpoint: Endpoint, *, revision: str = "", weights: str = "", concurrency: int = 256) -> None:
        if concurrency < 1:
            raise ConfigError(f"{concurrency} requests at once are none", fix="concurrency >= 1")
        self.endpoint = endpoint
        self._revision, self._weights = revision, weights
        self._client = ChatClient(endpoint, concurrency=concurrency)

    @cached_property
    def identity(self) -> Identity:
        """Reads the files of the model the first time that its weights are named by a folder."""
        weights, template = self._weights, ""
        if weights and not is_digest(weights):
            weights, template = model_digests(weights)
        return Identity(self.endpoint.model, self._revision, weights, template)

    async def __aenter__(self) -> OpenAIEngine:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def check(self, sampling: Mapping[str, Any]) -> None:
        """One short request with the real settings. ConfigError where address, key, model or a setting is wrong."""
        await self._client.check(sampling)

    async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
        """One try; errors are those of `ChatClient.once`."""
        return await self._client.once(messages, sampling)

    def plain(self, text: str) -> str:
        """A text without the API key."""
        return self._client.plain(text)
