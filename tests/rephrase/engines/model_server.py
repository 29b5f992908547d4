"""A server of a "model" that upper-cases the last message: a program of its own, as `vllm serve` is one.

`python model_server.py MODEL --port N --host H`. It says what environment and which process it has when it is asked
"environment" or "pid", so that tests see what it was given. It asks for the key in VLLM_API_KEY, if there is one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # it is run from its file

from tests.rephrase.json_server import JsonHandler, serve, server_arguments


def main() -> None:
    parser = server_arguments()
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

    class Handler(JsonHandler):
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
            asked = self.asked()
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
            self.send_message(asked["model"], said, text)

    print(f"serving {given.model}", flush=True)
    serve(given.host, given.port, Handler)


if __name__ == "__main__":
    main()
