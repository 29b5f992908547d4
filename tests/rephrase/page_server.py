"""A server of a "model" that answers about the page of a prompt, each page in its own way: a process of its own.

What it does stands in the page: a page with the word `refuses` is refused, `cuts` ends at the limit, `raw` comes back
as it is, `overflows` is too long for its context unless it is short; every other page is told again with its sentences
in reverse order and other words for some of its own, after a thought that refuses where the page `thinks`. Where a
prompt asks for an opening the answer has it; about a page that `wobbles` only the third one has. Of a page with
numbered lines those with `cookies` are to be removed. A judge's question is answered by counting sentences whose words
the source has. Requests go to a log.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # it is run from its file

from tests.rephrase.json_server import JsonHandler, serve, server_arguments

_PAGE = re.compile(r"\[PAGE BEGINS (\w+)\]\n(.*)\n\[PAGE ENDS \1\]", re.DOTALL)
_LINE = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)
_JUDGED = re.compile(
    r"\[(\w+) source begins\]\n(.*)\n\[\1 source ends\]\n\n\[\1 second text begins\]\n(.*)\n\[", re.DOTALL
)
_WORDS = {"big": "large", "house": "building", "river": "stream", "old": "ancient", "walk": "go on foot", "see": "find"}
_OPENING = re.compile(r'Begin with the line "(.*)"')
_TURNS = re.compile(r"Write questions and answers")
_LOGGED = ("max_tokens", "temperature", "seed")
_CONTEXT = 60
"""Words of a page that fit where it says `overflows`."""


def answer(page: str) -> tuple[str, str]:
    """(text, finish_reason) about a page."""
    if "refuses" in page:
        return "I'm sorry, but I cannot help with that request.", "stop"
    if "is raw" in page:
        return page, "stop"
    if numbered := _LINE.findall(page):
        gone = [int(number) for number, line in numbered if "cookies" in line]
        operations = [{"op": "remove_lines", "first": number, "last": number} for number in gone] or [{"op": "keep"}]
        return "\n".join(map(json.dumps, operations)), "stop"
    sentences = re.split(r"(?<=[.!?])\s+", page.strip())
    told = [" ".join(_WORDS.get(word, word) for word in sentence.split()) for sentence in reversed(sentences)]
    if "cuts" in page:
        return told[0][: len(told[0]) // 2], "length"
    return " ".join(told), "stop"


def formed(prompt: str, text: str, earlier: int) -> str:
    """An answer in the form that a prompt asks for. earlier: how often the page has been asked about."""
    if _TURNS.search(prompt):
        sentences = re.split(r"(?<=[.!?])\s+", text)
        return "\n\n".join(f"Question: What is number {n}?\nAnswer: {one}" for n, one in enumerate(sentences, 1))
    opening = _OPENING.search(prompt)
    if opening is None or text.startswith('{"op"') or ("wobbles" in text and earlier < 2):
        return text
    return f"{opening[1]}\n{text}"


def judgement(source: str, output: str) -> str:
    """Counts of the sentences of an output whose words are, but for those that are told otherwise, in the source."""
    known = set(re.findall(r"\w+", source)) | set(re.findall(r"\w+", " ".join(_WORDS.values())))
    claims = [set(re.findall(r"\w+", sentence)) for sentence in re.split(r"(?<=[.!?])\s+", output.strip())]
    held = sum(claim <= known for claim in claims)
    return json.dumps({"supported": held, "unsupported": len(claims) - held, "contradicted": 0, "omitted": 0})


def main() -> None:
    parser = server_arguments()
    parser.add_argument("--log", default="")
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    lock = threading.Lock()
    seen: Counter[str] = Counter()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.send({"data": [{"id": given.model}]} if self.path == "/v1/models" else {})

        def do_POST(self) -> None:
            asked = self.asked()
            time.sleep(given.delay)
            prompt = asked["messages"][-1]["content"]
            found = _PAGE.search(prompt)
            page = found[2] if found else prompt
            if given.log:
                with lock, open(given.log, "a", encoding="utf-8") as stream:
                    told = {"page": page, "prompt": prompt, **{name: asked.get(name) for name in _LOGGED}}
                    stream.write(json.dumps(told) + "\n")
            if "overflows" in page and len(page.split()) > _CONTEXT:
                self.send({"error": {"message": "too long", "code": "context_length_exceeded"}}, status=400)
                return
            asked_of = _JUDGED.search(prompt)
            text, reason = (judgement(asked_of[2], asked_of[3]), "stop") if asked_of else answer(page)
            if not asked_of and reason == "stop":
                with lock:
                    earlier, seen[prompt] = seen[prompt], seen[prompt] + 1
                text = formed(prompt, text, earlier)
                if "thinks" in page:
                    text = f"<think>I'm sorry, but I cannot help with that request.</think>\n{text}"
            self.send_message(asked["model"], prompt, text, reason)

    print(f"serving {given.model}", file=sys.stderr, flush=True)
    serve(given.host, given.port, Handler)


if __name__ == "__main__":
    main()
