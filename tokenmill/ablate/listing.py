"""The documents of an arm as lists of keys, one file per input: what they are, without their texts.

A document is its id, and the same text of the same document has one key in all arms. Keys are 128 bits of BLAKE2b:
among 10^9 documents two different ones share one with a chance of 10^-21.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.ablate import held_out
from tokenmill.ablate.arms import TextArm
from tokenmill.ablate.taken import batches_of, read_list, write_list
from tokenmill.core.stage import InputShard, Source

_HELD = ".held"


class Keys(NamedTuple):
    """The documents of one input file of an arm, in its order."""

    row: npt.NDArray[np.int64]
    """Number in the file."""
    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    place: npt.NDArray[np.int64]
    """By the id (`held_out.places`)."""

    def table(self) -> pa.Table:
        return pa.table(list(self), names=list(self._fields))


def list_documents(arm: TextArm, folder: Path, *, size: int) -> list[Path]:
    """A list for each input of an arm, in `folder`, and beside it the held-out texts with the smallest places.

    size: bytes of these. Inputs that have been listed are not read again. ShardError where one has changed.
    """
    lists = []
    for number, shard in enumerate(arm.inputs):
        path = folder / f"{number:05d}.parquet"
        if not path.is_file():
            _list(shard, arm.source, path, size)
        lists.append(path)
    return lists


def _list(shard: InputShard, source: Source, path: Path, size: int) -> None:
    sample = held_out.Sample(size)
    parts = [Keys(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64))]
    for rows, batch in batches_of(shard, source):
        ids, texts = batch.column("id").to_pylist(), batch.column("text").to_pylist()
        places = held_out.places(ids)
        both = np.frombuffer(b"".join(map(_key, ids, texts)), np.uint64).reshape(-1, 2)
        parts.append(Keys(rows, both[:, 0], both[:, 1], places))
        for place, text in zip(places.tolist(), texts, strict=True):
            sample.add(place, text)
    found = Keys(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    held = pa.table(
        {"place": pa.array([p for p, _ in sample], pa.int64()), "text": pa.array([t for _, t in sample], pa.string())}
    )
    write_list(path.with_suffix(f"{_HELD}.parquet"), held, shard, source)
    write_list(path, found.table(), shard, source)  # the last: it says that the input has been listed


def _key(identifier: str, text: str) -> bytes:
    hasher = hashlib.blake2b(digest_size=16)
    hasher.update(identifier.encode("utf-8", "surrogatepass"))
    hasher.update(b"\0")
    hasher.update(text.encode())
    return hasher.digest()


def read_keys(path: Path) -> Keys:
    """The keys of a list."""
    table = pq.read_table(path)
    return Keys(*(table.column(name).to_numpy() for name in Keys._fields))


def file_of(path: Path) -> tuple[InputShard, Source]:
    """The input that a list is of."""
    _, shard, source = read_list(path, ["row"])
    return shard, source


def held_out_texts(lists: Sequence[Path], share: float, size: int) -> list[str]:
    """Texts of the held-out documents of an arm, `size` bytes of UTF-8 in all (fewer where it has no more)."""
    sample, last = held_out.Sample(size), held_out.limit(share)
    for path in lists:
        table = pq.read_table(path.with_suffix(f"{_HELD}.parquet"))
        for place, text in zip(table.column("place").to_pylist(), table.column("text").to_pylist(), strict=True):
            if place < last:
                sample.add(place, text)
    return sample.texts()
