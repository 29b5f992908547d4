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
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from tokenmill.core.kernels import Kernel
from tokenmill.core.stage import Stage
from tokenmill.executors.process import child_command, child_environment, stop_process

PROCESS_BYTES = 500_000_000
"""Memory that must be free for each process that compiles; the largest takes 325 MB."""
PATIENCE, PATIENCE_SECONDS = 10, 60
"""A part that takes more than so many times its seconds, and so many seconds more, is given up."""
_PACKAGE = Path(__file__).resolve().parents[1]
_POLL_SECONDS = 0.05

Say = Callable[[str], None]


def compile_ahead(stages: Iterable[Stage], processes: int, say: Say = lambda line: None) -> int:
    """Compile what the set-ups of stages want and this machine has not compiled yet; returns how many parts that were.

    processes: at most so many at the same time. Whatever goes wrong here, the set-ups do.
    """
    wanted = sorted({kernel for stage in stages for kernel in stage.kernels()}, key=lambda one: (-one.seconds, one))
    record = _Record.of_this_machine() if wanted else None
    if record is None:  # where no file can be written, numba can keep nothing either
        return 0
    known = record.known()
    missing = [kernel for kernel in wanted if kernel.place not in known]
    if missing:
        processes = max(1, min(processes, _cpus(), _room()))
        seconds = [kernel.seconds for kernel in missing]
        parts = f"{len(missing)} parts" if len(missing) > 1 else "a part"
        about = max(max(seconds), sum(seconds) / processes)
        say(f"the first run on this machine compiles {parts} of tokenmill: about {about:.0f} s, once")
        with contextlib.suppress(OSError):  # no process can be started
            record.add(_run(missing, processes))
    return len(missing)


def _run(kernels: Sequence[Kernel], processes: int) -> list[str]:
    """All parts, the first ones first. Returns the places of those that need not be tried again.

    An error is told by the set-up, and would be the same again. What was killed (memory), or hangs, may do better.
    """
    waiting = list(reversed(kernels))
    running: list[tuple[Kernel, subprocess.Popen[bytes], float]] = []
    done: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                kernel = waiting.pop()
                command = child_command("tokenmill.executors.compile_child", os.getpid(), kernel.place)
                env, nothing = child_environment(), subprocess.DEVNULL
                process = subprocess.Popen(command, env=env, stdin=nothing, stdout=nothing, stderr=nothing)
                running.append((kernel, process, time.monotonic()))
            time.sleep(_POLL_SECONDS)
            for entry in list(running):
                kernel, process, started = entry
                code = process.poll()
                if code is None and time.monotonic() - started > PATIENCE_SECONDS + PATIENCE * kernel.seconds:
                    stop_process(process)
                    running.remove(entry)
                elif code is not None:
                    running.remove(entry)
                    done += [kernel.place] if code in (0, 1) else []
    finally:
        for _, process, _ in running:
            stop_process(process)
    return done


class _Record:
    """What was compiled on this machine: a file beside the compiled code, of one version at a time, as numba's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of_this_machine(cls) -> _Record | None:
        """None where no file can be written."""
        folder = next((folder for folder in map(_writable, _folders()) if folder is not None), None)
        return cls(folder / "kernels.json") if folder is not None else None

    def known(self) -> set[str]:
        """The parts that need not be compiled; none where the record is of other sources, or code was deleted since."""
        try:
            found = json.loads(self._path.read_text())
            if found["key"] == _key() and found["files"] <= _files(self._path.parent):
                return set(found["parts"])
        except (OSError, ValueError, TypeError, KeyError):
            pass
        return set()

    def add(self, places: Iterable[str]) -> None:
        """Remember more, beside what another run has written meanwhile."""
        found = {"key": _key(), "files": _files(self._path.parent), "parts": sorted({*self.known(), *places})}
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(found))
            os.replace(temporary, self._path)


def _folders() -> Iterator[str]:
    """Where numba keeps compiled code, as it chooses."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield os.environ["NUMBA_CACHE_DIR"]
        return
    yield str(_PACKAGE / "text" / "__pycache__")
    yield os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tokenmill")


def _writable(folder: str) -> Path | None:
    """The folder, if files can be written there or into a folder that can be made there."""
    with contextlib.suppress(OSError):
        there = next(path for path in (Path(folder), *Path(folder).parents) if path.exists() or path == path.parent)
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return Path(folder)
    return None


def _files(folder: Path) -> int:
    """How many indexes of compiled functions there are: of a cache by itself, or of the package."""
    try:
        return sum(1 for _ in (folder if os.environ.get("NUMBA_CACHE_DIR") else _PACKAGE).rglob("*.nbi"))
    except OSError:
        return 0


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
    free = [1 << 50]
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError), open("/proc/meminfo") as stream:
        free.append(next(int(line.split()[1]) for line in stream if line.startswith("MemAvailable:")) * 1024)
    with contextlib.suppress(OSError, ValueError):  # a container's; "max" where it has none
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free.append(limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return max(1, min(free) // PROCESS_BYTES)
