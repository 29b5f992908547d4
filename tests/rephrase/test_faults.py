"""Documents against a server that fails in every way, with clients that are killed: none lost, none asked twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rephrase.fault_client import page, request
from tests.rephrase.fault_server import reversed_words
from tokenmill.rephrase.ledger import Entry, read_entries

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """The process of `fault_server.py`, which can be killed and started again at the same port."""

    def __init__(self, log: Path, **options: float) -> None:
        self.log = log
        self._options = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(ROOT / "tests/rephrase/fault_server.py"), str(self.port), str(self.log)]
        self.process = subprocess.Popen([*command, *self._options], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def lines(self) -> list[list[str]]:
        """Requests so far: (name of the page, what happened, seed)."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []


@contextmanager
def serving(log: Path, **options: float) -> Iterator[Server]:
    server = Server(log, **options)
    try:
        yield server
    finally:
        server.kill()


def client(server: Server, ledger: Path, documents: int, workers: int, *, order: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.rephrase.fault_client", f"http://127.0.0.1:{server.port}/v1", str(ledger)]
    tail = [str(documents), str(workers), "--order", str(order), "--concurrency", "8"]
    return subprocess.Popen([*command, *tail], cwd=ROOT, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The client and its workers, with SIGKILL, as one."""
    subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=False, stderr=subprocess.DEVNULL)
    process.wait()


def wait_for(server: Server, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server has got so many requests, or the client has ended."""
    while server.log.exists() is False or server.log.read_bytes().count(b"\n") < count:
        if process.poll() is not None:
            return
        time.sleep(0.01)


def through_kills(
    server: Server, ledger: Path, documents: int, workers: int, kills: int, *, restart: bool
) -> list[tuple[set[str], int]]:
    """Ask about all documents with clients that are killed; (final keys on the disk, requests so far) at each kill."""
    known: list[tuple[set[str], int]] = []
    for number in range(kills):
        process = client(server, ledger, documents, workers, order=number)
        wait_for(server, int(1.4 * documents * (number + 1) / (kills + 1)), process)
        if restart and number == kills // 2:
            server.kill()
            time.sleep(0.2)
            server.start()
            wait_for(server, len(server.lines()) + documents // 50, process)
        kill(process)
        entries = read_entries(ledger)[0]
        known.append(({key for key, entry in entries.items() if entry.outcome}, len(server.lines())))
    assert client(server, ledger, documents, workers, order=kills).wait() == 0
    return known


def check_all(server: Server, ledger: Path, documents: int, known: list[tuple[set[str], int]]) -> dict[str, Entry]:
    """Every document ends exactly once, whole or with a reason, and what had ended was not asked again."""
    requests = [request(number) for number in range(documents)]
    entries, _ = read_entries(ledger)
    assert set(entries) == {one.key for one in requests}
    lines = server.lines()
    cut = Counter(name for name, happened, _ in lines if happened == "length")
    for number, one in enumerate(requests):
        entry = entries[one.key]
        if entry.outcome == "answer":
            assert entry.response == reversed_words(page(number))  # whole
            assert entry.row["finish_reason"] == "stop"
        else:
            assert (entry.outcome, entry.kind) == ("failed", "length")
            assert cut[f"p{number}"] >= 2
    names = {one.key: f"p{number}" for number, one in enumerate(requests)}
    for final, sent in known:
        done = {names[key] for key in final}
        assert not [name for name, *_ in lines[sent:] if name in done]
    return entries


def answers(entries: dict[str, Entry]) -> dict[str, str]:
    return {key: entry.response for key, entry in entries.items() if entry.outcome == "answer"}


def test_documents_survive_faults_and_kills(tmp_path: Path) -> None:
    with serving(tmp_path / "log", hang=2) as server:
        known = through_kills(server, tmp_path / "ledger", 120, 1, 1, restart=False)
        entries = check_all(server, tmp_path / "ledger", 120, known)
        assert 30 < len(known[0][0]) < 120, "the kill came in the middle"
        assert {"429", "500", "timeout", "not_json"} <= {kind for entry in entries.values() for kind in entry.faults}
        assert len(server.lines()) <= 1.8 * 120


@pytest.mark.slow
def test_ten_thousand_documents_five_kills_one_restart(tmp_path: Path) -> None:
    documents = 10_000
    with serving(tmp_path / "log", hang=2) as server:
        known = through_kills(server, tmp_path / "ledger", documents, 4, 5, restart=True)
        entries = check_all(server, tmp_path / "ledger", documents, known)
        share = len(server.lines()) / documents
        print(f"{share:.4f} requests a document")
        assert share <= 1.6
        assert len(answers(entries)) >= 0.99 * documents


@pytest.mark.ci
def test_any_order_and_any_workers_give_one_set(tmp_path: Path) -> None:
    documents, found = 1_000, []
    for name, workers, order in (("one", 1, 3), ("four", 4, 8), ("other", 1, random.randrange(100))):
        with serving(tmp_path / f"log-{name}", hang=2) as server:
            assert client(server, tmp_path / name, documents, workers, order=order).wait() == 0
            entries = check_all(server, tmp_path / name, documents, [])
        found.append(answers(entries))
    assert found[0] == found[1] == found[2]


@pytest.mark.ci
def test_independent_faults_cost_what_arithmetic_says(tmp_path: Path) -> None:
    """With the same odds for every request, 1 / (1 - .45) = 1.82 requests a document are the least."""
    documents = 1_500
    with serving(tmp_path / "log", hang=2, later=1.0) as server:
        assert client(server, tmp_path / "ledger", documents, 4).wait() == 0
        check_all(server, tmp_path / "ledger", documents, [])
        share = len(server.lines()) / documents
        print(f"{share:.4f} requests a document, of 1.8182")
        assert 1.7 < share < 1.95
