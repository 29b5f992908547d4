"""What is tried again when a store fails, how often, and what is not.

All calls to object stores and web servers go through `retrying` or a `Retries` of their own. The layers below
are told not to retry (`io.stores`): several policies one inside the other multiply their waits, and aiobotocore
and s3fs between them retry some things twice and others (500, a reset while a body is read in parts) never.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tokenmill.core.errors import ConfigError
from tokenmill.io.stores import shown

Result = TypeVar("Result")

_CODES = frozenset(
    "SlowDown Throttling ThrottlingException RequestThrottled TooManyRequests ServiceUnavailable InternalError "
    "RequestTimeout RequestTimeoutException OperationAborted ConditionalRequestConflict IncompleteBody BadDigest "
    "XAmzContentSHA256Mismatch "
    # completing an upload whose first answer was lost; the whole upload is done again
    "NoSuchUpload".split()
)
"""Error codes of S3 that pass."""
_TOKEN_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})
_TOKEN_TRIES = 3
"""Requests with credentials that have expired: botocore may be fetching new ones. More would only wait."""
_STATUS = frozenset({408, 425, 429})
_ERRNO = frozenset(
    getattr(errno, name)
    for name in (
        "EBUSY EAGAIN ETIMEDOUT ECONNRESET ECONNREFUSED ECONNABORTED EPIPE EHOSTUNREACH ENETUNREACH EREMOTEIO".split()
    )
    if hasattr(errno, name)
)
_LIBRARIES = frozenset({"aiobotocore", "aiohttp", "botocore", "http", "urllib3", "requests", "httpx", "httpcore"})
_PASSING = frozenset(
    "ClientConnectionError ClientPayloadError ServerDisconnectedError HTTPClientError ResponseParserError "
    "HTTPException HTTPError TransportError RequestException ConnectionError Timeout".split()
)
"""Base classes of those libraries for what goes wrong on the wire; compared by name, so that none is imported."""


class Busy(OSError):
    """The store has not answered as it should, and may do so later."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after
        """Seconds that the store has asked to wait (Retry-After)."""


class Changed(OSError):
    """A file is not the one that was opened: reading on would give a mixture of two."""


@dataclass(frozen=True)
class Patience:
    """How long one piece of work waits for a store. The defaults allow about 70 s of waiting in all."""

    tries: int = 10
    """Failures in a row that end it."""
    seconds: float = 240.0
    """Time without progress that ends it; less than the silence for which a worker is given up."""
    first: float = 0.2
    """Longest wait after the first failure, in seconds; it doubles with each further one."""
    longest: float = 20.0
    """Longest wait after any failure, in seconds."""

    @staticmethod
    def from_environment() -> Patience:
        """As TOKENMILL_STORE_TRIES, _SECONDS and _FIRST_WAIT say. ConfigError where they are no numbers."""
        default = Patience()
        try:
            tries = int(os.environ.get("TOKENMILL_STORE_TRIES", default.tries))
            seconds = float(os.environ.get("TOKENMILL_STORE_SECONDS", default.seconds))
            first = float(os.environ.get("TOKENMILL_STORE_FIRST_WAIT", default.first))
        except ValueError as error:
            raise ConfigError("TOKENMILL_STORE_TRIES, _SECONDS or _FIRST_WAIT is no number", why=str(error)) from error
        return Patience(tries=tries, seconds=seconds, first=first)

    def wait(self, failures: int) -> float:
        """Seconds to wait after that many failures: half of it certain, half random, so that workers spread out."""
        limit = min(self.first * 2.0 ** (failures - 1), self.longest)
        return limit * (0.5 + random.random() / 2)


class Retries:
    """The failures of one piece of work. Call `failed` in each `except`, then try again."""

    def __init__(self, what: str, patience: Patience | None = None) -> None:
        self._what = shown(what)
        self._patience = patience or Patience.from_environment()
        self.progress()

    def progress(self) -> None:
        """Something was gained: the count begins again."""
        self._failures = self._refused = 0
        self._since = time.monotonic()

    def failed(self, error: Exception, where: str = "") -> None:
        """Wait after a failure that passes. What does not pass, or has happened too often, is raised as OSError."""
        if not is_transient(error):
            told = as_os_error(error, self._what)
            if told is error:
                raise error
            raise told from error
        self._failures += 1
        self._refused += answer(error)[0] in _TOKEN_CODES
        if self._refused >= _TOKEN_TRIES:
            raise PermissionError(f"cannot {self._what}: the credentials have expired; {describe(error)}") from error
        wait = max(self._patience.wait(self._failures), min(getattr(error, "after", 0.0), self._patience.longest))
        waited = time.monotonic() - self._since
        if self._failures >= self._patience.tries or waited + wait > self._patience.seconds:
            place = f" at {where}" if where else ""
            raise OSError(
                f"cannot {self._what}{place}: given up after {self._failures} tries in {waited:.0f} s; "
                f"the last error was {describe(error)}"
            ) from error
        time.sleep(wait)


def retrying(what: str, call: Callable[[], Result], patience: Patience | None = None) -> Result:
    """The result of a call that may be made again. what: it in words, "read s3://b/k". OSError where it fails."""
    retries = Retries(what, patience)
    while True:
        try:
            return call()
        except Exception as error:
            retries.failed(error)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, Busy):
        return True
    code, status = answer(error)
    if code in _CODES or code in _TOKEN_CODES or status in _STATUS or (500 <= status != 501):
        return True
    if code or status or isinstance(error, (FileNotFoundError, FileExistsError, PermissionError, Changed)):
        return False
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNO:
        return True
    if "Certificate" in type(error).__name__:
        return False
    return any(base.__name__ in _PASSING and _library(base) for base in type(error).__mro__)


def answer(error: BaseException) -> tuple[str, int]:
    """(code of the error, HTTP status) that a server gave; "" and 0 where the error is none of a server's."""
    for one in (error, error.__cause__):  # s3fs raises a plain OSError from what botocore told
        response = getattr(one, "response", None)
        if isinstance(response, Mapping):
            code = str(response.get("Error", {}).get("Code", ""))
            status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
            return code, status or (int(code) if code.isdigit() else 0)
    response = getattr(error, "response", None)
    for holder, name in ((error, "status"), (response, "status_code"), (error, "code")):
        found = getattr(holder, name, None)
        if isinstance(found, int) and 100 <= found < 600:
            return "", found
    return "", 0


def as_os_error(error: Exception, what: str) -> Exception:
    """The error of a library for storage as OSError; what is no such error (a mistake in code) stays as it is."""
    if isinstance(error, OSError) or not any(_library(base) for base in type(error).__mro__):
        return error
    _, status = answer(error)
    message = f"cannot {shown(what)}: {describe(error)}"
    if status in (401, 403) or "Credentials" in type(error).__name__:
        return PermissionError(message)
    return FileNotFoundError(message) if status == 404 else OSError(message)


def describe(error: BaseException) -> str:
    text = shown(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _LIBRARIES
