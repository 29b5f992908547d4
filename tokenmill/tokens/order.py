"""The order of documents: a key per document, from its name and a seed alone."""

from __future__ import annotations

import hashlib

KEY_BITS = 63
"""Keys are 0 to 2^63 - 1, so that they fit int64 columns, whose statistics every Parquet reader knows."""


def document_key(seed: int, name: str) -> int:
    """A number from 0 to 2^63 - 1, equally distributed: sorting documents by it shuffles them.

    name: `doc_id`. The same on every machine; another seed gives an independent order. BLAKE2b with the seed as key
    (RFC 7693). Of 3 billion documents half a pair is expected to share a key.
    """
    return document_keys(seed, [name])[0]


def document_keys(seed: int, names: list[str]) -> list[int]:
    """`document_key` of each name."""
    start = hashlib.blake2b(digest_size=8, key=(seed % (1 << 128)).to_bytes(16, "little"))
    keys = []
    for name in names:
        hasher = start.copy()
        hasher.update(name.encode("utf-8", "surrogatepass"))
        keys.append(int.from_bytes(hasher.digest(), "little") >> 1)
    return keys
