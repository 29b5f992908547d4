"""A server for `rephrase.py`: answers every chat after a fixed time, with the words of the prompt turned round.

    python rephrase_server.py SECONDS

It costs as little as a process of Python can, so that it is not what is measured: one protocol object for each
connection, and no parsing but for the length of the body.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

MODEL = "reverser-1"


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        place = head.lower().find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(body) >= length:
            self._read = b""
            asyncio.get_running_loop().call_later(self._seconds, self._answer, body)

    def _answer(self, body: bytes) -> None:
        words = json.loads(body)["messages"][-1]["content"].split() if body else []
        answer = {
            "model": MODEL,
            "choices": [{"message": {"content": " ".join(reversed(words))}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(words), "completion_tokens": len(words)},
        }
        raw = json.dumps(answer).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw)
        self._transport.write(head + raw)  # type: ignore[attr-defined]


async def main(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(float(sys.argv[1])))
