"""`MinHashDedup`: near-duplicates by MinHash and banding, verified before anything is dropped."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.barrier import JOINED
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.kernels import Kernel
from tokenmill.dedup.documents import DocumentDedup
from tokenmill.dedup.gather import Shingles
from tokenmill.dedup.verify import MEASURES, Policy
from tokenmill.text.minhash import MinHash, match_probability

WEIGHT_COLUMN = "minhash_rehydration_weight"
FINEWEB2_WEIGHTS = ("1:1", "2:2", "3:3", "5:5", "100:8", "1000:1")
"""How often FineWeb-2 repeats the kept document of a cluster, from that size on (its `rehydration` code)."""
SHORT = ("exact", "keep")


class MinHashDedup(DocumentDedup):
    """Keeps one of each cluster of near-duplicate documents.

    Documents that agree in all hashes of one band are candidates; candidates of candidates are a component. In each
    component the preferred document is the representative, and every other one is compared with it on the exact sets
    of word shingles: below `min_similarity` it becomes a representative itself, and is kept. Documents with fewer
    words than a shingle have no shingles; they are compared as a whole.

    MinHash: Broder 1997; bands and rows: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3. Defaults
    as FineWeb (arXiv:2406.17557), which drops what is connected without comparing: `verify="none"`.
    """

    name: ClassVar[str] = "minhash_dedup"
    size_column: ClassVar[str] = "minhash_cluster_size"

    scheme: str = "affine64-v1"
    """How words become hashes: "affine64-v1", or "datatrove-v1" (the hashes and permutations of datatrove)."""
    shingle_words: int = 5
    """Words of a shingle. FineWeb: 5."""
    bands: int = 14
    """Bands: more of them find more pairs. FineWeb: 14."""
    rows: int = 8
    """Hashes of a band: more of them find fewer pairs of low similarity. FineWeb: 8."""
    seed: int = 1
    """Seed of the permutations."""
    verify: str = "jaccard"
    """"jaccard" of the sets of shingles decides; "containment": the share of a document's shingles that is in what is
    kept, so that truncated copies go (without `prefer`, the document with the most shingles stays); "none":
    candidates are duplicates."""
    min_similarity: float = 0.7
    """Least similarity with the representative at which a document is dropped. 0.7 is near the point where half of
    the pairs become candidates, (1/14)^(1/8) = 0.72."""
    large_cluster: int = 500
    """Components with more documents than this chain unrelated documents together (templates, boilerplate): there
    `large_min_similarity` holds."""
    large_min_similarity: float = 0.8
    """Least similarity in large components."""
    max_comparisons: int = 8
    """Representatives that a document is compared with before it becomes one; the likeliest first."""
    short_documents: str = "exact"
    """Documents with fewer words than a shingle: "exact" keeps one of equal ones, "keep" keeps all, as FineWeb."""
    rehydration: tuple[str, ...] = ()
    """Adds `minhash_rehydration_weight`, how often to repeat a document in training, by the size of its cluster:
    "size:weight" from that size on; ("fineweb2",) for 1:1, 2:2, 3:3, 5:5, 100:8, 1000:1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, known in (("verify", self.verify, MEASURES), ("short_documents", self.short_documents, SHORT)):
            if value not in known:
                raise ConfigError(f"{self.name}.{name}={value!r} is not known", why=did_you_mean(value, known))
        for name in ("min_similarity", "large_min_similarity"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{self.name}.{name}={getattr(self, name)} is no similarity", fix="above 0, up to 1")
        if self.max_comparisons < 1 or self.large_cluster < 1:
            raise ConfigError(f"{self.name}: max_comparisons and large_cluster must be at least 1")
        _ = (self._hasher, self._weights)  # wrong settings are found here

    @cached_property
    def _hasher(self) -> MinHash:
        return MinHash(self.scheme, self.shingle_words, self.bands, self.rows, self.seed)

    @cached_property
    def _weights(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(sizes, weights): from each size on, its weight."""
        given = FINEWEB2_WEIGHTS if self.rehydration == ("fineweb2",) else self.rehydration
        try:
            pairs = sorted(tuple(map(int, entry.split(":"))) for entry in given)
            sizes, weights = zip(*pairs, strict=True) if pairs else ((), ())
        except ValueError as error:
            raise ConfigError(
                f"{self.name}.rehydration={list(self.rehydration)} cannot be read", fix='"size:weight", or "fineweb2"'
            ) from error
        if pairs and (sizes[0] != 1 or min(weights) < 0):
            raise ConfigError(f"{self.name}.rehydration must begin with size 1 and have no negative weight")
        return np.array(sizes, np.int64), np.array(weights, np.int64)

    def reads_for_keys(self) -> Sequence[str]:
        return ("text",)

    @property
    def looks_again(self) -> bool:
        return True

    @property
    def bands_of_keys(self) -> int:
        return self.bands

    def columns_added(self) -> Mapping[str, pa.DataType]:
        weight = {WEIGHT_COLUMN: pa.int64()} if self.rehydration else {}
        return {self.size_column: pa.int64(), **weight}

    def about(self) -> Mapping[str, Any]:
        return {
            "keys": "minhash",
            "scheme": self.scheme,
            "shingle_words": self.shingle_words,
            "bands": self.bands,
            "rows": self.rows,
            "seed": self.seed,
            "scope": list(self.scope),
        }

    def digests(self) -> Mapping[str, str]:
        return {**super().digests(), "unicode": unicodedata.unidata_version}

    def kernels(self) -> Sequence[Kernel]:
        return (Kernel("tokenmill.dedup.minhash:warm_up", 12),)

    def setup(self) -> None:
        self._hasher.keys(pa.array(["one two three four five six"]))

    def keys_of(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint64] | None, npt.NDArray[np.uint64], Any]:
        keys, digests, words = self._hasher.keys(batch.column("text"))
        short = 1 if self.short_documents == "exact" else 0
        return keys, digests, np.where(words >= self.shingle_words, 2, short)

    def policy(self) -> Policy:
        return Policy(
            self.verify, self.min_similarity, self.large_cluster, self.large_min_similarity, self.max_comparisons
        )

    def shingles(self) -> Shingles | None:
        return None if self.verify == "none" else self._hasher.shingles

    def apply(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        found = dict(super().apply(batch))
        if self.rehydration:
            sizes = batch.column(JOINED + "cluster_size")
            bounds, weights = self._weights
            known = sizes.fill_null(1).to_numpy(zero_copy_only=False)
            chosen = weights[np.searchsorted(bounds, known, side="right") - 1]
            mask = sizes.is_null().to_numpy(zero_copy_only=False)
            found[WEIGHT_COLUMN] = pa.array(chosen, mask=mask)
        return found

    def describe(self) -> Sequence[str]:
        chances = ", ".join(
            f"{level:.2f}: {match_probability(level, self.bands, self.rows):.1%}"
            for level in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
        )
        middle = (1 / self.bands) ** (1 / self.rows)
        lines = [
            f"{self.bands} bands x {self.rows} rows of {self.shingle_words}-word shingles, scheme {self.scheme}",
            f"chance that a pair of this similarity becomes a candidate: {chances} (steepest near {middle:.2f})",
        ]
        if self.verify == "none":
            lines.append("candidates are dropped without being compared")
        else:
            lines.append(f"a candidate is dropped at {self.verify} >= {self.min_similarity:g} with what is kept")
        lines.append("compared within equal " + ", ".join(self.scope) if self.scope else "all documents are compared")
        return lines


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    MinHashDedup().setup()
