"""One connection: requests go out one after the other, and answers come in as the parser finds them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    import httptools

_HEAD_LIMIT = 64 << 10
"""Bytes of a message that are no body; framing of bodies may add 16 for each byte of them."""
_IDLE_SECONDS = 4.0
"""A connection that was not used for longer is not used again: uvicorn and Node.js close theirs after 5."""
_STALE_SECONDS = 1.0
"""A server that had closed a kept connection says so at once; later, it was busy with the request."""
_NEVER = float("inf")
_NO_BODY = frozenset({204, 205, 304})


class Response(NamedTuple):
    """An answer with its whole body. Names of headers are in lower case; of a repeated one the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpFault(Exception):
    """An exchange that brought no whole answer.

    kind: "timeout"; "connection" (none could be made, or it broke while the request was written); "stale" (a kept
    connection that ended before the first byte of an answer: mostly the server had closed it); "cut_body" (it ended
    before the whole answer was there); "protocol" (no HTTP, or not as it should be); "too_large".
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Connection(asyncio.Protocol):
    """One connection with at most one request under way. Methods `on_*` are the parser's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opened: set[Connection], body_limit: int) -> None:
        import httptools

        self._loop = loop
        self._opened = opened
        self._body_limit = body_limit
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        self._parser_error: type[Exception] = httptools.HttpParserError
        self._waiting: asyncio.Future[Response] | None = None
        self.closed: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport
        self.used = 0.0
        """When it was last used, in the loop's time."""
        self.idle_seconds = _IDLE_SECONDS
        self.usable = False
        """Whether a request may be sent."""
        self._exchanges = 0
        self._sent = self._timeout = 0.0
        self.deadline = _NEVER
        """When the exchange that is under way has taken too long, in the loop's time."""
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._received = 0
        self._status = 0
        self._to_end = False
        """The body ends with the connection."""

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._opened.add(self)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._opened.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)
        if self._waiting is None:
            return
        if self._to_end and exc is None:
            self.on_message_complete()
        elif self._received:
            self._fail("cut_body", f"the connection ended {self._place()}")
        elif self._exchanges > 1 and self._loop.time() - self._sent < _STALE_SECONDS:
            self._fail("stale", "a kept connection ended before the answer began")
        elif exc is not None:
            self._fail("connection", f"the connection broke without an answer: {type(exc).__name__}: {exc}")
        else:
            self._fail("cut_body", "the connection ended without an answer")

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # an answer to nothing: what follows would be taken for that of the next request
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except self._parser_error as error:
            if isinstance(error.__context__, HttpFault):  # of `on_*`
                self._fail(error.__context__.kind, error.__context__.detail)
            else:
                self._fail("protocol", f"what came is no HTTP answer: {error} {data[:40]!r}")
            return
        if self._received - self._size > _HEAD_LIMIT + 16 * self._size and self._waiting is not None:
            self._fail("too_large", "headers and framing are longer than 64 KiB")

    # --- the parser's side

    def on_message_begin(self) -> None:
        if self._waiting is None:  # behind a whole answer, in the same packet
            self.usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        headers = self._headers
        length = headers.get("content-length")
        if length is not None:
            if int(length) > self._body_limit:
                raise HttpFault("too_large", f"a body of {length} bytes is announced")
        elif self._status not in _NO_BODY:
            coding = headers.get("transfer-encoding")
            if coding is not None and coding.lower() != "chunked":
                raise HttpFault("protocol", f"Transfer-Encoding is {coding[:40]!r}")
            self._to_end = coding is None
        self.usable = self._parser.should_keep_alive() and not self._to_end and self.usable
        if "keep-alive" in headers:
            self.idle_seconds = min(_IDLE_SECONDS, _keep_alive(headers["keep-alive"]))
        if self._status == 205 and "content-length" not in headers and "transfer-encoding" not in headers:
            self.usable = False
            self.on_message_complete()  # the parser waits for a body that must not come

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._body_limit:
            raise HttpFault("too_large", f"a body goes on behind {self._body_limit:,} bytes")
        self._parts.append(part)

    def on_message_complete(self) -> None:
        if self._status < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
            if self._status == 101:
                raise HttpFault("protocol", "the server wants another protocol")
            self._headers = {}
            return
        waiting, self._waiting = self._waiting, None
        self.deadline = _NEVER
        headers, self._headers = self._headers, {}
        if waiting is not None and not waiting.done():
            parts = self._parts
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            waiting.set_result(Response(self._status, headers, body))

    # --- the pool's side

    def send(self, message: bytes, timeout: float) -> asyncio.Future[Response]:
        """What becomes of a message: an answer, or an HttpFault. Whoever owns the connection calls `late` when the time
        is over, and closes it where the future is cancelled."""
        self._headers = {}
        self._parts = []
        self._size = self._received = self._status = 0
        self._to_end = False
        self._exchanges += 1
        waiting: asyncio.Future[Response] = self._loop.create_future()
        self._waiting = waiting
        self._sent = self._loop.time()
        self._timeout = timeout
        self.deadline = self._sent + timeout
        self.transport.write(message)
        return waiting

    def close(self) -> None:
        """Give the connection up, without waiting for what is still to be written."""
        self.usable = False
        self.deadline = _NEVER
        transport: asyncio.Transport | None = getattr(self, "transport", None)
        if transport is not None:
            transport.abort()

    def late(self) -> None:
        """The time of the exchange is over."""
        timeout = self._timeout
        came = f"; it broke off {self._place()}" if self._received else ""
        self._fail("timeout", f"no whole answer within {timeout:g} s{came}")

    def _fail(self, kind: str, detail: str) -> None:
        waiting, self._waiting = self._waiting, None
        self.deadline = _NEVER
        self.close()
        if waiting is not None and not waiting.done():
            waiting.set_exception(HttpFault(kind, detail))

    def _place(self) -> str:
        wanted = self._headers.get("content-length")
        if not self._status:
            return "in the head of the answer"
        return f"after {self._size:,} bytes of the body" + (f" of {wanted}" if wanted else "")


def _keep_alive(value: str) -> float:
    """Seconds that a header `Keep-Alive: timeout=5, max=100` leaves to an idle connection, with a second to spare."""
    for part in value.split(","):
        name, _, number = part.strip().partition("=")
        if name.strip().lower() == "timeout":
            with contextlib.suppress(ValueError):
                return max(0.0, float(number) - 1.0)
    return _IDLE_SECONDS
