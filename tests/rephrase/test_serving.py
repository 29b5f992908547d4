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
    from tests.rephrase.models import answer
    from tests.rephrase.vocabulary import messages

    text = pages.page(1).text
    body = {"model": str(tiny_model("refuse")), "messages": list(messages(text)), "temperature": 0, "max_tokens": 160}
    request = urllib.request.Request(
        f"{tiny_server('refuse')}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        said = json.load(response)["choices"][0]
    assert (said["message"]["content"], said["finish_reason"]) == (answer("refuse", text), "stop")
