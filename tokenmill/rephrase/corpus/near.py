"""Near-duplicates among outputs, and of outputs with source pages, on a sample of pages.

Outputs are sampled by the hash of their page, and so are pages, so that a page and all that was made of it are in
together. Candidates share a band of MinHash (`tokenmill.text.minhash`); those whose signatures agree in `SIMILAR` of
their values count. A duplicate in another part of the corpus than the sample is not seen, so that the shares are
lower bounds where not everything was sampled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.rephrase.corpus.sample import Lowest, column, id_hashes
from tokenmill.text.minhash import MinHash

SIMILAR = 0.7
"""Estimated Jaccard similarity of runs of five words, from which on texts are near-duplicates (FineWeb: 0.75)."""
_ROWS = 8
_BANDS = 14
_MOST_DIGESTS = 1 << 18
"""Texts that are compared for equality: about 50 MB."""


class Row(NamedTuple):
    """A text of the sample."""

    page: str
    style: str
    signature: npt.NDArray[np.uint64]
    """(bands * rows,)"""
    words: int


class NearSample:
    """Texts by signature, at most `most`; and exact duplicates among all texts."""

    def __init__(self, most: int, seed: int) -> None:
        self._seed = seed
        self._minhash = MinHash(bands=_BANDS, rows=_ROWS)
        self.rows: Lowest[Row] = Lowest(most)
        self._digests: Lowest[bytes] = Lowest(_MOST_DIGESTS)

    def add(self, table: pa.Table, page: str) -> None:
        """Offer the rows of a table. page: the column with the id of the page."""
        pages = [name or "" for name in column(table, page)]
        names = [name or "" for name in column(table, "id")]
        styles = [name or "" for name in column(table, "style")]
        hashes = id_hashes(pages, self._seed)
        wanted = np.flatnonzero(hashes < self.rows.limit) if self.rows.limit < 1 << 64 else np.arange(len(table))
        texts = table.column("text").combine_chunks().take(pa.array(wanted))
        signatures, words = self._minhash.signatures(texts)
        place = {row: number for number, row in enumerate(wanted.tolist())}

        def row(number: int) -> Row:
            at = place[number]
            return Row(pages[number], styles[number], signatures[at].copy(), int(words[at]))

        self.rows.add(hashes, names, row)
        self._add_digests(table, names)

    def _add_digests(self, table: pa.Table, names: Sequence[str]) -> None:
        """Equal texts have equal digests, so that a sample of digests has all texts of each: its share is unbiased."""
        digests = [_digest(text) for text in table.column("text").to_pylist()]
        hashes = np.array([int.from_bytes(digest[:8], "big") for digest in digests], np.uint64)
        self._digests.add(hashes, names, lambda number: digests[number])

    def exact(self) -> dict[str, Any]:
        """Texts equal to another one but for white space at the ends."""
        digests = self._digests.values
        distinct, counts = (
            np.unique(np.array(digests, "S16"), return_counts=True) if digests else ((), np.zeros(0, int))
        )
        more = len(digests) - len(distinct)
        share = round(more / len(digests), 6) if digests else None
        largest = int(counts.max()) if len(distinct) else 0
        return {"texts": len(digests), "sampled": round(self._digests.share, 6), "share": share, "largest": largest}


def _digest(text: str | None) -> bytes:
    # 0 bytes at the end would be cut off by numpy's strings of bytes: hexadecimal digits have none.
    return hashlib.blake2b((text or "").strip().encode("utf-8", "replace"), digest_size=8).hexdigest().encode()


def near_duplicates(outputs: NearSample, sources: NearSample) -> dict[str, Any]:
    """Shares of the sampled outputs that nearly equal another output, their own page, or another page.

    Where pages were sampled more thinly than outputs, only outputs of pages that both have are compared with pages.
    """
    rows = [row for row in outputs.rows.values if row.words >= MinHash().shingle_words]
    pages = [row for row in sources.rows.values if row.words >= MinHash().shingle_words]
    result: dict[str, Any] = {
        "outputs": len(rows),
        "sampled": round(outputs.rows.share, 6),
        "pages": len(pages),
        "pages_sampled": round(sources.rows.share, 6),
        "exact": outputs.exact(),
        "share": None,
        "own_page_share": None,
        "other_page_share": None,
        "by_style": {},
    }
    if not rows:
        return result
    signatures = np.stack([row.signature for row in rows])
    alike = np.zeros(len(rows), bool)
    alike[np.unique(_pairs(signatures))] = True
    result["share"] = round(float(alike.mean()), 6)
    styles = np.array([row.style for row in rows])
    result["by_style"] = {str(name): round(float(alike[styles == name].mean()), 6) for name in np.unique(styles)}
    if pages:
        own, other = _against(rows, signatures, pages)
        result |= {"own_page_share": round(own, 6), "other_page_share": round(other, 6)}
    return result


def _against(rows: Sequence[Row], signatures: npt.NDArray[np.uint64], pages: Sequence[Row]) -> tuple[float, float]:
    """Shares of outputs like their own page, and like another one."""
    known = {page.page: number for number, page in enumerate(pages)}
    own = [(number, known[row.page]) for number, row in enumerate(rows) if row.page in known]
    page_signatures = np.stack([page.signature for page in pages])
    like_own = sum(_agreement(signatures[a], page_signatures[b]) >= SIMILAR for a, b in own)
    pairs = _pairs(np.concatenate((signatures, page_signatures)), len(rows))
    others = {int(a) for a, b in pairs if rows[a].page != pages[b - len(rows)].page}
    return like_own / len(own) if own else 0.0, len(others) / len(rows)


def _agreement(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    return float((one == other).mean())


def _pairs(signatures: npt.NDArray[np.uint64], first_of_others: int | None = None) -> npt.NDArray[np.int64]:
    """(k, 2): places of texts that share a band and agree in SIMILAR of their values, the lower place first.

    In each group of a band all are compared with the group's first, which is linear in the sample. first_of_others:
    only pairs of a text before that place with one from there on; then the group's first one from there on is compared.
    """
    found = [np.zeros((0, 2), np.int64)]
    for band in range(_BANDS):
        part = np.ascontiguousarray(signatures[:, band * _ROWS : (band + 1) * _ROWS])
        keys = part.view([("", np.uint64)] * _ROWS).ravel()
        _, group = np.unique(keys, return_inverse=True)
        group = group.ravel()
        order = np.lexsort((np.arange(len(group)), group))
        if first_of_others is not None:
            order = np.lexsort((np.arange(len(group)), np.arange(len(group)) < first_of_others, group))
        begins = np.flatnonzero(np.concatenate(([True], np.diff(group[order]) > 0)))
        leads = np.repeat(order[begins], np.diff(np.concatenate((begins, [len(order)]))))
        pairs = np.stack((np.minimum(leads, order), np.maximum(leads, order)), axis=1)[leads != order]
        if first_of_others is not None:
            pairs = pairs[(pairs[:, 0] < first_of_others) & (pairs[:, 1] >= first_of_others)]
        found.append(pairs)
    every = np.unique(np.concatenate(found), axis=0)
    agree = (signatures[every[:, 0]] == signatures[every[:, 1]]).mean(axis=1) if len(every) else np.zeros(0)
    kept: npt.NDArray[np.int64] = every[agree >= SIMILAR]
    return kept
