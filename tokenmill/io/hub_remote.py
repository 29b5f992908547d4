"""A data set repository on a hub of Hugging Face's kind: what it has, and how files get into it.

The protocol is the library's (`huggingface_hub`); what it leaves open is done here: which failures pass, how long to
wait, and what has happened when an answer was lost. Large files go through Xet where the server offers it, else by
the LFS protocol, which asks first which objects are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.core.secrets import redact
from tokenmill.io.push_files import PushFile
from tokenmill.io.stores import refuse_userinfo

Result = TypeVar("Result")

TRIES = 8
"""Failures in a row that end a push."""
UPLOAD_FILES = 16
"""Files that are uploaded in one go; failures are counted anew for the next ones."""
FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
LONGEST_ASKED = 3600.0
"""Longest wait that a server may ask for: limits of the Hub are counted per hour at most."""
_PASSING = frozenset({408, 412, 425, 429, 500, 502, 503, 504})
"""412: the branch has got another commit at the same time."""
_TYPE = "dataset"


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository; sha256 is "" where the hub knows only the digest of git."""

    size: int
    sha256: str
    blob: str


@dataclass
class Remote:
    """A repository and a branch of it. The token is the library's: HF_TOKEN, or what its login has stored."""

    name: str
    revision: str = "main"
    endpoint: str | None = None
    tries: int = TRIES
    first_seconds: float = FIRST_SECONDS
    told: Callable[[str], None] = field(default=lambda line: None)
    """Is told of waits, without secrets."""

    def __post_init__(self) -> None:
        library = _library()
        endpoint = self.endpoint or library.constants.ENDPOINT
        refuse_userinfo(endpoint)
        _refuse_unencrypted(endpoint)
        self.endpoint = endpoint.rstrip("/")
        try:
            library.utils.validate_repo_id(self.name)
        except ValueError as error:
            raise ConfigError(f"{self.name!r} is no name of a repository", why=str(error), fix="owner/name") from error
        if self.name.count("/") != 1:
            raise ConfigError(f"{self.name!r} is no name of a repository", fix="give it as owner/name")
        self._api: Any = library.HfApi(endpoint=self.endpoint, library_name="tokenmill")

    def exists(self) -> bool | None:
        """None where there is no such repository (or none that one may see), else whether it is private."""
        errors = _library().errors
        try:
            found = self._call("look at the repository", lambda: self._api.repo_info(self.name, repo_type=_TYPE))
        except errors.RepositoryNotFoundError as error:
            if error.response.status_code == 401 and not self._has_token():
                return None
            if error.response.status_code == 401:
                raise self._refused(error) from error
            return None
        return bool(found.private)

    def files(self) -> dict[str, RemoteFile]:
        """Path -> file of all files of the branch; empty where there is no repository.

        Where there is no such branch, those of `main`, since a new branch begins as a copy of it.
        """
        errors = _library().errors

        def look(revision: str) -> dict[str, RemoteFile]:
            tree = self._api.list_repo_tree(self.name, recursive=True, revision=revision, repo_type=_TYPE)
            return {
                entry.path: RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else "", entry.blob_id)
                for entry in tree
                if hasattr(entry, "blob_id")
            }

        for revision in dict.fromkeys((self.revision, "main")):
            try:
                return self._call("list the repository", partial(look, revision))
            except errors.RevisionNotFoundError:
                continue
            except (errors.RepositoryNotFoundError, errors.EntryNotFoundError):
                break
        return {}

    def read(self, path: str) -> bytes | None:
        """A small file of the branch, or of `main` as in `files`; None where there is none."""
        library = _library()

        def get(revision: str) -> bytes:
            url = f"{self.endpoint}/datasets/{self.name}/resolve/{quote(revision, safe='')}/{quote(path)}"
            headers = library.utils.build_hf_headers(library_name="tokenmill")
            answer = library.utils.get_session().get(url, headers=headers, follow_redirects=True)
            library.utils.hf_raise_for_status(answer)
            return bytes(answer.content)

        for revision in dict.fromkeys((self.revision, "main")):
            try:
                return self._call(f"read {path}", partial(get, revision))
            except library.errors.RevisionNotFoundError:
                continue
            except library.errors.EntryNotFoundError:
                break
        return None

    def create(self, private: bool) -> None:
        """Make the repository and the branch where they are not there."""

        def make() -> None:
            self._api.create_repo(self.name, repo_type=_TYPE, private=private, exist_ok=True)
            if self.revision != "main":
                self._api.create_branch(self.name, branch=self.revision, repo_type=_TYPE, exist_ok=True)

        self._call("make the repository", make)

    def choose_protocol(self) -> bool:
        """Use Xet where the server has it, and the library can; else the LFS protocol. True for Xet."""
        library = _library()
        if library.constants.HF_HUB_DISABLE_XET:
            return False
        url = f"{self.endpoint}/api/datasets/{self.name}/xet-write-token/{quote(self.revision, safe='')}"

        def ask() -> bool:
            headers = library.utils.build_hf_headers(library_name="tokenmill")
            answer = library.utils.get_session().get(url, headers=headers)
            if answer.status_code in _PASSING:
                library.utils.hf_raise_for_status(answer)
            return bool(answer.status_code == 200)

        offered = self._call("ask for the protocol", ask)
        library.constants.HF_HUB_DISABLE_XET = not offered
        return offered

    def commit(self, files: Sequence[tuple[PushFile, Path | bytes]], remove: Sequence[str], message: str) -> None:
        """Upload files and put them into one commit. What an earlier try has done is not done again."""
        library = _library()
        operations = [self._operation(file, source) for file, source in files]
        for start in range(0, len(operations), UPLOAD_FILES):
            self._upload(operations[start : start + UPLOAD_FILES])
        left = list(remove)
        progress = _Failures(self, f"commit {len(files)} files")
        while operations or left:
            try:
                self._api.create_commit(
                    self.name,
                    [*operations, *(library.CommitOperationDelete(path) for path in left)],
                    commit_message=message,
                    repo_type=_TYPE,
                    revision=self.revision,
                )
                return
            except Exception as error:
                progress.failed(error)
            # the commit may have been made and only its answer been lost
            there = self.files()
            wanted = {file.path: file for file, _ in files}
            operations = [op for op in operations if not same(wanted[op.path_in_repo], there.get(op.path_in_repo))]
            left = [path for path in left if path in there]

    def _upload(self, operations: Sequence[Any]) -> None:
        what = f"upload {operations[0].path_in_repo}" + (f" and {len(operations) - 1} more" if operations[1:] else "")
        self._call(
            what,
            lambda: self._api.preupload_lfs_files(
                self.name, additions=operations, repo_type=_TYPE, revision=self.revision, free_memory=False
            ),
        )

    def _operation(self, file: PushFile, source: Path | bytes) -> Any:
        content = source if isinstance(source, bytes) else str(source)
        operation = _library().CommitOperationAdd(file.path, content)
        operation.upload_info.sha256 = bytes.fromhex(file.sha256)  # known: the library need not read the file for it
        return operation

    def _call(self, what: str, call: Callable[[], Result]) -> Result:
        failures = _Failures(self, what)
        while True:
            try:
                return call()
            except Exception as error:
                failures.failed(error)

    def _has_token(self) -> bool:
        return bool(_library().get_token())

    def _refused(self, error: BaseException) -> ConfigError:
        return ConfigError(
            f"{self.endpoint} does not let you write to {self.name}",
            why=said(error),
            fix="set HF_TOKEN to a token with the right to write there, or log in with `hf auth login`",
        )


