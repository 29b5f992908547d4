"""A small part of a run's input, as files of its own: the same one every time, for `tokenmill plan --estimate`.

Files are chosen by a hash of their names. Of archives, whole records from the beginning are copied as they are
stored; of Parquet, row groups; of JSON Lines, lines. Anything else is taken as whole files.
"""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from tokenmill.core.stage import InputShard, Source
from tokenmill.io.filesystem import open_binary
from tokenmill.io.jsonl import open_inflated
from tokenmill.io.records import iter_records
from tokenmill.io.rows import dump_of

PIECES = 8
"""So many pieces are taken: their differences tell how sure the estimate is."""
LEAST_PIECE = 1 << 20
"""Bytes of a piece at least: a smaller one is mostly the beginning and the end of a shard."""
LEAST_SAMPLE = 16 << 20
"""Bytes of the sample at least, where there are so many."""


@dataclass(frozen=True)
class Piece:
    """A part of an input file. `shard` is the file that holds it; `source_bytes` is what it stands for."""

    shard: InputShard
    source_bytes: int
    of: InputShard


def sample_bytes(total: int, share: float) -> int:
    """Bytes that a sample of `share` of `total` bytes takes: LEAST_SAMPLE at least, all at most."""
    return min(total, max(int(total * share), LEAST_SAMPLE))


def take(source: Source, inputs: Sequence[InputShard], wanted: int, folder: Path, pieces: int = PIECES) -> list[Piece]:
    """About `wanted` bytes of the inputs, in `pieces` pieces of different files, written below `folder`.

    Where there are fewer files than pieces, several pieces come from one file, one after another; where files are
    small, there are more pieces.
    """
    order = sorted(inputs, key=lambda shard: hashlib.sha256(shard.name.encode("utf-8", "replace")).digest())
    count = max(1, min(pieces, wanted // LEAST_PIECE))
    each = max(1, math.ceil(wanted / count))
    found: list[Piece] = []
    taken = 0
    for position, shard in enumerate(order):
        if taken >= wanted:
            break
        left = len(order) - position
        cuts = max(1, math.ceil((count - len(found)) / left))
        for number, (start, path, size) in enumerate(_cut(source, shard, each, cuts, folder)):
            name = f"{position:03d}-{number}/{Path(shard.name).name}"
            found.append(Piece(InputShard(str(path), name, path.stat().st_size, str(start)), size, shard))
            taken += size
    return found


def _cut(source: Source, shard: InputShard, each: int, cuts: int, folder: Path) -> Iterator[tuple[int, Path, int]]:
    """(start, file, bytes of the original) of up to `cuts` pieces of about `each` bytes."""
    dump = dump_of(shard.path)
    place = folder / (dump or "sample") / hashlib.sha256(shard.name.encode("utf-8", "replace")).hexdigest()[:16]
    name = Path(shard.name).name
    if source.offsets_are_bytes:
        # the dictionary of .warc.zst stands at the beginning, so later pieces could not be read
        yield from _archive(shard, each, 1 if name.endswith(".zst") else cuts, place, name)
        return
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if 0 < shard.size <= each * 1.5:
        yield 0, _copy(shard, path), shard.size
    elif name.endswith(".parquet"):
        yield 0, path, _parquet(shard, each, path)
    elif ".jsonl" in name or ".ndjson" in name or ".json" in name:
        path = path.with_name(f"{name.partition('.')[0]}.jsonl.gz")
        _lines(shard, each, path)
        yield 0, path, path.stat().st_size
    else:
        yield 0, _copy(shard, path), shard.size


def _archive(shard: InputShard, each: int, cuts: int, place: Path, name: str) -> Iterator[tuple[int, Path, int]]:
    """Whole records, from boundary to boundary of what is compressed together."""
    bounds = [0]
    for item in iter_records(shard.path, name=shard.name):
        if item.offset - bounds[-1] >= each:
            bounds.append(item.offset)
            if len(bounds) > cuts:
                break
    else:
        if len(bounds) <= cuts and shard.size > bounds[-1]:
            bounds.append(shard.size)
    with open_binary(shard.path) as stream:
        for number, (start, stop) in enumerate(pairwise(bounds)):
            path = place / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            stream.seek(start)
            path.write_bytes(stream.read(stop - start))
            yield start, path, stop - start


def _parquet(shard: InputShard, each: int, path: Path) -> int:
    """The first row groups; returns their bytes in the original."""
    size = 0
    with open_binary(shard.path) as stream:
        file = pq.ParquetFile(stream)
        with pq.ParquetWriter(path, file.schema_arrow) as writer:
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                size += sum(group.column(i).total_compressed_size for i in range(group.num_columns))
                writer.write_table(file.read_row_group(number))
                if size >= each:
                    break
    return size


def _lines(shard: InputShard, each: int, path: Path) -> None:
    """The first lines, compressed anew until they have `each` bytes."""
    with open_inflated(shard) as stream, open(path, "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            for line in stream:
                packed.write(line)
                if raw.tell() >= each:
                    break


def _copy(shard: InputShard, path: Path) -> Path:
    with open_binary(shard.path) as stream, open(path, "wb") as target:
        while chunk := stream.read(8 << 20):
            target.write(chunk)
    return path
