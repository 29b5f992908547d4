"""A real server that is started, shared, lost, and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.reply import ChatFault
from tokenmill.rephrase.engines.base import Engine
from tokenmill.rephrase.engines.command import ServerSettings
from tokenmill.rephrase.engines.server import ServerEngine, release_servers

pytest.importorskip("httptools")
PROGRAM = Path(__file__).with_name("model_server.py")
COMMAND = f"{sys.executable} -S {PROGRAM} {{model}} --port {{port}} --host {{host}}"
PATIENCE = 30.0
"""Seconds after which something that should have come counts as missing, on any machine."""


@pytest.fixture(autouse=True)
def no_server_is_left() -> Iterator[None]:
    yield
    release_servers()


def engine(folder: Path, more: str = "", **fields: Any) -> ServerEngine:
    own = {name: fields.pop(name) for name in ("port", "ready_seconds", "env") if name in fields}
    settings = ServerSettings(command=f"{COMMAND} {more}", model="m", **own)
    return ServerEngine(settings, folder=folder, **{"linger": 0.0, "hold": False, "timeout": 10.0, **fields})


async def say(server: Engine, text: str) -> str:
    return (await server.ask([{"role": "user", "content": text}], {"temperature": 0})).text


async def say_until(server: Engine, text: str) -> str:
    """The answer, as soon as there is a server again. Meanwhile there are only faults that pass."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return await say(server, text)
        except ChatFault as fault:
            if fault.kind not in ("connection", "cut_body", "stale") or time.monotonic() > end:
                raise AssertionError(fault.kind) from fault
        await asyncio.sleep(0.05)


