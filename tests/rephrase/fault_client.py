"""A client for the fault server in a process of its own: sessions that can be killed.

    python fault_client.py URL LEDGER DOCUMENTS WORKERS [--order N] [--concurrency N]

Each worker is a process with a range of parts of its own, as the tasks of a run have.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import subprocess
import sys

from tests.rephrase.fault_server import MODEL
from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.rephrase.engines.base import Identity
from tokenmill.rephrase.engines.openai import OpenAIEngine
from tokenmill.rephrase.ledger import Ledger, part_of
from tokenmill.rephrase.meter import Meter
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.request import Passage, Request, request_key
from tokenmill.rephrase.session import SessionSettings, run_session

WORDS = ("river", "stone", "lantern", "copper", "meadow", "harbour", "winter", "ladder", "orchard", "signal")
SAMPLING = {"temperature": 0.0, "max_tokens": 64, "seed": 7}


def page(number: int) -> str:
    """The text of a document; no two are equal."""
    digest = hashlib.sha256(f"words {number}".encode()).digest()
    return f"page p{number}\n" + " ".join(WORDS[byte % 10] for byte in digest[: 8 + digest[0] % 20])


def request(number: int) -> Request:
    """The request about a document."""
    text = page(number)
    messages = ({"role": "user", "content": f"Say it backwards.\n\n{text}"},)
    key = request_key(Identity(MODEL).to_json(), "style", messages, SAMPLING)
    return Request(key, "backwards", messages, SAMPLING, Passage(f"d{number}", 0, 0, len(text), text, len(text) // 4))


def ranges(workers: int) -> list[tuple[str, str]]:
    """As many ranges of parts as there are workers."""
    edges = [0x10000 * number // workers for number in range(workers + 1)]
    return [(f"{low:04x}", f"{high - 1:04x}") for low, high in itertools.pairwise(edges)]


def work(url: str, ledger: str, documents: int, span: tuple[str, str], order: int, concurrency: int) -> None:
    """Ask about the documents of a range."""
    mine = [one for one in map(request, range(documents)) if span[0] <= part_of(one.passage.text) <= span[1]]
    random.Random(order).shuffle(mine)
    settings = SessionSettings(concurrency=concurrency, tries=12, first_wait=0.005, longest_wait=0.05)
    endpoint = Endpoint(base_url=url, model=MODEL, key_env="", timeout=0.5)
    engine = OpenAIEngine(endpoint, concurrency=concurrency)
    meter = Meter(f"{ledger}/spent", "run", "-".join(span))
    with Ledger(ledger, span, "fault client") as held:
        run_session(engine, held, settings, mine, read=lambda *_: Reading(), rechunk=lambda _: (), meter=meter)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("ledger")
    parser.add_argument("documents", type=int)
    parser.add_argument("workers", type=int)
    parser.add_argument("--order", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--span", default="")
    args = parser.parse_args()
    if args.span or args.workers == 1:
        span = tuple((args.span or "0000-ffff").split("-"))
        work(args.url, args.ledger, args.documents, (span[0], span[1]), args.order, args.concurrency)
        return
    command = [sys.executable, "-m", "tests.rephrase.fault_client", args.url, args.ledger, str(args.documents), "1"]
    tail = ["--order", str(args.order), "--concurrency", str(args.concurrency)]
    children = [subprocess.Popen([*command, *tail, "--span", "-".join(span)]) for span in ranges(args.workers)]
    sys.exit(max(abs(child.wait()) for child in children))


if __name__ == "__main__":
    main()
