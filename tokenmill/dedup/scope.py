"""Scopes: documents are compared within equal values of some columns only.

The values are hashed into the keys, so documents of two scopes never share a key (but for one chance in 2^64), and
one pass over all keys serves all scopes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def salts(batch: pa.RecordBatch, scope: Sequence[str]) -> npt.NDArray[np.uint64] | None:
    """A 64-bit number per document that is equal where all columns of the scope are; None for an empty scope."""
    if not scope:
        return None
    total = np.zeros(batch.num_rows, np.uint64)
    for place, name in enumerate(scope):
        encoded = pc.dictionary_encode(batch.column(name), null_encoding="encode")
        values = encoded.dictionary.to_pylist()
        numbers = np.array([_number(place, value) for value in values], np.uint64)
        total ^= numbers[encoded.indices.to_numpy()] if len(numbers) else total
    return total


def _number(place: int, value: object) -> int:
    digest = hashlib.blake2b(repr((place, value)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
