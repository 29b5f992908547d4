"""The command line in a process of its own, and in this one."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from tokenmill.cli.main import main

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"


def in_process_of_its_own(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As a user starts it; a second or two go to its start."""
    command = [sys.executable, "-m", "tokenmill", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def tokenmill(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same entry point in this process, for all but the start itself and recipes that define the same stages."""
    command = ["tokenmill", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(command, code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
