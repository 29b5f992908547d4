"""JSON Lines in: one JSON object a line, plain or compressed."""

from __future__ import annotations

import io
import json
import lzma
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
from fsspec.compression import compr
from fsspec.utils import infer_compression
from isal import isal_zlib

from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL, PROVENANCE, SOURCE_BYTES, SOURCE_ROWS
from tokenmill.core.stage import InputShard, Skips, Source
from tokenmill.io.codecs import ERRORS, Inflater, zstd
from tokenmill.io.filesystem import open_input
from tokenmill.io.parquet import document_batches
from tokenmill.io.stores import without_query

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 1 << 20
_PIECE = 64 << 10
LOOKED_AT = 1000
"""Objects of a file by which it is decided which of its keys hold numbers."""
_MAGIC = 4
"""Bytes by which a Zstandard frame is told from a skippable one."""

_TEXTUAL = {name for name, dtype in {**FINEWEB, **PROVENANCE}.items() if dtype == pa.string()}

_DAMAGE: tuple[type[Exception], ...] = (zlib.error, lzma.LZMAError, isal_zlib.IsalError)  # type: ignore[assignment]


class ReadJsonl(Source):
    """Documents from JSON Lines. A line that is no JSON object is skipped as `malformed`."""

    suffixes = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".ndjson")

    text_column: str = "text"
    """Key that holds the text."""
    id_column: str = "id"
    """Key that holds the identifier; `<file>#<line>` where it is missing."""
    signals: tuple[str, ...] = ()
    """Further keys with numbers to carry along (as float64), for example scores."""
    tags: tuple[str, ...] = ()
    """Further keys with text to carry along, for example topics; other values become text."""

    def columns_added(self) -> Mapping[str, pa.DataType]:
        further = {**dict.fromkeys(self.signals, pa.float64()), **dict.fromkeys(self.tags, pa.string())}
        return {DOC_ID: INTERNAL[DOC_ID], **FINEWEB, **PROVENANCE, **further}

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


def scalar_keys(shard: InputShard) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(keys with numbers, keys with texts or booleans) in the first objects of a file, in the order in which they come.

    A key that has both is one with texts; null says nothing, and keys with lists or objects are left out.
    """
    kinds: dict[str, set[str]] = {}
    for value in _first_objects(shard):
        for key, item in value.items():
            kind = "text" if isinstance(item, str | bool) else "number"
            if item is not None:
                kinds.setdefault(key, set()).add(kind if isinstance(item, str | int | float) else "other")
    numbers = tuple(key for key, found in kinds.items() if found == {"number"})
    return numbers, tuple(key for key, found in kinds.items() if "other" not in found and "text" in found)


def first_keys(shard: InputShard, wanted: Collection[str]) -> list[str]:
    """The keys of the first objects of a file, no further than it takes to find all of `wanted`."""
    keys: dict[str, None] = {}
    for value in _first_objects(shard):
        keys |= dict.fromkeys(value)
        if keys.keys() >= set(wanted):
            break
    return list(keys)


def _first_objects(shard: InputShard) -> Iterator[dict[str, Any]]:
    with open_inflated(shard) as stream:
        for line in islice(stream, LOOKED_AT):
            try:
                value = json.loads(line)
            except ValueError:
                continue  # reading says so
            if isinstance(value, dict):
                yield value


@contextmanager
def open_inflated(shard: InputShard) -> Iterator[BinaryIO]:
    """The bytes of a file, inflated as the end of its name says; can be read by lines.

    Of gzip and Zstandard all members and frames, as some writers make many. While it is read: OSError where the data
    are damaged, EOFError where they are cut short; as `open_input` when it is opened.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(open_input(shard))
        compression = infer_compression(without_query(shard.path))
        if compression == "zstd":
            stream = stack.enter_context(cast(BinaryIO, io.BufferedReader(_ZstdFrames(stream), _BUFFER)))
        elif compression is not None:
            stream = stack.enter_context(cast(BinaryIO, compr[compression](stream, mode="r")))
        elif isinstance(stream, io.RawIOBase):
            stream = stack.enter_context(cast(BinaryIO, io.BufferedReader(stream, _BUFFER)))
        try:
            yield stream
        except _DAMAGE as error:
            raise OSError(f"damaged data: {error}") from error


class _ZstdFrames(io.RawIOBase):
    """All frames of a Zstandard file, one after the other. zstandard's own reader has no lines, and takes a file that
    is cut inside a frame for a whole one."""

    def __init__(self, stored: BinaryIO) -> None:
        super().__init__()
        self._stored = stored
        self._codec = zstd(b"")
        self._frame: Inflater | None = None
        self._piece = b""
        self._out = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._out:
            needed = 1 if self._frame is not None else _MAGIC
            while len(self._piece) < needed and (more := self._stored.read(_PIECE)):
                self._piece += more
            if not self._piece:
                if self._frame is not None:
                    raise EOFError("the file ends inside a Zstandard frame")
                return 0
            self._out = memoryview(self._inflate())
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._out))
        view[:size], self._out = self._out[:size], self._out[size:]
        return size

    def _inflate(self) -> bytes:
        if self._frame is None:
            self._frame = self._codec.new()
        try:
            out, taken = self._frame.inflate(self._piece)
        except ERRORS as error:
            raise OSError(f"damaged data: {error}") from error
        self._piece = self._piece[taken:]
        if self._frame.done:
            self._frame = None
        return out
