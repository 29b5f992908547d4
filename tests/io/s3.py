"""A real S3 server process on localhost (moto's), and a proxy in front of it that breaks requests on order.

    def test_mine(bucket: Bucket) -> None:              # from tests.io.s3 import bucket, store
        bucket.put("in/a.bin", b"...")
        bucket.proxy.add("lost", method="PUT", key="manifests/", nth=1)
        ... open_binary(bucket.url("in/a.bin")) ...
        assert bucket.proxy.count("GET", "in/a.bin") == 3

The fixture points the environment at the proxy, so child processes use it as well.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote

import pytest

from tokenmill.io import stores

Fault = Literal["slow_down", "error", "reset", "cut", "lost", "delay", "forbidden", "unsupported", "corrupt"]
"""slow_down, error: 503 SlowDown, 500. reset: the connection breaks before the server has seen the request.
cut: half of the body, then the connection breaks. lost: the server has done it, but the answer never comes.
forbidden, unsupported: 403, 501. corrupt: a byte of what the client sends is another one."""
_STATUS = {
    "slow_down": (503, "SlowDown"),
    "error": (500, "InternalError"),
    "forbidden": (403, "AccessDenied"),
    "unsupported": (501, "NotImplemented"),
}


@dataclass
class Rule:
    """Break the `nth` and the following `times - 1` requests that match."""

    fault: Fault
    method: str = ".*"
    key: str = ""
    """Regular expression, searched in path and query."""
    nth: int = 1
    times: int = 1
    seen: int = 0

    def applies(self, method: str, target: str) -> bool:
        if not re.fullmatch(self.method, method) or not re.search(self.key, target):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


@dataclass(frozen=True)
class Seen:
    """A request as the proxy saw it."""

    method: str
    target: str
    range: str
    status: int
    """0 where the client got no answer."""
    sent: int
    """Bytes of body that went to the client."""
    fault: Fault | None
    authorized: bool


@dataclass
class FaultProxy:
    """Forwards HTTP to `upstream`, breaks what the rules say, and keeps a log."""

    upstream: tuple[str, int]
    rules: list[Rule] = field(default_factory=list)
    rates: Mapping[Fault, float] = field(default_factory=dict)
    """Random faults: share of all requests."""
    log: list[Seen] = field(default_factory=list)
    ignore_ranges: bool = False
    """As a web server that knows no `Range`."""
    delay: float = 0.05
    url: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(0)

    def add(self, fault: Fault, **rule: Any) -> None:
        self.rules.append(Rule(fault, **rule))

    def at_random(self, seed: int, **rates: float) -> None:
        self._random = random.Random(seed)
        self.rates = rates  # type: ignore[assignment]

    def clear(self) -> None:
        with self._lock:
            self.rules, self.rates, self.log, self.ignore_ranges = [], {}, [], False

    def choose(self, method: str, target: str) -> Fault | None:
        with self._lock:
            for rule in self.rules:
                if rule.applies(method, target):
                    return rule.fault
            point = self._random.random()
            for fault, rate in self.rates.items():
                point -= rate
                if point < 0:
                    return fault
            return None

    def note(self, seen: Seen) -> None:
        with self._lock:
            self.log.append(seen)

    def requests(self, method: str = ".*", key: str = "") -> list[Seen]:
        return [one for one in self.log if re.fullmatch(method, one.method) and re.search(key, one.target)]

    def count(self, method: str = ".*", key: str = "") -> int:
        return len(self.requests(method, key))

    def served(self, key: str = "") -> int:
        """Bytes of body sent to the client in answer to GET."""
        return sum(one.sent for one in self.requests("GET", key))

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.proxy = self
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: 40 ms more for each answer
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = unquote(self.path)
        fault = proxy.choose(self.command, target)
        if fault == "delay":
            time.sleep(proxy.delay)
        if fault in _STATUS:
            status, code = _STATUS[fault]
            headers = [("Content-Type", "application/xml")]
            data = f"<Error><Code>{code}</Code><Message>on order</Message></Error>".encode()
        elif fault == "reset":
            status, headers, data = 0, [], b""
        else:
            if fault == "corrupt":
                middle = len(body) // 2
                body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            status, headers, data = self._forward(body)
            status = 0 if fault == "lost" else status
        part = data[: len(data) // 2] if fault == "cut" else data
        sent = len(part) if status and self.command != "HEAD" else 0
        signed = "Authorization" in self.headers
        # before the answer: a test looks into the log as soon as it has that
        proxy.note(Seen(self.command, target, self.headers.get("Range", ""), status, sent, fault, signed))
        if status:
            self._answer(status, headers, len(data), part)
        if fault in ("reset", "lost", "cut"):
            self._reset()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=30)
        dropped = {"connection", "expect"} | ({"range"} if self.server.proxy.ignore_ranges else set())
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], size: int, part: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = dict((name.lower(), value) for name, value in headers).get("content-length", str(size))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)
        self.wfile.flush()

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()


@dataclass
class Store:
    """The server, and the proxy in front of it."""

    endpoint: str
    proxy: FaultProxy

    @cached_property
    def client(self) -> Any:
        """A client of the server itself, past the proxy; one for all tests, for making it takes 0.1 s."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="direct",
            aws_secret_access_key="direct",
        )


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of its own for one test."""

    name: str
    proxy: FaultProxy
    client: Any

    def url(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def http(self, key: str) -> str:
        return f"{self.proxy.url}/{self.name}/{key}"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))


@contextmanager
def running_store() -> Iterator[Store]:
    """Start the server process and the proxy; about 2 s."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    # parts of an upload may be small, so that tests of uploads in parts are
    environment = {**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1024"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        with FaultProxy(("127.0.0.1", port)).running() as proxy:
            started = Store(f"http://127.0.0.1:{port}", proxy)
            yield started
            started.client.close()
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the S3 server has ended"
            time.sleep(0.05)
    raise AssertionError("the S3 server does not answer")


_shared: list[Store] = []


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """One for all test modules: a fixture that is imported is another one in each, and the first ends last."""
    if _shared:
        yield _shared[0]
        return
    with running_store() as started:
        _shared.append(started)
        yield started
    _shared.clear()


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new bucket behind the proxy, reached by the environment; waits are short."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "TOKENMILL_S3_ANON", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.proxy.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("TOKENMILL_STORE_FIRST_WAIT", "0.005")
    stores.anonymous.cache_clear()
    store.proxy.clear()
    name = f"test-{uuid.uuid4().hex[:12]}"
    store.client.create_bucket(Bucket=name)
    yield Bucket(name, store.proxy, store.client)
    store.proxy.clear()
    stores.anonymous.cache_clear()
