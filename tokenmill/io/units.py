"""Work units: large files cut into spans, so that a few of them keep many workers busy.

The cuts depend on the files and on the size asked for, never on how many workers there are: so do the bytes of a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard

MIN_SPAN_BYTES = 64 << 10
"""Smaller spans would hold less than a record or two."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of `64MB`, `1.5 GiB`, `500000`; all units are powers of 1024. ConfigError otherwise."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if match is None:
        raise ConfigError(f"{text!r} is no size", fix="write it as 64MB or 1GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def split(shards: Iterable[InputShard], most_bytes: int) -> list[InputShard]:
    """The shards with every file of more than `most_bytes` cut into equal spans of at most that; 0: as they are.

    ConfigError below `MIN_SPAN_BYTES`, and for remote files whose sizes have not been looked up.
    """
    if not most_bytes:
        return list(shards)
    if most_bytes < MIN_SPAN_BYTES:
        raise ConfigError(
            f"spans of {most_bytes} bytes are too small", fix=f"at least {MIN_SPAN_BYTES >> 10}KB; 64MB is usual"
        )
    shards = list(shards)
    unknown = [shard for shard in shards if not shard.size and not shard.etag and "://" in shard.path]
    if unknown:
        raise ConfigError(
            f"{len(unknown)} of {len(shards)} files cannot be split: their sizes are not known",
            where=unknown[0].name,
            why="a long list was taken without asking for sizes, or the server does not say them",
            fix="give a shorter list, or leave out --split",
        )
    found = []
    for shard in shards:
        count = -(-shard.size // most_bytes)
        if count <= 1:
            found.append(shard)
            continue
        bounds = [shard.size * number // count for number in range(count)]
        stops: list[int | None] = [*bounds[1:], None]  # the last one reads on to the end, whatever was said of it
        found += [
            replace(shard, start=start, stop=stop, part=(number, count))
            for number, (start, stop) in enumerate(zip(bounds, stops, strict=True))
        ]
    return found
