"""What all layouts share whose ids lie in one file one behind the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.formats.base import FormatWriter, Ids, Lengths, ShardAbout, TokenFormat


class FlatWriter(FormatWriter):
    """Appends ids to the file "tokens" and remembers where documents end (8 bytes each)."""

    def __init__(self, layout: TokenFormat, paths: Mapping[str, str], about: ShardAbout, header: bytes = b"") -> None:
        layout.check(about)
        missing = sorted(set(layout.files) - set(paths))
        if missing:
            raise ConfigError(f"a shard in the layout {layout.name} has files of the kinds {missing} too")
        self.paths, self.about = paths, about
        self.tokens = 0
        """Ids written so far."""
        self._layout = layout
        self._dtype = np.dtype(about.dtype).newbyteorder("<")
        self._lengths: list[Lengths] = []
        self._stream: BinaryIO = open(paths["tokens"], "wb")
        self._stream.write(header)

    def add(self, ids: Ids, lengths: Lengths) -> None:
        lengths = np.array(lengths, np.int64)  # a copy: the caller may use its array again
        if ids.dtype.newbyteorder("=") != self._dtype.newbyteorder("="):
            raise ConfigError(f"ids of the type {ids.dtype} for a shard of {self._dtype.name}")
        if ids.ndim != 1 or lengths.ndim != 1 or int(lengths.sum()) != len(ids) or (len(lengths) and lengths.min() < 0):
            raise ConfigError(
                f"documents of {int(lengths.sum()):,} tokens in all with ids of the shape {ids.shape}",
                why="ids have one dimension, and the lengths of the documents add up to their number",
            )
        self._layout.check_length(self.tokens + len(ids))
        self._lengths.append(lengths)
        self.tokens += len(ids)
        if len(ids):
            self._stream.write(np.ascontiguousarray(ids, self._dtype).data.cast("B"))

    def lengths(self) -> Lengths:
        """Tokens of every document so far, EOS included."""
        return np.concatenate(self._lengths) if self._lengths else np.zeros(0, np.int64)

    def header(self) -> bytes:
        """What stands before the ids, once their number is known; as long as what the file was opened with."""
        return b""

    def close(self, documents: pa.Table) -> None:
        if len(documents) != sum(map(len, self._lengths)):
            self.abandon()
            raise ConfigError(
                f"{sum(map(len, self._lengths)):,} documents were added, and their table has {len(documents):,} rows"
            )
        header = self.header()
        if header:
            self._stream.seek(0)
            self._stream.write(header)
        self._stream.close()
        self.finish(documents)

    def finish(self, documents: pa.Table) -> None:
        """Write the files beside the ids."""

    def abandon(self) -> None:
        self._stream.close()
