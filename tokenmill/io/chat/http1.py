"""HTTP/1.1 over kept connections, as fast as asyncio goes: the transport under the chat client.

General clients cost more than the requests: against a local server that answers after 50 ms, with 256 connections,
httpx made 79 requests a second, aiohttp 3,400 and this one 4,800, of 5,120 that can be had. What a chat needs is
little: one origin, bodies in one piece, no redirects, no proxies, no cookies, no compression. Messages are read by
llhttp, the parser of Node.js (package httptools). What it leaves out is done here: bodies that end with the connection,
time-outs, limits, and telling a connection that the server had closed in the meantime from a request that it dropped.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Self

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.connection import Connection, HttpFault, Response

__all__ = ["HttpFault", "Pool", "Response", "need_httptools"]

BODY_LIMIT = 64 << 20
"""Bytes of a body: an answer of a million tokens has a tenth of it."""
_RESOLVED_SECONDS = 30.0
"""How long addresses of a name are taken for granted."""
_CONNECT_SECONDS = 10.0


class Pool:
    """Connections to one origin, used again and again. An async context manager, for one event loop.

    admit(address): raises where a resolved address may not be connected to; the address that was looked at is the one
    that is connected to, so a name cannot come to mean another one in between.
    """

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int,
        *,
        headers: Mapping[str, str] | None = None,
        connections: int = 256,
        timeout: float = 120.0,
        admit: Callable[[str], None] = lambda address: None,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self._host, self._port = host, port
        self._tls = scheme == "https"
        self._timeout = timeout
        self._admit = admit
        self._body_limit = body_limit
        shown = f"[{host}]" if ":" in host else host
        self._where = f"{scheme}://{shown}:{port}"
        named = shown if port == (443 if self._tls else 80) else f"{shown}:{port}"
        fixed = {"Host": named, "Accept-Encoding": "identity", "User-Agent": "tokenmill", **(headers or {})}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in fixed.items()).encode("latin-1")
        self._places = connections
        self._queue: deque[asyncio.Future[None]] = deque()
        """Requests that wait for a place."""
        self._grain = min(timeout / 20, 1.0)
        """Seconds that the end of an exchange may come late."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._addresses: tuple[float, list[str]] = (0.0, [])
        self._bad: set[str] = set()
        """Addresses that did not take a connection since the name was looked up; they come last."""
        self._resolving = asyncio.Lock()
        self._turn = 0
        self._context: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if self._tls and self._context is None:
            self._context = ssl.create_default_context()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        ended = [connection.closed for connection in self._open]
        for connection in list(self._open):
            connection.close()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ended:
            await asyncio.wait(ended, timeout=1.0)

    def post(self, path: str, body: bytes) -> Coroutine[None, None, Response]:
        """Send a JSON body. HttpFault where no whole answer came, FatalError where none would."""
        head = b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        return self._exchange(head % (path.encode("ascii"), self._head, len(body)) + body, self._timeout)

    async def get(self, path: str, *, timeout: float | None = None) -> Response:
        """Errors are those of `post`."""
        head = b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode("ascii"), self._head)
        return await self._exchange(head, timeout or self._timeout)

    async def _exchange(self, message: bytes, timeout: float) -> Response:
        if self._places > 0:
            self._places -= 1
        else:
            await self._place()
        try:
            now = self._loop.time()
            connection = self._kept(now) or await self._connect(min(_CONNECT_SECONDS, timeout))
            try:
                response = await connection.send(message, timeout)
            except BaseException:  # a cancelled request too: its answer would be taken for that of the next one
                connection.close()
                raise
            if connection.usable:
                connection.used = self._loop.time()
                self._idle.append(connection)
            else:
                connection.close()
        finally:
            self._leave()
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", ""):
            why = f"Content-Encoding is {encoding[:40]!r}, though Accept-Encoding said identity"
            raise FatalError("the server compresses its answers", where=self._where, why=why, fix="switch it off there")
        return response

    async def _place(self) -> None:
        """Wait for the end of another request, whose place is handed over."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._places += 1

    def _watch(self) -> None:
        """End the exchanges whose time is over. One timer for all: one for each would cost more than to send it."""
        now = self._loop.time()
        for connection in list(self._open):
            if connection.deadline <= now:
                connection.late()
        self._timer = self._loop.call_at(now + self._grain, self._watch) if self._open else None

    def _kept(self, now: float) -> Connection | None:
        """The connection that was used last; those that wait too long are closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.used < connection.idle_seconds:
                return connection
            connection.close()
        return None

    async def _connect(self, seconds: float) -> Connection:
        """A new connection, to the first address of the host that takes one."""
        last: Exception = OSError("the name has no address")
        try:
            async with asyncio.timeout(seconds):
                addresses = await self._resolve()
                for address in self._in_turn(addresses):
                    try:
                        # a share each: a machine with half an IPv6 has addresses that swallow connections
                        async with asyncio.timeout(seconds / len(addresses)):
                            return await self._connect_to(address)
                    except ssl.SSLCertVerificationError as error:
                        fix = "SSL_CERT_FILE names a file with the certificate authority of a private server"
                        what = "the certificate of the server is not good"
                        raise FatalError(what, where=self._where, why=str(error), fix=fix) from error
                    except OSError as error:  # TimeoutError is one
                        last = error
                        self._bad.add(address)
        except OSError as error:  # of the resolver
            last = error
        self._addresses = (0.0, [])
        late = isinstance(last, TimeoutError)
        told = f"within {seconds:g} s" if late else f"({type(last).__name__}: {last})"
        proxy = "; proxies are not used" if any(name.lower() == "https_proxy" for name in os.environ) else ""
        raise HttpFault("timeout" if late else "connection", f"no connection to {self._where} {told}{proxy}") from last

    def _in_turn(self, addresses: list[str]) -> list[str]:
        """The addresses of a name share the load; those that failed come last."""
        good = [one for one in addresses if one not in self._bad]
        self._turn += 1
        start = self._turn % max(1, len(good))
        return good[start:] + good[:start] + [one for one in addresses if one in self._bad]

    async def _connect_to(self, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._open, self._body_limit)
        await loop.create_connection(
            lambda: connection,
            address,
            self._port,
            ssl=self._context,
            server_hostname=self._host if self._context is not None else None,
        )
        try:
            peer = connection.transport.get_extra_info("peername")
            self._admit(str(peer[0]) if peer else address)
        except BaseException:
            connection.close()
            raise
        if self._timer is None:
            self._watch()
        return connection

    async def _resolve(self) -> list[str]:
        """The admitted addresses of the host."""
        loop = asyncio.get_running_loop()
        async with self._resolving:
            until, addresses = self._addresses
            if loop.time() < until:
                return addresses
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
            for address in addresses:
                self._admit(address)
            self._addresses = (loop.time() + _RESOLVED_SECONDS, addresses)
            self._bad.clear()
            return addresses


def need_httptools() -> None:
    """ConfigError where the parser is not installed."""
    try:
        import httptools  # noqa: F401
    except ImportError as error:
        raise ConfigError("httptools is not installed", why=str(error), fix="pip install 'tokenmill[llm]'") from error
