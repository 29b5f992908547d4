"""A client for endpoints that speak OpenAI's chat completions, such as vLLM, SGLang, llama.cpp and the hosted ones.

What passes is tried again: 408, 409, 425, 429, 5xx, time-outs, lost connections, bodies that are cut or no JSON. Waits
double, half of each is random, and Retry-After is honoured. What will not pass stops the run (401, 403, 404, a quota
used up) or fails the document (400, 413, 422).
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tokenmill.core.errors import ConfigError, FatalError, TokenmillError, did_you_mean

if TYPE_CHECKING:
    import httpx

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
_PASSING = frozenset({408, 409, 425, 429})
_DOCUMENT = frozenset({400, 413, 422})


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the model is, and how patiently it is asked."""

    base_url: str
    """Up to and with the version: https://api.openai.com/v1 or http://localhost:8000/v1."""
    model: str
    key_env: str | None = None
    """Environment variable with the API key; None: OPENAI_API_KEY if it is set, else no key."""
    timeout: float = 120.0
    """Seconds for one request, answer included."""
    tries: int = 8
    """Failures in a row after which a request is given up."""
    first_wait: float = 0.5
    """Longest wait after the first failure, in seconds; it doubles with each further one."""
    longest_wait: float = 60.0
    """Longest wait of the client's own, in seconds; Retry-After may ask for five times as much."""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Reply:
    """What a model has answered. usage: as the server gave it, empty where it gave none."""

    text: str
    finish_reason: str
    usage: Mapping[str, Any]
    model: str
    refusal: str
    seconds: float
    faults: Mapping[str, int]
    """Tries before this one, by kind of failure."""


class RequestFailed(Exception):
    """A request without an answer. `kind`: "server" for what may pass another day, else what the server said."""

    def __init__(self, kind: str, detail: str, faults: Mapping[str, int]) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.faults = faults


@dataclass(eq=False)
class _Fault(Exception):
    """One try that brought nothing and may be made again."""

    kind: str
    detail: str
    after: float = 0.0


