"""Keys of documents."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.tokens.order import KEY_BITS, document_key, document_keys


@given(st.integers(), st.text())
def test_a_key_is_keyed_blake2b_of_the_name(seed: int, name: str) -> None:
    key = (seed % 2**128).to_bytes(16, "little")
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    assert document_key(seed, name) == int.from_bytes(digest, "little") // 2
    assert 0 <= document_key(seed, name) < 1 << KEY_BITS


def test_golden_keys() -> None:
    """Other keys would be another order for everybody."""
    assert document_keys(0, ["a.parquet#0", "a.parquet#1"]) == [4476772024457493192, 3494825443421097321]


def test_keys_are_spread_and_seeds_are_independent() -> None:
    names = [f"x#{number}" for number in range(4000)]
    first, second = (np.array(document_keys(seed, names)) / 2.0**KEY_BITS for seed in (1, 2))
    counts = np.histogram(first, 10, (0, 1))[0]
    assert counts.min() > 330
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first, np.arange(4000))[0, 1]) < 0.05
