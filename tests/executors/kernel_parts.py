"""Functions that stand for parts of a set-up which compile; in a module of their own, since processes import it."""

from __future__ import annotations

import os
import signal
import time


def one() -> None:
    _told("one")


def two() -> None:
    _told("two")


def broken() -> None:
    _told("broken")
    raise RuntimeError("no compiler")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs() -> None:
    time.sleep(60)


def _told(what: str) -> None:
    with open(os.environ["TOKENMILL_TEST_DIARY"], "a") as stream:
        stream.write(f"{what}\n")
