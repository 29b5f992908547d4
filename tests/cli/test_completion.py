"""What the shell is offered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def offered(*words: str) -> list[str]:
    """What bash would show for a line whose last word is not finished."""
    environment = {**os.environ, "_TOKENMILL_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": " ".join(["tokenmill", *words]), "COMP_CWORD": str(len(words))}
    command = [str(Path(sys.executable).parent / "tokenmill")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected", "absent"),
    [
        (("sta",), "stages", "run"),
        (("run", "finew"), "fineweb2", "gopher"),
        (("stages", "gopher_q"), "gopher_quality", "gopher_repetition"),
        (("run", "fineweb", "--set", "gopher_quality.min"), "gopher_quality.min_words=", "gopher_quality.max_words="),
        (("run", "fineweb", "--mo"), "--mode", "--input"),
    ],
)
def test_the_shell_is_offered_names(words: tuple[str, ...], expected: str, absent: str) -> None:
    found = offered(*words)
    assert expected in found
    assert absent not in found


def test_a_recipe_that_does_not_exist_offers_nothing() -> None:
    assert offered("run", "no-such-recipe", "--set", "gopher") == []
