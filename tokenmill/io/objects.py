"""What the folder of a run needs from an object store, with the retries of `io.retry`.

Nothing here renames or appends. Listings are asked for anew each time; Amazon's have shown what was written last
since December 2020, as reads do.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from fsspec.asyn import sync

from tokenmill.core.errors import FatalError, ShardError
from tokenmill.io.retry import Busy, answer, retrying
from tokenmill.io.stores import is_s3

UPLOAD_PART = 16 << 20
"""Files of two parts and more go up in parts, four at a time: 64 MiB of memory; S3 wants parts of 5 MiB or more."""
_PARTS_AT_ONCE = 4
_MAX_PARTS = 10_000
_SINGLE_DELETES = 4
_SINGLE_COPY = 5 << 30
"""S3 copies larger objects in parts only."""


class AbandonedUpload(NamedTuple):
    """An upload in parts that was neither completed nor given up. Its parts are paid for and seen by nobody."""

    key: str
    initiated: datetime
    upload_id: str


class Objects:
    """Objects of one file system, by path. OSError when the store goes on failing."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self._is_s3 = is_s3(fs)

    def _url(self, path: str) -> str:
        return str(self._fs.unstrip_protocol(path))

    def exists(self, path: str) -> bool:
        """Whether there is an object of this name, or any below it."""
        return self._info(path) is not None

    def size(self, path: str) -> int | None:
        """Bytes of an object, None where there is none."""
        info = self._info(path)
        return None if info is None or info["type"] == "directory" else int(info["size"])

    def _info(self, path: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = retrying(f"look up {self._url(path)}", lambda: self._fs.info(path))
        except FileNotFoundError:
            return None
        return found

    def read(self, path: str) -> bytes | None:
        """An object, None where there is none."""
        try:
            return retrying(f"read {self._url(path)}", lambda: self._read(path))
        except FileNotFoundError:
            return None

    def _read(self, path: str) -> bytes:
        if not self._is_s3:
            return bytes(self._fs.cat_file(path))

        async def get() -> bytes:
            # `cat_file` would ask for the size first, and list where there is no object
            bucket, key, _ = self._fs.split_path(path)
            found = await self._fs._call_s3("get_object", Bucket=bucket, Key=key)
            try:
                return bytes(await found["Body"].read())
            finally:
                found["Body"].close()

        return bytes(sync(self._fs.loop, get))

    def write(self, path: str, data: bytes) -> None:
        """Put an object: readers see the old or the new one, never a part."""
        retrying(f"write {self._url(path)}", lambda: self._fs.pipe_file(path, data))

    def create(self, path: str, data: bytes) -> bool:
        """Put an object unless there is one; False where there is.

        False may mean our own: when the answer to a request that succeeded is lost, the next one finds the object.
        The caller looks into it. A store without conditional requests is asked whether there is an object first.
        """

        def put() -> None:
            try:
                self._fs.pipe_file(path, data, mode="create")
            except Exception as error:
                code, status = answer(error)
                if status == 412 or code == "PreconditionFailed":
                    raise FileExistsError(path) from error
                if not (isinstance(error, (NotImplementedError, TypeError, ValueError)) or status == 501):
                    raise
                if self._fs.exists(path):
                    raise FileExistsError(path) from None
                self._fs.pipe_file(path, data)

        try:
            retrying(f"create {self._url(path)}", put)
        except FileExistsError:
            return False
        return True

    def names(self, path: str) -> list[str]:
        """Names in a folder, sorted; empty where there is none."""
        try:
            entries = retrying(f"list {self._url(path)}", lambda: self._fs.ls(path, detail=False))
        except FileNotFoundError:
            return []
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)

    def find(self, path: str) -> dict[str, int]:
        """Path -> bytes of all objects below a folder."""
        try:
            found = retrying(f"list {self._url(path)}", lambda: self._fs.find(path, detail=True))
        except FileNotFoundError:
            return {}
        return {name: int(info["size"] or 0) for name, info in found.items()}

    def remove(self, path: str) -> None:
        """Delete an object or all that are below a folder; none is no error."""

        def delete() -> None:
            left = sorted(self.find(path))
            if len(left) <= _SINGLE_DELETES:
                self.remove_each(left)
                return
            self._fs.rm(left)
            # s3fs passes over the errors that the answer to a request for many deletions lists
            if self.find(path):
                raise Busy(f"not everything below {self._url(path)} could be deleted")

        retrying(f"delete {self._url(path)}", delete)

    def remove_each(self, paths: Iterable[str]) -> None:
        """Delete objects by their paths, one request for each."""
        for path in paths:
            # gone: by somebody else
            with suppress(FileNotFoundError):
                retrying(f"delete {self._url(path)}", partial(self._fs.rm_file, path))

    def upload(self, local: str, path: str) -> None:
        """Put a local file and compare what the store then has: its size, and its MD5 where the ETag is one."""
        size = os.path.getsize(local)
        options: dict[str, Any] = {}
        if self._is_s3:
            part = max(UPLOAD_PART, -(-size // _MAX_PARTS))
            options = {"chunksize": part, "max_concurrency": _PARTS_AT_ONCE}

        def put() -> None:
            self._fs.put_file(local, path, **options)
            there, digest = self._stored(path)
            if there != size or (digest and digest != _md5(local)):
                raise Busy(f"{self._url(path)} has {there} bytes, MD5 {digest or '?'}; {size} bytes were sent")

        retrying(f"upload {self._url(path)}", put)

    def _stored(self, path: str) -> tuple[int, str]:
        """(bytes, MD5 or "") of an object."""
        if not self._is_s3:
            return int(self._fs.info(path)["size"]), ""
        bucket, key, _ = self._fs.split_path(path)
        head = self._fs.call_s3("head_object", Bucket=bucket, Key=key)
        etag = str(head.get("ETag", "")).strip('"')
        # an object of several parts, or encrypted with a key of one's own, has an ETag that is no MD5
        plain = re.fullmatch("[0-9a-f]{32}", etag) and head.get("ServerSideEncryption", "AES256") == "AES256"
        return int(head["ContentLength"]), etag if plain and not head.get("SSECustomerAlgorithm") else ""

    def copy(self, source: str, target: str, size: int) -> bool:
        """Copy an object within the store. False where the source is gone."""

        def copy() -> None:
            if self._is_s3 and size <= _SINGLE_COPY:
                bucket, key, _ = self._fs.split_path(target)
                origin = dict(zip(("Bucket", "Key"), self._fs.split_path(source), strict=False))
                # `cp_file` would ask for the size first
                self._fs.call_s3("copy_object", Bucket=bucket, Key=key, CopySource=origin)
            else:
                self._fs.cp_file(source, target)
            there = self._fs.info(target)["size"]
            if there != size:
                raise Busy(f"{self._url(target)} has {there} bytes, {size} were copied")

        try:
            retrying(f"copy {self._url(source)} to {self._url(target)}", copy)
        except FileNotFoundError:
            return False
        return True

    def abandoned(self, path: str) -> list[AbandonedUpload]:
        """Uploads in parts below a folder that are not finished, also those that go on right now. S3 only."""
        if not self._is_s3:
            return []
        bucket, key, _ = self._fs.split_path(path)
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{key.rstrip('/')}/"}
        found = []
        while True:
            page = retrying(
                f"list uploads below {self._url(path)}",
                lambda: self._fs.call_s3("list_multipart_uploads", **asked),
            )
            for upload in page.get("Uploads", []):
                found.append(AbandonedUpload(upload["Key"], upload["Initiated"], upload["UploadId"]))
            if not page.get("IsTruncated"):
                return found
            asked.update(KeyMarker=page["NextKeyMarker"], UploadIdMarker=page["NextUploadIdMarker"])


@contextmanager
def store_errors(path: str, doing: str = "read") -> Iterator[None]:
    """What a failed request to a store means for the run: without permission or bucket it stops, else the shard waits.

    An object that is not there was removed by somebody else: another coordinator that has committed the shard and
    ended the phase. The next try finds its manifest.
    """
    try:
        yield
    except PermissionError as error:
        raise FatalError(
            f"cannot {doing} {path}",
            why=str(error),
            fix="check the credentials for the store, then run the same command: it resumes",
        ) from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) and answer(error)[0] == "NoSuchBucket":
            raise FatalError(
                f"cannot {doing} {path}", why=str(error), fix="make the bucket, or choose another --output"
            ) from error
        raise ShardError(
            f"cannot {doing} {path}", why=str(error), fix="run the same command again: it resumes"
        ) from error


def _md5(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
