"""How servers say that a prompt is too long, as each of them says it, and what only sounds like it."""

from __future__ import annotations

import json

import pytest

from tokenmill.io.chat.overflow import is_overflow


def openai(message: str, **more: object) -> str:
    return json.dumps({"error": {"message": message, **more}})


TOO_LONG = {
    "OpenAI": (400, openai("Your messages resulted in 9000 tokens.", code="context_length_exceeded")),
    "OpenAI, in words": (400, openai("This model's maximum context length is 8192 tokens. However, ...")),
    "vLLM": (400, json.dumps({"object": "error", "message": "This model's maximum context length is 512 tokens."})),
    "vLLM, prompt alone": (400, openai("The decoder prompt (length 9) is longer than the maximum model length of 8.")),
    "vLLM, no room": (400, json.dumps({"object": "error", "message": "max_tokens must be at least 1, got -186."})),
    "SGLang": (400, openai("The input (9000 tokens) is longer than the model's context length (4096 tokens).")),
    "SGLang, sum": (400, openai("Requested token count exceeds the model's maximum context length of 4096 tokens.")),
    "SGLang, limit": (400, openai("Input length (90 tokens) exceeds the maximum allowed length (80 tokens).")),
    "llama.cpp": (400, openai("request (9412 tokens) exceeds the available context size", code=400)),
    "llama.cpp, type": (400, openai("no", type="exceed_context_size_error", n_ctx=256)),
    "llama.cpp, batch": (500, openai("input is too large to process. increase the physical batch size")),
    "llama-cpp-python": (400, openai("Requested tokens (500) exceed context window of 256")),
    "llama-cpp-python, old": (500, "Requested tokens (500) exceed context window of 256"),
    "TGI": (422, json.dumps({"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 512."})),
    "TGI, prompt alone": (422, json.dumps({"error": "`inputs` must have less than 512 tokens. Given: 600"})),
    "LM Studio": (400, openai("the number of tokens is greater than the context length")),
    "behind a gateway": (400, json.dumps({"detail": openai("", code="context_length_exceeded")})),
    "a proxy": (413, "<html>413 Request Entity Too Large</html>"),
}
NOT = {
    "another setting": (400, openai("temperature must be at most 2")),
    "room above a limit of its own": (422, json.dumps({"error": "`max_new_tokens` must be <= 512. Given: 600"})),
    "the page in what a server repeats": (
        422,
        json.dumps({"detail": [{"msg": "bad role", "input": "This model's maximum context length is 8192 tokens"}]}),
    ),
    "a page far behind": (400, openai("cannot read: " + "x" * 2000 + " maximum context length")),
    "no permission": (403, openai("maximum context length")),
    "busy": (429, openai("maximum context length")),
    "away": (503, "exceeds the available context size"),
    "nothing": (400, ""),
    "odd JSON": (400, "[[1]]"),
    "deep JSON": (400, "[" * 100_000),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_too_long(name: str) -> None:
    assert is_overflow(*TOO_LONG[name])


@pytest.mark.parametrize("name", NOT)
def test_other_errors(name: str) -> None:
    assert not is_overflow(*NOT[name])
