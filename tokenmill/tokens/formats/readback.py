"""Whether the files beside the ids say what the table of documents says: one small reader for each layout.

They read; the writers' code is not used, so that a mistake there is seen here.
"""

from __future__ import annotations

import csv
import gzip
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.tokens.formats.base import Lengths

Paths = Mapping[str, Path]


def problems_of_layout(layout: str, paths: Paths, width: int, lengths: Lengths) -> list[str]:
    """What is wrong with a shard's own files. width: bytes per id. lengths: of its documents, EOS included."""
    check = _CHECKS.get(layout)
    if check is None:
        return [f"no layout of token shards is called {layout!r}"]
    try:
        return list(check(paths, width, np.asarray(lengths, np.int64)))
    except (OSError, EOFError, ValueError, struct.error, csv.Error, zlib.error, KeyError) as error:
        return [f"{paths['tokens'].name}: the files beside it cannot be read: {error!r}"]


def _differs(name: str, what: str, found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Iterator[str]:
    """A line where two arrays of the same length differ."""
    places = np.flatnonzero(found != wanted)
    if len(places):
        first = int(places[0])
        yield (
            f"{name}: {what} of {len(places):,} documents differ from the table of documents, first of document"
            f" {first:,}: {int(found[first]):,} instead of {int(wanted[first]):,}"
        )


def _ds(paths: Paths, width: int, lengths: Lengths) -> Iterator[str]:
    index = paths["index"]
    if index.stat().st_size != 8 * len(lengths):
        yield f"{index.name}: {index.stat().st_size:,} bytes for {len(lengths):,} documents of 8 bytes each"
    elif len(lengths):
        yield from _differs(index.name, "ends", np.memmap(index, "<u8", mode="r"), np.cumsum(lengths).astype("<u8"))
    lines = paths["metadata"].read_text(encoding="utf-8").split("\n")
    tokens = int(lengths.sum())
    if len(lines) != 3 or not lines[0].endswith(f"|{width}") or lines[1] != str(tokens):
        yield f"{paths['metadata'].name}: it does not say {width} bytes per id and {tokens} tokens"


def _megatron(paths: Paths, width: int, lengths: Lengths) -> Iterator[str]:
    name, count = paths["index"].name, len(lengths)
    with open(paths["index"], "rb") as stream:
        head = stream.read(34)
        if head[:9] != b"MMIDIDX\x00\x00":
            yield f"{name}: it does not begin as an index of Megatron does"
            return
        found = struct.unpack("<QBQQ", head[9:])
        wanted = (1, {2: 8, 4: 4}[width], count, count + 1)
        if found != wanted:
            yield f"{name}: (version, type, sequences, document indices) are {found}, not {wanted}"
            return
        data = np.frombuffer(stream.read(), np.uint8)
    sizes = (4 * count, 8 * count, 8 * (count + 1))
    if len(data) != sum(sizes):
        yield f"{name}: {len(data):,} bytes behind its head, not {sum(sizes):,}"
        return
    parts = np.split(data, np.cumsum(sizes)[:-1])
    yield from _differs(name, "numbers of tokens", parts[0].view("<i4"), lengths)
    yield from _differs(name, "beginnings in bytes", parts[1].view("<i8"), (np.cumsum(lengths) - lengths) * width)
    yield from _differs(name, "numbers", parts[2].view("<i8"), np.arange(count + 1))


def _olmo(paths: Paths, width: int, lengths: Lengths) -> Iterator[str]:
    name = paths["metadata"].name
    some = lengths[lengths > 0]
    ends = np.cumsum(some)
    found = np.zeros((len(some), 2), np.int64)
    row = -1
    with gzip.open(paths["metadata"], "rt", encoding="utf-8", newline="") as stream:
        for row, values in enumerate(csv.reader(stream)):
            if row < len(found):
                found[row] = int(values[0]), int(values[1])
    if row + 1 != len(found):
        yield f"{name}: {row + 1:,} rows for {len(found):,} documents with tokens"
        return
    yield from _differs(name, "first tokens", found[:, 0], ends - some)
    yield from _differs(name, "ends", found[:, 1], ends)


def _llmc(paths: Paths, width: int, lengths: Lengths) -> Iterator[str]:
    with open(paths["tokens"], "rb") as stream:
        header = struct.unpack("<256i", stream.read(1024))
    wanted = (*((20240520, 1) if width == 2 else (20240801, 7)), int(lengths.sum()))
    if header[:3] != wanted or any(header[3:]):
        yield f"{paths['tokens'].name}: its header says (magic, version, tokens) {header[:3]}, not {wanted}"


def _nothing(paths: Paths, width: int, lengths: Lengths) -> Iterator[str]:
    return iter(())


_CHECKS: dict[str, Callable[[Paths, int, Lengths], Iterator[str]]] = {
    "ds": _ds,
    "megatron": _megatron,
    "olmo": _olmo,
    "llmc": _llmc,
    "nanogpt": _nothing,
}
