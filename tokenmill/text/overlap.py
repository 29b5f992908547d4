"""Overlap: which of many known passages (items of benchmarks) occur in texts, verbatim or nearly so.

Texts and passages are compared as sequences of folded words: case, diacritics, punctuation, quotes, and how lines are
broken or hyphenated make no difference (`tokenmill.text.overlap_tables`). In scripts that are written without spaces
every character is a word.

Two kinds of passages:

- long ones, of `NGRAM` words and more, are found by the share of their distinct runs of `NGRAM` words (grams) that
  occur in a text. Grams that belong to more than `max_owners` items are phrases, not evidence, and are left out. A
  passage that consists mostly of them must occur as a whole. Runs of 13 words are counted too: six grams in a row.
- short ones, of `SEED_WORDS` words and more, must occur as they are, and their answer must begin within
  `ANSWER_WITHIN` words behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.text.linear import fixed
from tokenmill.text.spans import text_bytes

NGRAM, SEED_WORDS, ANSWER_WITHIN = 8, 4, 32
"""As in `overlap_kernel`, which is not imported before it is used."""
_BITS_PER_KEY = 24
_RARE_SHARE = 0.5
"""A passage is weak where a smaller share of its grams belongs to few items."""

Hashes = npt.NDArray[np.uint64]
Cuts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """What was found in a column of texts. All arrays are as long as there are (text, passage) pairs, sorted so."""

    text: npt.NDArray[np.int64]
    passage: npt.NDArray[np.int64]
    matched: npt.NDArray[np.int64]
    """Distinct grams of the passage that occur in the text; 1 for a short passage."""
    total: npt.NDArray[np.int64]
    """Grams of the passage."""
    thirteens: npt.NDArray[np.int64]
    """Runs of 13 words of the passage that occur in the text."""
    spans: npt.NDArray[np.int64]
    """(k, 4): text, first byte and byte behind the last of a run of words that was found, and its passage; empty
    unless asked for."""

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """Share of the passage that was found, 0 to 1."""
        return self.matched / self.total


def word_hashes(texts: pa.Array) -> tuple[Hashes, Cuts]:
    """Hashes of the folded words: those of text i are hashes[cuts[i]:cuts[i + 1]]. A null has none."""
    from tokenmill.text.overlap_kernel import words_batch
    from tokenmill.text.overlap_tables import folding

    cuts = np.zeros(len(texts) + 1, np.int64)
    return words_batch(*text_bytes(texts), folding(), cuts), cuts


class OverlapIndex:
    """Passages to be found. It does not change, and can be used from any thread.

    About 30 bytes per distinct gram. `arrays` and `of` take it to pieces and together, for files.
    """

    def __init__(self, passages: Any, findable: npt.NDArray[np.bool_]) -> None:
        """passages: `overlap_kernel.Passages`. Use `build` or `of`."""
        self.passages = passages
        self.findable = findable
        """Per passage, whether it can be found: those that are too short, or have no gram of their own, never are."""

    @classmethod
    def build(
        cls, long: pa.Array, owners: Sequence[int], short: pa.Array, answers: pa.Array, *, max_owners: int = 16
    ) -> OverlapIndex:
        """long: passages; owners[i] is the benchmark item of long[i]. short: passages; answers[i], which may be "",
        follows short[i]. Passages are numbered in this order, short ones behind long ones.
        """
        from tokenmill.text.overlap_kernel import Passages

        hashes, cuts = word_hashes(long)
        lookup, bounds, positions, weak = _long_lookup(hashes, cuts, np.asarray(owners, np.int64), max_owners)
        words, word_cuts = word_hashes(short)
        seeds = np.flatnonzero(np.diff(word_cuts) >= SEED_WORDS)
        keys = _grams(words, word_cuts, SEED_WORDS)
        begins = np.concatenate(([0], np.cumsum(np.maximum(np.diff(word_cuts) - SEED_WORDS + 1, 0))))[:-1]
        answer_words, answer_cuts = word_hashes(answers)
        bounds = np.concatenate((bounds, bounds[-1] + 1 + np.arange(len(short))))
        weak = np.concatenate((weak, np.zeros(len(short), bool)))
        seeded = _lookup(keys[begins[seeds]], seeds)
        findable = np.diff(bounds) > 0
        findable[len(long) :] = np.diff(word_cuts) >= SEED_WORDS
        made = Passages(lookup, seeded, bounds, positions, weak, words, word_cuts, answer_words, answer_cuts)
        return cls.of({**_arrays(made), "findable": findable})

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> OverlapIndex:
        """The index that `arrays` took to pieces. KeyError where one is missing; that they fit is not checked."""
        from tokenmill.text.overlap_kernel import Lookup, Passages

        given = {name: fixed(np.asarray(array)) for name, array in arrays.items()}
        lookups = {
            kind: Lookup(
                **{name: given[f"{kind}_{name}"] for name in ("keys", "first", "bits", "starts", "numbers")},
                **{name: np.uint64(given[f"{kind}_{name}"][0]) for name in ("shift", "mask")},
            )
            for kind in ("long", "short")
        }
        rest = {name: given[name] for name in Passages._fields if name not in lookups}
        return cls(Passages(**lookups, **rest), given["findable"])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that it is made of, by name."""
        return {**_arrays(self.passages), "findable": self.findable}

    @property
    def grams(self) -> int:
        """Distinct runs of `NGRAM` words in the index."""
        return len(self.passages.long.keys)

    @property
    def bytes(self) -> int:
        """Memory that the index takes."""
        return sum(array.nbytes for array in self.arrays().values())

    def search(self, texts: pa.Array, *, min_share: float = 0.5, min_runs: int = 1, spans: bool = False) -> Found:
        """Passages of which at least `min_share`, or `min_runs` runs of 13 words, occur in each text. A null has
        none."""
        from tokenmill.text.overlap_kernel import matches_batch
        from tokenmill.text.overlap_tables import folding

        data, offsets = text_bytes(texts)
        rows, places = matches_batch(data, offsets, folding(), self.passages, float(min_share), min_runs, spans)
        text, passage, matched, total, thirteens = np.ascontiguousarray(rows.T)
        return Found(text, passage, matched, total, thirteens, places)


