"""`olmo`: shards as dolma writes and OLMo-core reads them.

    x.npy      ids, little endian, nothing else: the name is numpy's, the header is not there
    x.csv.gz   a row for each document: first token, position behind the last, id, file, place in that file

Rows have no header. dolma's place is a line of JSON Lines; here it is the offset of the record in its archive, -1 where
the documents have none. Documents without any token have no row: OLMo-core refuses one that begins where the ids end.

Sources: dolma, `python/dolma/tokenizer/memmap_writer.py`, `data_types.py` (MemmapMetadata); OLMo-core, `data/utils.py`
(iter_document_indices).
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.tokens.formats.base import FormatWriter, ShardAbout, TokenFormat
from tokenmill.tokens.formats.flat import FlatWriter

_ROWS = 10_000


class Olmo(TokenFormat):
    """OLMo-core, dolma."""

    name: ClassVar[str] = "olmo"
    files: ClassVar[Mapping[str, str]] = {"tokens": ".npy", "metadata": ".csv.gz"}
    document_columns: ClassVar[tuple[str, ...]] = ("id", "file_path", "warc_offset")

    def open(self, paths: Mapping[str, str], about: ShardAbout) -> FormatWriter:
        return _OlmoWriter(self, paths, about)

    def offset(self, about: ShardAbout) -> int:
        return 0


class _OlmoWriter(FlatWriter):
    def finish(self, documents: pa.Table) -> None:
        lengths = self.lengths()
        ends = np.cumsum(lengths)
        columns = documents.select(Olmo.document_columns)
        with (
            open(self.paths["metadata"], "wb") as raw,
            # no name and no time in the header: the same rows are the same bytes
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as stream,
            io.TextIOWrapper(stream, encoding="utf-8", newline="") as text,
        ):
            writer = csv.writer(text)
            for first in range(0, len(lengths), _ROWS):
                here = slice(first, first + _ROWS)
                some = np.flatnonzero(lengths[here])
                part = columns.slice(first, _ROWS).take(pa.array(some))
                rows = zip(
                    (ends[here] - lengths[here])[some].tolist(),
                    ends[here][some].tolist(),
                    one_line(part.column("id")),
                    one_line(part.column("file_path")),
                    pc.fill_null(part.column("warc_offset"), -1).to_pylist(),
                    strict=True,
                )
                writer.writerows(rows)


def one_line(column: pa.ChunkedArray) -> list[str]:
    """Values without line ends, which OLMo-core takes for the end of a row even in quotes; "" for null."""
    return list(pc.replace_substring_regex(pc.fill_null(column, ""), r"[\r\n]", " ").to_pylist())
