"""Messages to and from a child process that may hang or die at any moment.

Neither sending nor receiving ever blocks for longer than `POLL_SECONDS` without asking the watcher.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections.abc import Callable
from typing import Any

from tokenmill.executors.framing import LENGTHS, message_head

POLL_SECONDS = 0.25
_CHUNK = 1 << 20


class ChildGone(Exception):
    """The child has closed its end: it is dead or dying."""


class Channel:
    """Both pipes of a child started with `stdin=PIPE, stdout=PIPE`; `watch` is called while nothing moves."""

    def __init__(self, child: subprocess.Popen[bytes], watch: Callable[[], None]) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._out, self._in = child.stdin.fileno(), child.stdout.fileno()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)
        self._child = child
        self._watch = watch
        self._received = bytearray()

    def request(self, header: dict[str, Any], body: bytes | memoryview = b"") -> tuple[dict[str, Any], bytes]:
        """Send one message and wait for the answer. ChildGone when the child closes its end before that."""
        self._send(message_head(header, body))
        self._send(body)
        header_length, body_length = LENGTHS.unpack(self._take(LENGTHS.size))
        answer = json.loads(self._take(header_length))
        return answer, self._take(body_length)

    def _wait(self, descriptor: int, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            while not selector.select(POLL_SECONDS):
                if self._child.poll() is not None:
                    raise ChildGone  # dead, though something that it started still holds the pipe
                self._watch()

    def _send(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._out, view[:_CHUNK]) :]
            except BlockingIOError:
                self._wait(self._out, selectors.EVENT_WRITE)
            except BrokenPipeError as error:
                raise ChildGone from error

    def _take(self, length: int) -> bytes:
        while len(self._received) < length:
            try:
                chunk = os.read(self._in, _CHUNK)
            except BlockingIOError:
                self._wait(self._in, selectors.EVENT_READ)
                continue
            if not chunk:
                raise ChildGone
            self._received += chunk
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken
