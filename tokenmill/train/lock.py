"""One process trains in a folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenmill.core.errors import ConfigError
from tokenmill.train.results import RUN_JSON

_LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a run, which is made. ConfigError where another process holds it, or it cannot be made.

    Where no run was begun in it meanwhile, what was made here is gone again.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _take(folder / _LOCK)
    except BlockingIOError as error:
        raise ConfigError(
            f"another process trains in {folder}",
            why="two that write to one run would mix their logs and checkpoints",
            fix="wait for it, or choose another folder",
        ) from error
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be written", why=str(error), fix="choose another one") from error
    try:
        yield
    finally:
        if not (folder / RUN_JSON).exists():
            (folder / _LOCK).unlink(missing_ok=True)
            if new and not any(folder.iterdir()):
                folder.rmdir()
        os.close(descriptor)


def _take(path: Path) -> int:
    """An open file with the lock on it. BlockingIOError where another one has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if sys.platform == "win32":
            return descriptor
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder deleted it between our two calls
