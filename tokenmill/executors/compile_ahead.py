"""Kernels compiled before a run begins, each in a process of its own: the first run of an installation waits for less.

A set-up compiles one kernel after the other, 176 CPU seconds for the recipe fineweb, and so does every worker for
itself. Here the parts that stages name (`Stage.kernels`) are shared out among the CPUs; the set-ups then load them from
disk. A file beside the compiled code says what was done, so that later runs only read that. It decides about time
alone: where it is wrong, or a part fails, the set-up compiles as ever, and tells of errors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from tokenmill.core.kernels import Kernel
from tokenmill.core.stage import Stage
from tokenmill.executors.process import child_command, child_environment, stop_process

PROCESS_BYTES = 500_000_000
"""Memory that must be free for each process that compiles; the largest takes 325 MB."""
_PACKAGE = Path(__file__).resolve().parents[1]
_POLL_SECONDS = 0.05

Say = Callable[[str], None]


def compile_ahead(stages: Iterable[Stage], processes: int, say: Say = lambda line: None) -> int:
    """Compile what the set-ups of stages want and this machine has not compiled yet; returns how many parts that were.

    processes: at most so many at the same time. With one there is nothing to gain, and nothing is done.
    """
    wanted = sorted({kernel for stage in stages for kernel in stage.kernels()}, key=lambda one: (-one.seconds, one))
    processes = min(processes, _cpus(), _room())
    if not wanted or processes < 2:
        return 0
    record = _Record.of_this_machine()
    if record is None:  # then numba can keep nothing either
        return 0
    missing = [kernel for kernel in wanted if kernel.place not in record.known]
    if not missing:
        return 0
    longest = max(max(kernel.seconds for kernel in missing), sum(kernel.seconds for kernel in missing) / processes)
    parts = f"{len(missing)} parts" if len(missing) > 1 else "a part"
    say(f"the first run on this machine compiles {parts} of tokenmill: about {longest:.0f} s, once")
    _run(missing, processes)
    record.add(kernel.place for kernel in missing)
    return len(missing)


def _run(kernels: Sequence[Kernel], processes: int) -> None:
    """All parts, the first ones first. What fails is left to the set-up, which says why."""
    waiting = list(reversed(kernels))
    running: list[subprocess.Popen[bytes]] = []
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                command = child_command("tokenmill.executors.compile_child", os.getpid(), waiting.pop().place)
                env, nothing = child_environment(), subprocess.DEVNULL
                running.append(subprocess.Popen(command, env=env, stdin=nothing, stdout=nothing, stderr=nothing))
            time.sleep(_POLL_SECONDS)
            running = [process for process in running if process.poll() is None]
    finally:
        for process in running:
            stop_process(process)


class _Record:
    """What was compiled on this machine, by this Python and numba, from these sources."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: set[str] = set()
        with contextlib.suppress(OSError, ValueError, TypeError):
            self.known.update(json.loads(path.read_text()))

    @classmethod
    def of_this_machine(cls) -> _Record | None:
        """None where no file can be written."""
        folder = next(filter(_can_be_written, _folders()), None)
        return cls(folder / f"kernels-{_key()}.json") if folder is not None else None

    def add(self, places: Iterable[str]) -> None:
        """Remember more, also what has failed: to try that again would cost every run seconds."""
        self.known.update(places)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(sorted(self.known)))
            os.replace(temporary, self._path)


def _folders() -> list[Path]:
    """Where numba keeps compiled code, as it chooses: the record goes with it when that is deleted."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokenmill"
    return [Path(given)] if given else [_PACKAGE / "text" / "__pycache__", cache]


def _can_be_written(folder: Path) -> bool:
    """Whether files can be written there, or into a folder that can be made there."""
    there = next(path for path in (folder, *folder.parents) if path.exists() or path == path.parent)
    return there.is_dir() and os.access(there, os.W_OK)


def _key() -> str:
    """Of all that compiled code depends on: sources, versions, the CPU."""
    digest = hashlib.sha256(f"{version('numba')} {version('numpy')} {sys.version} {_cpu()}".encode())
    # as `text.compiled` looks at them, and some more
    sources = {*_PACKAGE.rglob("*_kernel.py"), *_PACKAGE.rglob("*_tables.py"), *(_PACKAGE / "text").glob("*.py")}
    for path in sorted({*sources, _PACKAGE / "core" / "segment.py"}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cpu() -> str:
    """Model and abilities of the CPU, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as stream:
            lines = {line.partition(":")[0].strip(): line for line in stream.read().partition("\n\n")[0].splitlines()}
        return "".join(lines.get(name, "") for name in ("model name", "flags", "Features"))
    except OSError:
        return platform.processor() or platform.machine()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _room() -> int:
    """How many processes the memory that is free has room for; many where that cannot be told."""
    try:
        with open("/proc/meminfo") as stream:
            free = next(int(line.split()[1]) for line in stream if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return 1 << 10
    return max(1, free * 1024 // PROCESS_BYTES)
