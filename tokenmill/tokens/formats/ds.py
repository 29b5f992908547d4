"""`ds`: shards as datatrove writes and nanotron reads them.

    x.ds            ids, little endian, nothing else
    x.ds.index      for each document the position behind its last token, uint64
    x.ds.metadata   three lines: tokenizer|bytes per id, number of tokens, the same for people

Source: datatrove 0.10.1, `pipeline/tokens/tokenizer.py` (TokenizedFile) and `utils/dataset.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tokenmill.tokens.formats.base import FormatWriter, ShardAbout, TokenFormat
from tokenmill.tokens.formats.flat import FlatWriter

_UNKNOWN = "Unknown Tokenizer"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


class Ds(TokenFormat):
    """datatrove, nanotron."""

    name: ClassVar[str] = "ds"
    files: ClassVar[Mapping[str, str]] = {"tokens": ".ds", "index": ".ds.index", "metadata": ".ds.metadata"}

    def open(self, paths: Mapping[str, str], about: ShardAbout) -> FormatWriter:
        return _DsWriter(self, paths, about)

    def offset(self, about: ShardAbout) -> int:
        return 0


class _DsWriter(FlatWriter):
    def finish(self, documents: pa.Table) -> None:
        with open(self.paths["index"], "wb") as stream:
            stream.write(np.cumsum(self.lengths()).astype("<u8").tobytes())
        # readers split lines at "|", and a name may be a path
        name = " ".join(self.about.tokenizer.replace("|", "_").split()) or _UNKNOWN
        lines = (f"{name}|{np.dtype(self.about.dtype).itemsize}", str(self.tokens), for_people(self.tokens))
        with open(self.paths["metadata"], "w", encoding="utf-8") as text:
            text.write("\n".join(lines))


def for_people(tokens: int) -> str:
    """A number of tokens in three digits with a prefix, such as "1.23 GT"."""
    value, power = float(tokens), 0
    while value >= 999.5 and power < len(_PREFIXES) - 1:  # 999.5 would be shown as 1000
        value, power = value / 1000, power + 1
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {_PREFIXES[power]}T"
