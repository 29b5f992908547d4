"""`ExactDedup` and `UrlDedup`: one document of those that are the same, or that have the same address."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.dedup.documents import DocumentDedup
from tokenmill.text.minhash import MinHash
from tokenmill.text.urls import canonical_urls

_HOST = re.compile(r"//[^/?#]")
_STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
NORMALISATIONS = ("none", "spaces", "words")


class ExactDedup(DocumentDedup):
    """Keeps one of all documents with the same value of a column: the payload before extraction, or the text after it.

    Right after the source (and filters), documents are not kept between the phases: the first reads keys only, the
    second reads the archives again.
    """

    size_column: ClassVar[str] = "exact_cluster_size"

    by: str = "text"
    """The column: "payload" (bytes as archived), "text", or any other of strings or bytes. A null is like no other."""
    normalise: str = "spaces"
    """What strings may differ in: "none" nothing, "spaces" white space, "words" also case, punctuation, digits and
    diacritics (as in MinHash). Bytes are compared as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalise not in NORMALISATIONS:
            raise ConfigError(
                f"{self.name}.normalise={self.normalise!r} is not known",
                why=did_you_mean(self.normalise, NORMALISATIONS),
            )

    def reads_for_keys(self) -> Sequence[str]:
        return (self.by,)

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        super().check(types)
        dtype = types.get(self.by, pa.string())
        if not any(is_type(dtype) for is_type in (*_STRINGS, *_BYTES)):
            raise ConfigError(
                f"{self.name} cannot compare {self.by!r}",
                why=f"it is of type {dtype}",
                fix="let `by` name a column of strings or bytes",
            )

    def about(self) -> Mapping[str, Any]:
        return {"keys": "exact", "by": self.by, "normalise": self.normalise, "scope": list(self.scope)}

    def keys_of(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint64] | None, npt.NDArray[np.uint64], Any]:
        column = batch.column(self.by)
        part = column.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
        if any(is_type(column.type) for is_type in _BYTES):
            return None, digests_of(value.as_buffer() if value.is_valid else b"" for value in column), part
        if self.normalise == "words":
            return None, MinHash(shingle_words=1, bands=1, rows=1).keys(column).digests, part
        texts = column.cast(pa.large_string())
        if self.normalise == "spaces":
            texts = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"[\s\v\p{Z}]+", " "))
        return None, digests_of((text or "").encode("utf-8", "surrogatepass") for text in texts.to_pylist()), part


class UrlDedup(DocumentDedup):
    """Keeps one of all documents with the same address, whatever its scheme, case of the host, tracking parameters.

    What is no address with a host is like no other.
    """

    size_column: ClassVar[str] = "url_cluster_size"

    def reads_for_keys(self) -> Sequence[str]:
        return ("url",)

    def about(self) -> Mapping[str, Any]:
        return {"keys": "url", "scope": list(self.scope)}

    def keys_of(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint64] | None, npt.NDArray[np.uint64], Any]:
        column = batch.column("url")
        urls = canonical_urls(column).to_pylist()
        present = [_HOST.match(url or "") is not None for url in urls]  # "N/A" is no address of anything
        return (
            None,
            digests_of((url or "").encode("utf-8", "surrogatepass") for url in urls),
            np.array(present, np.int64),
        )


def digests_of(values: Iterable[Any]) -> npt.NDArray[np.uint64]:
    """128-bit BLAKE2b digests (RFC 7693), an array of shape (n, 2): nobody can make two texts that share one."""
    joined = b"".join(hashlib.blake2b(value, digest_size=16).digest() for value in values)
    return np.frombuffer(joined, "<u8").reshape(-1, 2)
