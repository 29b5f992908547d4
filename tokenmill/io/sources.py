"""Ranges of bytes from S3, web servers and any other fsspec file system, with proof that they are of one file.

A source makes one request per call and retries nothing itself (`io.remote` does). Bytes are appended as they
arrive, so that a connection that breaks loses only what has not come.

What the layers below do, read in s3fs 2026.9 and fsspec 2026.9: `HTTPFileSystem.cat_file` takes the whole body
for the range when a server ignores `Range`, its `info` reports every failure, 503 included, as not found, and
its `open` compares nothing; `S3FileSystem` sends If-Match from its own files only, not from `cat_file`.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from fsspec.asyn import sync

from tokenmill.io.retry import Busy, Changed, retrying
from tokenmill.io.stores import file_system, is_http, is_s3, public_location, shown

_PIECE = 256 << 10
"""Most bytes taken from a connection at once."""


class Source(Protocol):
    """A remote file as it was when it was opened."""

    size: int | None
    """Bytes, None where the server does not say."""
    etag: str
    """What tells it from other versions, "" where nothing does."""

    def get(self, start: int, size: int, into: bytearray) -> None:
        """Append `size` bytes from `start`, less only where the file ends and its size is not known.

        Any error of the library below; Changed where the file is another one by now.
        """
        ...

    def close(self) -> None: ...


def open_source(location: str) -> Source:
    """The source of a location: one request. FileNotFoundError, PermissionError, OSError."""
    fs, path = file_system(public_location(location))
    if is_http(fs):
        return HttpSource(fs, path)
    return S3Source(fs, path) if is_s3(fs) else AnySource(fs, path)


def version_of(info: dict[str, Any]) -> str:
    """What tells two versions of a file apart without reading it: the store's etag, else the time of change."""
    for key in ("ETag", "etag", "mtime", "LastModified", "last_modified"):
        if info.get(key) is not None:
            return str(info[key]).strip('"')
    return ""


def local_version(status: os.stat_result) -> tuple[int, str]:
    """(size, etag) of a local file: its etag is the time of its last change."""
    return status.st_size, str(status.st_mtime)


class S3Source:
    """An object. Every answer carries its ETag, which is compared: no request more, no gap.

    If-Match would do the same, but some servers that speak S3 do not know it.
    """

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._path = fs, path
        info = _file_info(fs, path)
        self.size: int | None = int(info["size"])
        self.etag = version_of(info)

    def get(self, start: int, size: int, into: bytearray) -> None:
        sync(self._fs.loop, self._get, start, size, into)

    async def _get(self, start: int, size: int, into: bytearray) -> None:
        bucket, key, version = self._fs.split_path(self._path)
        chosen = {"VersionId": version} if version else {}
        wanted = f"bytes={start}-{start + size - 1}"
        # the public `call_s3` blocks, and the body must be read in the loop
        answer = await self._fs._call_s3("get_object", Bucket=bucket, Key=key, Range=wanted, **chosen)
        body = answer["Body"]
        try:
            _compare(self._path, self.etag, str(answer.get("ETag", "")).strip('"'))
            _check_range(self._path, str(answer.get("ContentRange", "")), start, self.size)
            left = size
            while left and (part := await body.read(min(left, _PIECE))):
                into += part
                left -= len(part)
        finally:
            body.close()

    def close(self) -> None:
        pass


