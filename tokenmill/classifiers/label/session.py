"""A labelling: every document and pass is a request with a key; what the ledger lacks is asked, what it has is not.

An answer counts when its line is on the disk. A killed process costs the requests under way, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenmill.classifiers.label.ledger import Entry, Ledger, tokens_of
from tokenmill.classifiers.label.prompt import RENDERER, Answer, AnswerError, Prompt, read_answer, render
from tokenmill.classifiers.label.rubric import Rubric
from tokenmill.classifiers.label.sample import Document
from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.client import ChatClient, as_stop
from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.io.chat.reply import Reply, RequestFailed

READINGS = 3
"""Answers to one request that are looked at: the first, and two more where it cannot be read."""
_IN_A_ROW = 10
"""Requests given up one after the other, after which the endpoint counts as gone."""
_RAISED = 0.5
"""Temperature of a request that would only repeat the one before."""
_LIMITS = ("max_tokens", "max_completion_tokens")
SAMPLING: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 300}
"""Settings sent with every request unless changed; `seed` is added, another one for each pass."""


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How documents are asked about."""

    passes: int = 1
    """Times that every document is asked, with the options in other orders."""
    seed: int = 0
    concurrency: int = 16
    """Requests under way at once."""
    max_chars: int = 4000
    """Characters of a text that the model sees, from its beginning."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Changes to SAMPLING, and anything else that the endpoint takes; None removes a setting."""
    retry_failed: bool = False
    """Ask again what has failed for good. What failed because the server was away is always asked again."""
    price_in: float = 0.0
    """US dollars for a million tokens of prompts."""
    price_out: float = 0.0
    """US dollars for a million tokens of answers."""
    max_cost: float | None = None
    """US dollars of this labelling, earlier sessions included, at which the run stops; requests under way come on
    top. It can go on with a larger number."""

    def __post_init__(self) -> None:
        _check(self)

    def dollars(self, tokens_in: float, tokens_out: float) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def sampling_of(self, number: int, attempt: int = 1, *, longer: bool = False) -> dict[str, Any]:
        """Settings of a request. longer: the answer before was cut, so that this one may have twice the tokens.

        From the third attempt on the prompt is that of the one before, to which temperature 0 gives the same answer
        whatever the seed: it is raised to 0.5.
        """
        merged = {**SAMPLING, "seed": (self.seed * 1009 + number * 31) % 2**31, **self.sampling}
        if isinstance(merged["seed"], int):
            merged["seed"] += attempt - 1
        if attempt > 2 and isinstance(merged["temperature"], (int, float)):
            merged["temperature"] = max(merged["temperature"], _RAISED)
        if longer:
            merged.update({name: 2 * merged[name] for name in _LIMITS if isinstance(merged.get(name), int)})
        return {name: value for name, value in merged.items() if value is not None}


@dataclass(frozen=True)
class Task:
    """One request: a document in one pass."""

    key: str
    document: Document
    number: int


@dataclass
class Progress:
    """What is told while requests are made."""

    total: int
    done: int = 0
    failed: int = 0


def plan(
    documents: Sequence[Document], rubric: Rubric, model: str, settings: LabelSettings
) -> tuple[list[Task], dict[int, int]]:
    """(all requests, pass -> characters of its prompts). The first pass comes first."""
    tasks: list[Task] = []
    chars: dict[int, int] = {}
    digest = rubric.digest()
    for number in range(1, settings.passes + 1):
        sampling = settings.sampling_of(number)
        for document in documents:
            prompt = prompt_of(document, rubric, settings, number)
            chars[number] = chars.get(number, 0) + len(prompt.text)
            tasks.append(Task(request_key(model, digest, prompt, sampling, number), document, number))
    return tasks, chars


def prompt_of(
    document: Document, rubric: Rubric, settings: LabelSettings, number: int, *, reminder: bool = False
) -> Prompt:
    """The prompt of a document in a pass."""
    return render(
        rubric,
        doc_id=document.id,
        url=document.url,
        text=document.text,
        seed=settings.seed,
        number=number,
        max_chars=settings.max_chars,
        reminder=reminder,
    )


