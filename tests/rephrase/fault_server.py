"""A chat-completions server in a process of its own: it fails by a hashed coin, and writes down what it does.

    python fault_server.py PORT LOG [--seed N] [--later 0.5] [--hang 30] [--answer SECONDS]

The user message holds one page, from the line `page <name>` to the end; the answer is its words in reverse order. Each
line of the log is one request, in the order of arrival: `<name> <fault or "ok"> <seed of the request>`. The log is
appended to, and read at the start, so that a server that was killed and started again knows which request of a page is
the first.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path

MODEL = "reverser-1"
RATES = (("429", 0.20), ("500", 0.10), ("hang", 0.05), ("reset", 0.03), ("bad_json", 0.02), ("length", 0.05))
"""Share of first requests of a page that meet this fault."""
RETRY_AFTER = 0.02
_PAGE = re.compile(r"page (\S+)\n")


def reversed_words(text: str) -> str:
    """What the model makes of a page."""
    return " ".join(reversed(text.split()))


class FaultServer:
    """Answers on keep-alive connections. later: rates of all but the first request of a page, as a share of `RATES`."""

    def __init__(
        self, log: Path, *, seed: int = 0, later: float = 0.5, hang: float = 30.0, answer: float = 0.0
    ) -> None:
        self.seen = Counter(line.split()[0] for line in log.read_text().splitlines()) if log.exists() else Counter()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._seed, self._later, self._hang, self._answer = seed, later, hang, answer

    def fault(self, name: str) -> str:
        """What happens to the next request of a page."""
        number = self.seen[name]
        self.seen[name] += 1
        digest = hashlib.sha256(f"{self._seed} {name} {number}".encode()).digest()
        drawn = int.from_bytes(digest[:8], "big") / 2**64
        for fault, rate in RATES:
            drawn -= rate if number == 0 else rate * self._later
            if drawn < 0:
                return fault
        return "ok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                body = await reader.readexactly(int(length[1])) if length else b""
                if not body:
                    self._send(writer, 200, {"data": [{"id": MODEL}]})
                elif not await self._chat(writer, json.loads(body)):
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _chat(self, writer: asyncio.StreamWriter, payload: dict) -> bool:
        """Whether the connection lives on."""
        prompt = payload["messages"][-1]["content"]
        page = _PAGE.search(prompt)
        assert page is not None, prompt
        name, text = page[1], prompt[page.start() :]
        fault = self.fault(name)
        os.write(self._log, f"{name} {fault} {payload.get('seed')}\n".encode())
        if self._answer:
            await asyncio.sleep(self._answer)
        if fault == "429":
            self._send(writer, 429, {"error": "slow down"}, f"Retry-After: {RETRY_AFTER}\r\n")
        elif fault == "500":
            self._send(writer, 500, {"error": "oops"})
        elif fault == "hang":
            await asyncio.sleep(self._hang)
            return False
        elif fault == "reset":
            writer.transport.abort()
            return False
        elif fault == "bad_json":
            self._send(writer, 200, '{"choices": [{"mess')
        else:
            words = reversed_words(text).split()
            room = payload.get("max_tokens", 10**9)
            cut = fault == "length" or len(words) > room
            said = words[: max(1, len(words) // 2)] if fault == "length" else words[:room]
            self._send(
                writer,
                200,
                {
                    "model": MODEL,
                    "choices": [{"message": {"content": " ".join(said)}, "finish_reason": "length" if cut else "stop"}],
                    "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": len(said)},
                },
            )
        return True

    def _send(self, writer: asyncio.StreamWriter, status: int, body: object, more: str = "") -> None:
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n{more}\r\n"
        writer.write(head.encode() + raw)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--later", type=float, default=0.5)
    parser.add_argument("--hang", type=float, default=30.0)
    parser.add_argument("--answer", type=float, default=0.0)
    args = vars(parser.parse_args())
    port, log = args.pop("port"), args.pop("log")
    faulty = FaultServer(log, **args)
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", port, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
