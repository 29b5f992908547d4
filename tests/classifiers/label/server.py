"""A chat-completions server on localhost that reads prompts as a model would, and fails by script.

Its rubric: a score is the number of times that the page holds the word of `WORDS` for the question; a choice is the
option whose name the page holds most often, of equals the one shown first, so that it prefers places as models do.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "rater-1"
KEY = "sk-test-0123456789"
WORDS = {"edu": "learn", "quality": "good", "nsfw": "naked", "toxicity": "idiot"}
_PAGE = re.compile(r"^PAGE (\w{12})\naddress: (.*?)\n\n(.*)\nPAGE \1$", re.MULTILINE | re.DOTALL)
_QUESTION = re.compile(r'^Question "(\w+)": .*\n((?:\w{1,3}(?:\.|:) .*\n)+)', re.MULTILINE)
_OPTION = re.compile(r"^(?:(\d+):|(\w+)\. (\w+):) ", re.MULTILINE)

Script = Callable[[str, int], str]
"""(prompt, how often it has come before) -> the name of a fault, or ""."""


def judge(prompt: str) -> dict[str, Any]:
    """The answer to a prompt, by what stands in it."""
    page = _PAGE.search(prompt)
    assert page is not None, prompt
    text, before = page[3], prompt[: page.start()]
    found: dict[str, Any] = {"reason": f"page of {len(text)} characters"}
    for name, lines in _QUESTION.findall(before):
        options = _OPTION.findall(lines)
        if options[0][0]:
            levels = sorted(int(level) for level, _, _ in options)
            found[name] = min(text.count(WORDS.get(name, name)), levels[-1])
        else:
            words = Counter(re.findall(r"\w+", text))
            found[name] = max(options, key=lambda option: words[option[2]])[1]
    return found


class Rater:
    """What the server was asked, and what it does."""

    def __init__(self, script: Script | None = None, *, key: str = "", usage: bool = True) -> None:
        self.script = script or (lambda prompt, before: "")
        self.key = key
        self.usage = usage
        self.url = ""
        self.prompts: list[str] = []
        """Prompts with a page, in the order in which they came."""
        self.payloads: list[dict[str, Any]] = []
        self.others = 0
        """Requests about no page: the client's check."""
        self.answered: Counter[str] = Counter()
        """How often each prompt got a whole answer that is right."""
        self.errors: list[str] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def faulty(self, payload: dict[str, Any]) -> tuple[str, str]:
        """(prompt, fault) of a request, which is noted."""
        prompt: str = payload["messages"][-1]["content"]
        with self.lock:
            if _PAGE.search(prompt) is None:
                self.others += 1
                return prompt, self.script(prompt, self.others - 1)
            before = self.prompts.count(prompt)
            self.prompts.append(prompt)
            self.payloads.append(payload)
            fault = self.script(prompt, before)
            if not fault:
                self.answered[prompt] += 1
            return prompt, fault


@contextmanager
def serving(script: Script | None = None, *, key: str = "", usage: bool = True) -> Iterator[Rater]:
    """A server on a free port of localhost; `rater.url` is the base URL."""
    rater = Rater(script, key=key, usage=usage)
    server = _Server(("127.0.0.1", 0), _handler(rater))
    rater.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield rater
    finally:
        rater.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
    assert not rater.errors, rater.errors


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are no errors; all others are noted by the handler."""


def _handler(rater: Rater) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._send(200, json.dumps({"data": [{"id": MODEL}]}))

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._answer(payload)
            except OSError:
                self.close_connection = True
            except Exception as error:
                rater.errors.append(repr(error))
                raise

        def _answer(self, payload: dict[str, Any]) -> None:
            if rater.key and self.headers.get("Authorization") != f"Bearer {rater.key}":
                said = f"bad key {self.headers.get('Authorization')}"
                self._send(401, json.dumps({"error": {"message": said}}))
            elif payload["model"] != MODEL or self.path != "/v1/chat/completions":
                self._send(404, json.dumps({"error": {"message": f"no model {payload['model']}"}}))
            else:
                prompt, fault = rater.faulty(payload)
                self._fault_or_answer(prompt, fault)

        def _fault_or_answer(self, prompt: str, fault: str) -> None:
            told = json.dumps(judge(prompt)) if "\nPAGE " in prompt else "ready"
            whole = _completion(told, prompt, usage=rater.usage)
            if fault == "stall":
                rater.ended.wait(2.0)
                self.close_connection = True
            elif fault == "drop":
                self.close_connection = True
            elif fault == "cut":
                self._send(200, whole, keep=len(whole) // 2)
            elif fault == "not_json":
                self._send(200, "<html>gateway</html>")
            elif fault == "no_choice":
                self._send(200, json.dumps({"error": {"message": "overloaded"}}))
            elif fault == "length":
                self._send(200, _completion(told[: len(told) // 2], prompt, finish="length"))
            elif fault == "filter":
                self._send(200, _completion("", prompt, finish="content_filter"))
            elif fault == "refusal":
                self._send(200, _completion(None, prompt, refusal="I will not"))
            elif fault.startswith("echo "):
                self._echo(*map(int, fault.split()[1:]))
            elif fault.startswith("say "):
                self._send(200, _completion(fault[4:], prompt))
            elif fault:
                status, _, after = fault.partition(" ")
                code = "insufficient_quota" if after == "quota" else "rate_limit_exceeded"
                self._send(int(status), json.dumps({"error": {"code": code}}), after=after)
            else:
                self._send(200, whole)

        def _echo(self, status: int, before: int) -> None:
            """The key that came, behind so many characters; of an answer in all of its fields."""
            key = self.headers["Authorization"].removeprefix("Bearer ")
            told = "e" * before + key
            whole = {"model": told, "usage": {told: 1, "prompt_tokens": 2}}
            choice = {"message": {"content": told, "refusal": told}, "finish_reason": told}
            self._send(status, json.dumps({**whole, "choices": [choice]}) if status == 200 and not before else told)

        def _send(self, status: int, body: str, *, after: str = "", keep: int | None = None) -> None:
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if after:
                self.send_header("Retry-After", after)
            self.end_headers()
            self.wfile.write(data if keep is None else data[:keep])
            self.close_connection |= keep is not None

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    return Handler


def _completion(
    content: str | None, prompt: str, *, finish: str = "stop", refusal: str | None = None, usage: bool = True
) -> str:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body: dict[str, Any] = {"model": MODEL, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    if usage:
        body["usage"] = {"prompt_tokens": len(prompt) // 5, "completion_tokens": len(content or "") // 5}
    return json.dumps(body)