def _arrays(passages: Any) -> dict[str, npt.NDArray[Any]]:
    found = {name: array for name, array in passages._asdict().items() if name not in ("long", "short")}
    for kind in ("long", "short"):
        for name, part in getattr(passages, kind)._asdict().items():
            found[f"{kind}_{name}"] = np.atleast_1d(part)
    return found


def _grams(hashes: Hashes, cuts: Cuts, width: int) -> Hashes:
    from tokenmill.text.overlap_kernel import grams_batch

    out = np.empty(int(np.maximum(np.diff(cuts) - width + 1, 0).sum()), np.uint64)
    grams_batch(hashes, cuts, width, out)
    return out


def _long_lookup(
    hashes: Hashes, cuts: Cuts, owners: npt.NDArray[np.int64], max_owners: int
) -> tuple[Any, Cuts, npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The lookup of all grams that count, where those of each passage begin, at which word each begins, and which
    passages are weak.
    """
    counts = np.maximum(np.diff(cuts) - NGRAM + 1, 0)
    keys = _grams(hashes, cuts, NGRAM)
    passage = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    number = np.unique(keys, return_inverse=True)[1].astype(np.int32)
    rare = (_owners(number, owners.astype(np.int32)[passage]) <= max_owners)[number]
    once = _firsts(passage, number)
    distinct = np.bincount(passage[once], minlength=len(counts))
    weak = np.bincount(passage[once & rare], minlength=len(counts)) < _RARE_SHARE * distinct
    kept = np.flatnonzero(once & (rare | weak[passage]))
    passage = passage[kept]
    starts = np.concatenate(([0], np.cumsum(counts)))
    positions = (kept - starts[passage]).astype(np.int32)
    bounds = np.concatenate(([0], np.cumsum(np.bincount(passage, minlength=len(counts))))).astype(np.int64)
    return _lookup(keys[kept], np.arange(len(kept))), bounds, positions, weak


def _owners(number: npt.NDArray[np.int32], owner: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """How many distinct owners each number has."""
    pairs = np.unique(number.astype(np.int64) << 32 | owner)
    return np.bincount(pairs >> 32, minlength=1)


def _firsts(passage: npt.NDArray[np.int32], number: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which grams are the first of their number in their passage."""
    pairs = passage.astype(np.int64) << 32 | number
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    first = np.ones(len(pairs), bool)
    first[order[1:]] = pairs[1:] != pairs[:-1]
    return first


def _lookup(keys: Hashes, numbers: npt.NDArray[np.int64]) -> Any:
    """A lookup in which keys[i] has numbers[i], and perhaps more."""
    from tokenmill.text.overlap_kernel import Lookup

    order = np.argsort(keys, kind="stable")
    distinct, first = np.unique(keys[order], return_index=True)
    high = max(len(distinct).bit_length(), 1)
    shift = np.uint64(64 - high)
    edges = np.arange((1 << high) + 1, dtype=np.uint64)
    directory = np.searchsorted(distinct >> shift, edges).astype(np.int32)
    size = 1 << max(6, (len(distinct) * _BITS_PER_KEY).bit_length() - 1)
    mask = np.uint64(size - 1)
    bits = np.zeros(size // 64, np.uint64)
    low = distinct & mask
    np.bitwise_or.at(bits, (low >> np.uint64(6)).astype(np.int64), np.uint64(1) << (low & np.uint64(63)))
    starts = np.concatenate((first, [len(keys)])).astype(np.int32)
    return Lookup(distinct, directory, shift, bits, mask, starts, numbers[order].astype(np.int32))
