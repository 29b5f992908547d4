"""A server of a "model" that upper-cases the last message: a program of its own, as `vllm serve` is one.

`python model_server.py MODEL --port N --host H`. It says what environment and which process it has when it is asked
"environment" or "pid", so that tests see what it was given. It asks for the key in VLLM_API_KEY, if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--die-at", default="", help="end when a message holds this word")
    parser.add_argument("--sick-at", default="", help="say 500 of its health from a message with this word on")
    parser.add_argument("--no-health", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds until it answers")
    parser.add_argument("--broken", action="store_true", help="end at once, with a message")
    parser.add_argument("--child", default="", help="file for the id of a child that it starts")
    given = parser.parse_args()
    if given.broken:
        print("CUDA out of memory, or so", file=sys.stderr)
        sys.exit(3)
    if given.child:
        child = os.fork()
        if child == 0:
            time.sleep(600.0)
            os._exit(0)
        Path(given.child).write_text(str(child))
    time.sleep(given.slow)

    sick: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/health" and sick:
                self.send({"error": "the engine is dead"}, status=500)
            elif self.path == "/health" and not given.no_health:
                self.send({})
            elif self.path == "/v1/models":
                self.send({"data": [{"id": given.model}]})
            else:
                self.send({"error": "no such page"}, status=404)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = os.environ.get("VLLM_API_KEY", "")
            if key and self.headers.get("Authorization") != f"Bearer {key}":
                self.send({"error": "Unauthorized"}, status=401)
                return
            said = asked["messages"][-1]["content"]
            if given.die_at and given.die_at in said:
                os._exit(9)
            if given.sick_at and given.sick_at in said:
                sick.append(said)
            told = json.dumps({**os.environ, "authorization": self.headers.get("Authorization")})
            text = told if said == "environment" else str(os.getpid()) if said == "pid" else said.upper()
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": len(said.split()), "completion_tokens": len(text.split())}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.send({"model": asked["model"], "choices": [choice], "usage": usage})

        def send(self, body: object, *, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer((given.host, given.port), Handler)
    server.daemon_threads = True
    print(f"serving {given.model}", flush=True)
    server.serve_forever(poll_interval=0.02)


if __name__ == "__main__":
    main()
