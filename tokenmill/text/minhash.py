"""MinHash: what makes near duplicates findable, from a column of texts in one compiled pass.

A text is normalised (`normalised`), cut into words at spaces, and described by the set of its runs of `shingle_words`
words. The share of equal values in the signatures of two texts estimates the Jaccard similarity of these sets; texts
that agree in all rows of a band have the same key there, so that near duplicates are found by grouping.

Normalisation is that of datatrove 0.10.1 (`simplify_text`) in one pass, with these differences: a dropped mark between
spaces leaves one space and not two; spacing marks that have a combining class (some twenty, in Hangul, Balinese and
music) stay in the order in which they stand; digits that are newer than Python's Unicode database are letters. In
scripts that are written without spaces every character is a word of its own, where datatrove asks a word segmenter.
The Unicode database is part of the result: texts of another version's new letters have other keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.text.measure import utf8

SCHEMES = ("affine64-v1", "datatrove-v1")
"""How signatures are computed; those of different schemes, numbers or seeds cannot be compared.

affine64-v1: words are hashed to 64 bits, a shingle's hash is a polynomial over those of its words, and permutation i is
a_i h + b_i modulo 2^64, a_i odd, from splitmix64. datatrove-v1: bit for bit the signatures of datatrove 0.10.1 with its
default hash (XXH64 of the words joined by spaces; a h + b modulo 2^64, modulo 2^61 - 1) on the same words.
"""
MAX_PERMUTATIONS = 1 << 16
MAX_SHINGLE_WORDS = 1000

Unsigned = npt.NDArray[np.uint64]
_MERSENNE = np.uint64(2**61 - 1)
_MASK = 2**64 - 1


class Keys(NamedTuple):
    """What deduplication needs to know of n texts."""

    bands: Unsigned
    """(n, bands): one key per band; zeros for texts with less than `shingle_words` words."""
    digests: Unsigned
    """(n, 2): 128-bit digest of the normalised text; of the raw text's bytes, with another seed, where it has less
    than `shingle_words` words."""
    words: npt.NDArray[np.int32]
    """(n,): words of the normalised text."""


@dataclass(frozen=True)
class MinHash:
    """Signatures of bands * rows permutations over the shingles of texts.

    The defaults are those of FineWeb (https://arxiv.org/abs/2406.17557, section 3.4): texts of Jaccard similarity 0.75
    share a band with probability 0.77, of 0.8 with 0.92.
    """

    scheme: str = "affine64-v1"
    shingle_words: int = 5
    bands: int = 14
    rows: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigError(f"no MinHash scheme named {self.scheme!r}", why=did_you_mean(str(self.scheme), SCHEMES))
        limits = {
            "shingle_words": (1, MAX_SHINGLE_WORDS),
            "bands": (1, MAX_PERMUTATIONS),
            "rows": (1, MAX_PERMUTATIONS),
            "seed": (0, 2**32 - 1 if self.scheme == "datatrove-v1" else _MASK),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise ConfigError(
                    f"MinHash setting {name} is {value!r}",
                    why=f"{self.scheme} takes whole numbers from {least} to {most}",
                    fix=f"set {name} to one of these",
                )
        if self.bands * self.rows > MAX_PERMUTATIONS:
            raise ConfigError(
                f"{self.bands} bands of {self.rows} rows are {self.bands * self.rows} permutations",
                why=f"a signature has at most {MAX_PERMUTATIONS} values",
                fix="take fewer bands or rows",
            )

    def keys(self, texts: pa.Array) -> Keys:
        """Band keys, digests and numbers of words. texts: string or large_string; a null counts as ""."""
        keys = np.zeros((len(texts), self.bands), np.uint64)
        digests, words = self._sketch(texts, keys, np.zeros((0, 0), np.uint64))
        return Keys(keys, digests, words)

    def signatures(self, texts: pa.Array) -> tuple[Unsigned, npt.NDArray[np.int32]]:
        """Signatures (n, bands * rows), and numbers of words (n,). Zeros for texts with less than `shingle_words`."""
        signatures = np.zeros((len(texts), self.bands * self.rows), np.uint64)
        _, words = self._sketch(texts, np.zeros((0, 0), np.uint64), signatures)
        return signatures, words

    def signature_of_words(self, words: Sequence[str]) -> Unsigned:
        """The signature (bands * rows,) of words that come from elsewhere; they are taken as they are."""
        from tokenmill.text.minhash_kernel import sign_words

        encoded = [word.encode("utf-8", "replace") for word in words]
        ends = np.cumsum([len(word) + 1 for word in encoded], dtype=np.int64) - 1
        data = np.frombuffer(bytearray(b" ".join(encoded) + bytes(16)), np.uint8)
        signature = np.zeros(len(self._settings.a), np.uint64)
        sign_words(data, ends, self._settings, signature)
        return signature[: self.bands * self.rows]

    def shingles(self, texts: pa.Array) -> tuple[Unsigned, npt.NDArray[np.int64]]:
        """The sets of shingles: those of text i are values[offsets[i]:offsets[i + 1]], hashed to 64 bits as in
        affine64-v1 (whatever the scheme is), sorted, each once. offsets: (n + 1,).
        """
        from tokenmill.text.minhash_kernel import shingles_batch
        from tokenmill.text.normal_tables import normal_tables

        offsets = np.zeros(len(texts) + 1, np.int64)
        return shingles_batch(*_column(texts), normal_tables(), self.shingle_words, offsets), offsets

    def _sketch(self, texts: pa.Array, keys: Unsigned, signatures: Unsigned) -> tuple[Unsigned, npt.NDArray[np.int32]]:
        from tokenmill.text.minhash_kernel import sketch_batch
        from tokenmill.text.normal_tables import normal_tables

        digests, words = np.zeros((len(texts), 2), np.uint64), np.zeros(len(texts), np.int32)
        sketch_batch(*_column(texts), normal_tables(), self._settings, digests, words, keys, signatures)
        return digests, words

    @cached_property
    def _settings(self) -> Any:
        from tokenmill.text.minhash_kernel import Settings
        from tokenmill.text.vector_kernel import AT_ONCE

        modular = self.scheme == "datatrove-v1"
        numbers = (_modular if modular else _affine)(self.seed, self.bands * self.rows)
        a, b = (np.pad(each, (0, -len(each) % AT_ONCE)) for each in numbers)
        flip = np.uint64(0 if modular else 1 << 63)
        return Settings(a, b + flip, flip, self.shingle_words, self.bands, self.rows, modular)


def normalised(text: str) -> str:
    """What is compared: lower case, numbers as "0", no punctuation, no diacritics, words joined by single spaces."""
    from tokenmill.text.minhash_kernel import normal_text
    from tokenmill.text.normal_tables import normal_tables

    data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    return bytes(normal_text(data, normal_tables())).decode()


def match_probability(jaccard: float, bands: int, rows: int) -> float:
    """Probability that two texts of that Jaccard similarity agree in all rows of at least one band."""
    return float(1 - (1 - jaccard**rows) ** bands)


def _column(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    data, offsets = utf8(texts)
    data = data.view()
    data.setflags(write=False)  # as most of Arrow's buffers are: another type would be compiled for once more
    return data, offsets


def _affine(seed: int, count: int) -> tuple[Unsigned, Unsigned]:
    """Multipliers and summands: the first `count` numbers of splitmix64 (https://prng.di.unimi.it/splitmix64.c), made
    odd, and the next `count`.
    """
    numbers = []
    for step in range(1, 2 * count + 1):
        z = (seed + step * 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK
        numbers.append(z ^ z >> 31)
    values = np.array(numbers, np.uint64)
    return values[:count] | np.uint64(1), values[count:]


def _modular(seed: int, count: int) -> tuple[Unsigned, Unsigned]:
    """datatrove's numbers; the streams of `RandomState` are frozen."""
    generator = np.random.RandomState(seed)
    a = generator.randint(1, _MERSENNE, dtype=np.uint64, size=(1, count))
    b = generator.randint(0, _MERSENNE, dtype=np.uint64, size=(1, count))
    return a[0], b[0]
