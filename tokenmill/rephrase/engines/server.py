"""A server of models that is started and watched here: `vllm serve`, `transformers serve`, `llama-server`, ...

All workers of a machine that ask for the same server share one. It belongs to none of them but to a small process, the
keeper (`keeper.py`), which starts it, starts it again when it dies (at most three times in ten minutes), and ends it
some seconds after its last user. A process is a user from its first session until it ends, so that the next task finds
the model loaded. If the keeper is killed, the kernel kills the server, and whoever notices starts both again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.client import ChatClient
from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.io.chat.reply import ChatFault, Reply
from tokenmill.rephrase.engines.base import Identity, Messages
from tokenmill.rephrase.engines.command import ServerSettings
from tokenmill.rephrase.engines.digests import model_digests

__all__ = ["LINGER_SECONDS", "ServerEngine", "ServerSettings", "release_servers"]

LINGER_SECONDS = 10.0
"""For which a server is kept without users: between a worker that died and the one in its place."""
HEALTH_SECONDS = 10.0
"""Between two looks at a server that is ready."""
SILENT_SECONDS = 60.0
"""Without an answer to such a look, after which a server counts as hung: it is killed and started again."""
_KEEPER_SECONDS = 60.0
"""In which the keeper, a small program, has started."""
_LOOK_SECONDS = 0.25
_TELL_SECONDS = 10.0
_LOG_LINES = 15
_KEEPER = Path(__file__).with_name("keeper.py")
_claims: dict[Path, tuple[int, int]] = {}
"""Folder of a server that this process uses -> its lock, and how many sessions of the process there are."""


class ServerEngine:
    """Asks a server that it starts, or that another process of this machine has started with the same settings.

    timeout: seconds for one request. folder: where state, locks and log lie; default: one for these settings in the
    folder for temporary files. linger: see LINGER_SECONDS. hold: go on as a user until the process ends or
    `release_servers` is called; without it, until the session ends. tell: gets a line now and then while the model
    loads.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        timeout: float = 120.0,
        concurrency: int = 256,
        revision: str = "",
        folder: Path | None = None,
        linger: float = LINGER_SECONDS,
        hold: bool = True,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        if sys.platform == "win32":
            raise ConfigError("servers are not started on Windows", fix="start one, and give --base-url")
        settings.program()
        self.settings = settings
        self._timeout, self._concurrency, self._revision = timeout, concurrency, revision
        self._linger, self._hold, self._tell = linger, hold, tell
        self._given_folder = folder
        self._client: ChatClient | None = None
        self._url = ""
        self._down = ""
        """Why nothing can be asked now."""
        self._failed: FatalError | None = None
        self._stale: str | None = None
        """Of a server that had been given up before this session; it is tried again."""
        self._watching: asyncio.Task[None] | None = None

    @cached_property
    def identity(self) -> Identity:
        """Reads the files of the model if it lies here. Options of the server that can change answers count as part of
        the revision."""
        path = self.settings.model_path()
        weights, template = model_digests(path) if path is not None else ("", "")
        options = self.settings.answer_digest()
        revision = f"{self._revision}+{options}" if options else self._revision
        return Identity(path.resolve().name if path is not None else self.settings.model, revision, weights, template)

    @cached_property
    def folder(self) -> Path:
        """Where state, locks and log lie. Other weights at the same place are another server."""
        if self._given_folder is not None:
            self._given_folder.mkdir(parents=True, exist_ok=True)
            return self._given_folder
        parts = [asdict(self.settings), self.settings.program(), os.getcwd(), asdict(self.identity)]
        name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
        root = Path(tempfile.gettempdir(), f"tokenmill-servers-{os.getuid()}")
        root.mkdir(mode=0o700, exist_ok=True)
        if root.stat().st_uid != os.getuid():  # who owns the folder says where texts are sent
            raise ConfigError(f"{root} belongs to another user", fix="set TMPDIR to a folder of yours")
        root.chmod(0o700)
        (root / name).mkdir(exist_ok=True)
        return root / name

    async def __aenter__(self) -> ServerEngine:
        await _claim(self.folder)
        try:
            await self._wait_until_ready()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        client, self._client = self._client, None
        self._url = ""
        if client is not None:
            await client.__aexit__(kind, error, trace)
        if not self._hold:
            _release(self.folder)

    async def check(self, sampling: Mapping[str, Any]) -> None:
        """One short request with the real settings. ConfigError where the model or a setting is wrong."""
        if self._client is None:
            raise FatalError("the engine is not open")
        try:
            await self._client.check(sampling)
        except ConfigError as error:
            where, fix = str(self.folder / "server.log"), "see the log of the server, and --sampling"
            raise ConfigError(error.what, where=where, why=error.why, fix=fix) from error

    async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
        """One try; errors are those of `ChatClient.once`, and FatalError where the server cannot be kept running."""
        if self._failed is not None:
            raise self._failed
        if self._down or self._client is None:
            raise ChatFault("connection", f"the server is being started again: {self._down}", after=1.0)
        return await self._client.once(messages, sampling)

    async def _wait_until_ready(self) -> None:
        """Start the server if nobody has, and wait for it."""
        before = _read_state(self.folder)
        self._stale = before.get("id") if before.get("state") == "failed" else None
        started = told = answered = time.monotonic()
        while True:
            state = await self._look()
            hung = False
            if state.get("state") == "ready":
                await self._connect(str(state["url"]))
                if self._client is not None and await self._client.alive():
                    return
                hung = True  # or it has just ended; its keeper sees to either
            if self._has_failed(state):
                raise self._failure(state)
            now = time.monotonic()
            answered = answered if hung else now
            if now - answered > 2 * (SILENT_SECONDS + HEALTH_SECONDS) + _KEEPER_SECONDS:
                raise self._unwatched(state)
            if now - told >= _TELL_SECONDS:
                told = now
                what = "does not answer, and is given up soon" if hung else "is starting"
                self._tell(f"the server {what} ({now - started:.0f} s): {' '.join(self._log_lines(1))[:200]}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _watch(self) -> None:
        """Follow the server: another address after another start, or its end."""
        while self._failed is None:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                state = await self._look()
                if state.get("state") == "ready":
                    await self._connect(str(state["url"]))
                    self._down = ""
                elif self._has_failed(state):
                    self._failed = self._failure(state)
                else:
                    self._down = str(state.get("why") or "it has ended")
            except FatalError as error:
                self._failed = error
            except (OSError, ConfigError, subprocess.SubprocessError) as error:
                self._failed = FatalError("the server cannot be watched", where=str(self.folder), why=str(error))

    async def _look(self) -> dict[str, Any]:
        """The state, after a keeper was started where there is none; but not after one that has given up."""
        descriptor = _try_lock(self.folder / "keeper.lock")
        if descriptor is not None:
            try:
                if not self._has_failed(_read_state(self.folder)):
                    await asyncio.to_thread(self._start_keeper, descriptor)
            finally:
                os.close(descriptor)
        return _read_state(self.folder)

    def _has_failed(self, state: Mapping[str, Any]) -> bool:
        """Whether the server was given up, since this session began."""
        return state.get("state") == "failed" and state.get("id") != self._stale

    def _start_keeper(self, lock: int) -> None:
        """Start the keeper, which inherits the lock."""
        before = _read_state(self.folder)
        vanished = before.get("state") in ("starting", "ready")
        words = self.settings.words()
        words[0] = self.settings.program()
        task = {
            "folder": str(self.folder),
            "command": words,
            "cwd": self.settings.cwd or None,
            "port": self.settings.port,
            "ready_seconds": self.settings.ready_seconds,
            "linger": self._linger,
            "health_seconds": HEALTH_SECONDS,
            "silent_seconds": SILENT_SECONDS,
            "id": uuid.uuid4().hex,
            "starts": before.get("starts", []) if vanished else [],
        }
        new = self.folder / f"state.json.{task['id']}"
        new.write_text(json.dumps({"id": task["id"], "state": "starting", "starts": task["starts"]}), encoding="utf-8")
        os.replace(new, self.folder / "state.json")
        log = self.folder / "server.log"
        what, fix = "the server's keeper could not be started", "run the same command when the machine is less busy"
        try:
            with open(log, "ab") as stream:
                done = subprocess.run(
                    [sys.executable, "-I", "-S", str(_KEEPER)],
                    input=json.dumps(task).encode(),
                    stdout=subprocess.DEVNULL,
                    stderr=stream,
                    env=self.settings.environment(),
                    pass_fds=(lock,),
                    start_new_session=True,
                    timeout=_KEEPER_SECONDS,
                )
        except subprocess.TimeoutExpired as error:
            why = f"it did not start within {_KEEPER_SECONDS:g} s"
            raise FatalError(what, where=str(log), why=why, fix=fix) from error
        except OSError as error:
            raise FatalError(what, where=str(log), why=str(error), fix=fix) from error
        if done.returncode:
            raise FatalError(what, where=str(log), why="\n".join(self._log_lines(3)))

    async def _connect(self, url: str) -> None:
        """Ask at this address from now on."""
        if url == self._url:
            return
        key = self.settings.key_env()
        endpoint = Endpoint(base_url=f"{url}/v1", model=self.settings.model, key_env=key, timeout=self._timeout)
        client = ChatClient(endpoint, concurrency=self._concurrency)
        await client.__aenter__()
        old, self._client, self._url = self._client, client, url
        if old is not None:
            await old.__aexit__(None, None, None)

    def _failure(self, state: Mapping[str, Any]) -> FatalError:
        lines = "\n         ".join(self._log_lines(_LOG_LINES))
        why = f"{state.get('why')}; the end of its log:\n         {lines}"
        fix = "see that the command works by itself, then run the same command"
        return FatalError("the server cannot be kept running", where=str(self.folder / "server.log"), why=why, fix=fix)

    def _unwatched(self, state: Mapping[str, Any]) -> FatalError:
        why = f"it hangs, and its keeper (process {state.get('keeper')}) does not end it"
        fix = "end that process, then run the same command"
        return FatalError("the server does not answer", where=str(self.folder / "server.log"), why=why, fix=fix)

    def _log_lines(self, count: int) -> list[str]:
        """The last lines of the log."""
        try:
            with open(self.folder / "server.log", "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - 16_384))
                lines = stream.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line[:300] for line in lines if line.strip()][-count:]


def release_servers() -> None:
    """Be no user of any server any longer; servers without users end."""
    for folder in list(_claims):
        descriptor, _ = _claims.pop(folder)
        os.close(descriptor)


async def _claim(folder: Path) -> None:
    """Become a user: as long as the lock is held, the keeper keeps the server. Waits while it ends one."""
    while folder not in _claims:
        descriptor = _try_lock(folder / "users.lock", shared=True)
        if descriptor is not None:
            _claims[folder] = (descriptor, 0)
            break
        await asyncio.sleep(0.05)
    descriptor, sessions = _claims[folder]
    _claims[folder] = (descriptor, sessions + 1)


def _release(folder: Path) -> None:
    """End a session's use; the lock goes with the last one."""
    descriptor, sessions = _claims.pop(folder, (-1, 0))
    if sessions > 1:
        _claims[folder] = (descriptor, sessions - 1)
    elif descriptor >= 0:
        os.close(descriptor)


def _try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A descriptor that holds the lock, or None."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