class ChatClient:
    """Asks one model. An async context manager; many requests may be under way at once.

    ConfigError at once where the key or httpx is missing.
    """

    def __init__(self, endpoint: Endpoint, *, concurrency: int = 16) -> None:
        try:
            import httpcore  # noqa: F401 - httpx imports it only when a connection is made
            import httpx  # noqa: F401
        except ImportError as error:
            raise ConfigError("httpx is not installed", why=str(error), fix="pip install 'tokenmill[llm]'") from error
        self.endpoint = endpoint
        self._key = _api_key(endpoint)
        self._spellings = _spellings(self._key)
        self._concurrency = concurrency
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> ChatClient:
        import httpx

        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(self.endpoint.timeout, connect=min(10.0, self.endpoint.timeout)),
            limits=httpx.Limits(max_connections=self._concurrency, max_keepalive_connections=self._concurrency),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

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
                where=self._url(),
                why=error.detail,
                fix="check --base-url, and that the server runs"
                if error.kind == "server"
                else f"check --model and --sampling{await self._known_models()}",
            ) from error

    async def ask(
        self, messages: list[dict[str, str]], sampling: Mapping[str, Any], *, tries: int | None = None
    ) -> Reply:
        """The answer to a chat. RequestFailed where there is none, FatalError where no request would get one."""
        faults: Counter[str] = Counter()
        payload = {"model": self.endpoint.model, "messages": messages, **sampling}
        while True:
            start = time.monotonic()
            try:
                body = await self._post(payload)
                return self._reply(body, time.monotonic() - start, faults)
            except _Fault as fault:
                faults[fault.kind] += 1
                if faults.total() >= (tries or self.endpoint.tries):
                    detail = self.plain(f"given up after {faults.total()} tries {dict(faults)}; last: {fault.detail}")
                    raise RequestFailed("server", detail, faults) from None
                await asyncio.sleep(self._wait(faults.total(), fault.after))
            except RequestFailed as error:
                raise RequestFailed(error.kind, error.detail, faults) from None

    async def _post(self, payload: Mapping[str, Any]) -> Any:
        import httpx

        if self._http is None:
            raise FatalError("the client is not open")
        try:
            async with asyncio.timeout(self.endpoint.timeout):  # a server that trickles never runs into httpx's own
                response = await self._http.post(self._url(), json=payload)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise _Fault("timeout", f"no answer within {self.endpoint.timeout:g} s ({type(error).__name__})") from error
        except httpx.RemoteProtocolError as error:
            raise _Fault("cut_body", str(error)) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Fault("connection", f"{type(error).__name__}: {error}") from error
        if response.status_code != 200:
            raise await self._refusal(response)
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise _Fault("not_json", f"{error}: {self.plain(response.text)[:80]!r}") from error

    async def _refusal(self, response: httpx.Response) -> Exception:
        """The error for an answer other than 200."""
        status, told = response.status_code, " ".join(self.plain(response.text).split())[:300]
        said = f"the server said {status}: {told}"
        where = self._url()
        if status in (401, 403):
            key = "no API key was sent" if not self._key else f"the key in {self.endpoint.key_env or DEFAULT_KEY_ENV}"
            fix = "set the environment variable, or name another with --api-key-env"
            return FatalError("the endpoint refuses the API key", where=where, why=f"{said} ({key})", fix=fix)
        if status == 402 or (status == 429 and "insufficient_quota" in told):
            return FatalError("the account has no credit left", where=where, why=said, fix="then run the same command")
        if status in _PASSING or (status >= 500 and status != 501):
            return _Fault(str(status), said, _retry_after(response.headers.get("retry-after", "")))
        if status in _DOCUMENT:
            return RequestFailed("bad_request", said, {})
        fix = f"check --base-url (up to and with /v1) and --model{await self._known_models()}"
        return FatalError(f"no model {self.endpoint.model!r} at this address", where=where, why=said, fix=fix)

    def _reply(self, body: Any, seconds: float, faults: Mapping[str, int]) -> Reply:
        """The first choice of an answer, read with suspicion: servers differ in what they leave out."""
        try:
            choice = body["choices"][0]
            message = choice["message"]
            content = message.get("content")
            usage = body.get("usage")
            return Reply(
                text=self.plain(_words(content)),
                finish_reason=self.plain(str(choice.get("finish_reason") or "")),
                usage={self.plain(k): v for k, v in usage.items() if type(v) is int} if isinstance(usage, dict) else {},
                model=self.plain(str(body.get("model") or "")),
                refusal=self.plain(str(message.get("refusal") or "")),
                seconds=seconds,
                faults=dict(faults),
            )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Fault("no_choice", f"the answer has no message: {type(error).__name__} {error}") from error

    async def _known_models(self) -> str:
        """What the server lists, for a message; "" where it lists nothing or the model."""
        import httpx

        try:
            assert self._http is not None
            answer = (await self._http.get(f"{self.endpoint.base_url.rstrip('/')}/models", timeout=10.0)).json()
            names = [self.plain(str(one["id"])) for one in answer["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ""
        return f"; {did_you_mean(self.endpoint.model, names)}" if names and self.endpoint.model not in names else ""

    def _wait(self, failures: int, after: float) -> float:
        limit = min(self.endpoint.first_wait * 2.0 ** (failures - 1), self.endpoint.longest_wait)
        return max(limit * (0.5 + random.random() / 2), min(after, 5 * self.endpoint.longest_wait))

    def _url(self) -> str:
        return f"{self.endpoint.base_url.rstrip('/')}/chat/completions"

    def plain(self, text: str) -> str:
        """A text of the server without the key, which some servers repeat. Before it is cut: of a key that reaches
        over the cut a part would be left."""
        for spelling in self._spellings:
            text = text.replace(spelling, "***")
        return text


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


def _retry_after(value: str) -> float:
    """Seconds that a server asks to wait; it says a number or a date."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())


def _api_key(endpoint: Endpoint) -> str:
    key = os.environ.get(endpoint.key_env or DEFAULT_KEY_ENV, "").strip()
    if endpoint.key_env and not key:
        raise ConfigError(f"the environment variable {endpoint.key_env} is not set", fix="put the API key in it")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{endpoint.key_env or DEFAULT_KEY_ENV} holds no API key", why="it has odd characters")
    return key


def _spellings(key: str) -> tuple[str, ...]:
    """The key as texts, JSON and addresses write it; the longest first, for one may be a part of another."""
    found = {key, json.dumps(key)[1:-1], json.dumps(key)[1:-1].replace("/", "\\/"), quote(key), quote(key, safe="")}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def _check(endpoint: Endpoint) -> None:
    try:
        parts = urlsplit(endpoint.base_url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError("the base URL is no web address", fix="--base-url http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        fix = "put the key in an environment variable (--api-key-env)"
        raise ConfigError("the base URL holds a user, a password or a query", fix=fix)
    if not endpoint.model:
        raise ConfigError("no model is named", fix="--model NAME")
    if endpoint.timeout <= 0 or endpoint.tries < 1 or endpoint.first_wait < 0 or endpoint.longest_wait < 0:
        raise ConfigError("time-out, tries or waits are not positive", fix="--timeout > 0, --tries >= 1")
