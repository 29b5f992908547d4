"""What the session asks: one interface for servers and for models in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from tokenmill.io.chat.reply import Reply

Messages = Sequence[Mapping[str, str]]
"""[{"role": "system" | "user", "content": ...}, ...]"""


@dataclass(frozen=True)
class Identity:
    """Which model answers: all of it is part of the key of a request, so that no answer is used for another model."""

    model: str
    revision: str = ""
    """Commit or version that the user names; "" where nobody does."""
    weights_digest: str = ""
    """SHA-256 over the files of a model that lies here; "" for a server elsewhere."""
    template_digest: str = ""
    """SHA-256 of the chat template where it is known; "" where the server keeps it."""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


class Engine(Protocol):
    """Answers requests, many at a time. An async context manager."""

    @property
    def identity(self) -> Identity: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def check(self, sampling: Mapping[str, Any]) -> None:
        """One short request with the real settings. ConfigError where address, key, model or a setting is wrong."""
        ...

    async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
        """One try. ChatFault where another may do better, ContextOverflow, RequestFailed where this request will get
        no answer, FatalError where none will.
        """
        ...
