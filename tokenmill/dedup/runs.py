"""Runs of words or sentences to be cut: windows that occur elsewhere, without the windows that must stay."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput
from tokenmill.dedup.removal import SHOWN_CHARACTERS
from tokenmill.text.substring import window_text

SHOWN = 20
"""So many of the most frequent passages of each group of shards, and as many drawn by their hash, are shown."""
PASSAGES = pa.schema(
    [
        ("text", pa.string()),
        ("times", pa.int64()),
        ("words", pa.int64()),
        ("doc_id", pa.string()),
        ("first_word", pa.int64()),
        ("chosen", pa.string()),
    ]
)
"""Removed passages for people to look at. times: occurrences of its first window in the corpus. doc_id,
first_word: where it was removed. chosen: `frequent` or `drawn`."""

Places = npt.NDArray[np.int64]
_DOCUMENT = 40
"""Bits of the places of a document's words in the line of all words of a batch."""
_WORD = (1 << _DOCUMENT) - 1


class Runs(NamedTuple):
    """Runs of words, or of sentences, of a batch of documents, in order."""

    starts: Places
    lengths: Places
    offsets: Places
    """Those of document i are starts[offsets[i]:offsets[i + 1]]."""
    windows: Places
    """For each run, which of the windows is the last that covers its first word."""

    def without(self, short: npt.NDArray[np.bool_]) -> Runs:
        """Only the runs that are not short."""
        kept = np.flatnonzero(~short)
        return Runs(self.starts[kept], self.lengths[kept], np.searchsorted(kept, self.offsets), self.windows[kept])


def runs_of(starts: Places, offsets: Places, words: int, gone: Any, stays: Any) -> Runs:
    """Words that a window of `gone` covers and none of `stays`, in runs of at least `words`, which windows have.

    starts, offsets: first word of the windows of each document, ascending. gone, stays: masks over the windows.
    """
    documents = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    line = (documents << _DOCUMENT) + starts
    begins, ends = _union(line[gone], words)
    stay_begins, stay_ends = _union(line[stays], words)
    points = np.unique(np.concatenate([begins, ends, stay_begins, stay_ends]))
    cut = _inside(points, begins, ends) & ~_inside(points, stay_begins, stay_ends)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], cut, [False]]).astype(np.int8)))
    first, last = points[edges[::2]], points[edges[1::2]]
    long = last - first >= words
    first, last = first[long], last[long]
    cuts = np.searchsorted(first, np.arange(len(offsets)) << _DOCUMENT)
    rows = np.flatnonzero(gone)
    windows = rows[np.searchsorted(line[rows], first, side="right") - 1]
    return Runs(first & _WORD, last - first, cuts, windows)


def _union(line: Places, words: int) -> tuple[Places, Places]:
    """First words, and ends, of what windows that begin at the sorted places cover together."""
    new = np.ones(len(line), np.bool_)
    new[1:] = line[1:] > line[:-1] + words
    starts = np.flatnonzero(new)
    lasts = np.append(starts[1:], len(line)) - 1 if len(line) else starts
    return line[starts], line[lasts] + words


def _inside(points: Places, begins: Places, ends: Places) -> npt.NDArray[np.bool_]:
    """Whether the word at each point is in one of the stretches, which ascend and do not overlap."""
    if not len(begins):
        return np.zeros(len(points), np.bool_)
    at = np.searchsorted(begins, points, side="right") - 1
    return (at >= 0) & (points < ends[np.maximum(at, 0)])


class Shown:
    """The passages of a group that people see."""

    def __init__(self) -> None:
        self._frequent: dict[int, dict[str, Any]] = {}
        self._drawn: dict[int, dict[str, Any]] = {}

    def add(self, ids: pa.Array, texts: pa.Array, runs: Runs, keys: npt.NDArray[np.uint64], times: Any) -> None:
        """Consider the runs of a batch. keys, times: hash of the window at each run's start, and its occurrences."""
        if not len(keys):
            return
        mixed = keys * np.uint64(0x9E3779B97F4A7C15)
        for best, order, size in (
            (self._frequent, np.lexsort((keys, -times)), -times),
            (self._drawn, np.lexsort((keys, mixed)), mixed),
        ):
            for run in order[: 4 * SHOWN].tolist():  # a passage may be there several times
                key = int(keys[run])
                worst = max(best.values(), key=_rank)["rank"] if len(best) >= SHOWN else None
                rank = (int(size[run]), key)
                if key in best or (worst is not None and rank >= worst):
                    continue
                best[key] = {**_passage(ids, texts, runs, run, int(times[run])), "rank": rank}
                if len(best) > SHOWN:
                    del best[max(best, key=lambda one: best[one]["rank"])]

    def write(self, out: TaskOutput) -> dict[str, int]:
        """Write them, the most frequent first; nothing where the group has none."""
        found: list[dict[str, Any]] = []
        drawn = [passage for key, passage in self._drawn.items() if key not in self._frequent]
        for chosen, passages in (("frequent", list(self._frequent.values())), ("drawn", drawn)):
            found += [{**passage, "chosen": chosen} for passage in sorted(passages, key=_rank)]
        if not found:
            return {}
        for passage in found:
            del passage["rank"]
        pq.write_table(pa.Table.from_pylist(found, PASSAGES), out.path("passages", ".parquet"), compression="zstd")
        return {"passages": len(found)}


def _rank(passage: dict[str, Any]) -> Any:
    return passage["rank"]


def _passage(ids: pa.Array, texts: pa.Array, runs: Runs, run: int, times: int) -> dict[str, Any]:
    row = int(np.searchsorted(runs.offsets, run, side="right")) - 1
    first, words = int(runs.starts[run]), int(runs.lengths[run])
    text = window_text(texts[row].as_py(), words, first)[:SHOWN_CHARACTERS]
    return {"text": text, "times": times, "words": words, "doc_id": ids[row].as_py(), "first_word": first}


def numbers_of(
    starts: npt.NDArray[Any], lengths: npt.NDArray[Any], offsets: Places
) -> tuple[npt.NDArray[np.uint32], Places]:
    """Every word of every run: (numbers, offsets)."""
    sizes = lengths.astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.arange(ends[-1]) - np.repeat(ends[:-1], sizes) + np.repeat(starts.astype(np.int64), sizes)
    return numbers.astype(np.uint32), ends[offsets]
