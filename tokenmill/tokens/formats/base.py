"""What a layout of token shards is: its files, and how ids and document ends get into them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
"""Token ids of documents one behind the other; their dtype is that of the set."""
Lengths = npt.NDArray[np.int64]
"""Tokens of each document, EOS included."""


@dataclass(frozen=True)
class ShardAbout:
    """What is known of a shard before its first token."""

    dtype: np.dtype
    """uint16 or uint32, little endian."""
    eos_id: int | None
    """Id that ends every document; None where documents have none."""
    vocab_size: int


class FormatWriter(ABC):
    """An open shard of a layout."""

    @abstractmethod
    def add(self, ids: Ids, lengths: Lengths) -> None:
        """Append whole documents: `ids` is 1-D and `lengths` adds up to its length."""

    @abstractmethod
    def close(self, documents: pa.Table) -> None:
        """Finish all files. documents: the shard's table of documents, in order (`DOCUMENT_COLUMNS` at least)."""


class TokenFormat(ABC):
    """A layout of token shards, one shard in a few files beside each other."""

    name: ClassVar[str]
    """As in `--format`."""
    files: ClassVar[Mapping[str, str]]
    """Kind of file -> ending of its name. The kind "tokens" holds the ids, in one piece, where the layout is flat."""
    flat: ClassVar[bool] = True
    """Whether the ids lie in the file "tokens" one behind the other, so that they can be mapped into memory."""
    dtypes: ClassVar[tuple[str, ...]] = ("uint16", "uint32")
    """Types of ids that its readers understand."""

    @abstractmethod
    def open(self, paths: Mapping[str, str], about: ShardAbout) -> FormatWriter:
        """A writer of the local files `paths`, by kind."""

    @abstractmethod
    def offset(self, about: ShardAbout) -> int:
        """Bytes before the first id in the file "tokens"."""