class HttpSource:
    """A file on a web server. Where that ignores `Range`, one answer is kept open and read forward."""

    def __init__(self, fs: Any, url: str) -> None:
        self._fs, self._url = fs, url
        self.size: int | None = None
        self.etag = ""
        self._headers: dict[str, str] = {}
        self._stream: Any = None
        self._at = 0
        retrying(f"look up {url}", lambda: sync(fs.loop, self._look))

    async def _look(self) -> None:
        answer = await self._request("HEAD", {})
        answer.release()
        if answer.status in (400, 403, 405, 501) or "Content-Length" not in answer.headers:
            # Signed URLs are good for GET only, and some servers know no HEAD.
            answer = await self._request("GET", {"Range": "bytes=0-0"})
            answer.close()
        if answer.status == 416:  # no byte 0: the file is empty
            self.size = 0
            return
        _raise_for(answer, self._url)
        self._headers = {name: answer.headers.get(name, "") for name in ("ETag", "Last-Modified")}
        self.etag = next((value.strip('"') for value in self._headers.values() if value), "")
        self.size = _whole_size(answer)

    def get(self, start: int, size: int, into: bytearray) -> None:
        sync(self._fs.loop, self._get, start, size, into)

    async def _get(self, start: int, size: int, into: bytearray) -> None:
        if self._stream is None or self._at > start:
            self._drop()
            answer = await self._request("GET", {"Range": f"bytes={start}-{start + size - 1}"})
            try:
                if answer.status == 416:
                    raise Changed(f"{shown(self._url)} has become shorter while it was read")
                _raise_for(answer, self._url)
                for name, before in self._headers.items():
                    _compare(self._url, before, answer.headers.get(name, ""))
                if answer.status == 206:
                    _check_range(self._url, answer.headers.get("Content-Range", ""), start, self.size)
                    await _take(answer, size, into)
                    return
                self._stream, self._at = answer, 0
            finally:
                if answer is not self._stream:
                    answer.release()
        await self._forward(start, size, into)

    async def _forward(self, start: int, size: int, into: bytearray) -> None:
        try:
            while self._at < start:
                passed = len(await self._stream.content.read(min(start - self._at, _PIECE)))
                if not passed:
                    raise Busy(f"{shown(self._url)} ended at byte {self._at}")
                self._at += passed
            before = len(into)
            await _take(self._stream, size, into)
            self._at += len(into) - before
        except BaseException:
            self._drop()
            raise

    async def _request(self, method: str, headers: dict[str, str]) -> Any:
        session = await self._fs.set_session()
        options = dict(self._fs.kwargs)
        headers = {**options.pop("headers", {}), "Accept-Encoding": "identity", **headers}
        url = self._fs.encode_url(self._url)
        return await session.request(method, url, headers=headers, allow_redirects=True, **options)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._fs.loop.call_soon_threadsafe(stream.close)

    def close(self) -> None:
        self._drop()


class AnySource:
    """A file on another fsspec file system; it is looked at again after each failure and at the end."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._path = fs, path
        info = _file_info(fs, path)
        self.size: int | None = None if info["size"] is None else int(info["size"])
        self.etag = version_of(info)
        self._state = self._look_at(info)
        self._doubt = False

    def get(self, start: int, size: int, into: bytearray) -> None:
        if self._doubt:
            self._look_again()
        self._doubt = True
        part = self._fs.cat_file(self._path, start=start, end=start + size)
        if self.size is not None and start + size >= self.size:
            self._look_again()
        into += part
        self._doubt = False

    def _look_again(self) -> None:
        now = self._look_at(self._fs.info(self._path))
        if now != self._state:
            raise _changed(self._path, str(self._state), str(now))

    @staticmethod
    def _look_at(info: dict[str, Any]) -> tuple[object, ...]:
        return info.get("size"), version_of(info) or str(info.get("created", ""))

    def close(self) -> None:
        pass


def _file_info(fs: Any, path: str) -> dict[str, Any]:
    info: dict[str, Any] = retrying(f"look up {fs.unstrip_protocol(path)}", lambda: fs.info(path))
    if info["type"] == "directory":
        raise IsADirectoryError(f"{fs.unstrip_protocol(path)} is a folder")
    return info


async def _take(answer: Any, size: int, into: bytearray) -> None:
    while size and (part := await answer.content.read(min(size, _PIECE))):
        into += part
        size -= len(part)


def _raise_for(answer: Any, url: str) -> None:
    status, url = answer.status, shown(url)
    if status in (404, 410):
        raise FileNotFoundError(f"{url} does not exist (HTTP {status})")
    if status in (401, 403):
        raise PermissionError(f"{url} may not be read (HTTP {status} {answer.reason})")
    if status in (408, 425, 429) or 500 <= status != 501:
        after = answer.headers.get("Retry-After", "")
        raise Busy(f"HTTP {status} {answer.reason}", float(after) if after.isdigit() else 0.0)
    if status not in (200, 206):
        raise OSError(f"{url} cannot be read: HTTP {status} {answer.reason}")


def _whole_size(answer: Any) -> int | None:
    """The size of the file, from Content-Range where there is one."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if total.isdigit():
        return int(total)
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.status == 200 and length.isdigit() else None


def _compare(path: str, before: str, now: str) -> None:
    if before and now and before != now:
        raise _changed(path, before, now)


def _check_range(path: str, content_range: str, start: int, size: int | None) -> None:
    """That the answer is the range that was asked for, of a file as long as before."""
    given, _, total = content_range.removeprefix("bytes ").partition("/")
    if start and not content_range:
        raise OSError(f"{shown(path)}: the server ignores ranges, and gave the whole for bytes from {start}")
    if content_range and given.partition("-")[0] != str(start):
        raise Busy(f"{shown(path)}: asked for bytes from {start}, got {content_range}")
    if total.isdigit() and size is not None and int(total) != size:
        raise _changed(path, f"{size} bytes", f"{total} bytes")


def _changed(path: str, before: str, now: str) -> Changed:
    return Changed(f"{shown(path)} has changed while it was read: {before} when it was opened, {now} now; run again")
