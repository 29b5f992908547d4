"""`CountTokens` and `EncodeText`: exact numbers of tokens, and the ids themselves, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import Annotate
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.formats.base import Ids
from tokenmill.tokens.tokenizer import LoadedTokenizer, library_version, load_tokenizer

TOKEN_COUNT = "token_count"
TOKENS = "tokens"


class CountTokens(Annotate):
    """Counts the tokens of every text, exactly and without EOS.

    Control tokens that a page spells out count as the text that they are; of runs without white space see
    `tokens/encoder.py`.
    """

    reads = ("text",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {TOKEN_COUNT: pa.int64()}
    batch_seconds: ClassVar[float] = 120.0
    """A batch of 8 MB takes 3 seconds of a CPU, more with large vocabularies."""

    tokenizer: str = ""
    """A `tokenizer.json`, a folder with one (or with vocab.json and merges.txt), or a name on the hub."""
    eos: str = ""
    """Token that ends every document, where the tokenizer's files do not say; it is not counted."""
    revision: str = ""
    """Revision of the tokenizer on the hub."""

    def digests(self) -> Mapping[str, str]:
        return {"tokenizer": self.loaded.sha256, "tokenizers": library_version()}

    def setup(self) -> None:
        _ = self._encoder

    @cached_property
    def loaded(self) -> LoadedTokenizer:
        """The tokenizer. ConfigError where there is none."""
        if not self.tokenizer:
            raise ConfigError(
                f"{self.name} has no tokenizer",
                why="its setting `tokenizer` is empty",
                fix="give a tokenizer.json, a folder with one, or a name on the hub",
            )
        return load_tokenizer(self.tokenizer, eos=self.eos or None, revision=self.revision)

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.loaded)

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts = batch.column("text")
        ids, lengths = self._encoder.encode(texts)
        return self._columns(ids, lengths, _nulls(texts))

    def _columns(
        self, ids: Ids, lengths: npt.NDArray[np.int64], nulls: npt.NDArray[np.bool_] | None
    ) -> Mapping[str, pa.Array]:
        return {TOKEN_COUNT: pa.array(lengths, pa.int64(), mask=nulls)}


class EncodeText(CountTokens):
    """Encodes every text: `token_count`, and the ids of its tokens without EOS.

    The ids lie in the internal column `tokens`, little endian, 2 bytes each where the vocabulary has at most 65,536,
    else 4.
    """

    adds: ClassVar[Mapping[str, pa.DataType]] = {TOKEN_COUNT: pa.int64(), TOKENS: pa.binary()}

    def _columns(
        self, ids: Ids, lengths: npt.NDArray[np.int64], nulls: npt.NDArray[np.bool_] | None
    ) -> Mapping[str, pa.Array]:
        stored: npt.NDArray[Any] = ids.astype(ids.dtype.newbyteorder("<"), copy=False)
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        offsets *= stored.itemsize
        if offsets[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"a batch of {len(lengths)} documents has {offsets[-1]:,} bytes of tokens")
        valid = None if nulls is None else pa.array(~nulls).buffers()[1]
        buffers = [valid, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(stored)]
        tokens = pa.Array.from_buffers(pa.binary(), len(lengths), buffers)
        return {**super()._columns(ids, lengths, nulls), TOKENS: tokens}


def _nulls(texts: pa.Array) -> npt.NDArray[np.bool_] | None:
    """Which texts are null; None where none is."""
    return np.asarray(texts.is_null()) if texts.null_count else None
