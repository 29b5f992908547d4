"""Fails the n-th file-system call of a run, for n = 1, 2, ..., in one process under the shim.

    python -m tests.faults.loop RECIPE INPUT FOLDER KIND STEP OFFSET

prints one JSON object: how many runs there were, how they ended, and what was wrong. Everything is in one process
(`--workers 0`), so that an iteration takes a tenth of a second and not several.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.shim import CHANGES, FAIL, LOOKS, SHORT, Shim
from tests.faults.support import DOCUMENTED, RECIPES, leftovers, outcome, unforeseen, wrongly_visible

GROWS = ("create", "write", "fsync", "rename", "link", "mkdir", "truncate")
"""What fails on a full disk: files can still be closed and deleted."""
KINDS: Mapping[str, Mapping[str, Any]] = {
    "eio": {"action": FAIL, "error": errno.EIO},
    "enospc": {"action": FAIL, "error": errno.ENOSPC, "sticky": True, "ops": GROWS},
    "edquot": {"action": FAIL, "error": errno.EDQUOT},
    "short": {"action": SHORT, "error": 0, "ops": ("write",)},
    "shortfull": {"action": SHORT, "error": errno.ENOSPC, "ops": ("write",)},
    "close": {"action": FAIL, "error": errno.EIO, "ops": ("close", "fsync")},
    "look": {"action": FAIL, "error": errno.EIO, "ops": LOOKS},
}
"""What happens to the call. A full disk stays full; a quota is hit once; a short write is followed by another that
works, or by a full disk; `close` is a delayed error; `look` is a disk that cannot be read."""


def tokenmill(*arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command, in this process. An exception is exit code 1 and a traceback."""
    from tokenmill.cli.main import main

    errors = io.StringIO()
    sys.argv = ["tokenmill", *arguments]
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as exit:
            return int(exit.code or 0), errors.getvalue()
        except Exception:
            return 1, errors.getvalue() + traceback.format_exc()
    return 0, errors.getvalue()


@dataclass
class Loop:
    """Runs with one fault each, and what came of them."""

    recipe: str
    source: Path
    folder: Path
    shim: Shim
    ends: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.golden_folder = self.folder / "golden"
        assert self._run(self.golden_folder)[0] == 0
        self.golden = outcome(self.golden_folder)

    def _run(self, out: Path) -> tuple[int, str]:
        place = ("--input", str(self.source), "--output", str(out))
        return tokenmill("run", f"{RECIPES}:{self.recipe}", *place, "--workers", "0", "--max-quarantined", "1")

    def one(self, number: int, kind: str) -> bool:
        """A run whose `number`-th call fails, checked and resumed; False when it has no such call."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.shim.arm(out, number, **KINDS[kind])
        code, errors = self._run(out)
        fired, where = self.shim.fired, self.shim.where
        self.shim.disarm()
        if fired:
            self.struck[where.partition(" ")[0]] += 1
            self.ends[str(code)] += 1
            for problem in self._problems(out, code, errors):
                self.wrong.append(f"{kind} {number}, {where}: {problem}")
        return fired > 0

    def _problems(self, out: Path, code: int, errors: str) -> list[str]:
        found = []
        if code not in DOCUMENTED or unforeseen(errors):
            found.append(f"exit code {code}: {errors[-1500:]}")
        elif code == 0 and outcome(out) != self.golden:
            found.append("it succeeded with other bytes")
        elif code and str(out) not in errors:
            found.append(f"the message names no path: {errors[-500:]}")
        if early := wrongly_visible(out, self.golden):
            found.append(f"visible too early: {early}")
        code, errors = self._run(out)
        if code:
            found.append(f"not resumed, exit code {code}: {errors[-1500:]}")
        else:
            resumed = outcome(out)
            other = [key for key in self.golden.keys() | resumed.keys() if self.golden.get(key) != resumed.get(key)]
            if other:
                found.append(f"resumed with other bytes: {other}")
            if left := leftovers(out):
                found.append(f"left behind: {left}")
        return found


def main() -> None:
    recipe, source, folder, kind, step, offset = sys.argv[1:]
    loop = Loop(recipe, Path(source), Path(folder), Shim(Path(os.environ["FAULTS_CONTROL"])))
    number, runs = 1 + int(offset), 0
    while loop.one(number, kind):
        number += int(step)
        runs += 1
    out = Path(folder) / "out"
    shutil.rmtree(out, ignore_errors=True)
    loop.shim.arm(out, 0, FAIL, ops=KINDS[kind].get("ops", CHANGES))
    loop._run(out)
    result = {"runs": runs, "calls": loop.shim.count, "ends": loop.ends, "struck": loop.struck, "wrong": loop.wrong}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
