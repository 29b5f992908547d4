"""The quickstart and the tutorial, run as a reader would: every command and file in order, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, blocks, matches

INSTALL = "python3 -m venv .venv\n. .venv/bin/activate\npip install '.[datatrove]'\n"
"""The only commands that are not run: the test's environment is such an installation."""


def follow(page: str, folder: Path) -> None:
    """Write the files that a page shows, run its commands, and compare what they say with what it shows."""
    (folder / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    said = ""
    for block in blocks(DOCS / page):
        if block.language == "python" and block.name:
            name = block.name if block.name.endswith(".py") else f"{block.name}_block.py"
            (folder / name).write_text(block.body)
            done = subprocess.run(
                [sys.executable, name], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block.body}\n{done.stderr}"
        elif block.language == "bash":
            said = "".join(run(line, folder, environment) for line in block.body.splitlines())
        elif block.language == "text":
            assert matches(block.body, said), f"{page} shows\n{block.body}\nand it was\n{said}"
        else:
            assert block.body == INSTALL, block


def run(line: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command says on stdout; it must end well."""
    words = line.split()
    assert words[0] == "tokenmill", line
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.ci
@pytest.mark.parametrize("page", ["quickstart.md", pytest.param("write-a-filter.md", marks=pytest.mark.slow)])
def test_a_reader_can_follow_the_page(page: str, tmp_path: Path) -> None:
    follow(page, tmp_path)


def test_code_of_the_tutorial_that_needs_no_run(tmp_path: Path) -> None:
    shown = {block.name: block.body for block in blocks(DOCS / "write-a-filter.md") if block.language == "python"}
    assert set(shown) == {"spam.py", "test", "shouting.py", "questions.py", "rewrite.py"}
    for name in ("spam.py", "questions.py", "rewrite.py"):
        (tmp_path / name).write_text(shown[name])
    code = "\n".join(["import questions, rewrite", shown["test"]])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("a b\n", "a    b\n", True),
        ("a b\n", "a b\nc\n", False),
        ("...\nb 2\n...\n", "a\nb   2\nc\n", True),
        ("...\nb 2\n...\n", "a\nb 3\nc\n", False),
        ("a ... d\n", "a b c d\n", True),
        ("a ... d\n", "a b c\n", False),
    ],
)
def test_output_is_compared(shown: str, said: str, same: bool) -> None:
    assert matches(shown, said) is same
