"""Rows of the ledger, and what they say together about a request, in whatever order they are read.

A row is one line of JSON about one answer of the model, or about the end of a request without one:

    key, part, event      "attempt": came and cannot be used, asked again; "answer"; "failed"; "split": asked in pieces
    run, task             who has paid for it
    style, doc_id, passage [number, start, end]
    attempt               number of the answer, from 1; of "failed" without an answer, the number of those before
    model, sampling       identity of the model; settings as sent
    response, refusal, finish_reason, usage, served_by, latency_s     null where nothing came
    tokens [in, out, cached], told                                    told: by the server, else estimated
    faults                tries before this row, by kind
    error {kind, detail}  of "attempt" and "failed"
    parts [[key, start, end], ...]                                    of "split"
    time                  seconds since 1970
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenmill.io.chat.reply import is_count

CHARS_PER_TOKEN = 4.0
"""For servers that tell no usage."""
PASSING = frozenset({"server", "budget"})
"""Failures that say nothing about the request: a later session asks again."""
_RANK = {"failed": 1, "split": 2, "answer": 3}

Row = Mapping[str, Any]


def part_of(text: str) -> str:
    """Where a passage lies in the ledger: the first 4 hexadecimal digits of SHA-256 of its text.

    All styles of a passage lie in one place, so that one session asks them one after the other and the server's
    prefix cache is of use.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:4]


def paid_for(row: Row) -> tuple[int, int, int, bool]:
    """(tokens of the prompt, of the answer, cached ones of the prompt, whether the server told them), for a row with a
    response. Of counts that cannot be, which older rows hold as servers told them, the first is 0 and the second
    estimated."""
    tokens_in, tokens_out, cached = row["tokens"]
    if is_count(tokens_in) and is_count(tokens_out) and is_count(cached):
        return tokens_in, tokens_out, cached, bool(row["told"])
    tokens_in = tokens_in if is_count(tokens_in) else 0
    if not is_count(tokens_out):
        tokens_out = math.ceil(len(row["response"]) / CHARS_PER_TOKEN)
    return tokens_in, tokens_out, min(cached, tokens_in) if is_count(cached) else 0, False


def row_digest(row: Row) -> str:
    """SHA-256 of a row; decides between rows that are equal in rank."""
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class Entry:
    """What is known of a request. A function of the set of its rows: their order does not matter."""

    key: str
    outcome: str = ""
    """"answer", "split", "failed", or "" where it is still open."""
    row: Row = field(default_factory=dict)
    """The row of the outcome."""
    attempts: int = 0
    """Answers that came, whether they could be used or not."""
    settled: int = 0
    """Of these, how many had come when the request failed for good; another try starts after them."""
    tried: list[tuple[int, str]] = field(default_factory=list)
    """(attempt, kind) of answers that could not be used."""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    """Of all answers: each was paid for."""
    seconds: float = 0.0
    """Latency of all answers together."""
    estimated: int = 0
    """Answers without usage, whose tokens are estimated."""
    faults: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Take in one row."""
        event, error = row["event"], row["error"]
        for kind, count in row["faults"].items():
            self.faults[kind] = self.faults.get(kind, 0) + count
        if row["response"] is not None:
            tokens_in, tokens_out, cached, told = paid_for(row)
            self.attempts += 1
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out
            self.tokens_cached += cached
            self.seconds += row["latency_s"]
            self.estimated += not told
            if error:
                self.tried.append((row["attempt"], error["kind"]))
        if event == "failed" and error["kind"] not in PASSING:
            self.settled = max(self.settled, row["attempt"])
        if event != "attempt" and (not self.outcome or _better(row, self.row)):
            self.outcome, self.row = event, row

    @property
    def response(self) -> str:
        """The answer; "" where there is none."""
        return self.row["response"] if self.outcome == "answer" else ""

    @property
    def kind(self) -> str:
        """Why the request has failed; "" where it has not."""
        return self.row["error"]["kind"] if self.outcome == "failed" else ""

    @property
    def detail(self) -> str:
        """Why, for people."""
        return self.row["error"]["detail"] if self.outcome == "failed" else ""

    @property
    def parts(self) -> tuple[tuple[str, int, int], ...]:
        """(key, start, end) of the pieces that are asked instead; spans are characters of the document."""
        return tuple((key, start, end) for key, start, end in self.row["parts"]) if self.outcome == "split" else ()

    def hits(self, kind: str, *, after: int = 0) -> int:
        """How many answers after number `after` could not be used for this reason."""
        return sum(found == kind and number > after for number, found in self.tried)


def _better(row: Row, other: Row) -> bool:
    """Whether a row is the outcome rather than the other one: an answer before all, of answers the earliest attempt,
    of others the latest."""
    ranks = _RANK[row["event"]], _RANK[other["event"]]
    if ranks[0] != ranks[1]:
        return ranks[0] > ranks[1]
    if row["event"] == "answer":
        one, two = row["attempt"], other["attempt"]
    else:
        one, two = other["time"], row["time"]
    if one != two:
        return bool(one < two)
    return row_digest(row) < row_digest(other)
