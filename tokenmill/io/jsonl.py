"""JSON Lines in: one JSON object a line, plain or compressed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

import pyarrow as pa
from fsspec.compression import compr
from fsspec.utils import infer_compression

from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL, PROVENANCE, SOURCE_BYTES, SOURCE_ROWS
from tokenmill.core.stage import InputShard, Skips, Source
from tokenmill.io.filesystem import open_input
from tokenmill.io.parquet import document_batches
from tokenmill.io.stores import without_query

_BUFFER = 1 << 20

_TEXTUAL = {name for name, dtype in {**FINEWEB, **PROVENANCE}.items() if dtype == pa.string()}


class ReadJsonl(Source):
    """Documents from JSON Lines. A line that is no JSON object is skipped as `malformed`."""

    suffixes = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".ndjson")

    text_column: str = "text"
    """Key that holds the text."""
    id_column: str = "id"
    """Key that holds the identifier; `<file>#<line>` where it is missing."""

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {DOC_ID: INTERNAL[DOC_ID], **FINEWEB, **PROVENANCE}

    def read(self, shard: InputShard, skip: Skips) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, object]] = []
        start = size = 0
        with open_inflated(shard) as stream:
            for number, line in enumerate(stream):
                if len(rows) == SOURCE_ROWS or size >= SOURCE_BYTES:
                    yield from self._batches(rows, shard, start, skip)
                    rows, start, size = [], number, 0
                size += len(line)
                rows.append(self._row(line, number, shard, skip))
        yield from self._batches(rows, shard, start, skip)

    def _row(self, line: bytes, number: int, shard: InputShard, skip: Skips) -> dict[str, object]:
        """The object of a line; an empty one, marked, where there is none."""
        try:
            value = json.loads(line)
        except ValueError as error:
            skip("malformed", id=f"{shard.name}#{number}", offset=number, detail=str(error)[:200])
            return {"": True}
        if not isinstance(value, dict):
            skip("malformed", id=f"{shard.name}#{number}", offset=number, detail="not a JSON object")
            return {"": True}
        # JSON can spell lone surrogates, which no Arrow string can hold
        return {
            key: item.encode("utf-8", "replace").decode().replace("\0", "") if isinstance(item, str) else item
            for key, item in value.items()
        }

    def _batches(
        self, rows: list[dict[str, object]], shard: InputShard, start: int, skip: Skips
    ) -> Iterator[pa.RecordBatch]:
        columns = self.columns_added()
        for row in rows:
            for name in _TEXTUAL & row.keys():
                if row[name] is not None and not isinstance(row[name], str):
                    row[name] = json.dumps(row[name])

        def skip_unless_marked(reason: str, *, offset: int = -1, **known: object) -> None:
            if "" not in rows[offset - start]:
                skip(reason, offset=offset, **known)  # type: ignore[arg-type]

        return document_batches(
            rows,
            shard,
            start,
            skip_unless_marked,
            columns=columns,
            text_column=self.text_column,
            id_column=self.id_column,
        )


@contextmanager
def open_inflated(shard: InputShard) -> Iterator[BinaryIO]:
    """The lines of a file, inflated as the end of its name says."""
    with ExitStack() as stack:
        stream = stack.enter_context(open_input(shard))
        compression = infer_compression(without_query(shard.path))
        if compression is not None:
            stream = stack.enter_context(cast(BinaryIO, compr[compression](stream, mode="r")))
        elif isinstance(stream, io.RawIOBase):
            stream = stack.enter_context(cast(BinaryIO, io.BufferedReader(stream, _BUFFER)))
        yield stream
