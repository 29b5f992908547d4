"""No time limits per example: on a busy machine they fail tests that are right. And models to score with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from tests.text import fasttext_models

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def fasttext_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a model of that kind (`fasttext_models.KINDS`), trained when it is first asked for."""
    pytest.importorskip("fasttext")

    @cache
    def made(kind: str) -> Path:
        return fasttext_models.train(kind, tmp_path_factory.mktemp(kind))

    return made
