"""Removes a document from copies of a run, and is killed (SIGKILL) before the n-th call on a file; then goes on.

Arguments: the run, a folder to work in, an address, and numbers of calls; without these, 1, 2, ... until a removal is
not killed any more. A line of JSON for each. Every attempt is a fork, made before any library has threads.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from tests.executors.trees import in_the_end
from tokenmill.executors.forget import ForgetRequest, forget
from tokenmill.io.runfolder import RunFolder

CALLS = frozenset(("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "shutil.rmtree"))


def main(run: str, work: str, url: str, *numbers: str) -> None:
    for number in map(int, numbers) if numbers else itertools.count(1):
        copy, told = Path(work, f"kill-{number}"), Path(work, f"call-{number}")
        shutil.copytree(run, copy)
        killed = os.waitstatus_to_exitcode(_forked(lambda c=copy, n=number, t=told: _killed(c, url, n, t))) == -9
        assert _forked(lambda c=copy: _forget(c, url)) == 0
        read, write = os.pipe()
        assert _forked(lambda c=copy, w=write: os.write(w, json.dumps(in_the_end(c)).encode())) == 0
        found = json.loads(os.read(read, 1 << 20))
        call = told.read_text() if told.exists() else ""
        print(json.dumps({"number": number, "killed": killed, "call": call, "tree": found}), flush=True)
        shutil.rmtree(copy)
        if not killed:
            break


def _forked(work: Any) -> int:
    """The wait status of a child that does the work."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def _forget(out: Path, url: str) -> None:
    forget(RunFolder(str(out)), ForgetRequest(urls=(url,), time="2026-03-01"))


def _killed(out: Path, url: str, number: int, told: Path) -> None:
    seen = itertools.count(1)
    descriptor = os.open(told, os.O_CREAT | os.O_WRONLY)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        written = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax")
        if not (event in CALLS or written) or not str(arguments[0]).startswith(str(out)):
            return
        if next(seen) == number:
            os.write(descriptor, f"{event} {arguments[0]}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    _forget(out, url)


if __name__ == "__main__":
    main(*sys.argv[1:])
