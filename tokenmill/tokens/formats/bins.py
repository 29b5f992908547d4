"""`llmc` and `nanogpt`: the `.bin` files of llm.c and nanoGPT.

llmc: a header of 256 int32 (magic, version, number of tokens, zeros), then ids. uint16 has magic 20240520 and version
1, which llm.c's C loader reads; uint32 has 20240801 and 7, which its Llama 3 script reads and the C loader does not.

nanogpt: uint16 ids, nothing else.

Neither has a place for the ends of documents: the table of documents beside the shard knows them, and EOS marks them.

Sources: llm.c, `dev/data/data_common.py`, `llmc/dataloader.h`; nanoGPT, `train.py` (get_batch).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tokenmill.tokens.formats.base import FormatWriter, ShardAbout, TokenFormat
from tokenmill.tokens.formats.flat import FlatWriter

HEADER_BYTES = 256 * 4
KINDS = {2: (20240520, 1), 4: (20240801, 7)}
"""Bytes per id -> (magic, version)."""


class LlmC(TokenFormat):
    """llm.c, and modded-nanoGPT, which reads the same files."""

    name: ClassVar[str] = "llmc"
    files: ClassVar[Mapping[str, str]] = {"tokens": ".bin"}
    max_tokens: ClassVar[int] = 2**31 - 1

    def open(self, paths: Mapping[str, str], about: ShardAbout) -> FormatWriter:
        return _LlmCWriter(self, paths, about, bytes(HEADER_BYTES))

    def offset(self, about: ShardAbout) -> int:
        return HEADER_BYTES


class _LlmCWriter(FlatWriter):
    def header(self) -> bytes:
        header = np.zeros(HEADER_BYTES // 4, "<i4")
        header[:3] = *KINDS[np.dtype(self.about.dtype).itemsize], self.tokens
        return header.tobytes()


class NanoGpt(TokenFormat):
    """nanoGPT, and whatever maps a file of uint16."""

    name: ClassVar[str] = "nanogpt"
    files: ClassVar[Mapping[str, str]] = {"tokens": ".bin"}
    dtypes: ClassVar[tuple[str, ...]] = ("uint16",)

    def open(self, paths: Mapping[str, str], about: ShardAbout) -> FormatWriter:
        return FlatWriter(self, paths, about)

    def offset(self, about: ShardAbout) -> int:
        return 0
