"""Which published rows a report looks at: all of a small run, a seeded choice of row groups of a large one.

A run may have 90,000 shards and billions of rows. What is held here is bounded by constants: the files with the
smallest hashes of their names, and of these the row groups with the smallest hashes, until there are enough rows.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder

MOST_FILES = 1024
"""Files of a kind that are kept in mind; with more, the others are not opened."""
SPREAD = 4
"""So many times the rows that are wanted may lie in the files that are opened, so that the choice is spread."""
BATCH_ROWS = 4096

KINDS = ("data", "dropped")


class FileChoice:
    """Takes manifests and keeps the names of at most `most` files of each kind, those with the smallest hashes."""

    def __init__(self, most: int = MOST_FILES) -> None:
        self._most = most
        self._heaps: dict[str, list[tuple[int, str, int]]] = {kind: [] for kind in KINDS}
        self.rows: Counter[str] = Counter()
        """Rows by kind, of all files."""
        self.files: Counter[str] = Counter()

    def add(self, manifest: Mapping[str, Any]) -> None:
        """Note the published files of a shard, as its manifest lists them."""
        for file in manifest["files"]:
            kind, path, rows = file["kind"], file["path"], file["rows"]
            if kind not in self._heaps or not rows or path.startswith("phases/") or not path.endswith(".parquet"):
                continue
            self.rows[kind] += rows
            self.files[kind] += 1
            heap = self._heaps[kind]
            entry = (-_hash(path), path, rows)
            if len(heap) < self._most:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)

    def paths(self, kind: str, rows: int) -> list[str]:
        """Files to open for that many rows; all of them where they have no more."""
        ordered = sorted(self._heaps[kind], reverse=True)
        found, sum_of_rows = [], 0
        for _, path, count in ordered:
            if self.rows[kind] > rows and sum_of_rows >= SPREAD * rows:
                break
            found.append(path)
            sum_of_rows += count
        return sorted(found)


@dataclass(frozen=True)
class Part:
    """A row group, or as many of its first rows as are wanted in all.

    lows, highs: smallest and largest values by column, as its statistics say.
    """

    path: str
    group: int
    rows: int
    lows: Mapping[str, float]
    highs: Mapping[str, float]


@dataclass
class Reading:
    """The row groups of a kind that are read. `of`: rows of all published files of the kind."""

    folder: RunFolder
    parts: Sequence[Part]
    of: int
    unreadable: dict[str, None] = field(default_factory=dict)
    """Files that are gone or damaged; people move the data of a run elsewhere."""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def range_of(self, column: str) -> tuple[float, float] | None:
        """Smallest and largest value of a column in what is read; None where no statistics say so."""
        lows = [part.lows[column] for part in self.parts if column in part.lows]
        highs = [part.highs[column] for part in self.parts if column in part.highs]
        return (min(lows), max(highs)) if lows else None

    def batches(
        self, columns: Collection[str], texts: Collection[tuple[str, int]] | None = None
    ) -> Iterator[tuple[Part, pa.RecordBatch]]:
        """Batches of these columns, in order. texts: the row groups whose column `text` is read, too (None: all).

        The text of a row group is read a batch at a time, so that memory is bounded whatever wrote the file.
        """
        by_path: defaultdict[str, list[Part]] = defaultdict(list)
        for part in self.parts:
            by_path[part.path].append(part)
        for path, parts in by_path.items():
            try:
                with open_binary(self.folder.path(path)) as stream:
                    file = pq.ParquetFile(stream)
                    for part in parts:
                        wanted = [name for name in columns if name in file.schema_arrow.names]
                        if "text" in wanted and texts is not None and (part.path, part.group) not in texts:
                            wanted.remove("text")
                        for batch in _first(file, part, wanted):
                            yield part, batch
            except (OSError, pa.ArrowInvalid):
                self.unreadable[path] = None


def _first(file: pq.ParquetFile, part: Part, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a row group that are read."""
    rest = part.rows
    for batch in file.iter_batches(BATCH_ROWS, [part.group], columns=columns):
        yield batch.slice(0, rest)
        rest -= batch.num_rows
        if rest <= 0:
            return


def reading(folder: RunFolder, choice: FileChoice, kind: str, rows: int, ranges: Collection[str] = ()) -> Reading:
    """Choose about that many rows of a kind (never less than a row group), or all of them.

    ranges: columns of which smallest and largest values are wanted.
    """
    found: list[tuple[int, Part]] = []
    unreadable: dict[str, None] = {}
    for path in choice.paths(kind, rows):
        try:
            found += _parts(folder, path, rows, ranges)
        except (OSError, pa.ArrowInvalid):
            unreadable[path] = None
    if sum(part.rows for _, part in found) > rows:
        found = sorted(_enough(found, rows), key=lambda pair: (pair[1].path, pair[1].group))
    return Reading(folder, [part for _, part in found], choice.rows[kind], unreadable)


def _parts(folder: RunFolder, path: str, most: int, ranges: Collection[str]) -> list[tuple[int, Part]]:
    """(hash, row group) of a file."""
    found = []
    with open_binary(folder.path(path)) as stream:
        meta = pq.ParquetFile(stream).metadata
        names = {meta.schema.column(i).path: i for i in range(meta.num_columns)}
        places = {name: names[name] for name in ranges if name in names}
        for group in range(meta.num_row_groups):
            part = _part(path, group, meta.row_group(group), places, most)
            found.append((_hash(f"{path}\0{group}"), part))
    return found


def some_parts(parts: Sequence[Part], rows: int) -> set[tuple[str, int]]:
    """Of row groups that are read, those with the smallest hashes that together have about that many rows."""
    hashed = [(_hash(f"text\0{part.path}\0{part.group}"), part) for part in parts]
    chosen = hashed if sum(part.rows for part in parts) <= rows else _enough(hashed, rows)
    return {(part.path, part.group) for _, part in chosen}


def _enough(parts: Sequence[tuple[int, Part]], rows: int) -> list[tuple[int, Part]]:
    taken: list[tuple[int, Part]] = []
    sum_of_rows = 0
    for entry in sorted(parts, key=lambda pair: (pair[0], pair[1].path, pair[1].group)):
        if taken and sum_of_rows + entry[1].rows > rows:
            break
        taken.append(entry)
        sum_of_rows += entry[1].rows
    return taken


def _part(path: str, group: int, meta: Any, places: Mapping[str, int], most: int) -> Part:
    lows, highs = {}, {}
    for name, place in places.items():
        statistics = meta.column(place).statistics
        if statistics is not None and statistics.has_min_max:
            low, high = statistics.min, statistics.max
            if isinstance(low, int | float) and isinstance(high, int | float) and low == low and high == high:
                lows[name], highs[name] = low, high
    return Part(path, group, min(meta.num_rows, most), lows, highs)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=b"report").digest()
    return int.from_bytes(digest, "little")
