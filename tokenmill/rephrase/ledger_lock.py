"""One writer for each range of a ledger: locks that end with their process, and say who holds them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tokenmill.core.errors import FatalError
from tokenmill.io.runfolder import disk_error

PATIENCE = 10.0
"""Seconds to wait for another writer: one that is being killed may take a moment to go."""
_STEP = 0.1
_NAME = re.compile(r"([0-9a-f]{4})-([0-9a-f]{4})~.+\.lock")


class RangeLock:
    """The right to write the parts [first, last] of a ledger, until `release` or the end of the process."""

    def __init__(self, folder: Path, first: str, last: str, writer: str, *, patience: float = PATIENCE) -> None:
        """FatalError that names the other writer where one holds an overlapping range for `patience` seconds."""
        self._folder = folder
        self._path = folder / f"{first}-{last}~{uuid.uuid4().hex[:8]}.lock"
        self._descriptor = -1
        self._holder = ""
        deadline = time.monotonic() + patience
        try:
            folder.mkdir(parents=True, exist_ok=True)
            while not self._try(first, last, writer):
                if time.monotonic() >= deadline:
                    raise FatalError(
                        "another process writes this part of the ledger",
                        where=f"{folder.parent}, parts {first} to {last}",
                        why=f"it is held by {self._holder}",
                        fix="wait for it, or stop it; then the same command goes on",
                    )
                time.sleep(_STEP)
        except OSError as error:
            raise disk_error(error, str(self._path)) from error

    def _try(self, first: str, last: str, writer: str) -> bool:
        with _mutex(self._folder):
            for path in self._folder.glob("*.lock"):
                named = _NAME.fullmatch(path.name)  # of another name: not one of ours
                if named and named[1] <= last and first <= named[2] and not _stale(path):
                    self._holder = _told(path)
                    return False
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about = {"writer": writer, "host": socket.gethostname(), "pid": os.getpid()}
            os.write(self._descriptor, json.dumps(about).encode())
            return True

    def release(self) -> None:
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def _mutex(folder: Path) -> Iterator[None]:
    """Held for the moment in which somebody looks and takes."""
    descriptor = os.open(folder / "mutex", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _stale(path: Path) -> bool:
    """Whether the holder of a lock is gone; its file is then removed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _told(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return f"{about['writer'] or 'a writer'}, process {about['pid']} on {about['host']}"
    except (OSError, ValueError, KeyError):
        return "a process that has said nothing of itself"
