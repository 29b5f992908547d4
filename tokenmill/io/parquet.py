"""Parquet in and out: `ReadParquet`, `WriteParquet`, and the small tables beside the data."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL, PROVENANCE, SOURCE_BYTES, SOURCE_ROWS
from tokenmill.core.stage import InputShard, Sink, Skips, Source
from tokenmill.io.filesystem import open_input

_TABULAR = {DOC_ID: INTERNAL[DOC_ID], **FINEWEB, **PROVENANCE}


class ReadParquet(Source):
    """Documents from Parquet files, such as published data of tokenmill or FineWeb.

    FineWeb's columns and the provenance columns are taken where the file has them and are null where not.
    """

    suffixes = (".parquet",)

    text_column: str = "text"
    """Column that holds the text."""
    id_column: str = "id"
    """Column that holds the identifier; `<file>#<row>` where it is missing or null."""
    signals: tuple[str, ...] = ()
    """Further numeric columns to carry along (as float64), for example scores of an earlier run."""
    tags: tuple[str, ...] = ()
    """Further text columns to carry along, for example topics; other types become text."""

    def columns_added(self) -> Mapping[str, pa.DataType]:
        further = {**dict.fromkeys(self.signals, pa.float64()), **dict.fromkeys(self.tags, pa.string())}
        return {**_TABULAR, **further}

    def read(self, shard: InputShard, skip: Skips) -> Iterator[pa.RecordBatch]:
        row = 0
        with open_input(shard) as stream:
            file = pq.ParquetFile(stream)
            wanted = {self.text_column, self.id_column, *self.columns_added()}
            columns = [name for name in file.schema_arrow.names if name in wanted]
            if self.text_column not in columns:
                raise ShardError(
                    f"{shard.name} has no column {self.text_column!r}",
                    why=f"its columns are {file.schema_arrow.names}",
                    fix="--set read_parquet.text_column=NAME",
                )
            for batch in file.iter_batches(batch_size=SOURCE_ROWS, columns=columns):
                rows = batch.to_pylist()
                yield from self.batches(rows, shard, row, skip)
                row += len(rows)

    def batches(
        self, rows: list[dict[str, object]], shard: InputShard, start: int, skip: Skips
    ) -> Iterator[pa.RecordBatch]:
        """The rows as batches; a row without text is skipped as `empty`."""
        return document_batches(
            rows,
            shard,
            start,
            skip,
            columns=self.columns_added(),
            text_column=self.text_column,
            id_column=self.id_column,
        )


def document_batches(
    rows: list[dict[str, object]],
    shard: InputShard,
    start: int,
    skip: Skips,
    *,
    columns: Mapping[str, pa.DataType],
    text_column: str,
    id_column: str,
) -> Iterator[pa.RecordBatch]:
    """Rows of a table as batches of documents with exactly `columns`; row `start + i` is their position."""
    documents: list[dict[str, object]] = []
    size = 0
    for offset, row in enumerate(rows, start):
        text = row.get(text_column)
        doc_id = f"{shard.name}#{offset}"
        given = row.get(id_column)
        identifier = doc_id if given is None or given == "" else given
        if not isinstance(text, str) or not text:
            skip("empty", id=str(identifier), url=str(row.get("url") or ""), offset=offset)
            continue
        document = {name: row.get(name) for name in columns}
        document.update({DOC_ID: doc_id, "id": str(identifier), "text": text})
        document["url"] = row.get("url") or ""
        document["file_path"] = row.get("file_path") or shard.name
        documents.append(document)
        size += len(text)
        if size >= SOURCE_BYTES:
            yield _to_batch(documents, columns)
            documents, size = [], 0
    if documents:
        yield _to_batch(documents, columns)


def _to_batch(documents: list[dict[str, object]], columns: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    arrays = [_column([document[name] for document in documents], dtype) for name, dtype in columns.items()]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(columns.items())))


def _column(values: list[object], dtype: pa.DataType) -> pa.Array:
    """The values as an array of the type; what does not fit becomes text in a text column, else null."""
    try:
        return pa.array(values, dtype)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([_fitted(value, dtype) for value in values], dtype)


def _fitted(value: object, dtype: pa.DataType) -> object:
    try:
        return pa.scalar(value, dtype).as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pass
    if dtype == pa.string():
        return value.isoformat() if isinstance(value, datetime.date) else str(value)
    try:
        return pa.scalar(str(value)).cast(dtype).as_py()
    except pa.ArrowInvalid:
        return None


class ParquetShardWriter:
    """One Parquet file: zstd, page index, row groups of at most `rows` rows or `size` bytes of text.

    The bytes depend on the rows alone, not on the batches in which they arrive.
    """

    def __init__(self, path: str, schema: pa.Schema, *, level: int, rows: int, size: int, chunking: bool) -> None:
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=level,
            write_page_index=True,
            use_content_defined_chunking=chunking,
        )
        self._schema = schema
        self._rows, self._size = rows, size
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        start = 0
        for row, size in enumerate(_row_bytes(batch)):
            self._pending_rows += 1
            self._pending_bytes += size
            if self._pending_rows >= self._rows or self._pending_bytes >= self._size:
                self._pending.append(batch.slice(start, row + 1 - start))
                start = row + 1
                self._flush()
        if start < batch.num_rows:
            self._pending.append(batch.slice(start))

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._pending, schema=self._schema).combine_chunks()
        if table.num_rows:
            self._writer.write_table(table, row_group_size=max(self._rows, table.num_rows))
        self._pending = []
        self._pending_rows = self._pending_bytes = 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _row_bytes(batch: pa.RecordBatch) -> list[int]:
    """Bytes of text and binary columns of each row; other columns are small."""
    total: pa.Array | None = None
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_string(field.type) or pa.types.is_binary(field.type):
            lengths = pc.binary_length(column).fill_null(0)
            total = lengths if total is None else pc.add(total, lengths)
    return [0] * batch.num_rows if total is None else total.to_pylist()


class WriteParquet(Sink):
    """One Parquet file per input shard, in the layout that the Hugging Face Hub and DuckDB read directly."""

    extension: ClassVar[str] = ".parquet"

    compression_level: int = 3
    """Level of zstd; 3 is its own default, 9 saves about 5 % at a third of the speed."""
    row_group_rows: int = 5000
    """Most rows of a row group: small enough that a viewer reads one page quickly."""
    row_group_bytes: int = 32 << 20
    """Most bytes of a row group before compression; bounds the memory of writer and reader."""
    content_defined_chunking: bool = True
    """Cut pages by content, so that stores which deduplicate chunks upload only what changed."""

    def open(self, paths: Mapping[str, str], schema: pa.Schema) -> ParquetShardWriter:
        return ParquetShardWriter(
            paths["data"],
            schema,
            level=self.compression_level,
            rows=self.row_group_rows,
            size=self.row_group_bytes,
            chunking=self.content_defined_chunking,
        )

    def verify(self, path: str, rows: int) -> None:
        verify_parquet(path, rows)


def verify_parquet(path: str, rows: int) -> None:
    """Raise ShardError unless the footer of a local Parquet file is readable and counts `rows` rows."""
    try:
        found = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"{path} cannot be read back", why=str(error), fix="check the disk, run again") from error
    if found != rows:
        raise ShardError(f"{path} holds {found} rows, {rows} were written", fix="check the disk, run again")
