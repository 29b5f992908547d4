"""The folder of a run, and the commit protocol.

    out/data|dropped|quarantine/<shard>.parquet      published files
    out/phases/<nn-name@fp>/attempts/<shard>/<uuid>/ work in progress of one attempt
    out/phases/<nn-name@fp>/manifests/<shard>.json   the commit point of a shard

An attempt is written, flushed, re-opened and checked; then its manifest appears under its final name by an
exclusive link (a conditional PUT on an object store): that is the commit. Only then are the files moved to
their published names. A crash in between is finished by the next run (`settle`), never undone. Readers trust
manifests, not directory listings.

On an object store the files are written on a local disk first and uploaded below `attempts/`; instead of moving,
which no store can, they are copied within the store and then deleted. Whoever loses or dies has touched no
published name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from tokenmill.core.errors import ConfigError, FatalError, ShardError
from tokenmill.io.objects import AbandonedUpload, Objects, store_errors
from tokenmill.io.scratch import new_scratch, remove_scratch
from tokenmill.io.slugs import shard_slug, slugs
from tokenmill.io.stores import file_system, refuse_userinfo

__all__ = ["Attempt", "RunFolder", "disk_error", "file_digest", "flush_to_disk", "shard_slug", "slugs"]


@dataclass
class Attempt:
    """One try at a shard. Files are written below `directory`, always on a local disk."""

    slug: str
    directory: Path
    relative: str
    uploaded: bool = False
    """Whether it has objects below `relative` on an object store."""

    def path(self, kind: str) -> str:
        return str(self.directory / f"{kind}.parquet")


class RunFolder:
    """The output folder of a run on a local disk or an object store."""

    def __init__(self, location: str) -> None:
        refuse_userinfo(location)
        self.location = location
        self._fs, self._root = file_system(location)
        self._objects = Objects(self._fs)
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
        if self.is_local:
            return os.path.exists(self._full(relative))
        with store_errors(self.path(relative)):
            return self._objects.exists(self._full(relative))

    def size(self, relative: str) -> int | None:
        """Bytes of a file of the run, None where there is none."""
        if self.is_local:
            path = self._full(relative)
            return os.path.getsize(path) if os.path.exists(path) else None
        with store_errors(self.path(relative)):
            return self._objects.size(self._full(relative))

    def read_text(self, relative: str) -> str | None:
        """Content of a file of the run, None where there is none."""
        if self.is_local:
            try:
                return Path(self._full(relative)).read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
        with store_errors(self.path(relative)):
            data = self._objects.read(self._full(relative))
        return None if data is None else data.decode()

    def read_json(self, relative: str) -> Any:
        text = self.read_text(relative)
        return None if text is None else json.loads(text)

    def write_text(self, relative: str, text: str) -> None:
        """Write a file so that readers see the old or the new content, never a part."""
        full = self._full(relative)
        if not self.is_local:
            with store_errors(self.path(relative), "write"):
                self._objects.write(full, text.encode())
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
        if self.is_local:
            try:
                return sorted(os.listdir(self._full(relative)))
            except FileNotFoundError:
                return []
        with store_errors(self.path(relative)):
            return self._objects.names(self._full(relative))

    def remove(self, relative: str) -> None:
        """Delete a file or folder of the run, if it is there."""
        if not self.is_local:
            with store_errors(self.path(relative), "delete"):
                self._objects.remove(self._full(relative))
        elif self.exists(relative):
            self._fs.rm(self._full(relative), recursive=True)

    def abandoned_uploads(self) -> Sequence[AbandonedUpload]:
        """Uploads below the run that were never finished, or go on right now; none on a local disk."""
        if self.is_local:
            return ()
        with store_errors(self.location):
            return self._objects.abandoned(self._root)

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
            try:
                directory = new_scratch()
            except OSError as error:
                raise disk_error(error, tempfile.gettempdir()) from error
        return Attempt(slug, directory, relative)

    def discard(self, attempt: Attempt) -> None:
        """Forget an attempt that is not committed."""
        remove_scratch(attempt.directory)
        if attempt.uploaded:
            self.remove(attempt.relative)

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
            won = self._commit_remote(phase, relative, attempt, manifest, text)
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

    def _commit_remote(self, phase: str, relative: str, attempt: Attempt, manifest: dict[str, Any], text: str) -> bool:
        """Upload the files, then the manifest and only if there is none: that is the commit.

        When it cannot be known whether the manifest was written, ShardError; the files then stay, because they
        may be committed. If not, they go with the attempts of the phase.
        """
        try:
            if self.manifest(phase, attempt.slug) is not None:
                return False
            for file in manifest["files"]:
                target = f"{attempt.relative}/{file['kind']}.parquet"
                attempt.uploaded = True
                with store_errors(self.path(target), "write"):
                    self._objects.upload(attempt.path(file["kind"]), self._full(target))
            with store_errors(self.path(relative), "write"):
                if self._objects.create(self._full(relative), text.encode()):
                    return True
            # The one that is there may be our own, where the answer to the first request was lost.
            winner = self.manifest(phase, attempt.slug)
            return winner is not None and winner["attempt"] == attempt.relative
        finally:
            remove_scratch(attempt.directory)

    def settle(self, phase: str, slug: str, manifest: dict[str, Any]) -> bool:
        """Finish publishing a committed shard. False, and the manifest withdrawn, when its files are gone."""
        if not self.is_local:
            return self._settle_remote(phase, slug, manifest)
        for file in manifest["files"]:
            if self.size(file["path"]) == file["bytes"]:
                continue
            waiting = Path(self._full(f"{manifest['attempt']}/{file['kind']}.parquet"))
            final = Path(self._full(file["path"]))
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                os.replace(waiting, final)
                _fsync_directory(str(final.parent))
            except FileNotFoundError:
                # gone, or moved this very moment by another process that settles the same shard
                if self.size(file["path"]) == file["bytes"]:
                    continue
                self.remove(f"phases/{phase}/manifests/{slug}.json")
                return False
        shutil.rmtree(Path(self._full(f"phases/{phase}/attempts/{slug}")), ignore_errors=True)
        return True

    def _settle_remote(self, phase: str, slug: str, manifest: dict[str, Any]) -> bool:
        """As long as the attempt has a file, that is copied, and again by everybody who comes by: the same bytes.

        An object of the right size under the published name proves nothing, it may be of a manifest that was
        withdrawn. An attempt without files has been published, or is gone.
        """
        attempts = f"phases/{phase}/attempts/{slug}"
        with store_errors(self.path(attempts)):
            waiting = self._objects.find(self._full(attempts))
            for file in manifest["files"]:
                source = self._full(f"{manifest['attempt']}/{file['kind']}.parquet")
                final = self._full(file["path"])
                if source in waiting and self._objects.copy(source, final, file["bytes"]):
                    continue
                if self._objects.size(final) != file["bytes"]:
                    self.remove(f"phases/{phase}/manifests/{slug}.json")
                    return False
            self._objects.remove_each(waiting)
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
    """What a failed call on a file means for the run: a full or read-only disk stops it, anything else is retried."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
        return FatalError(
            f"cannot write {path}",
            why=os.strerror(error.errno) + _space_left(path),
            fix="free space or choose another --output, then run the same command: it resumes",
        )
    return ShardError(f"cannot read or write {path}", why=str(error), fix="run the same command again: it resumes")


def _space_left(path: str) -> str:
    """What is left on the disk of a local path, in words; nothing where that cannot be told."""
    there = os.path.abspath(path)
    while not os.path.isdir(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)
    try:
        left = os.statvfs(there)
    except OSError:
        return ""
    entries = ", no room for another file" if left.f_files and not left.f_favail else ""
    free, size = (blocks * left.f_frsize / 1e6 for blocks in (left.f_bavail, left.f_blocks))
    return f"; {free:.1f} MB of {size:.0f} MB free{entries}"
