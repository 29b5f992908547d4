"""The process that holds a server of models: starts it, starts it again when it dies, and ends it with its last user.

A program of its own, with nothing but the standard library, so that it is small and outlives the worker that started
it: other workers use the same server. It reads its task as JSON from its input, and holds `keeper.lock` (inherited,
already locked) for as long as it lives. Users hold shared locks on `users.lock`; the kernel lets go of them when a
process ends, however it ends. Its state is in `state.json`, which is replaced whole. If it is killed itself, the
kernel kills the server (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_TICK = 0.1
_LOOK_SECONDS = 5.0
_SICK_TIMES = 3
"""Times in a row that /health says 5xx, after which a server is started again: vLLM says so of an engine that died. As
many times it may say nothing."""
_LOG_BYTES = 64 << 20
"""A longer log is put aside when a keeper begins."""
_STOP_SECONDS = 10.0
"""Between SIGTERM and SIGKILL."""
_HUNG_STOP_SECONDS = 2.0
"""The same for a server that does not answer: if it is stopped or hangs, it does not hear SIGTERM either."""
_WINDOW = 600.0
_STARTS = 4
"""Within the window: the first start, and three more."""
_FIRST_WAIT = 1.0


class Keeper:
    """One server, and whoever uses it."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._folder = Path(task["folder"])
        self._words: list[str] = task["command"]
        self._cwd: str | None = task["cwd"]
        self._port: int = task["port"]
        self._ready_seconds: float = task["ready_seconds"]
        self._linger: float = task["linger"]
        self._id: str = task["id"]
        self._starts: list[float] = task["starts"]
        self._users = os.open(self._folder / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._unused_since: float | None = None
        self._was_ready = bool(self._starts)
        """A server that has never been ready is not started again: its command is wrong."""
        self._hopeless = False
        self._server: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._health_seconds: float = task["health_seconds"]
        self._silent_seconds: float = task["silent_seconds"]
        self._bad = 0
        """Looks in a row that a server that was ready has not passed."""
        self._look_at = 0.0
        log = self._folder / "server.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            os.replace(log, self._folder / "server.log.1")
        self._log = open(log, "ab", buffering=0)

    def run(self) -> None:
        """Until nobody uses the server, or it cannot be kept running."""
        try:
            why: str | None = "its keeper was killed"
            while not self._left():
                now = time.time()
                self._starts = [one for one in self._starts if now - one < _WINDOW]
                if len(self._starts) >= _STARTS or self._hopeless:
                    self._tell("failed", why=why or "")
                    return
                if self._starts:
                    self._tell("starting", why=why or "")
                    self._pause(_FIRST_WAIT * 2.0 ** (len(self._starts) - 1))
                why = self._live()
                if why is None:
                    break
            self._tell("ended")
        finally:
            self._stop()

    def _live(self) -> str | None:
        """One life of the server: why it has ended, or None where nobody needs it any longer."""
        port = self._port or _free_port()
        if not _is_free(port):
            self._hopeless = not self._starts
            return f"port {port} is taken"
        self._start(port)
        deadline = time.monotonic() + self._ready_seconds
        ready, self._bad = False, 0
        while not self._left():
            assert self._server is not None
            code = self._server.poll()
            if code is not None:
                self._stop()
                self._hopeless = not self._was_ready
                return f"it ended with {_shown(code)}" + (
                    ", after it had been ready" if ready else " before it was ready"
                )
            if not ready and self._health(_LOOK_SECONDS) == 200 and self._server.poll() is None:
                ready = self._was_ready = True
                self._tell("ready")
                self._look_at = time.monotonic() + self._health_seconds
            if ready and time.monotonic() >= self._look_at:
                why = self._sickness()
                if why:
                    return why
            if not ready and time.monotonic() > deadline:
                self._stop()
                self._hopeless = True
                return f"it was not ready within {self._ready_seconds:g} s"
            time.sleep(_TICK)
        return None

    def _sickness(self) -> str:
        """One look at a server that was ready: why it is of no use any longer, after it was ended; "" where it is.

        The time-out is long, so that a server that is merely busy answers when it comes to it.
        """
        begun = time.monotonic()
        status = self._health(self._silent_seconds / _SICK_TIMES)
        self._bad = self._bad + 1 if status == 0 or status >= 500 else 0
        self._look_at = begun + (self._health_seconds if status else self._silent_seconds / _SICK_TIMES)
        ended = self._server is None or self._server.poll() is not None
        if self._bad < _SICK_TIMES or ended:
            return ""
        self._stop(_STOP_SECONDS if status else _HUNG_STOP_SECONDS)
        said = "said 5xx" if status else f"did not answer for {self._silent_seconds:g} s"
        return f"its /health {said}, after it had been ready"

    def _start(self, port: int) -> None:
        words = [word.replace("{port}", str(port)) for word in self._words]
        self._url = f"http://127.0.0.1:{port}"
        self._starts.append(time.time())
        self._log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} start: {' '.join(words)}\n".encode())
        try:
            self._server = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                cwd=self._cwd,
                start_new_session=True,  # a group of its own, so that its children end with it
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            self._log.write(f"{error}\n".encode())
            self._server = subprocess.Popen([sys.executable, "-c", "raise SystemExit(127)"], stdin=subprocess.DEVNULL)
        self._tell("starting")

    def _health(self, seconds: float) -> int:
        """The status of /health, or where there is none, of the list of models; 0 where nothing answers in time."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for path in ("/health", "/v1/models"):
            try:
                with opener.open(self._url + path, timeout=seconds) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in (404, 405):
                    return error.code
            except (OSError, ValueError, http.client.HTTPException):
                return 0
        return 404

    def _left(self) -> bool:
        """Whether nobody has used the server for a while. Then nobody can begin to: the lock is kept."""
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._unused_since = None
            return False
        now = time.monotonic()
        if self._unused_since is None:
            self._unused_since = now
        if now - self._unused_since >= self._linger:
            return True
        fcntl.flock(self._users, fcntl.LOCK_UN)
        return False

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._left():
            time.sleep(_TICK)

    def _stop(self, patience: float = _STOP_SECONDS) -> None:
        """End the server with all that it has started."""
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(patience)
                _wait_for_group(server.pid, 1.0)
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    def _tell(self, state: str, *, why: str = "") -> None:
        told = {
            "id": self._id,
            "state": state,
            "url": self._url,
            "why": why,
            "keeper": os.getpid(),
            "server": self._server.pid if self._server is not None else 0,
            "starts": self._starts,
        }
        new = self._folder / "state.json.new"
        new.write_text(json.dumps(told), encoding="utf-8")
        os.replace(new, self._folder / "state.json")


def _wait_for_group(group: int, seconds: float) -> None:
    """Wait until no process of a group is left."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.02)


def _die_with_parent() -> None:
    """In the server, before its program is loaded."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _shown(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def main() -> None:
    task = json.load(sys.stdin)
    if os.fork():  # the worker that started this one has nothing to wait for, and the server outlives it
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)  # not SIG_IGN, which the server would inherit
    Keeper(task).run()


if __name__ == "__main__":
    main()
