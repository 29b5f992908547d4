"""What the sources of archived records share: their common columns, batches, and the report of a loss."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from tokenmill.core.errors import ShardError
from tokenmill.core.schema import DOC_ID, SOURCE_BYTES, SOURCE_ROWS
from tokenmill.core.stage import InputShard, Reports, Skips
from tokenmill.io.filesystem import open_input
from tokenmill.io.members import Loss
from tokenmill.io.records import WHOLE, Record, Span, iter_records
from tokenmill.io.stores import shown

COMMON: dict[str, pa.DataType] = {
    DOC_ID: pa.string(),
    "id": pa.string(),
    "dump": pa.string(),
    "url": pa.string(),
    "date": pa.string(),
    "file_path": pa.string(),
    "warc_offset": pa.int64(),
    "warc_length": pa.int64(),
    "content_type": pa.string(),
}
"""Columns of every document that comes from a WARC record."""

_DUMP = re.compile(r"CC-MAIN-\d{4}-\d{2}(?!\d)")


def dump_of(path: str) -> str:
    """The Common Crawl dump that a path names (`CC-MAIN-2024-22`), or ""."""
    match = _DUMP.search(path)
    return match.group() if match is not None else ""


def target_uri(record: Record) -> str:
    """The address of a record; wget writes it in angle brackets, which are taken off."""
    uri = record.headers.get("warc-target-uri", "").strip()
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def common_values(record: Record, shard: InputShard, dump: str, content_type: str) -> dict[str, Any]:
    """The values of `COMMON` for a record."""
    # Records that share a member share its offset; their place in it keeps doc_id unique.
    place = f"{record.offset}+{record.inner}" if record.inner else f"{record.offset}"
    return {
        DOC_ID: f"{shard.name}#{place}",
        "id": record.headers.get("warc-record-id", ""),
        "dump": dump,
        "url": target_uri(record),
        "date": record.headers.get("warc-date", ""),
        "file_path": shard.name,
        "warc_offset": record.offset,
        "warc_length": record.length,
        "content_type": content_type,
    }


def skip_record(skip: Skips, reason: str, record: Record, detail: str = "") -> None:
    """Report a record that gives no document."""
    skip(
        reason,
        id=record.headers.get("warc-record-id", ""),
        url=target_uri(record),
        offset=record.offset,
        length=record.length,
        detail=detail,
    )


def _span_of(shard: InputShard, skip: Reports) -> Span:
    if shard.part is None:
        return WHOLE
    return Span(shard.start, shard.stop, shard.exact or shard.start == 0, skip.covered)


def records_of(shard: InputShard, skip: Reports, max_block: int) -> Iterator[Record]:
    """The records of a shard; losses are reported. ShardError when the storage fails or the file has changed."""
    try:
        with open_input(shard) as file:
            for item in iter_records(file, name=shard.name, max_block=max_block, span=_span_of(shard, skip)):
                if isinstance(item, Loss):
                    skip(item.reason, offset=item.offset, length=item.length, detail=item.detail)
                else:
                    yield item
    except OSError as error:
        raise ShardError(
            "an input file cannot be read",
            where=shown(shard.path),
            why=shown(f"{type(error).__name__}: {error}"),
            fix="check the storage and its credentials, then run the same command again",
        ) from error


def batches(rows: Iterator[tuple[dict[str, Any], int]], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Batches of rows that come with their size in bytes."""
    schema = pa.schema(list(types.items()))
    columns: dict[str, list[Any]] = {name: [] for name in types}
    count = size = 0
    for values, weight in rows:
        if count and (count == SOURCE_ROWS or size + weight > SOURCE_BYTES):
            yield pa.RecordBatch.from_pydict(columns, schema=schema)
            columns = {name: [] for name in types}
            count = size = 0
        for name, value in values.items():
            columns[name].append(value)
        count += 1
        size += weight
    if count:
        yield pa.RecordBatch.from_pydict(columns, schema=schema)