class _Failures:
    """Failures of one piece of work: waits after those that pass, raises after the others and after too many."""

    def __init__(self, remote: Remote, what: str) -> None:
        self._remote = remote
        self._what = what
        self._count = 0

    def failed(self, error: Exception) -> None:
        library = _library()
        status = status_of(error)
        if isinstance(error, library.errors.OfflineModeIsEnabled):
            raise ConfigError(f"cannot {self._what}: HF_HUB_OFFLINE is set", fix="unset it to push") from error
        kinds = (library.errors.RepositoryNotFoundError, library.errors.RevisionNotFoundError)
        if isinstance(error, (*kinds, library.errors.EntryNotFoundError)):
            raise error
        if status in (401, 403):
            raise self._remote._refused(error) from error
        if not passes(error, status):
            raise _wrong(self._remote, self._what, error) from error
        self._count += 1
        if self._count >= self._remote.tries:
            raise FatalError(
                f"cannot {self._what} on {self._remote.endpoint}: given up after {self._count} tries",
                why=said(error),
                fix="run the same command again: what is there is not sent again",
            ) from error
        seconds = max(wait_seconds(self._what, self._count, self._remote.first_seconds), asked_seconds(error))
        self._remote.told(f"cannot {self._what} ({said(error)}); again in {seconds:.0f} s")
        time.sleep(seconds)


