"""`ReadWarc`: HTTP responses of WARC and ARC files as documents. A thin policy over
`records.iter_records`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard, Reports, Source
from tokenmill.io.http import MAX_HEAD, HttpHead, media_type
from tokenmill.io.records import Record
from tokenmill.io.rows import COMMON, batches, common_values, dump_of, records_of, skip_record

HTML = ("text/html", "application/xhtml+xml")
"""Media types that are read as HTML."""


class ReadWarc(Source):
    """Reads the HTTP responses of .warc and .arc files, plain or compressed with gzip, LZ4 or Zstandard.

    The payload is the body as archived: a later stage takes off chunking and compression. Every record that
    gives no document is reported with one of the reasons `not_response`, `not_200`, `not_html`, `empty`,
    `too_large`, `malformed`; lost bytes with `corrupt_member`, `unreadable_tail` or `malformed` (these have
    no id).
    """

    suffixes: ClassVar[tuple[str, ...]] = (
        ".warc",
        ".warc.gz",
        ".warc.lz4",
        ".warc.zst",
        ".arc",
        ".arc.gz",
    )
    offsets_are_bytes: ClassVar[bool] = True
    splittable: ClassVar[bool] = True
    adds: ClassVar[Mapping[str, pa.DataType]] = {
        **COMMON,
        "payload": pa.binary(),
        "http_headers": pa.string(),
        "truncated": pa.string(),
    }

    dump: str | None = None
    """Value of the `dump` column. Default None: `CC-MAIN-YYYY-WW` as found in the path, else ""."""
    max_payload_bytes: int = 5 << 20
    """Longest body in bytes as archived; longer ones are skipped as `too_large`. Default 5 MiB, where Common
    Crawl cuts bodies since 2025 (1 MiB before): other crawls are then treated like it."""
    max_read_bytes: int = 32 << 20
    """Most inflated bytes of one record that are ever held in memory. Default 32 MiB; a longer record is only
    passed over, however well it was compressed."""
    html_only: bool = True
    """Skip bodies whose media type is known and neither HTML nor XHTML. Default True."""
    statuses: tuple[int, ...] = (200,)
    """HTTP status codes that are kept. Default 200 only, as in FineWeb."""

    def __post_init__(self) -> None:
        if not 0 < self.max_payload_bytes <= self.max_read_bytes:
            raise ConfigError(
                f"max_payload_bytes={self.max_payload_bytes} is not between 1 and max_read_bytes",
                where="stage read_warc",
                why=f"max_read_bytes is {self.max_read_bytes}",
                fix="raise max_read_bytes, or lower max_payload_bytes",
            )

    def read(self, shard: InputShard, skip: Reports) -> Iterator[pa.RecordBatch]:
        """Batches of at most 128 documents or 8 MiB. ShardError when the storage fails."""
        yield from batches(self._rows(shard, skip), self.adds)

    def _rows(self, shard: InputShard, skip: Reports) -> Iterator[tuple[dict[str, Any], int]]:
        dump = dump_of(shard.path) if self.dump is None else self.dump
        max_block = min(self.max_read_bytes, self.max_payload_bytes + MAX_HEAD)
        for record in records_of(shard, skip, max_block):
            if record.kind != "response":
                skip_record(skip, "not_response", record, record.kind)
                continue
            http = record.http
            if http is None:
                reason, detail = _without_head(record)
                skip_record(skip, reason, record, detail)
                continue
            content_type = _content_type(record, http)
            refused = self._refused(record, http, content_type)
            if refused:
                skip_record(skip, refused[0], record, refused[1])
                continue
            payload = record.block[http.size :]
            values = common_values(record, shard, dump, content_type)
            values["payload"] = payload
            values["http_headers"] = http.text
            values["truncated"] = _truncated(record, http, len(payload))
            yield values, len(payload)

    def _refused(self, record: Record, http: HttpHead, content_type: str) -> tuple[str, str] | None:
        """Reason and detail why a response gives no document; None when it does."""
        if http.status not in self.statuses:
            return "not_200", "no status" if http.status is None else str(http.status)
        if self.html_only and content_type not in ("", *HTML):
            return "not_html", content_type
        size = record.size - http.size
        if size == 0:
            return "empty", ""
        if size > self.max_payload_bytes or not record.held:
            return "too_large", f"{size} bytes"
        return None


def _without_head(record: Record) -> tuple[str, str]:
    """Reason and detail for a response without a readable HTTP head, such as the DNS answers of Heritrix."""
    if record.size == 0:
        return "empty", ""
    if record.block.startswith(b"HTTP"):
        return "malformed", f"no end of the HTTP head within {MAX_HEAD} bytes"
    return "not_200", "no HTTP status line"


def _content_type(record: Record, http: HttpHead) -> str:
    """Media type that the crawler found in the payload, else the one that the server gave, else ""."""
    found = media_type(record.headers.get("warc-identified-payload-type", ""))
    return found or media_type(http.get("content-type"))


def _truncated(record: Record, http: HttpHead, size: int) -> str:
    """Why the body is cut: the word of WARC-Truncated, or `length` when it is shorter than a
    Content-Length."""
    said = record.headers.get("warc-truncated", "").lower()
    if said or record.short:
        return said or "length"
    announced = http.get("content-length")
    # A body that was stored decoded keeps the Content-Length of the encoded one: no proof of a cut.
    if not (announced.isascii() and announced.isdigit() and len(announced) < 19):
        return ""
    if http.get("content-encoding") or http.get("transfer-encoding"):
        return ""
    return "length" if int(announced) > size else ""
