"""`ReadWet`: the plain text that Common Crawl took from pages (WET files, `conversion` records)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard, Reports, Source
from tokenmill.io.http import media_type
from tokenmill.io.rows import COMMON, batches, common_values, dump_of, records_of, skip_record


class ReadWet(Source):
    """Reads the `conversion` records of .wet files as text.

    Every other record is reported: `not_conversion`, `not_text` (a media type that is known and not
    text/plain), `empty`, `too_large`; lost bytes with `corrupt_member`, `unreadable_tail` or `malformed`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".wet", ".wet.gz", ".wet.zst", ".wet.lz4")
    offsets_are_bytes: ClassVar[bool] = True
    splittable: ClassVar[bool] = True
    adds: ClassVar[Mapping[str, pa.DataType]] = {**COMMON, "text": pa.string()}

    dump: str | None = None
    """Value of the `dump` column. Default None: `CC-MAIN-YYYY-WW` as found in the path, else ""."""
    max_text_bytes: int = 5 << 20
    """Longest text in bytes of UTF-8; longer ones are skipped as `too_large`. Default 5 MiB, as for
    `ReadWarc`."""

    def __post_init__(self) -> None:
        if self.max_text_bytes <= 0:
            raise ConfigError(f"max_text_bytes={self.max_text_bytes} is not positive", where="stage read_wet")

    def read(self, shard: InputShard, skip: Reports) -> Iterator[pa.RecordBatch]:
        """Batches of at most 128 documents or 8 MiB. ShardError when the storage fails."""
        yield from batches(self._rows(shard, skip), self.adds)

    def _rows(self, shard: InputShard, skip: Reports) -> Iterator[tuple[dict[str, Any], int]]:
        dump = dump_of(shard.path) if self.dump is None else self.dump
        for record in records_of(shard, skip, self.max_text_bytes):
            content_type = media_type(record.headers.get("content-type", ""))
            if record.kind != "conversion":
                skip_record(skip, "not_conversion", record, record.kind)
            elif content_type not in ("", "text/plain"):
                skip_record(skip, "not_text", record, content_type)
            elif record.size > self.max_text_bytes or not record.held:
                skip_record(skip, "too_large", record, f"{record.size} bytes")
            else:
                text = record.block.decode("utf-8", "replace").replace("\0", "")
                if not text.strip():
                    skip_record(skip, "empty", record)
                    continue
                values = common_values(record, shard, dump, content_type)
                values["text"] = text
                yield values, len(record.block)
