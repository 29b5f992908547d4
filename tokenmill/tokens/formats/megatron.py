"""`megatron`: the indexed data set of Megatron-LM and NeMo, one sequence for each document.

    x.bin   ids, little endian, nothing else
    x.idx   "MMIDIDX\\0\\0", version 1 (uint64), code of the type of ids (uint8), number of sequences and of document
            indices (uint64); then tokens of each sequence (int32), where it begins in bytes (int64), and before
            which sequences documents begin, with the end as the last (int64)

Megatron has no code for uint32; larger vocabularies are int32 there, and so they are here: the bytes are the same as
long as ids are below 2**31, which is checked.

Source: Megatron-core 0.16.1, `core/datasets/indexed_dataset.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.formats.base import FormatWriter, Ids, Lengths, ShardAbout, TokenFormat
from tokenmill.tokens.formats.flat import FlatWriter

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
CODES = {2: 8, 4: 4}
"""Bytes per id -> code: uint16 is 8, int32 is 4."""
_MOST = np.iinfo(np.int32).max


class Megatron(TokenFormat):
    """Megatron-LM, NeMo."""

    name: ClassVar[str] = "megatron"
    files: ClassVar[Mapping[str, str]] = {"tokens": ".bin", "index": ".idx"}
    max_ids: ClassVar[int] = 2**31

    def open(self, paths: Mapping[str, str], about: ShardAbout) -> FormatWriter:
        return _MegatronWriter(self, paths, about)

    def offset(self, about: ShardAbout) -> int:
        return 0


class _MegatronWriter(FlatWriter):
    def add(self, ids: Ids, lengths: Lengths) -> None:
        if len(lengths) and int(np.max(lengths)) > _MOST:
            raise ConfigError(
                f"a document of {int(np.max(lengths)):,} tokens in the layout megatron",
                why=f"it counts the tokens of a document in 32 bits, up to {_MOST:,}",
                fix="split the document, or take --format ds",
            )
        super().add(ids, lengths)

    def finish(self, documents: pa.Table) -> None:
        lengths = self.lengths()
        size = np.dtype(self.about.dtype).itemsize
        begins = np.zeros(len(lengths), "<i8")
        np.cumsum(lengths[:-1] * size, out=begins[1:])
        with open(self.paths["index"], "wb") as stream:
            stream.write(MAGIC)
            stream.write(struct.pack("<QBQQ", VERSION, CODES[size], len(lengths), len(lengths) + 1))
            stream.write(lengths.astype("<i4").tobytes())
            stream.write(begins.tobytes())
            stream.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
