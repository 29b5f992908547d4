"""From a reply to what becomes of its request, and to a row of the ledger."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring as _quoted
from typing import Any

from tokenmill.io.chat.reply import Reply, is_count
from tokenmill.rephrase.ledger_rows import CHARS_PER_TOKEN
from tokenmill.rephrase.reading import READABLE, Reading
from tokenmill.rephrase.request import Request
from tokenmill.rephrase.supply import LIMITS, Job

_WHOLE = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete"})
"""How servers say that an answer has ended by itself: "stop", and words of other interfaces."""
_CUT = frozenset({"length", "max_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety"})
_MOST_DETAIL = 500
_plain = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def tokens_of(request: Request, reply: Reply) -> tuple[int, int, int, bool]:
    """(tokens of the prompt, of the answer, cached ones of the prompt, whether the server told the first two)."""
    usage = reply.usage
    tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    told = tokens_in is not None and tokens_out is not None
    if tokens_in is None:
        tokens_in = math.ceil(sum(len(message["content"]) for message in request.messages) / CHARS_PER_TOKEN)
    if tokens_out is None:
        tokens_out = math.ceil(len(reply.text) / CHARS_PER_TOKEN)
    return tokens_in, tokens_out, min(_count(usage, "cached_tokens") or 0, tokens_in), told


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens; None for one that cannot be."""
    found: Any = usage.get(name)
    return int(found) if is_count(found) else None


def judge(
    request: Request, reply: Reply, sampling: Mapping[str, Any], read: Callable[[Request, Reply], Reading]
) -> Reading:
    """What is wrong with a reply: "length", "refusal", "content_filter", "parse", "empty", or nothing.

    An answer counts only where the server says that it has ended by itself, or says nothing and has not used up its
    tokens: whatever else a server says (abort, error, tool_calls) means that text is missing.
    """
    reason = reply.finish_reason
    if not reason and (came := _count(reply.usage, "completion_tokens")) is not None:
        if any(isinstance(sampling.get(name), int) and came >= sampling[name] for name in LIMITS):
            reason = "length"
    if reason in _CUT:
        return Reading("length", "cut at the limit of tokens")
    if reason in _FILTERED:
        return Reading("content_filter", f"stopped by a filter of the server ({reason})")
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


def line_of_answer(row: Mapping[str, Any], fixed: str) -> bytes:
    """The line of a row of an answer, as `segments.line_of` makes it, in a third of its time: most rows are answers.

    fixed: run, task and model of this session, as `fixed_of` gives them. UnicodeEncodeError for halves of surrogate
    pairs.
    """
    passage, tokens = row["passage"], row["tokens"]
    return (
        f'{{"key":{_quoted(row["key"])},"part":"{row["part"]}","event":"answer",{fixed},"style":{_quoted(row["style"])}'
        f',"doc_id":{_quoted(row["doc_id"])},"passage":[{passage[0]},{passage[1]},{passage[2]}]'
        f',"attempt":{row["attempt"]},"sampling":{_plain(row["sampling"])},"response":{_quoted(row["response"])}'
        f',"refusal":{_quoted(row["refusal"])},"finish_reason":{_quoted(row["finish_reason"])}'
        f',"usage":{{{",".join([f"{_quoted(name)}:{count}" for name, count in row["usage"].items()])}}}'
        f',"served_by":{_quoted(row["served_by"])},"latency_s":{row["latency_s"]!r}'
        f',"tokens":[{tokens[0]},{tokens[1]},{tokens[2]}],"told":{"true" if row["told"] else "false"}'
        f',"faults":{_plain(row["faults"]) if row["faults"] else "{}"},"error":null,"parts":null'
        f',"time":{row["time"]!r}}}\n'
    ).encode()


def fixed_of(task: tuple[str, str], model: Mapping[str, str]) -> str:
    """The fields of a row that are the same for a whole session."""
    return _plain({"run": task[0], "task": task[1], "model": dict(model)})[1:-1]
