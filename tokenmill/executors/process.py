"""What a supervised child process needs: death with its parent, limits, and its resource use.

Linux has all of it. Elsewhere the CPU clock and the memory reading are missing, and wall-clock time decides.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1


_SET_BY_US = "TOKENMILL_SET"
"""Environment variable that names those which tokenmill has set for a child of its own."""
OUT_OF_MEMORY = 86
"""Exit code of a child that could not get memory."""


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; leave now if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def limit_memory(limit_bytes: int) -> None:
    """Bound the address space: an allocation beyond it fails in this process instead of on the machine. 0: no bound."""
    import resource

    if limit_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses; the other limits still hold
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        # if the machine runs out all the same, this process goes first
        with open("/proc/self/oom_score_adj", "w") as stream:
            stream.write("1000")
    except OSError:
        pass


def protect_stdout() -> BinaryIO:
    """A private handle on stdout for messages; whatever a library prints goes to stderr instead."""
    handle = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    return handle


def cpu_seconds(pid: int) -> float | None:
    """CPU time of a process so far, None where it cannot be read."""
    fields = _stat_fields(pid)
    if fields is None:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    """Whether the process wants a CPU or a disk right now (rather than sleeping or being stopped)."""
    fields = _stat_fields(pid)
    return fields is not None and fields[0] in ("R", "D")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, 0 where it cannot be read."""
    try:
        with open(f"/proc/{pid}/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the state on: the name before it may hold spaces."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return None


@functools.cache
def visible_gpus() -> int:
    """NVIDIA GPUs that this process may use; asks no library, for the coordinator loads none."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return len([name for name in given.split(",") if name.strip() not in ("", "-1")])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


def child_command(module: str, *arguments: object) -> list[str]:
    """The command line of a child that runs a module of ours.

    -P: files in the user's current folder must not shadow the standard library.
    """
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


_ALLOCATOR = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}
"""Workers and children handle batch after batch; allocators that keep what was freed cost a third of their memory
(1,170 against 780 MB for `tokenmill tokenize` with two workers)."""


def child_environment(threads: int = 1) -> dict[str, str]:
    """The environment of a child: it finds this very tokenmill, hashes strings alike, and has so many threads."""
    here = Path(__file__).resolve().parents[2]
    paths = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    if here.name not in ("site-packages", "dist-packages"):
        paths.insert(0, str(here))  # a checkout that is not installed
    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")
    wanted = dict.fromkeys(libraries, str(threads)) | _ALLOCATOR
    wanted["TOKENIZERS_PARALLELISM"] = str(threads > 1).lower()
    # what the user has set stays; what a parent of ours has set for itself does not
    set_before = os.environ.get(_SET_BY_US, "").split(",")
    given = {name: value for name, value in os.environ.items() if name not in set_before}
    ours = {name: value for name, value in wanted.items() if name not in given}
    return {
        **given,
        **ours,
        _SET_BY_US: ",".join(ours),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
    }


class Stopwatch:
    """Seconds that this process has seen go by: a pause of the whole machine (or Ctrl-Z) counts for one."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds = 0.0

    def tick(self) -> float:
        """Look at the clock; returns the sum so far. To be called at least once a second."""
        now = time.monotonic()
        self.seconds += min(now - self._last, 1.0)
        self._last = now
        return self.seconds


def stop_process(process: subprocess.Popen[bytes], patience: float = 0.0) -> None:
    """End a child: let it see the end of its input, wait `patience` seconds, then kill it."""
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    if patience:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
