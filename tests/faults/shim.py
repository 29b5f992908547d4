"""The fault-injection library (`shim.c`), built on demand and controlled through a shared file."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")

OPS = "create write fsync close rename link unlink mkdir rmdir truncate open read list stat".split()
"""The operations, in the order of `enum op`."""
CHANGES = tuple(OPS[: OPS.index("open")])
"""Those that change the disk; the others look at it."""
LOOKS = tuple(OPS[OPS.index("open") :])

FAIL, SHORT, KILL_PROCESS, KILL_GROUP, STOP_PROCESS = range(1, 6)
BEFORE, MIDDLE, AFTER = range(3)


class _Control(ctypes.Structure):
    """`struct control` of shim.c."""

    _fields_ = [
        ("count", ctypes.c_uint64),
        ("target", ctypes.c_uint64),
        ("fired", ctypes.c_uint64),
        ("ops", ctypes.c_uint32),
        ("action", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("when", ctypes.c_uint32),
        ("sticky", ctypes.c_uint32),
        ("full", ctypes.c_uint32),
        ("fired_op", ctypes.c_uint32),
        ("fired_pid", ctypes.c_uint32),
        ("prefix", ctypes.c_char * 1024),
        ("pattern", ctypes.c_char * 1024),
        ("fired_path", ctypes.c_char * 1024),
    ]


@cache
def library() -> Path:
    """The compiled shim. The test is skipped where it cannot be built."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if sys.platform != "linux":
        pytest.skip("faults are injected by LD_PRELOAD, on Linux only")
    if compiler is None:
        pytest.skip("faults are injected by a small C library, and there is no C compiler here")
    folder = Path(tempfile.mkdtemp(prefix="tokenmill-faults-"))
    built = folder / "shim.so"
    # several test processes build it at once, each for itself: it takes a fifth of a second
    command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return built


class Shim:
    """Faults in the processes that are started with `environment`."""

    def __init__(self, control: Path) -> None:
        """control: a file, made here unless it is there."""
        self.file = control
        if not control.exists():
            control.write_bytes(bytes(ctypes.sizeof(_Control)))
        with open(control, "r+b") as stream:
            self._state = _Control.from_buffer(mmap.mmap(stream.fileno(), ctypes.sizeof(_Control)))

    def environment(self, log: Path | None = None) -> dict[str, str]:
        """What a process needs to be under this control. log: a file to which every counted call is written."""
        extra = {"LD_PRELOAD": str(library()), "FAULTS_CONTROL": str(self.file)}
        return {**os.environ, **extra, **({"FAULTS_LOG": str(log)} if log else {})}

    def arm(
        self,
        prefix: Path | str,
        number: int,
        action: int,
        *,
        ops: Iterable[str] = CHANGES,
        error: int = errno.EIO,
        when: int = BEFORE,
        sticky: bool = False,
        pattern: str = "",
    ) -> None:
        """Hit the `number`-th call from now on (0: only count) of one of `ops` on a path below `prefix`.

        pattern: fnmatch over the whole path, where `*` matches slashes too. sticky: every later call fails as well.
        """
        state = self._state
        state.target = 0  # nothing is hit while this is being set
        state.count = state.fired = state.full = 0
        state.ops = sum(1 << OPS.index(op) for op in ops)
        state.action, state.error, state.when, state.sticky = action, error, when, int(sticky)
        state.prefix, state.pattern = str(prefix).encode(), pattern.encode()
        state.fired_path = b""
        state.target = number

    def disarm(self) -> None:
        self._state.target = self._state.ops = self._state.full = 0

    @property
    def count(self) -> int:
        """Matching calls since `arm`."""
        return int(self._state.count)

    @property
    def fired(self) -> int:
        """How many calls were hit."""
        return int(self._state.fired)

    @property
    def where(self) -> str:
        """The last call that was hit, in words."""
        return f"{OPS[self._state.fired_op]} {self._state.fired_path.decode()}" if self.fired else "none"
