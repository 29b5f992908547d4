"""Folders on a local disk for the attempts of a run that lies on an object store.

A process that is killed cannot tidy up. Each folder holds a lock that ends with its process, and whoever makes a
new folder removes those whose lock is free: a shard is a gigabyte or so, and machines are killed often.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

PREFIX = "tokenmill-attempt-"
SETTLING_SECONDS = 60.0
"""A younger folder may be one whose process has not taken the lock yet."""
_LOCK = "lock"
_held: dict[Path, int] = {}


def new_scratch() -> Path:
    """A new folder below TMPDIR, locked by this process."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    if sys.platform != "win32":
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _try_lock(descriptor)
        _held[folder] = descriptor
    return folder


def remove_scratch(folder: Path) -> None:
    """Remove a folder and all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    descriptor = _held.pop(folder, None)
    if descriptor is not None:
        os.close(descriptor)


def _sweep() -> None:
    if sys.platform == "win32":
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder in _held:
            continue
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # of somebody else, or just being made or removed
            continue
        try:
            if time.time() - os.fstat(descriptor).st_mtime > SETTLING_SECONDS and _try_lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