def request_key(model: str, rubric_digest: str, prompt: Prompt, sampling: Mapping[str, Any], number: int) -> str:
    """SHA-256, hexadecimal, over all that decides what is asked: an answer is never used for another question."""
    parts = [RENDERER, model, rubric_digest, prompt.digest(), sampling, number]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def pending(tasks: Sequence[Task], entries: Mapping[str, Entry], settings: LabelSettings) -> list[Task]:
    """The requests that are still to be made. Equal pages are one request, where the choices stand in one order."""
    found = []
    for task in {task.key: task for task in tasks}.values():
        entry = entries.get(task.key)
        settled = entry is not None and (entry.answer is not None or entry.failure not in ("", "server"))
        if not settled or (settings.retry_failed and entry is not None and entry.answer is None):
            found.append(task)
    return found


def ask_all(
    tasks: Sequence[Task],
    rubric: Rubric,
    endpoint: Endpoint,
    settings: LabelSettings,
    ledger: Ledger,
    tell: Callable[[Progress], None] | None = None,
) -> None:
    """Ask what the ledger lacks. ConfigError before any work where the endpoint cannot be used; FatalError where the
    run had to stop: what has been answered stays, and the same call goes on.
    """
    waiting = pending(tasks, ledger.entries, settings)
    if waiting:  # a finished labelling needs no endpoint
        mine = {task.key for task in tasks} & ledger.entries.keys()  # the folder may hold other labellings
        spent = (
            sum(ledger.entries[key].tokens_in for key in mine),
            sum(ledger.entries[key].tokens_out for key in mine),
        )
        asyncio.run(_Session(rubric, endpoint, settings, ledger, waiting, spent, tell).run())


