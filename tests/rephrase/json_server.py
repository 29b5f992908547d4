"""What the servers of the tests share: programs that answer with JSON, as a server of a model does."""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def server_arguments() -> argparse.ArgumentParser:
    """Those that every server of a model is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    return parser


class JsonHandler(BaseHTTPRequestHandler):
    """Connections stay open, and an answer goes out at once."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def asked(self) -> Any:
        """The JSON of a request."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def send(self, body: object, *, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_message(self, model: str, prompt: str, text: str, reason: str = "stop") -> None:
        """An answer of a chat; a token is a word."""
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        self.send({"model": model, "choices": [choice], "usage": usage})

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def serve(host: str, port: int, handler: type[JsonHandler]) -> None:
    """Until the process ends."""
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    server.serve_forever(poll_interval=0.02)
