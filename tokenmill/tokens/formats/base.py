"""What a layout of token shards is: its files, and how ids and document ends get into them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.errors import ConfigError

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
    tokenizer: str = ""
    """Name or path of the tokenizer, for layouts that say it."""


class FormatWriter(ABC):
    """An open shard of a layout."""

    @abstractmethod
    def add(self, ids: Ids, lengths: Lengths) -> None:
        """Append whole documents: `ids` is 1-D and `lengths` adds up to its length. ConfigError where the layout
        cannot hold them (too many tokens for its header)."""

    @abstractmethod
    def close(self, documents: pa.Table) -> None:
        """Finish all files. documents: the columns `document_columns` of the shard's table of documents, in order."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the files as they are, after an error; nothing may read them."""


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
    document_columns: ClassVar[tuple[str, ...]] = ()
    """Columns of the table of documents that `close` needs, of DOCUMENT_COLUMNS."""
    max_ids: ClassVar[int] = 2**32
    """Ids that its readers understand are below this."""
    max_tokens: ClassVar[int] = 2**63 - 1
    """Tokens of a shard that its readers understand, EOS included."""

    def check(self, about: ShardAbout, shard_tokens: int = 0) -> None:
        """ConfigError where this layout cannot hold such ids, or shards of about so many tokens; asked before work."""
        dtype = np.dtype(about.dtype).newbyteorder("=")
        if dtype.name not in self.dtypes:
            raise ConfigError(
                f"the layout {self.name} has no ids of the type {dtype.name}",
                why=f"its readers take {' or '.join(self.dtypes)}, and {about.vocab_size:,} ids need {dtype.name}",
                fix="take --format ds, or a tokenizer with a smaller vocabulary",
            )
        if about.vocab_size > min(self.max_ids, np.iinfo(dtype).max + 1):
            raise ConfigError(
                f"{about.vocab_size:,} ids do not fit into {dtype.name} in the layout {self.name}",
                fix="take --format ds" if dtype.name == "uint32" else "take uint32",
            )
        self.check_length(shard_tokens)
        if shard_tokens > self.max_tokens // 2:
            raise ConfigError(
                f"shards of about {shard_tokens:,} tokens may become too long for the layout {self.name}",
                why=f"its header counts up to {self.max_tokens:,}, and shards are not cut to the token: documents stay"
                " whole, and fall to shards at random",
                fix=f"ask for at most {self.max_tokens // 2:,} (shard_tokens), or take --format ds",
            )

    def check_length(self, tokens: int) -> None:
        """ConfigError where this layout cannot hold a shard of exactly so many tokens."""
        if tokens > self.max_tokens:
            raise ConfigError(
                f"the layout {self.name} has no shards of {tokens:,} tokens",
                why=f"its header counts up to {self.max_tokens:,}",
                fix="ask for smaller shards",
            )

    @abstractmethod
    def open(self, paths: Mapping[str, str], about: ShardAbout) -> FormatWriter:
        """A writer of the local files `paths`, by kind. ConfigError as in `check`."""

    @abstractmethod
    def offset(self, about: ShardAbout) -> int:
        """Bytes before the first id in the file "tokens"."""
