"""From a reply to what becomes of its request, and to a row of the ledger."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenmill.io.chat.reply import Reply
from tokenmill.rephrase.reading import READABLE, Reading
from tokenmill.rephrase.request import Request
from tokenmill.rephrase.supply import Job

CHARS_PER_TOKEN = 4.0
"""For servers that tell no usage."""
_WHOLE = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete"})
"""How servers say that an answer has ended by itself: "stop", and words of other interfaces."""
_CUT = frozenset({"length", "max_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety"})
_LIMITS = ("max_tokens", "max_completion_tokens")
_MOST_DETAIL = 500


def tokens_of(request: Request, reply: Reply) -> tuple[int, int, int, bool]:
    """(tokens of the prompt, of the answer, cached ones of the prompt, whether the server told the first two)."""
    usage = reply.usage
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    told = tokens_in is not None and tokens_out is not None
    if tokens_in is None:
        tokens_in = math.ceil(sum(len(message["content"]) for message in request.messages) / CHARS_PER_TOKEN)
    if tokens_out is None:
        tokens_out = math.ceil(len(reply.text) / CHARS_PER_TOKEN)
    return tokens_in, tokens_out, usage.get("cached_tokens", 0), told


def judge(
    request: Request, reply: Reply, sampling: Mapping[str, Any], read: Callable[[Request, Reply], Reading]
) -> Reading:
    """What is wrong with a reply: "length", "refusal", "parse", "empty", or nothing.

    An answer counts only where the server says that it has ended by itself, or says nothing and has not used up its
    tokens: whatever else a server says (abort, error, tool_calls) means that text is missing.
    """
    reason = reply.finish_reason
    if not reason and any(sampling.get(name) == reply.usage.get("completion_tokens", -1) for name in _LIMITS):
        reason = "length"
    if reason in _CUT:
        return Reading("length", "cut at the limit of tokens")
    if reason in _FILTERED:
        return Reading("refusal", f"stopped by a filter of the server ({reason})")
    if reply.refusal and not reply.text:
        return Reading("refusal", reply.refusal)
    if reason and reason not in _WHOLE:
        return Reading("parse", f"the answer ended with {reason[:80]!r}")
    if not reply.text.strip():
        return Reading("empty", "no text")
    try:
        return read(request, reply)
    except Exception as error:  # a hostile answer costs itself, whatever reads it
        return Reading("parse", f"{type(error).__name__}: {error}")


def row_of(
    job: Job,
    event: str,
    sampling: Mapping[str, Any],
    *,
    task: tuple[str, str],
    model: Mapping[str, str],
    reply: Reply | None = None,
    tokens: tuple[int, int, int, bool] = (0, 0, 0, False),
    error: Reading = READABLE,
    parts: Sequence[tuple[str, int, int]] | None = None,
) -> dict[str, Any]:
    """A row as `ledger_rows` describes it."""
    request, passage = job.request, job.request.passage
    return {
        "key": request.key,
        "part": job.part,
        "event": event,
        "run": task[0],
        "task": task[1],
        "style": request.style,
        "doc_id": passage.doc_id,
        "passage": [passage.number, passage.start, passage.end],
        "attempt": job.attempt,
        "model": model,
        "sampling": sampling,
        "response": reply.text if reply else None,
        "refusal": reply.refusal if reply else None,
        "finish_reason": reply.finish_reason if reply else None,
        "usage": dict(reply.usage) if reply else None,
        "served_by": reply.model if reply else None,
        "latency_s": round(reply.seconds, 4) if reply else None,
        "tokens": list(tokens[:3]),
        "told": tokens[3],
        "faults": job.faults,
        "error": {"kind": error.kind, "detail": error.detail[:_MOST_DETAIL]} if error.kind else None,
        "parts": [list(part) for part in parts] if parts is not None else None,
        "time": round(time.time(), 3),
    }
