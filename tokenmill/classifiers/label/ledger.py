"""The ledger of a labelling: every answer of a model as one line of JSON, never changed, never lost.

A line is on the disk before anything is built on it. What a killed process leaves is whole lines and at most one cut
one, which is taken off at the next start. Lines are found by the key of their request, in any order.

    {"key", "event": "answer" | "unparsable" | "failed", "id", "pass", "attempt", "model", "rubric", ...}
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tokenmill.core.errors import ConfigError, FatalError

CHARS_PER_TOKEN = 4.0
"""Characters of English text to a token of today's vocabularies; fewer in other languages. For what a server does not
tell, and for estimates before there are measured figures."""
_BLOCK = 1 << 16


@dataclass
class Entry:
    """What is known of one request."""

    answer: Mapping[str, str] | None = None
    reason: str = ""
    failure: str = ""
    """Kind of the final failure; "" while there is none."""
    detail: str = ""
    attempts: int = 0
    """Answers that came, readable or not."""
    settled: int = 0
    """Those of them that came before the last final failure."""
    unparsable: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Tries that brought no answer, by kind."""
    tokens_in: int = 0
    tokens_out: int = 0
    without_usage: int = 0
    """Answers of which the server did not say how many tokens they took: counted by `CHARS_PER_TOKEN`."""
    seconds: float = 0.0
    """From the last request to its answer."""
    length_hit: bool = False
    """Whether an answer was cut at its limit of tokens."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in one line of the ledger."""
        self.faults.update(row.get("faults") or {})
        if row["event"] == "failed":
            self.failure, self.detail = row["error"]["kind"], row["error"]["detail"]
            if self.failure != "server":
                self.settled = self.attempts
            return
        self.attempts += 1
        self.seconds = float(row["latency_s"])
        tokens_in, tokens_out, told = tokens_of(row)
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.without_usage += not told
        self.length_hit |= row["finish_reason"] == "length"
        if row["event"] == "unparsable":
            self.unparsable[row["error"]["kind"]] += 1
        else:
            self.answer, self.reason, self.failure = row["answer"], row["reason"], ""


def tokens_of(row: Mapping[str, Any]) -> tuple[int, int, bool]:
    """(tokens of the prompt, of the answer, whether the server told both) of one line with a response."""
    usage = row["usage"] or {}
    told = "prompt_tokens" in usage and "completion_tokens" in usage
    tokens_in = usage.get("prompt_tokens", math.ceil(row["prompt_chars"] / CHARS_PER_TOKEN))
    tokens_out = usage.get("completion_tokens", math.ceil(len(row["response"]) / CHARS_PER_TOKEN))
    return int(tokens_in), int(tokens_out), told


class Ledger:
    """An append-only file of answers; one process holds it at a time. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.cut_bytes = 0
        """Bytes of a cut last line that were taken off at the start."""
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Ledger:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.path, "a+b", buffering=0)
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.__exit__(None, None, None)
            raise ConfigError(f"{self.path} is in use by another process", fix="wait for it, or stop it") from error
        except OSError as error:
            raise ConfigError(f"cannot open the ledger {self.path}", why=str(error), fix="another --output") from error
        try:
            self._take_off_cut_line()
            self.entries = read_entries(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # else the name of a new file may be lost with the power
            finally:
                os.close(folder)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write lines and wait until they are on the disk. FatalError where that fails."""
        if self._stream is None:
            raise FatalError(f"the ledger {self.path} is not open")
        data = b"".join(json.dumps(row, sort_keys=True).encode() + b"\n" for row in rows)
        end = os.fstat(self._stream.fileno()).st_size
        try:
            written = 0
            while written < len(data):
                written += self._stream.write(data[written:]) or 0
            os.fsync(self._stream.fileno())
        except OSError as error:
            os.ftruncate(self._stream.fileno(), end)  # a part of a line must not be joined by the next one
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            fix = "free some space and run the same command" if full else "run the same command when it can be written"
            raise FatalError(f"cannot write the ledger {self.path}", why=str(error), fix=fix) from error
        for row in rows:
            self.entries.setdefault(row["key"], Entry()).add(row)

    def _take_off_cut_line(self) -> None:
        assert self._stream is not None
        size = end = os.fstat(self._stream.fileno()).st_size
        while end > 0:
            start = max(0, end - _BLOCK)
            place = os.pread(self._stream.fileno(), end - start, start).rfind(b"\n")
            if place >= 0:
                end = start + place + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._stream.fileno(), end)
            os.fsync(self._stream.fileno())
            self.cut_bytes = size - end


def read_entries(path: Path) -> dict[str, Entry]:
    """All requests of a ledger by key; a cut last line does not count. ConfigError for a line that is damaged."""
    entries: dict[str, Entry] = {}
    if not path.exists():
        return entries
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                entries.setdefault(row["key"], Entry()).add(row)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ConfigError(
                    f"line {number} of the ledger is damaged",
                    where=str(path),
                    why=f"{type(error).__name__}: {error}",
                    fix="delete this line: its request is made again",
                ) from error
    return entries
