"""A client for endpoints that speak OpenAI's chat completions, such as vLLM, SGLang, llama.cpp and the hosted ones.

What passes is tried again: 408, 409, 425, 429, 5xx, time-outs, lost connections, bodies that are cut or no JSON. Waits
double, half of each is random, and Retry-After is honoured. What will not pass stops the run (401, 403, 404,
redirects, a quota used up) or fails the document (400, 413, 422).
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from tokenmill.core.errors import ConfigError, FatalError, TokenmillError, did_you_mean
from tokenmill.io.chat.endpoint import DEFAULT_KEY_ENV, Endpoint, spellings
from tokenmill.io.chat.http1 import HttpFault, Pool, Response, need_httptools
from tokenmill.io.chat.overflow import is_overflow
from tokenmill.io.chat.reply import ChatFault, ContextOverflow, Reply, RequestFailed

_PASSING = frozenset({408, 409, 425, 429})
_DOCUMENT = frozenset({400, 413, 422})
_DAY = 86_400.0
_LOOK_SECONDS = 10.0
"""For questions that are none to the model."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class ChatClient:
    """Asks one model. An async context manager; many requests may be under way at once.

    ConfigError at once where the key or httptools is missing.
    """

    def __init__(self, endpoint: Endpoint, *, concurrency: int = 16) -> None:
        self.endpoint = endpoint
        self._key = endpoint.api_key()
        self._spellings = spellings(self._key)
        self._concurrency = concurrency
        self._path = f"{endpoint.path}/chat/completions"
        self._url = f"{endpoint.base_url.rstrip('/')}/chat/completions"
        self._pool: Pool | None = None
        need_httptools()

    def _new_pool(self) -> Pool:
        at = self.endpoint
        return Pool(
            at.parts.scheme,
            at.host,
            at.port,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            connections=self._concurrency,
            timeout=at.timeout,
            admit=at.admit,
        )

    async def __aenter__(self) -> ChatClient:
        self._pool = await self._new_pool().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def check(self, sampling: Mapping[str, Any]) -> None:
        """One short request with the real settings. ConfigError where address, key, model or a setting is wrong."""
        messages = [{"role": "user", "content": "Answer with the word: ready"}]
        try:
            await self.ask(messages, sampling, tries=min(3, self.endpoint.tries))
        except FatalError as error:
            raise ConfigError(error.what, where=error.where, why=error.why, fix=error.fix) from error
        except RequestFailed as error:
            raise ConfigError(
                "the endpoint does not answer" if error.kind == "server" else "the endpoint refuses a plain request",
                where=self._url,
                why=error.detail,
                fix="check --base-url, and that the server runs"
                if error.kind == "server"
                else f"check --model and --sampling{await self._known_models()}",
            ) from error

    async def alive(self) -> bool:
        """Whether a server answers: its /health beside the version, or its list of models.

        Servers differ: some have no /health, and `transformers serve` fails to list models where it has no cache.
        """
        root = self.endpoint.path.rpartition("/")[0]
        for path in (f"{root}/health", f"{self.endpoint.path}/models"):
            try:
                if (await self._open().get(path, timeout=_LOOK_SECONDS)).status == 200:
                    return True
            except HttpFault:
                return False
        return False

    async def ask(
        self, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any], *, tries: int | None = None
    ) -> Reply:
        """The answer to a chat. RequestFailed where there is none, FatalError where no request would get one."""
        faults: Counter[str] = Counter()
        while True:
            try:
                reply = await self.once(messages, sampling)
            except ChatFault as fault:
                faults[fault.kind] += 1
                if faults.total() >= (tries or self.endpoint.tries):
                    detail = self.plain(f"given up after {faults.total()} tries {dict(faults)}; last: {fault.detail}")
                    raise RequestFailed("server", detail, faults) from None
                if fault.kind != "stale":  # it says nothing about the server: the next one is made at once
                    await asyncio.sleep(self._wait(faults.total(), fault.after))
            except ContextOverflow as error:
                raise RequestFailed("bad_request", error.detail, faults) from None
            except RequestFailed as error:
                raise RequestFailed(error.kind, error.detail, faults) from None
            else:
                return with_faults(reply, faults) if faults else reply

    async def once(self, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]) -> Reply:
        """The answer to a chat, by one request.

        ChatFault where another may do better, ContextOverflow where the prompt is too long, RequestFailed where this
        request will get no answer, FatalError where none will.
        """
        start = time.monotonic()
        body = self._payload(messages, sampling)
        try:
            response = await self._open().post(self._path, body)
        except HttpFault as error:
            detail = self.plain(error.detail)
            if error.kind == "too_large":
                raise RequestFailed("too_large", detail) from None
            raise ChatFault(error.kind, detail) from None
        if response.status != 200:
            raise await self._refusal(response)
        try:
            found = json.loads(response.body.decode())
        except (ValueError, RecursionError) as error:
            told = self.plain(response.body.decode("utf-8", "replace"))[:80]
            raise ChatFault("not_json", f"{type(error).__name__}: {told!r}") from error
        return self._reply(found, time.monotonic() - start)

    def _payload(self, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]) -> bytes:
        try:
            text = _encode({"model": self.endpoint.model, "messages": messages, **sampling})
        except (TypeError, ValueError) as error:
            raise FatalError("a setting of the requests is no JSON", why=str(error), fix="--sampling") from error
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestFailed("bad_request", f"the text has half a surrogate pair: {error.reason}") from error

    def _open(self) -> Pool:
        if self._pool is None:
            raise FatalError("the client is not open")
        return self._pool

    async def _refusal(self, response: Response) -> Exception:
        """The error for an answer other than 200."""
        status, body = response.status, self.plain(response.body.decode("utf-8", "replace"))
        told = " ".join(body.split())[:300]
        said = f"the server said {status}: {told}"
        if 300 <= status < 400:
            return self._redirect(response)
        if status in (401, 403):
            name = DEFAULT_KEY_ENV if self.endpoint.key_env is None else self.endpoint.key_env
            key = "no API key was sent" if not self._key else f"the key in {name}"
            fix = "set the environment variable, or name another with --api-key-env"
            return FatalError("the endpoint refuses the API key", where=self._url, why=f"{said} ({key})", fix=fix)
        if status == 402 or (status == 429 and "insufficient_quota" in told):
            fix = "then run the same command"
            return FatalError("the account has no credit left", where=self._url, why=said, fix=fix)
        if is_overflow(status, body):
            return ContextOverflow(said)
        if status in _PASSING or (status >= 500 and status != 501):
            return ChatFault(str(status), said, retry_after(response.headers.get("retry-after", "")))
        if status in _DOCUMENT:
            return RequestFailed("bad_request", said)
        fix = f"check --base-url (up to and with /v1) and --model{await self._known_models()}"
        return FatalError(f"no model {self.endpoint.model!r} at this address", where=self._url, why=said, fix=fix)

    def _redirect(self, response: Response) -> FatalError:
        to = self.plain(response.headers.get("location", ""))[:200]
        why = f"the server said {response.status} and points to {to!r}; texts and the key go nowhere but to --base-url"
        fix = "if that is right, give it as --base-url"
        return FatalError("the endpoint redirects", where=self._url, why=why, fix=fix)

    def _reply(self, body: Any, seconds: float) -> Reply:
        """The first choice of an answer, read with suspicion: servers differ in what they leave out."""
        try:
            choice = body["choices"][0]
            message = choice["message"]
            return Reply(
                text=self.plain(_words(message.get("content"))),
                finish_reason=self.plain(str(choice.get("finish_reason") or "")),
                usage=self._usage(body.get("usage")),
                model=self.plain(str(body.get("model") or "")),
                refusal=self.plain(str(message.get("refusal") or "")),
                seconds=seconds,
            )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            detail = f"the answer has no message: {type(error).__name__} {self.plain(str(error))}"
            raise ChatFault("no_choice", detail) from error

    def _usage(self, given: Any) -> dict[str, int]:
        """Counts of tokens; of the details those that are kept in a cache, and those of thinking aloud."""
        if not isinstance(given, dict):
            return {}
        usage = {self.plain(name): count for name, count in given.items() if type(count) is int}
        for group, name in _DETAILS:
            details = given.get(group)
            if isinstance(details, dict) and type(details.get(name)) is int:
                usage[name] = details[name]
        return usage

    async def _known_models(self) -> str:
        """What the server lists, for a message; "" where it lists nothing or the model."""
        try:
            answer = await self._open().get(f"{self.endpoint.path}/models", timeout=_LOOK_SECONDS)
            names = [self.plain(str(one["id"])) for one in json.loads(answer.body)["data"]]
        except (HttpFault, FatalError, ValueError, KeyError, TypeError, RecursionError):
            return ""
        return f"; {did_you_mean(self.endpoint.model, names)}" if names and self.endpoint.model not in names else ""

    def _wait(self, failures: int, after: float) -> float:
        limit = min(self.endpoint.first_wait * 2.0 ** (failures - 1), self.endpoint.longest_wait)
        return max(limit * (0.5 + random.random() / 2), min(after, 5 * self.endpoint.longest_wait))

    def plain(self, text: str) -> str:
        """A text of the server without the key, which some servers repeat, and fit to be written as UTF-8. Before it is
        cut: of a key that reaches over the cut a part would be left."""
        for spelling in self._spellings:
            text = text.replace(spelling, "***")
        try:
            text.encode()
        except UnicodeEncodeError:  # JSON can hold half a surrogate pair
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text


_DETAILS = (("prompt_tokens_details", "cached_tokens"), ("completion_tokens_details", "reasoning_tokens"))


def with_faults(reply: Reply, faults: Mapping[str, int]) -> Reply:
    """The reply, with the tries before it."""
    return Reply(
        text=reply.text,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        model=reply.model,
        refusal=reply.refusal,
        seconds=reply.seconds,
        faults=dict(faults),
    )


def as_stop(error: BaseException) -> TokenmillError | None:
    """The first of tokenmill's errors in a group, if any."""
    if isinstance(error, BaseExceptionGroup):
        found = (as_stop(one) for one in error.exceptions)
        return next((one for one in found if one is not None), None)
    return error if isinstance(error, TokenmillError) else None


def _words(content: Any) -> str:
    """The text of a message: a string, or a list of parts of which some are text."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def retry_after(value: str) -> float:
    """Seconds that a server asks to wait; it says a number or a date."""
    try:
        return min(max(0.0, float(value)), _DAY)
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return min(max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds()), _DAY)
