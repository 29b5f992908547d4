"""The real server of transformers on a tiny model."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rephrase import pages


@pytest.mark.ci
def test_a_tiny_model_is_served(tiny_server: Callable[[str], str], tiny_model: Callable[[str], Path]) -> None:
    from tests.rephrase.models import META, messages

    text = pages.page(1).text
    body = {"model": str(tiny_model("meta")), "messages": list(messages(text)), "temperature": 0, "max_tokens": 160}
    request = urllib.request.Request(
        f"{tiny_server('meta')}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == (META + text, "stop")
