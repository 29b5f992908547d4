"""How servers say that a request does not fit into the model's context. There is no standard for it."""

from __future__ import annotations

import json
import re
from typing import Any

_STATUS = frozenset({400, 422, 500})
"""Of TGI the second; older versions of llama.cpp and its Python server have said it with 500."""
_WORDS = re.compile(
    r"context_length_exceeded|exceed_context_size"  # codes of OpenAI and llama-cpp-python, and of llama.cpp
    r"|maximum (?:context|model|prompt) length"  # OpenAI, vLLM, SGLang, llama-cpp-python, xAI
    r"|(?:longer|greater) than the (?:model's )?context length"  # SGLang, LM Studio
    r"|exceeds? (?:the )?(?:model's |maximum |available )*(?:context|allowed length|number of tokens)"  # llama.cpp
    r"|context (?:window|length) (?:of|exceed)"
    r"|input is too (?:large|long)"  # llama.cpp, where a batch is smaller than the prompt
    r"|prompt is too long"
    r"|reduce the length of the (?:messages|prompt|input)"
    r"|max_tokens must be at least 1, got -"  # vLLM before 0.6: no room is left for the answer
    r"|`inputs` (?:tokens \+ `max_new_tokens` must be <=|must have less than)",  # TGI
    re.IGNORECASE,
)
_FIELDS = ("code", "type", "error_type", "message", "detail")
_SEARCHED = 1000
"""Characters of a field that are looked at: what they say stands at the beginning."""


def is_overflow(status: int, body: str) -> bool:
    """Whether an answer says that prompt and room for the answer are too long. Every 413 does: the body was."""
    if status == 413:
        return True
    if status not in _STATUS:
        return False
    try:
        texts = said(json.loads(body))
    except (ValueError, RecursionError):
        texts = [body]
    return any(_WORDS.search(one[:_SEARCHED]) for one in texts)


def said(found: Any) -> list[str]:
    """Code, type and message of an error. Nothing else: servers repeat the page in what they say of a bad request."""
    if isinstance(found, str):
        return [found]
    if not isinstance(found, dict):
        return []
    texts = [found[name] for name in _FIELDS if isinstance(found.get(name), str)]
    return texts + (said(found["error"]) if "error" in found else [])