def same(file: PushFile, there: RemoteFile | None) -> bool:
    """Whether the repository has exactly this content under the file's path."""
    if there is None or there.size != file.size:
        return False
    if there.sha256:
        return there.sha256 == file.sha256
    return file.content is not None and there.blob == git_digest(file.content)


def git_digest(content: bytes) -> str:
    """The name that git gives to the content of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def status_of(error: BaseException | None) -> int:
    """The HTTP status behind an error, through what it was raised from; 0 where there is none."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return 0


def passes(error: BaseException | None, status: int) -> bool:
    """Whether the same request may succeed later: by its status, or because the connection failed."""
    if status:
        return status in _PASSING
    while error is not None:
        if isinstance(error, (ConnectionError, TimeoutError)):
            return True
        for base in type(error).__mro__:
            if base.__name__ == "TransportError" and base.__module__.startswith("httpx"):
                return True
        error = error.__cause__
    return False


def wait_seconds(what: str, failures: int, first: float) -> float:
    """Seconds to wait after so many failures: half certain, half from a hash, so that machines spread out alike."""
    digest = hashlib.blake2b(f"{what}:{failures}".encode(), digest_size=4).digest()
    share = int.from_bytes(digest, "little") / 0xFFFFFFFF
    return float(min(first * 2.0 ** (failures - 1), LONGEST_SECONDS) * (0.5 + share / 2))


def asked_seconds(error: BaseException | None) -> float:
    """Seconds that the server has asked to wait (Retry-After), 0 where it has not."""
    while error is not None:
        headers = getattr(getattr(error, "response", None), "headers", None)
        if isinstance(headers, Mapping):
            value = str(headers.get("Retry-After", ""))
            return min(float(value), LONGEST_ASKED) if value.isdigit() else 0.0
        error = error.__cause__
    return 0.0


def said(error: BaseException) -> str:
    """What an error says, in one line without secrets."""
    inner = error
    while inner.__cause__ is not None and getattr(inner, "response", None) is None:
        inner = inner.__cause__  # "Error while uploading" says nothing
    line = redact(" ".join(str(inner).split()))
    return f"{type(inner).__name__}: {line[:300]}" if line else type(inner).__name__


@contextlib.contextmanager
def quiet_library() -> Iterator[None]:
    """The library without bars, and without the signatures of addresses in what it logs."""
    library = _library()
    logger = logging.getLogger("huggingface_hub")

    def clean(record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True

    handlers = list(logger.handlers)
    for handler in handlers:
        handler.addFilter(clean)
    library.utils.disable_progress_bars()
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(clean)


def _wrong(remote: Remote, what: str, error: Exception) -> Exception:
    """A failure that stays: the server's refusal, or an error of the operating system."""
    if isinstance(error, (OSError, ValueError, RuntimeError)):
        return FatalError(
            f"cannot {what} on {remote.endpoint}", why=said(error), fix="see what the server says; then run it again"
        )
    return error


def _refuse_unencrypted(endpoint: str) -> None:
    """ConfigError for http:// to another machine: the token would be readable on the way."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ConfigError(
            f"{redact(endpoint)} is no https:// address", why="the token would travel unencrypted", fix="use https://"
        )


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise ConfigError("publishing needs a package", why=str(error), fix="pip install 'tokenmill[hub]'") from error
    return huggingface_hub
