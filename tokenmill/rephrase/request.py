"""Requests: what is asked of a model about a passage, and the key under which the answer is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that is asked about at once: characters [start, end) of its text."""

    doc_id: str
    number: int
    """Place among the passages of the document for this style, from 0."""
    start: int
    end: int
    text: str
    tokens: int
    """Estimated, or counted where the tokenizer is known."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model. Equal questions have one key and are asked once."""

    key: str
    """SHA-256, hexadecimal, of all that decides the answer: see `request_key`."""
    style: str
    messages: tuple[Mapping[str, str], ...]
    sampling: Mapping[str, Any]
    """Of the first attempt, `seed` and `max_tokens` included."""
    passage: Passage
    depth: int = 0
    """How often the passage has been halved because it did not fit into the context."""


def request_key(identity: Mapping[str, Any], style_digest: str, messages: object, sampling: Mapping[str, Any]) -> str:
    """The key of a request: over model, revision, weights, chat template, style (prompt) digest, payload, sampling."""
    parts = [1, dict(identity), style_digest, messages, dict(sampling)]
    raw = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