def use(server: ServerEngine, what: Callable[[ServerEngine], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with server:
            return await what(server)

    return asyncio.run(run())


def wait_for(found: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return found


def is_gone(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_server_from_its_start_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    monkeypatch.setenv("VIRTUAL_ENV", "/x")
    monkeypatch.setenv("MINE", "it")
    server = engine(tmp_path, f"--child {tmp_path / 'child'}", env={"MODE": "$MINE"})

    async def ask(server: ServerEngine) -> int:
        await server.check({"max_tokens": 5})
        assert await say(server, "hello") == "HELLO"
        given = json.loads(await say(server, "environment"))
        assert (given["MODE"], given["authorization"]) == ("it", None)
        assert "VIRTUAL_ENV" not in given
        assert "sk-0123456789" not in str(given)
        assert state(tmp_path)["url"].startswith("http://127.0.0.1:")
        return int(await say(server, "pid"))

    process = use(server, ask)
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: is_gone(process) and is_gone(child) and is_gone(state(tmp_path)["keeper"]))
    assert state(tmp_path)["state"] == "ended"
    assert "serving m" in (tmp_path / "server.log").read_text()


def test_a_server_that_dies_at_its_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    for _ in range(2):  # the same command is tried again
        with pytest.raises(FatalError, match="cannot be kept running") as caught:
            use(engine(tmp_path, "--broken"), lambda server: say(server, "x"))
        assert "exit code 3 before it was ready" in caught.value.why
        assert "CUDA out of memory, or so" in caught.value.why
        assert caught.value.where == str(tmp_path / "server.log")
    assert (tmp_path / "server.log").read_text().count(" start: ") == 2


def test_the_next_session_finds_the_model_loaded(tmp_path: Path) -> None:
    def ask() -> str:
        found: str = use(engine(tmp_path, "--no-health", hold=True), lambda server: say(server, "pid"))
        return found

    first = ask()
    assert ask() == first
    release_servers()
    wait_for(lambda: is_gone(int(first)))


def test_ports_that_are_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(FatalError, match="cannot be kept running") as caught:
            use(engine(tmp_path, port=port), lambda server: say(server, "x"))
    assert f"port {port} is taken" in caught.value.why


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    settings = ServerSettings(command="no-such-program {host} {port}", model="m")
    with pytest.raises(ConfigError, match="no program no-such-program"):
        ServerEngine(settings, folder=tmp_path)
    with pytest.raises(ConfigError, match="OTHER is not set"):
        use(engine(tmp_path, env={"A": "$OTHER"}), lambda server: say(server, "x"))
    with pytest.raises(FatalError, match="not open"):
        asyncio.run(engine(tmp_path).check({}))
    with pytest.raises(ChatFault):
        asyncio.run(say(engine(tmp_path), "x"))


def test_identity_and_the_place_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    command = f"{sys.executable} {{model}} {{host}} --port {{port}}"

    def made(model: str = str(tmp_path / "tiny"), more: str = "", **fields: Any) -> ServerEngine:
        return ServerEngine(ServerSettings(command=command + more, model=model), **fields)

    here, hub = made().identity, made("org/tiny").identity
    assert (here.model, hub.model, hub.weights_digest) == ("tiny", "org/tiny", "")
    assert len(here.weights_digest) == 64
    assert made(more=" --dtype half").identity.revision != here.revision
    assert made(more=" --max-num-seqs 8").identity == here
    assert made(revision="v2").identity.revision == f"v2{here.revision}"
    first = made().folder
    assert first.parent.parent == tmp_path
    assert first.parent.stat().st_mode & 0o077 == 0
    assert made().folder == first
    (tmp_path / "tiny" / "config.json").write_text('{"a": 1}')  # other weights are another server
    assert made().folder != first != made("org/tiny").folder


def test_a_keeper_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "keeper.py"
    monkeypatch.setattr("tokenmill.rephrase.engines.server._KEEPER", program)
    monkeypatch.setattr("tokenmill.rephrase.engines.server._KEEPER_SECONDS", 0.3)
    for code, why in (("import time; time.sleep(60)", "within 0.3 s"), ("raise SystemExit('no room')", "no room")):
        program.write_text(code)
        if why == "no room":
            monkeypatch.setattr("tokenmill.rephrase.engines.server._KEEPER_SECONDS", PATIENCE)
        with pytest.raises(FatalError, match="keeper could not be started") as caught:
            use(engine(tmp_path), lambda server: say(server, "x"))
        assert why in caught.value.why
        assert caught.value.where == str(tmp_path / "server.log")


@pytest.mark.ci
def test_a_server_with_a_key_is_asked_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "sk-0123456789-Xy7Kq2mR9z")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    server = engine(tmp_path, env={"VLLM_API_KEY": "$MINE"})
    assert use(server, lambda server: say(server, "hello")) == "HELLO"
    written = [file for file in tmp_path.iterdir() if file.is_file()]
    assert not any(b"sk-" in file.read_bytes() for file in written)


@pytest.mark.ci
def test_a_server_that_hangs_is_killed_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile nobody takes it over."""
    for name, seconds in (("HEALTH_SECONDS", 0.2), ("SILENT_SECONDS", 3.0), ("_TELL_SECONDS", 0.2)):
        monkeypatch.setattr(f"tokenmill.rephrase.engines.server.{name}", seconds)
    told: list[str] = []

    async def ask(server: ServerEngine) -> None:
        first = int(await say(server, "pid"))
        os.kill(first, signal.SIGSTOP)
        async with engine(tmp_path, tell=told.append) as another:
            second = await say(another, "pid")
        assert is_gone(first)
        assert await say_until(server, "pid") == second != str(first)

    use(engine(tmp_path), ask)
    assert any("does not answer" in line for line in told)
    assert (tmp_path / "server.log").read_text().count(" start: ") == 2


@pytest.mark.ci
def test_a_server_that_hangs_with_its_keeper_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(server: ServerEngine) -> None:
        first, keeper = int(await say(server, "pid")), int(state(tmp_path)["keeper"])
        os.kill(keeper, signal.SIGSTOP)
        os.kill(first, signal.SIGSTOP)
        for name in ("HEALTH_SECONDS", "SILENT_SECONDS", "_KEEPER_SECONDS"):
            monkeypatch.setattr(f"tokenmill.rephrase.engines.server.{name}", 0.1)
        monkeypatch.setattr("tokenmill.io.chat.client._LOOK_SECONDS", 0.2)
        try:
            with pytest.raises(FatalError, match="does not answer") as caught:
                async with engine(tmp_path):
                    pass
            assert f"process {keeper}" in caught.value.why
        finally:
            os.kill(keeper, signal.SIGKILL)

    use(engine(tmp_path), ask)


@pytest.mark.ci
def test_a_server_that_dies_is_started_again_three_times(tmp_path: Path) -> None:
    async def ask(server: ServerEngine) -> list[str]:
        processes = [await say(server, "pid")]
        for _ in range(3):
            with pytest.raises(ChatFault):
                await say(server, "please DIE")
            processes.append(await say_until(server, "pid"))
        with pytest.raises(ChatFault):
            await say(server, "please DIE")
        with pytest.raises(FatalError, match="cannot be kept running") as caught:
            await say_until(server, "pid")
        assert "exit code 9, after it had been ready" in caught.value.why
        return processes

    assert len(set(use(engine(tmp_path, "--die-at DIE"), ask))) == 4


@pytest.mark.ci
def test_a_server_whose_health_is_bad_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenmill.rephrase.engines.server.HEALTH_SECONDS", 0.1)

    async def ask(server: ServerEngine) -> None:
        first = await say(server, "pid")
        await asyncio.sleep(1.0)  # looked at ten times
        assert await say(server, "pid") == first
        await say(server, "be SICK")
        end = time.monotonic() + PATIENCE
        while not is_gone(int(first)):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert await say_until(server, "pid") != first

    use(engine(tmp_path, "--sick-at SICK"), ask)
    assert (tmp_path / "server.log").read_text().count(" start: ") == 2


@pytest.mark.ci
def test_a_server_that_is_never_ready(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(FatalError, match="cannot be kept running") as caught:
        use(
            engine(tmp_path, "--slow 60", ready_seconds=0.5, tell=told.append),
            lambda server: say(server, "x"),
        )
    assert "not ready within 0.5 s" in caught.value.why


@pytest.mark.ci
def test_a_keeper_that_is_killed_takes_its_server_along_and_both_come_back(tmp_path: Path) -> None:
    async def ask(server: ServerEngine) -> None:
        first = int(await say(server, "pid"))
        os.kill(state(tmp_path)["keeper"], signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while not is_gone(first):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        assert int(await say_until(server, "pid")) != first

    use(engine(tmp_path), ask)
    wait_for(lambda: is_gone(state(tmp_path)["keeper"]))


USER = """
import asyncio, sys
from pathlib import Path
from tests.rephrase.engines.test_server import engine, say_until

async def run():
    async with engine(Path(sys.argv[1]), linger=1.0, hold=True) as server:
        for word in sys.stdin:
            print(await say_until(server, word.strip()), flush=True)

asyncio.run(run())
"""


@pytest.mark.ci
def test_processes_share_a_server_and_may_be_killed(tmp_path: Path) -> None:
    """Whoever started it dies first; the last one ends it."""
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]

    def answer(user: subprocess.Popen[str], word: str) -> str:
        assert user.stdin is not None
        assert user.stdout is not None
        user.stdin.write(f"{word}\n")
        user.stdin.flush()
        return user.stdout.readline().strip()

    try:
        (process,) = {answer(user, "pid") for user in users}
        for user in users[:2]:
            user.kill()
            user.wait()
        time.sleep(1.5)  # longer than it is kept without users
        assert answer(users[2], "pid") == process
        assert answer(users[2], "still here") == "STILL HERE"
        users[2].kill()
        wait_for(lambda: is_gone(int(process)) and is_gone(state(tmp_path)["keeper"]))
        assert (tmp_path / "server.log").read_text().count(" start: ") == 1
    finally:
        for user in users:
            user.kill()
            user.communicate()
