"""A client for endpoints that speak OpenAI's chat completions, such as vLLM, SGLang, llama.cpp and the hosted ones.

What passes is tried again: 408, 409, 425, 429, 5xx, time-outs, lost connections, bodies that are cut or no JSON. Waits
double, half of each is random, and Retry-After is honoured. What will not pass stops the run (401, 404, redirects, a
quota used up) or fails the document (400, 413, 422). 403 does either: gateways say it of one prompt that they forbid.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as _quoted
from types import TracebackType
from typing import Any

from tokenmill.core.errors import ConfigError, FatalError, TokenmillError, did_you_mean
from tokenmill.io.chat.endpoint import DEFAULT_KEY_ENV, Endpoint, spellings
from tokenmill.io.chat.http1 import HttpFault, Pool, Response, need_httptools
from tokenmill.io.chat.overflow import is_overflow, said
from tokenmill.io.chat.reply import ChatFault, ContextOverflow, Reply, RequestFailed, is_count

_PASSING = frozenset({408, 409, 425, 429})
_DOCUMENT = frozenset({400, 413, 422})
_DAY = 86_400.0
_FORBIDDEN_IN_A_ROW = 20
"""Answers 403 without another one between them: it is not the pages."""
_SECRET = 16
"""Characters from which a key in an answer is no chance; keys of services have 20 and more."""
_MASKED = 8
"""The same in texts about errors, of which nothing is made."""
_PHRASE = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+)(?:[ ._-]+(?:[A-Z]?[a-z]+|[A-Z]+))*")
"""Words stand for keys where a server asks for none: "none", "EMPTY", "not-needed-locally"."""
_MODERATED = re.compile(r"moderation|flagged|content[ _-]?(?:filter|policy|management)|ResponsibleAI|safety", re.I)
_OF_CONTENT = re.compile(r"polic(?:y|ies)|content|prompt", re.I)
_OF_KEYS = re.compile(
    r"api[ _-]?key|authenti|authori[sz]|credential|token|permission|billing|quota|account|subscri|project|country", re.I
)
_LOOK_SECONDS = 10.0
"""For questions that are none to the model."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().decode


