"""Fixtures of the tests of rephrasing: tiny models, and the server of transformers on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model() -> Callable[[str], Path]:
    """`tiny_model("copy")` is the folder of a tiny model of that kind (tests/rephrase/models.py)."""
    from tests.rephrase.models import tiny

    return tiny


@pytest.fixture(scope="session")
def tiny_server(tiny_model: Callable[[str], Path]) -> Iterator[Callable[[str], str]]:
    """`tiny_server("copy")` is the base URL of `transformers serve` on that model; each is started once."""
    from tests.rephrase.serving import serving

    started: dict[str, str] = {}
    with ExitStack() as stack:

        def start(kind: str) -> str:
            if kind not in started:
                started[kind] = stack.enter_context(serving(tiny_model(kind)))
            return started[kind]

        yield start
