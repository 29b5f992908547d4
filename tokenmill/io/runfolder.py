"""The folder of a run, and the commit protocol.

    out/data|dropped|quarantine/<shard>.parquet      published files
    out/phases/<nn-name@fp>/attempts/<shard>/<uuid>/ work in progress of one attempt
    out/phases/<nn-name@fp>/manifests/<shard>.json   the commit point of a shard

An attempt is written, flushed, re-opened and checked; then its manifest appears under its final name by an
exclusive link (a conditional PUT on an object store): that is the commit. Only then are the files moved to
their published names. A crash in between is finished by the next run (`settle`), never undone. Readers trust
manifests, not directory listings.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from tokenmill.core.errors import ConfigError, FatalError, ShardError
from tokenmill.io.filesystem import missing_protocol


def shard_slug(name: str) -> str:
    """A file name for the outputs of an input shard: its own name without endings, safe on any store.

    Only [A-Za-z0-9._-] pass; where anything had to be changed, a digest of the full name keeps it unique.
    """
    stem = re.sub(r"(\.(warc|arc|wet|parquet|jsonl|json|ndjson|gz|zst|lz4))+$", "", name)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-")[:100]
    if safe and safe == stem:
        return safe
    return f"{safe or 'shard'}-{_short_digest(name)}"


def slugs(names: list[str]) -> list[str]:
    """One slug per shard; names that differ only in their endings are told apart by a digest."""
    plain = [shard_slug(name) for name in names]
    counts = Counter(plain)
    return [
        slug if counts[slug] == 1 else f"{slug}-{_short_digest(name)}" for slug, name in zip(plain, names, strict=True)
    ]


def _short_digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]


@dataclass
class Attempt:
    """One try at a shard. Files are written below `directory`, always on a local disk."""

    slug: str
    directory: Path
    relative: str

    def path(self, kind: str) -> str:
        return str(self.directory / f"{kind}.parquet")


class RunFolder:
    """The output folder of a run on a local disk or an object store."""

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            # other processes write into the folder: a listing that is remembered would be wrong
            self._fs, self._root = url_to_fs(location, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"cannot open {location}", why=str(error), fix=missing_protocol(location)) from error
        self.is_local = isinstance(self._fs, LocalFileSystem)
        if self.is_local:
            self._root = os.path.abspath(self._root)
            if os.path.isfile(self._root):
                raise ConfigError(f"{location} is a file", fix="give a folder for the run, which is made if needed")

    def path(self, relative: str) -> str:
        """Absolute path or URL of a file of the run."""
        full = f"{self._root.rstrip('/')}/{relative}"
        return full if self.is_local else str(self._fs.unstrip_protocol(full))

    def _full(self, relative: str) -> str:
        return f"{self._root.rstrip('/')}/{relative}"

    def exists(self, relative: str) -> bool:
        return bool(self._fs.exists(self._full(relative)))

    def size(self, relative: str) -> int | None:
        """Bytes of a file of the run, None where there is none."""
        try:
            return int(self._fs.info(self._full(relative))["size"])
        except FileNotFoundError:
            return None

    def read_text(self, relative: str) -> str | None:
        """Content of a file of the run, None where there is none."""
        try:
            return str(self._fs.cat_file(self._full(relative)).decode())
        except FileNotFoundError:
            return None

    def read_json(self, relative: str) -> Any:
        text = self.read_text(relative)
        return None if text is None else json.loads(text)

    def write_text(self, relative: str, text: str) -> None:
        """Write a file so that readers see the old or the new content, never a part."""
        full = self._full(relative)
        if not self.is_local:
            self._fs.pipe_file(full, text.encode())
            return
        temporary = f"{full}.{uuid.uuid4().hex}.tmp"
        try:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, full)
        except OSError as error:
            Path(temporary).unlink(missing_ok=True)
            raise disk_error(error, full) from error

    def write_json(self, relative: str, value: Any) -> None:
        self.write_text(relative, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    def list(self, relative: str) -> list[str]:
        """Names in a folder of the run, sorted; empty where there is none."""
        try:
            entries = self._fs.ls(self._full(relative), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)

    def remove(self, relative: str) -> None:
        """Delete a file or folder of the run, if it is there."""
        if self.exists(relative):
            self._fs.rm(self._full(relative), recursive=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one coordinator. The lock ends with the process, however that ends.

        ConfigError when another process holds it. Object stores have no such lock; there the conditional
        manifest decides.
        """
        if not self.is_local or sys.platform == "win32":
            yield
            return
        import fcntl

        path = self._full("phases/.lock")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConfigError(
                f"another tokenmill is running in {self.location}", fix="wait for it, or choose another --output"
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def new_attempt(self, phase: str, slug: str) -> Attempt:
        """A fresh folder for one try at a shard; below the run where that is local, else in the temp folder."""
        relative = f"phases/{phase}/attempts/{slug}/{uuid.uuid4().hex}"
        if self.is_local:
            directory = Path(self._full(relative))
            try:
                directory.mkdir(parents=True)
            except OSError as error:
                raise disk_error(error, str(directory)) from error
        else:
            directory = Path(tempfile.mkdtemp(prefix="tokenmill-attempt-"))
        return Attempt(slug, directory, relative)

    def discard(self, attempt: Attempt) -> None:
        shutil.rmtree(attempt.directory, ignore_errors=True)

    def manifest(self, phase: str, slug: str) -> dict[str, Any] | None:
        """The manifest of a committed shard, None before its commit."""
        found: dict[str, Any] | None = self.read_json(f"phases/{phase}/manifests/{slug}.json")
        return found

    def manifests(self, phase: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(slug, manifest) of every committed shard of a phase, in order of slug."""
        for name in self.list(f"phases/{phase}/manifests"):
            slug, dot, ending = name.rpartition(".")
            found = self.manifest(phase, slug) if dot and ending == "json" else None
            if found is not None:
                yield slug, found

    def commit(self, phase: str, attempt: Attempt, manifest: dict[str, Any]) -> dict[str, Any]:
        """Publish an attempt: its manifest first, then its files. Returns the manifest that won.

        When another attempt at the same shard has committed before, this one is discarded.
        """
        relative = f"phases/{phase}/manifests/{attempt.slug}.json"
        manifest = {**manifest, "attempt": attempt.relative}
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        if not self.is_local:
            won = self._commit_remote(relative, attempt, manifest, text)
        else:
            won = self._commit_local(relative, attempt, text)
        if not won:
            self.discard(attempt)
            winner = self.manifest(phase, attempt.slug)
            if winner is None:
                raise ShardError(f"manifest {relative} was there and is gone", fix="run again")
            manifest = winner
        if not self.settle(phase, attempt.slug, manifest):
            raise ShardError(
                f"the files of shard {attempt.slug} vanished while they were published",
                why="something else writes in the output folder",
                fix="run the same command again",
            )
        return manifest

    def _commit_local(self, relative: str, attempt: Attempt, text: str) -> bool:
        final = self._full(relative)
        temporary = attempt.directory / "manifest.json"
        try:
            os.makedirs(os.path.dirname(final), exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            _fsync_directory(str(attempt.directory))
            if not _appear(str(temporary), final):
                return False
            _fsync_directory(os.path.dirname(final))
        except OSError as error:
            raise disk_error(error, final) from error
        return True

    def _commit_remote(self, relative: str, attempt: Attempt, manifest: dict[str, Any], text: str) -> bool:
        """No rename on an object store: data under final keys first, the manifest last and only if it is new."""
        if self.exists(relative):
            return False
        for file in manifest["files"]:
            self._fs.put_file(attempt.path(file["kind"]), self._full(file["path"]))
        try:
            self._fs.pipe_file(self._full(relative), text.encode(), mode="create")
        except FileExistsError:
            return False
        self.discard(attempt)
        return True

    def settle(self, phase: str, slug: str, manifest: dict[str, Any]) -> bool:
        """Finish publishing a committed shard. False, and the manifest withdrawn, when its files are gone."""
        for file in manifest["files"]:
            if self.size(file["path"]) == file["bytes"]:
                continue
            waiting = Path(self._full(f"{manifest['attempt']}/{file['kind']}.parquet"))
            final = Path(self._full(file["path"]))
            try:
                if not self.is_local:
                    raise FileNotFoundError(waiting)
                final.parent.mkdir(parents=True, exist_ok=True)
                os.replace(waiting, final)
                _fsync_directory(str(final.parent))
            except FileNotFoundError:
                # gone, or moved this very moment by another process that settles the same shard
                if self.size(file["path"]) == file["bytes"]:
                    continue
                self.remove(f"phases/{phase}/manifests/{slug}.json")
                return False
        if self.is_local:
            shutil.rmtree(Path(self._full(f"phases/{phase}/attempts/{slug}")), ignore_errors=True)
        return True


def _appear(temporary: str, final: str) -> bool:
    """Give a file its final name unless that exists; False when it does."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        # No hard links here (exFAT, some network mounts). Looking first is enough: the lock of the folder leaves one
        # coordinator, which gives a shard to one worker at a time. A claim file would outlive a crash.
        if os.path.exists(final):
            return False
        os.replace(temporary, final)
    return True


def file_digest(path: str) -> str:
    """SHA-256 of a local file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def flush_to_disk(path: str) -> None:
    """fsync a local file that a library has written and closed."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, path) from error


def _fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError, path: str) -> ShardError | FatalError:
    """What a failed write means for the run: a full or read-only disk stops it, anything else is retried."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
        return FatalError(
            f"cannot write {path}",
            why=os.strerror(error.errno),
            fix="free space or choose another --output, then run the same command: it resumes",
        )
    return ShardError(f"cannot write {path}", why=str(error), fix="run the same command again: it resumes")
