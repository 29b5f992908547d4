"""What a session costs beside a server that answers in 50 ms, at 256 requests under way: wall time and processor time.

    python benchmarks/rephrase.py [--requests 8000] [--repeats 3] [--latency 0.05] [--concurrency 256] [--words 150]

The server is a process of its own. In one run, in turns: (streams) a bare loop of workers on asyncio's streams, that
sends and reads JSON and does nothing else; (http1) the same on tokenmill's transport; (session) a session on an
`OpenAIEngine`, with retries, pace, and every answer on the disk. Ratios are of medians; `ideal` is requests x latency /
concurrency, what a client without any cost would take; `steady` is without the first quarter of the requests, that is
without connecting, slow start and the last wait for the disk. The server needs a core of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.io.chat.http1 import Pool
from tokenmill.rephrase.engines.base import Identity
from tokenmill.rephrase.engines.openai import OpenAIEngine
from tokenmill.rephrase.ledger import Ledger
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.request import Passage, Request, request_key
from tokenmill.rephrase.session import SessionSettings, run_session

MODEL = "reverser-1"
SAMPLING = {"temperature": 0.0, "max_tokens": 1000, "seed": 1}
VOCABULARY = "the river stone of lantern copper and meadow harbour in winter ladder orchard a signal".split()


def request(number: int, words: int) -> Request:
    """A request of so many words; no two are equal."""
    draws = hashlib.shake_128(str(number).encode()).digest(words)
    text = f"page {number}: " + " ".join(VOCABULARY[byte % len(VOCABULARY)] for byte in draws)
    messages = ({"role": "user", "content": text},)
    key = request_key(Identity(MODEL).to_json(), "digest", messages, SAMPLING)
    return Request(key, "style", messages, SAMPLING, Passage(str(number), 0, 0, len(text), text, words))


def payload(one: Request) -> bytes:
    return json.dumps({"model": MODEL, "messages": one.messages, **one.sampling}).encode()


async def bare(requests: list[Request], workers: int, ask: Callable[[bytes], Awaitable[bytes]]) -> None:
    """Nothing but sending and reading."""
    left = iter(requests)

    async def work() -> None:
        for one in left:
            assert json.loads(await ask(payload(one)))["choices"][0]["message"]["content"]

    await asyncio.gather(*(work() for _ in range(workers)))


async def over_http1(port: int, requests: list[Request], workers: int) -> None:
    async with Pool("http", "127.0.0.1", port, connections=workers) as pool:

        async def ask(body: bytes) -> bytes:
            return (await pool.post("/v1/chat/completions", body)).body

        await bare(requests, workers, ask)


async def over_streams(port: int, requests: list[Request], workers: int) -> None:
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(body: bytes) -> bytes:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"Content-Length: (\d+)", answer)
        assert found is not None
        read = await reader.readexactly(int(found[1]))
        idle.append((reader, writer))
        return read

    await bare(requests, workers, ask)
    for _, writer in idle:
        writer.close()


def run(loop: Awaitable[None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(loop)  # type: ignore[arg-type]


def over_session(port: int, requests: list[Request], workers: int) -> None:
    endpoint = Endpoint(base_url=f"http://127.0.0.1:{port}/v1", model=MODEL, key_env="")
    engine = OpenAIEngine(endpoint, concurrency=workers)
    with tempfile.TemporaryDirectory(dir=".") as folder, Ledger(folder) as ledger:
        settings = SessionSettings(concurrency=workers)
        run_session(engine, ledger, settings, requests, read=lambda *_: Reading(), rechunk=lambda _: ())
        assert sum(entry.outcome == "answer" for entry in ledger.entries.values()) == len(requests)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """(wall seconds, seconds of this process's processor time)."""
    cpu, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return wall, after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime


def server(latency: float) -> Iterator[int]:
    command = [sys.executable, str(Path(__file__).with_name("rephrase_server.py")), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--words", type=int, default=150)
    args = parser.parse_args()
    requests = [request(number, args.words) for number in range(args.requests)]
    few = requests[: args.requests // 4]
    found: dict[str, list[Measured]] = {name: [] for name in WAYS}
    for port in server(args.latency):
        for work in WAYS.values():  # what is imported and compiled once
            work(port, few[:64], args.concurrency)
        for _ in range(args.repeats):
            for name, work in WAYS.items():
                short = timed(lambda work=work, port=port: work(port, few, args.concurrency))
                whole = timed(lambda work=work, port=port: work(port, requests, args.concurrency))
                found[name].append(Measured(*whole, *(one - other for one, other in zip(whole, short, strict=True))))
    print(
        f"{args.requests:,} requests of {args.words} words, {args.concurrency} under way, a server that answers in"
        f" {args.latency * 1e3:g} ms, medians of {args.repeats} rounds in turns\n"
    )
    table(found, args.requests, args.latency / args.concurrency)


class Measured(NamedTuple):
    """Seconds of a round, and of its last three quarters, in which nothing begins or ends."""

    wall: float
    cpu: float
    steady_wall: float
    steady_cpu: float


WAYS: dict[str, Callable[[int, list[Request], int], None]] = {
    "streams": lambda port, requests, workers: run(over_streams(port, requests, workers)),
    "http1": lambda port, requests, workers: run(over_http1(port, requests, workers)),
    "session": over_session,
}


def table(found: dict[str, list[Measured]], count: int, ideal: float) -> None:
    """ideal: seconds of a request."""
    middle = {name: Measured(*map(statistics.median, zip(*rows, strict=True))) for name, rows in found.items()}
    later = count - count // 4
    base = middle["http1"]
    print(
        "| client | requests/s | steady | x ideal | steady | x http1 | steady | CPU a request, us | steady | x http1 |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, one in middle.items():
        cells = (
            f"{count / one.wall:,.0f}",
            f"{later / one.steady_wall:,.0f}",
            f"{one.wall / count / ideal:.3f}",
            f"{one.steady_wall / later / ideal:.3f}",
            f"{one.wall / base.wall:.3f}",
            f"{one.steady_wall / base.steady_wall:.3f}",
            f"{1e6 * one.cpu / count:.0f}",
            f"{1e6 * one.steady_cpu / later:.0f}",
            f"{one.steady_cpu / base.steady_cpu:.2f}",
        )
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