class _Session:
    """The requests of one process: workers that ask, and one writer."""

    def __init__(
        self,
        rubric: Rubric,
        endpoint: Endpoint,
        settings: LabelSettings,
        ledger: Ledger,
        waiting: Sequence[Task],
        tokens: tuple[int, int],
        tell: Callable[[Progress], None] | None,
    ) -> None:
        self._rubric, self._settings, self._ledger = rubric, settings, ledger
        self._endpoint = endpoint
        self._client = ChatClient(endpoint, concurrency=settings.concurrency)
        self._tasks: Iterator[Task] = iter(waiting)
        self._progress = Progress(len(waiting))
        self._tell = tell
        self._lines: asyncio.Queue[tuple[Mapping[str, Any], asyncio.Future[None]] | None] = asyncio.Queue()
        self._in_a_row = 0
        self._spent: FatalError | None = None
        self._digest = rubric.digest()
        self._tokens = tokens
        """Of prompts and of answers of this labelling, in all sessions together."""

    async def run(self) -> None:
        async with self._client:
            await self._client.check(self._settings.sampling_of(1))
            writer = asyncio.create_task(self._write())
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self._settings.concurrency, self._progress.total)):
                        group.create_task(self._work())
            except BaseExceptionGroup as error:
                stop = as_stop(error)
                if stop is not None:
                    raise stop from None
                raise
            finally:
                self._lines.put_nowait(None)
                await writer  # what has been answered is written, whatever stopped the run
        if self._spent is not None:
            raise self._spent

    async def _work(self) -> None:
        for task in self._tasks:
            limit = self._settings.max_cost
            spent = self._settings.dollars(*self._tokens)
            if limit is not None and spent >= limit:
                fix = "run the same command with a larger --max-cost"
                what = f"{spent:.2f} dollars are spent"
                self._spent = FatalError(what, why=f"--max-cost is {limit:g}", fix=fix)
                return  # requests under way are paid for, so they are waited for
            await self._label(task)
            if self._tell is not None:
                self._tell(self._progress)

    async def _label(self, task: Task) -> None:
        """Ask until an answer can be read, at most `READINGS` times in all sessions together.

        What failed for good before is asked as often again; attempts are counted on, so that no request is repeated.
        """
        entry = self._ledger.entries.get(task.key, Entry())
        longer, last = entry.length_hit, AnswerError("unparsable", "no answer could be read")
        for attempt in range(entry.attempts + 1, entry.settled + READINGS + 1):
            prompt = prompt_of(task.document, self._rubric, self._settings, task.number, reminder=attempt > 1)
            sampling = self._settings.sampling_of(task.number, attempt, longer=longer)
            try:
                reply = await self._client.ask([{"role": "user", "content": prompt.text}], sampling)
            except RequestFailed as error:
                await self._fail(task, error.kind, error.detail, error.faults)
                return
            self._in_a_row = 0
            row = {**self._row(task, prompt, attempt, reply), "sampling": sampling}
            tokens_in, tokens_out = tokens_of(row)[:2]
            self._tokens = (self._tokens[0] + tokens_in, self._tokens[1] + tokens_out)
            try:
                answer = self._read(reply, prompt)
            except AnswerError as error:
                last, longer = error, longer or reply.finish_reason == "length"
                await self._record({**row, "event": "unparsable", "error": _told(error.kind, str(error))})
                if error.kind in ("refusal", "content_filter"):
                    break
            else:
                reason = self._client.plain(answer.reason)  # its JSON may have spelt the key in other ways
                await self._record({**row, "event": "answer", "answer": dict(answer.values), "reason": reason})
                self._progress.done += 1
                return
        await self._fail(task, last.kind, str(last), {})

    def _read(self, reply: Reply, prompt: Prompt) -> Answer:
        if reply.finish_reason == "content_filter":
            raise AnswerError("content_filter", "the endpoint's filter has stopped the answer")
        if reply.refusal and not reply.text:
            raise AnswerError("refusal", reply.refusal[:200])
        try:
            return read_answer(reply.text, self._rubric, prompt.order)
        except AnswerError as error:
            if reply.finish_reason == "length":
                raise AnswerError("length", f"cut at the limit of tokens: {error}") from error
            raise

    async def _fail(self, task: Task, kind: str, detail: str, faults: Mapping[str, int]) -> None:
        row = {"event": "failed", "error": _told(kind, detail), "faults": dict(faults), **self._known(task)}
        await self._record(row)
        self._progress.done += 1
        self._progress.failed += 1
        self._in_a_row = self._in_a_row + 1 if kind == "server" else 0
        if self._in_a_row >= _IN_A_ROW:
            fix = "the same command goes on where this one stopped"
            raise FatalError(f"{_IN_A_ROW} requests in a row were given up", why=detail, fix=fix)

    def _row(self, task: Task, prompt: Prompt, attempt: int, reply: Reply) -> dict[str, Any]:
        return {
            **self._known(task),
            "attempt": attempt,
            "order": {name: list(order) for name, order in prompt.order.items()},
            "prompt_sha256": prompt.digest(),
            "prompt_chars": len(prompt.text),
            "response": reply.text,
            "refusal": reply.refusal,
            "finish_reason": reply.finish_reason,
            "usage": dict(reply.usage),
            "served_by": reply.model,
            "latency_s": round(reply.seconds, 4),
            "faults": dict(reply.faults),
        }

    def _known(self, task: Task) -> dict[str, Any]:
        return {
            "key": task.key,
            "id": task.document.id,
            "pass": task.number,
            "model": self._endpoint.model,
            "rubric": self._rubric.name,
            "rubric_sha256": self._digest,
        }

    async def _record(self, row: Mapping[str, Any]) -> None:
        """Return when the line is on the disk."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.put_nowait((row, done))
        await done

    async def _write(self) -> None:
        """Lines that wait are written together, with one wait for the disk. None in the queue ends it."""
        more = True
        while more:
            taken = [await self._lines.get()]
            while not self._lines.empty():
                taken.append(self._lines.get_nowait())
            batch = [one for one in taken if one is not None]
            more = len(batch) == len(taken)
            try:
                await asyncio.to_thread(self._ledger.append, [row for row, _ in batch])
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)


def _told(kind: str, detail: str) -> dict[str, str]:
    return {"kind": kind, "detail": detail[:500]}


def _check(settings: LabelSettings) -> None:
    if settings.passes < 1 or settings.concurrency < 1 or settings.max_chars < 1:
        raise ConfigError("passes, concurrency and characters are at least 1")
    if settings.price_in < 0 or settings.price_out < 0:
        raise ConfigError("a price is negative", fix="US dollars for a million tokens")
    if settings.max_cost is not None and not settings.price_in + settings.price_out > 0:
        raise ConfigError("--max-cost without prices stops nothing", fix="--price-in, --price-out")
    reserved = {"model", "messages", "stream", "n"} & settings.sampling.keys()
    if reserved:
        raise ConfigError(f"--sampling cannot set {', '.join(sorted(reserved))}")
