"""What a model answers, and how asking it can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_TOKENS = 1 << 31
"""A count of tokens above is none: no request has so many."""


def is_count(found: Any) -> bool:
    """Whether a number of tokens can be one; a server that says another has told nothing."""
    return type(found) is int and 0 <= found <= MOST_TOKENS


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model has answered. usage: as the server gave it, empty where it gave none."""

    text: str
    finish_reason: str
    """As the server says it: "stop", "length", "content_filter", ...; "" where it says nothing."""
    usage: Mapping[str, Any]
    model: str
    """The name under which the server says that it has answered."""
    refusal: str
    seconds: float
    faults: Mapping[str, int] = field(default_factory=dict)
    """Tries before this one, by kind of failure."""


class ChatFault(Exception):
    """One try that brought no answer and may be made again.

    kind: "429" and other statuses, "timeout", "connection", "cut_body", "protocol" (no HTTP), "not_json", "no_choice";
    "stale" where a connection that was kept open had been closed by the server: no sign of trouble, and nothing to wait
    for. after: seconds that the server asks to wait.
    """

    def __init__(self, kind: str, detail: str, after: float = 0.0) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.after = after


class ContextOverflow(Exception):
    """The prompt and the room for its answer do not fit into the model's context."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class RequestFailed(Exception):
    """A request without an answer. `kind`: "server" for what may pass another day, else what the server said:
    "bad_request", "content_filter", "too_large"."""

    def __init__(self, kind: str, detail: str, faults: Mapping[str, int] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.faults: Mapping[str, int] = faults or {}