class ChatClient:
    """Asks one model. An async context manager; many requests may be under way at once.

    ConfigError at once where the key or httptools is missing.
    """

    def __init__(self, endpoint: Endpoint, *, concurrency: int = 16) -> None:
        self.endpoint = endpoint
        self._key = endpoint.api_key()
        word = _PHRASE.fullmatch(self._key) is not None
        self._secrets = spellings(self._key) if len(self._key) >= _SECRET and not word else ()
        masked = len(self._key) >= _MASKED and not word
        self._masked = spellings(self._key) if masked else tuple(f"Bearer {one}" for one in spellings(self._key))
        self._answered = False
        """Whether the server has answered a request, so that it takes the key."""
        self._forbidden = 0
        """Answers 403 in a row."""
        self._concurrency = concurrency
        self._path = f"{endpoint.path}/chat/completions"
        self._url = f"{endpoint.base_url.rstrip('/')}/chat/completions"
        self._before = f'{{"model":{_quoted(endpoint.model)},"messages":'
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
        if not 200 <= response.status < 300:
            raise await self._refusal(response)
        if not response.body.strip():
            raise ChatFault("not_json", f"the server said {response.status}, without a body")
        try:
            found = _decode(response.body.decode())
        except (ValueError, RecursionError) as error:
            told = self.plain(response.body.decode("utf-8", "replace"))[:80]
            raise ChatFault("not_json", f"{type(error).__name__}: {told!r}") from error
        reply = self._reply(found, time.monotonic() - start)
        self._answered, self._forbidden = True, 0
        return reply

    def _payload(self, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]) -> bytes:
        try:
            parts = ",".join([_message(one) for one in messages])
            more = _encode(sampling)[1:] if sampling else "}"
            text = f"{self._before}[{parts}]{',' if sampling else ''}{more}"
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
        detail = f"the server said {status}: {told}"
        if 300 <= status < 400:
            return self._redirect(response)
        if status == 403 and self._of_content(body):
            self._forbidden += 1
            if self._forbidden < _FORBIDDEN_IN_A_ROW:
                return RequestFailed("content_filter", detail)
            what = f"the server has forbidden {_FORBIDDEN_IN_A_ROW} requests in a row"
            fix = "look at what it says of them; the same command goes on where this one stopped"
            return FatalError(what, where=self._url, why=detail, fix=fix)
        if status in (401, 403):
            name = DEFAULT_KEY_ENV if self.endpoint.key_env is None else self.endpoint.key_env
            key = "no API key was sent" if not self._key else f"the key in {name}"
            fix = "set the environment variable, or name another with --api-key-env"
            return FatalError("the endpoint refuses the API key", where=self._url, why=f"{detail} ({key})", fix=fix)
        if status == 402 or (status == 429 and "insufficient_quota" in told):
            fix = "then run the same command"
            return FatalError("the account has no credit left", where=self._url, why=detail, fix=fix)
        if is_overflow(status, body):
            return ContextOverflow(detail)
        if status in _PASSING or (status >= 500 and status != 501):
            return ChatFault(str(status), detail, retry_after(response.headers.get("retry-after", "")))
        if status in _DOCUMENT:
            return RequestFailed("content_filter" if _codes(body) & _FILTER_CODES else "bad_request", detail)
        fix = f"check --base-url (up to and with /v1) and --model{await self._known_models()}"
        return FatalError(f"no model {self.endpoint.model!r} at this address", where=self._url, why=detail, fix=fix)

    def _of_content(self, body: str) -> bool:
        """Whether a 403 is about what was asked, and not about who asks: of a key that was good before, all that does
        not speak of keys."""
        try:
            told = " ".join(said(json.loads(body)))
        except (ValueError, RecursionError):
            return self._answered  # a page of a gateway
        if _MODERATED.search(told):
            return True
        return self._answered and bool(_OF_CONTENT.search(told) or not _OF_KEYS.search(told))

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
            text = _clean(_words(message.get("content")))
            if any(spelling in text for spelling in self._secrets):  # no text is changed in silence
                raise RequestFailed("bad_request", "the answer repeats the API key")
            return Reply(
                text=text,
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
        usage = {self.plain(name): count for name, count in given.items() if is_count(count)}
        for group, name in _DETAILS:
            details = given.get(group)
            if isinstance(details, dict) and is_count(details.get(name)):
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
        """What a server says of a request, without the key, which some servers repeat, and fit to be written as UTF-8.
        Before it is cut: of a key that reaches over the cut a part would be left. Not for answers: of a key that is a
        word only "Bearer <key>" is cut out, and of others all."""
        for spelling in self._masked:
            if spelling in text:
                text = text.replace(spelling, "Bearer ***" if spelling.startswith("Bearer ") else "***")
        return _clean(text)


def _clean(text: str) -> str:
    """A text that can be written as UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can hold half a surrogate pair
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


_FILTER_CODES = frozenset({"content_filter", "responsibleaipolicyviolation"})


def _codes(body: str) -> set[str]:
    """Codes of an error, in lower case; Azure nests a second one."""
    try:
        found = json.loads(body)["error"]
        inner = found.get("innererror")
        codes = (found.get("code"), found.get("type"), inner.get("code") if isinstance(inner, dict) else None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    return {code.lower() for code in codes if isinstance(code, str)}


def _message(message: Mapping[str, str]) -> str:
    """A message as JSON. By hand where it has nothing but what all have: it is most of a request."""
    if len(message) == 2 and "role" in message and "content" in message:
        content = message["content"]
        if type(content) is str:
            return f'{{"role":{_encode(message["role"])},"content":{_quoted(content)}}}'
    return _encode(message)


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
