"""What occurs again in a corpus: distinct hashes of each group, put together by ranges, and back to the groups.

Lines, paragraphs, windows of sentences or of words are all hashes here. A group writes each of its distinct hashes
once, with how often it has it; so a line that stands on every page of the web is as many records as there are groups
and no task gets a heap of them. Order is that of the groups and, inside a group, of its documents: the first
occurrence of a hash is in the first group that has it, and which one it is that group sees when it reads on.

Hashes have 64 bits: among 10^10 different spans about three pairs share one by chance (n^2 / 2^65). Where that is too
much, a record has 24 bits more, its `check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.barrier import TaskOutput
from tokenmill.core.errors import ConfigError
from tokenmill.dedup import candidates
from tokenmill.dedup.keyfile import RANGES, KeyFile
from tokenmill.io.filesystem import open_binary

REPEATED = pa.schema([("key", pa.uint64()), ("check", pa.uint32()), ("first", pa.bool_()), ("times", pa.uint32())])
"""Repeated hashes of one group. first: the corpus has it here for the first time. times: in the whole corpus."""
RECORDS_OF_DOCUMENT = 128
"""Distinct hashes that a document may have before ranges of keys become larger than a task."""
SAMPLED = 200
"""So many of the most frequent hashes, and as many drawn by their hash, are shown to people."""

_SHIFT, _MOST = np.uint32(8), np.uint32(255)
"""Below the check of a record is how often its group has it, up to 255."""

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Slice(NamedTuple):
    """The records of one task: bands of the files of keys, and a range of keys."""

    bands: range
    part: int
    parts: int

    @property
    def name(self) -> str:
        return f"bands-{self.bands.start:03d}-{self.bands.stop:03d}.range-{self.part:03d}-of-{self.parts:03d}"


def bands_for(documents: int) -> int:
    """Bands of the files of keys, a power of two: 256 ranges of each are tasks of a bearable size."""
    bands = 1
    while bands < 256 and documents * RECORDS_OF_DOCUMENT > bands * RANGES * candidates.TASK_RECORDS:
        bands *= 2
    return bands


def slices(records: int, bands: int) -> list[Slice]:
    """The tasks for so many records in all bands together, each of about `candidates.TASK_RECORDS`."""
    each = records // bands
    parts = 1
    while each / parts > candidates.TASK_RECORDS and parts < RANGES:
        parts *= 2
    together = max(1, min(bands, candidates.TASK_RECORDS // max(each // parts, 1)))
    starts = range(0, bands, together)
    return [Slice(range(first, min(first + together, bands)), part, parts) for first in starts for part in range(parts)]


def in_bands(keys: Keys, numbers: Counts, bands: int) -> list[tuple[Keys, Counts]]:
    """Records by the last bits of their keys, as `keyfile.write_keys` wants them."""
    if bands == 1:
        return [(keys, numbers)]
    places = keys & np.uint64(bands - 1)
    return [(keys[places == band], numbers[places == band]) for band in range(bands)]


def distinct(keys: Keys) -> tuple[Keys, Counts]:
    """Hashes without 0, each once, and how often each occurs. ConfigError above 4.29 billion hashes."""
    if len(keys) >= 2**32:
        raise ConfigError(f"a group of shards has {len(keys)} spans", fix="split the input into more files")
    found, counts = np.unique(keys, return_counts=True)
    start = int(len(found) > 0 and found[0] == 0)
    return found[start:], counts[start:].astype(np.uint32)


def distinct_checked(keys: Keys, checks: Keys) -> tuple[Keys, Counts]:
    """Hashes of 64 and 24 bits, each pair once: (keys, numbers), the number being the check and a count up to 255."""
    short = (checks >> np.uint64(40)).astype(np.uint32)
    order = np.lexsort((short, keys))
    keys, short = keys[order], short[order]
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = (keys[1:] != keys[:-1]) | (short[1:] != short[:-1])
    starts = np.flatnonzero(begins)
    counts = np.minimum(np.diff(starts, append=len(keys)), _MOST).astype(np.uint32)
    return keys[starts], short[starts] << _SHIFT | counts


class _Runs(NamedTuple):
    """Records of a slice in order, and their runs of equal ones. weights: how often the owner, a group, has it."""

    keys: Keys
    checks: Counts
    weights: Counts
    owners: Counts
    starts: Places
    sizes: Places
    times: Places


def find_repeated(
    part: Slice,
    files: Sequence[str],
    out: TaskOutput,
    *,
    more_than: int = 1,
    first: bool = True,
    overlap: bool = False,
    checked: bool = False,
) -> dict[str, Any]:
    """Write the hashes of a slice that occur more than `more_than` times: one batch of `REPEATED` per group.

    files: the file of keys of each group. first: mark the first occurrence. overlap: even a group that has nothing
    but the first must know it. checked: the records are those of `distinct_checked`. Also writes `SAMPLED` of the
    hashes. Memory: 80 bytes a record.
    """
    runs = _runs(part, files, checked, out)
    chosen = runs.times > more_than
    rows = np.flatnonzero(np.repeat(chosen, runs.sizes))
    times = np.minimum(np.repeat(runs.times[chosen], runs.sizes[chosen]), 2**32 - 1).astype(np.uint32)
    heads = np.zeros(len(runs.keys), np.bool_)
    heads[runs.starts] = first
    if first and not overlap:
        useful = ~(heads & (runs.weights == 1))[rows]
        rows, times = rows[useful], times[useful]
    order = np.argsort(runs.owners[rows], kind="stable")
    rows, times = rows[order], times[order]
    bounds = np.searchsorted(runs.owners[rows], np.arange(len(files) + 1))
    columns = [runs.keys[rows], runs.checks[rows], heads[rows], times]
    whole = pa.record_batch([pa.array(column) for column in columns], schema=REPEATED)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(out.path("repeated", ".arrow"), "wb") as sink,
        pa.ipc.new_file(sink, REPEATED, options=options) as writer,
    ):
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            writer.write_batch(whole.slice(start, stop - start))
    _write_samples(runs, chosen, out)
    repeated, occurrences = int(chosen.sum()), int(runs.times[chosen].sum())
    return {
        "rows_of": {"repeated": len(rows)},
        "records": len(runs.keys),
        "repeated": repeated,
        "occurrences": occurrences,
        "removed": occurrences - repeated if first else occurrences,
    }


def _runs(part: Slice, files: Sequence[str], checked: bool, out: TaskOutput) -> _Runs:
    keys, numbers, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)], [np.zeros(0, np.uint32)]
    for owner, path in enumerate(files):
        with KeyFile(path) as file:
            for band in part.bands:
                one, values = file.slice(band, part.part, part.parts)
                keys.append(one)
                numbers.append(values)
                owners.append(np.full(len(one), owner, np.uint32))
        out.alive()
    every, values, groups = np.concatenate(keys), np.concatenate(numbers), np.concatenate(owners)
    for parts in (keys, numbers, owners):
        parts.clear()
    checks = values >> _SHIFT if checked else np.zeros(len(values), np.uint32)
    weights = values & _MOST if checked else values
    # both sorts are stable: records that are equal stay in the order of their groups
    order = np.lexsort((checks, every)) if checked else np.argsort(every, kind="stable")
    every, checks, weights, groups = every[order], checks[order], weights[order], groups[order]
    begins = np.ones(len(every), np.bool_)
    begins[1:] = (every[1:] != every[:-1]) | (checks[1:] != checks[:-1])
    starts = np.flatnonzero(begins)
    sizes = np.diff(starts, append=len(every))
    times = np.add.reduceat(weights, starts, dtype=np.int64) if len(starts) else np.zeros(0, np.int64)
    return _Runs(every, checks, weights, groups, starts, sizes, times)


SAMPLES = pa.schema([("key", pa.uint64()), ("times", pa.int64()), ("group", pa.uint32()), ("chosen", pa.string())])
"""Hashes to be shown, with the number of the first group that has each, and why: `frequent` or `drawn`."""


def _write_samples(runs: _Runs, chosen: Mask, out: TaskOutput) -> None:
    heads = runs.starts[chosen]
    keys, groups = runs.keys[heads], runs.owners[heads]
    table = pa.table([pa.array(column) for column in (keys, runs.times[chosen], groups)], names=SAMPLES.names[:3])
    _write(_best(table), out.path("samples", ".arrow"))


def _best(found: pa.Table) -> pa.Table:
    """The `SAMPLED` most frequent rows, and then others by their mixed keys, which have no order of their own."""
    keys, times = found.column("key").to_numpy(), found.column("times").to_numpy()
    frequent = np.lexsort((keys, -times))[:SAMPLED]
    rest = np.setdiff1d(np.arange(len(keys)), frequent)
    drawn = rest[np.lexsort((keys[rest], keys[rest] * np.uint64(0x9E3779B97F4A7C15)))][:SAMPLED]
    rows = found.select(SAMPLES.names[:3]).take(pa.array(np.concatenate([frequent, drawn])))
    why = pa.array(["frequent"] * len(frequent) + ["drawn"] * len(drawn), pa.string())
    return rows.append_column("chosen", why).cast(SAMPLES)


def merge_samples(paths: Sequence[str], out: TaskOutput) -> dict[str, Any]:
    """The samples of the whole corpus from those of all slices."""
    tables = [SAMPLES.empty_table(), *(load(path) for path in paths)]
    best = _best(pa.concat_tables(tables).combine_chunks())
    _write(best, out.path("chosen", ".arrow"))
    return {"rows_of": {"chosen": len(best)}}


def load(path: str) -> pa.Table:
    """A whole file of Arrow batches."""
    with open_binary(path) as stream:
        return pa.ipc.open_file(stream).read_all()


def _write(table: pa.Table, path: str) -> None:
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


class Marks:
    """Hashes to be found again in the documents of a group, in order; it remembers which it has seen.

    keys, checks: what is looked for, in any order. first: where the first one in the group is told from the others.
    """

    def __init__(self, keys: Keys, checks: Counts, first: Mask, times: Counts) -> None:
        order = np.lexsort((checks, keys))
        self._keys, self._checks, self._awaited = keys[order], checks[order], first[order]
        self.times = times[order]

    @classmethod
    def of_group(cls, paths: Sequence[str], number: int) -> Marks:
        """The repeated hashes of a group, from the files of all slices."""
        found = [pa.Table.from_batches([], REPEATED)]
        for path in paths:
            with open_binary(path) as stream:
                found.append(pa.Table.from_batches([pa.ipc.open_file(stream).get_batch(number)]))
        table = pa.concat_tables(found)
        return cls(*(table.column(name).to_numpy() for name in REPEATED.names))

    def find(self, keys: Keys, checks: Keys | None = None) -> Places:
        """The place of each hash among those looked for, -1 where it is none of them. checks: all 64 bits of them."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        places = np.searchsorted(self._keys, keys)
        last = len(self._keys) - 1
        short = np.zeros(len(keys), np.uint32) if checks is None else (checks >> np.uint64(40)).astype(np.uint32)
        while True:
            seen = np.minimum(places, last)
            same = (places <= last) & (self._keys[seen] == keys)
            behind = same & (self._checks[seen] < short)  # several checks of one key follow each other
            if not behind.any():
                return np.where(same & (self._checks[seen] == short), places, -1)
            places += behind

    def firsts(self, places: Places) -> Mask:
        """Which of the places, from `find`, are the first of a hash of which the first is told from the others."""
        found = np.zeros(len(places), np.bool_)
        rows = np.flatnonzero(places >= 0)
        rows = rows[self._awaited[places[rows]]]
        _, which = np.unique(places[rows], return_index=True)
        found[rows[which]] = True
        self._awaited[places[rows]] = False
        return found
