"""`SubstringDedup`: exact runs of words that a corpus has more than once, as a barrier of five steps.

keys     per group of shards: the distinct fingerprints of its documents
anchors  per range of hashes: fingerprints that occur twice, for every group that has them
windows  per group: the windows of words around those, from the texts
repeats  per range of hashes: windows that occur twice, and which occurrence is the first
table    per group: one row per document, with the runs of words that go
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.barrier import JOINED, ShardData, TaskOutput, Work
from tokenmill.core.errors import ConfigError
from tokenmill.core.kernels import Kernel
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import Barrier
from tokenmill.dedup import groups
from tokenmill.dedup.groups import Group
from tokenmill.dedup.keyfile import write_keys
from tokenmill.dedup.removal import batches_of, lists_of, outcome, outcome_kernels, parts_of, warm_up, write_shards
from tokenmill.dedup.repeats import Marks, Slice, bands_for, distinct, distinct_checked, find_repeated, in_bands, slices
from tokenmill.dedup.runs import Runs, Shown, numbers_of, runs_of
from tokenmill.dedup.scope import salts
from tokenmill.text.substring import fingerprints, run_bytes, windows, without_windows

MOST_DOCUMENTS = 250_000
"""Documents of a group in large runs: 120 windows of each (a crawl without other deduplication) are 2 GB."""
TABLE = pa.schema([("doc_id", pa.string()), ("first_words", pa.list_(pa.uint32())), ("words", pa.list_(pa.uint32()))])
"""One row per document. first_words, words: first word and length of each run that goes; null where it took no part."""
COLUMNS = ("repeated_words_removed", "repeated_words_removed_bytes")


class _Windows(NamedTuple):
    """Windows with anchors of a batch."""

    batch: pa.RecordBatch
    keys: npt.NDArray[np.uint64]
    checks: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


class SubstringDedup(Barrier):
    """Removes passages of at least `min_words` words that stand word for word somewhere before.

    Every window of `min_words` words that occurs twice keeps its first occurrence, whole: a passage goes only where
    each of its words is in a window that stays elsewhere, and what must stay as the first occurrence of something else
    is not cut. Which is first follows the names of the inputs, the order in them, and the text. So a passage inside a
    document goes as well where the document repeats itself.

    Words are what stands between white space, with case and punctuation; how they are spaced does not count. In
    scripts without spaces every character is a word. Windows are compared by 88 bits of hash. A document of which
    nothing is left is dropped as `all_repeated`.

    Lee et al. 2022 (arXiv:2107.06499) and RefinedWeb (arXiv:2306.01116) remove runs of 50 tokens by suffix arrays.
    """

    name: ClassVar[str] = "substring_dedup"
    keeps_text: ClassVar[bool] = False
    adds: ClassVar[Mapping[str, pa.DataType]] = dict.fromkeys(COLUMNS, pa.int64())
    steps: ClassVar[tuple[str, ...]] = ("keys", "anchors", "windows", "repeats", "table")
    published: ClassVar[Mapping[str, str]] = {"table": "", "passages": "passages"}
    table: ClassVar[Mapping[str, pa.DataType]] = {name: TABLE.field(name).type for name in ("first_words", "words")}

    min_words: int = 50
    """Words of the shortest passage that is removed."""
    min_bytes: int = 200
    """Passages with fewer bytes stay. Fifty English words have 300; in a script without spaces, where a word is a
    character, this asks for 67 of them, and it keeps rows of numbers."""
    scope: tuple[str, ...] = ()
    """Columns within whose values documents are compared: ("dump",) for each crawl by itself, ("language",); empty:
    all with all. A null counts as a value."""
    min_words_left: int = 0
    """Documents that lost passages and have fewer words left are dropped as `too_short`; what they were the first to
    have goes with them."""

    def __post_init__(self) -> None:
        for name, least in (("min_words", 2), ("min_bytes", 0), ("min_words_left", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{self.name}.{name}={getattr(self, name)} is too small", fix=f"at least {least}")

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(("text", *self.scope)))

    @property
    def _hashes(self) -> str:
        return f"_{type(self).name}_hashes"

    @property
    def _positions(self) -> str:
        return f"_{type(self).name}_positions"

    def prepares(self) -> Mapping[str, pa.DataType]:
        return {self._hashes: pa.list_(pa.uint64()), self._positions: pa.list_(pa.uint32())}

    def kernels(self) -> Sequence[Kernel]:
        return (Kernel("tokenmill.dedup.substring:warm_up_windows", 15), *outcome_kernels(self.min_words_left))

    def setup(self) -> None:
        warm_up_windows()
        warm_up(self.min_words_left)

    def prepare(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        hashes, positions, offsets = fingerprints(batch.column("text"), self.min_words)
        hashes = np.maximum(_salted(hashes, offsets, salts(batch, self.scope)), np.uint64(1))
        return {self._hashes: lists_of(hashes, offsets), self._positions: lists_of(positions, offsets)}

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        if step in ("anchors", "repeats"):
            return [part.name for part in self._slices(step, work)]
        return [one.name for one in self._groups(work)]

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        if step in ("anchors", "repeats"):
            files = [task.paths["keys"] for task in work.outputs(_BEFORE[step])]
            last = step == "repeats"
            return find_repeated(self._slices(step, work)[number], files, out, first=last, overlap=last, checked=last)
        mine = self._groups(work)[number]
        bands = bands_for(sum(shard.rows for shard in work.shards))
        if step == "keys":
            return self._write_keys(mine, bands, out)
        anchors = Marks.of_group([task.paths["repeated"] for task in work.outputs("anchors")], number)
        if step == "windows":
            return self._write_windows(mine, anchors, bands, out)
        repeated = Marks.of_group([task.paths["repeated"] for task in work.outputs("repeats")], number)
        return self._write_table(mine, anchors, repeated, out)

    def _groups(self, work: Work) -> list[Group]:
        total = sum(shard.rows for shard in work.shards)
        least = min(groups.FEWEST_DOCUMENTS, MOST_DOCUMENTS)
        return groups.group(work.shards, target=min(max(total // groups.GROUPS, least), MOST_DOCUMENTS))

    def _slices(self, step: str, work: Work) -> list[Slice]:
        records = sum(int(task.facts["rows_of"]["keys"]) for task in work.outputs(_BEFORE[step]))
        return slices(records, bands_for(sum(shard.rows for shard in work.shards)))

    def _write_keys(self, mine: Group, bands: int, out: TaskOutput) -> dict[str, Any]:
        parts = [np.zeros(0, np.uint64)]
        for _, _, batch in batches_of(mine, [self._hashes], out):
            parts.append(parts_of(batch.column(0))[0])
        keys, counts = distinct(np.concatenate(parts))
        write_keys(out.path("keys", ".keys"), in_bands(keys, counts, bands), {"keys": "fingerprints"})
        return {**mine.facts(), "rows_of": {"keys": len(keys)}, "fingerprints": sum(map(len, parts))}

    def _write_windows(self, mine: Group, anchors: Marks, bands: int, out: TaskOutput) -> dict[str, Any]:
        keys, checks = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        for _, found in self._windows(mine, anchors, out):
            keys.append(found.keys)
            checks.append(found.checks)
        total = sum(map(len, keys))
        every, values = distinct_checked(np.concatenate(keys), np.concatenate(checks))
        write_keys(out.path("keys", ".keys"), in_bands(every, values, bands), {"keys": "windows"})
        return {**mine.facts(), "rows_of": {"keys": len(every)}, "windows": total}

    def _windows(self, mine: Group, anchors: Marks, out: TaskOutput) -> Iterator[tuple[ShardData, _Windows]]:
        """The windows with anchors of a group's documents, read and hashed again: that costs less than keeping them."""
        columns = list(dict.fromkeys([DOC_ID, *self.reads, self._hashes, self._positions]))
        for shard, _, batch in batches_of(mine, columns, out):
            hashes, offsets = parts_of(batch.column(self._hashes))
            rows = np.flatnonzero(anchors.find(hashes) >= 0)
            positions = parts_of(batch.column(self._positions))[0][rows]
            keys, checks, starts, bounds = windows(
                batch.column("text"), self.min_words, positions, np.searchsorted(rows, offsets)
            )
            keys = _salted(keys, bounds, salts(batch, self.scope))
            yield shard, _Windows(batch, keys, checks, starts.astype(np.int64), bounds)

    def _write_table(self, mine: Group, anchors: Marks, repeated: Marks, out: TaskOutput) -> dict[str, Any]:
        shown = Shown()
        totals = np.zeros(2, np.int64)

        def rows() -> Iterator[tuple[ShardData, pa.RecordBatch]]:
            for shard, found in self._windows(mine, anchors, out):
                batch = found.batch
                places = repeated.find(found.keys, found.checks)
                stays = repeated.firsts(places)
                runs = runs_of(found.starts, found.offsets, self.min_words, (places >= 0) & ~stays, stays)
                runs = self._long_enough(batch.column("text"), runs)
                times = repeated.times[places[runs.windows]].astype(np.int64)
                shown.add(batch.column(DOC_ID), batch.column("text"), runs, found.keys[runs.windows], times)
                totals[:] += len(runs.starts), runs.lengths.sum()
                part = batch.column(self._hashes).is_valid()
                lists = [lists_of(a.astype(np.uint32), runs.offsets, part) for a in (runs.starts, runs.lengths)]
                yield shard, pa.record_batch([batch.column(DOC_ID), *lists], schema=TABLE)

        total = write_shards(out.path("table", ".parquet"), TABLE, rows())
        passages = shown.write(out)
        removed = {"passages": int(totals[0]), "words": int(totals[1])}
        return {**mine.facts(), "rows_of": {"table": total, **passages}, "removed": removed}

    def _long_enough(self, texts: pa.Array, runs: Runs) -> Runs:
        if not self.min_bytes or not len(runs.starts):
            return runs
        starts, lengths = runs.starts.astype(np.uint32), runs.lengths.astype(np.uint32)
        return runs.without(run_bytes(texts, starts, lengths, runs.offsets) < self.min_bytes)

    def apply(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts, removed = batch.column("text"), batch.column(JOINED + "first_words")
        starts, offsets = parts_of(removed)
        lengths, _ = parts_of(batch.column(JOINED + "words"))
        numbers, bounds = numbers_of(starts, lengths, offsets)
        left, gone = without_windows(texts, 1, numbers, bounds)
        return outcome(
            texts, left, gone, removed.is_valid(), columns=COLUMNS, what="words", min_words_left=self.min_words_left
        )

    def describe(self) -> Sequence[str]:
        lines = [
            f"passages of at least {self.min_words} words and {self.min_bytes} bytes that stand word for word before"
            " go; their first occurrence stays"
        ]
        if self.min_words_left:
            lines.append(f"documents that lose some and have fewer than {self.min_words_left} words left are dropped")
        lines.append("compared within equal " + ", ".join(self.scope) if self.scope else "all documents are compared")
        return lines


_BEFORE = {"anchors": "keys", "repeats": "windows"}
"""Step -> the step that wrote its files of keys."""


def _salted(
    hashes: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64], salt: npt.NDArray[np.uint64] | None
) -> npt.NDArray[np.uint64]:
    return hashes if salt is None else hashes ^ np.repeat(salt, np.diff(offsets))


def warm_up_windows() -> None:
    """Compile the kernels, or load them from numba's cache."""
    texts = pa.array(["a b"])
    none, bounds = np.zeros(1, np.uint32), np.array([0, 1])
    fingerprints(texts, 2)
    windows(texts, 2, none, bounds)
    run_bytes(texts, none, none + np.uint32(1), bounds)
    without_windows(texts, 1, none, bounds)
