"""Groups of shards: the unit of work of a barrier's steps.

With 100,000 shards, a file per pair of shards and key ranges would be a hundred million files or reads. Neighbouring
shards are therefore put together until they have enough documents. Documents are numbered through: the number of a
document is the first number of its group plus its place in the group, so it follows the names of the shards and not
the order in which anything ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tokenmill.core.barrier import ShardData

MOST_DOCUMENTS = 500_000
"""Documents of a group in large runs, unless a barrier wants others."""
FEWEST_DOCUMENTS = 25_000
"""Below it, starting a task takes longer than its work."""
GROUPS = 64
"""About so many groups in between, so that many workers have something to do."""


def index_origin(number: int) -> str:
    """What stands before the ids of documents of the `number`-th run of an index."""
    return f"index[{number}]/"


@dataclass(frozen=True)
class Group:
    """Shards that follow one another. `first` is the number of its first document.

    index: the group of an earlier run that is the index, with `keys` its file of keys and `table` its table; `origin`
    stands before the ids of its documents, for two runs may have read files of one name; the files `lost` list what
    later stages of that run have dropped.
    """

    name: str
    shards: tuple[ShardData, ...]
    first: int
    index: bool = False
    keys: str = ""
    table: str = ""
    origin: str = ""
    lost: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def facts(self) -> dict[str, Any]:
        """What the facts of a task say about its group, for the engine and for runs that use this one as index."""
        return {"shards": [shard.slug for shard in self.shards], "rows": [shard.rows for shard in self.shards]}


def group(
    shards: Sequence[ShardData], first: int = 0, target: int | None = None, *, most: int = MOST_DOCUMENTS
) -> list[Group]:
    """Neighbouring shards put together, each group with about `target` documents (default: see above)."""
    total = sum(shard.rows for shard in shards)
    target = target or min(max(total // GROUPS, FEWEST_DOCUMENTS), most)
    bounds = [0]
    size = 0
    for place, shard in enumerate(shards):
        if size and size + shard.rows > target:
            bounds.append(place)
            size = 0
        size += shard.rows
    bounds.append(len(shards))
    groups: list[Group] = []
    for start, stop in pairwise(bounds):
        if stop > start:
            groups.append(Group(f"group-{len(groups):05d}", tuple(shards[start:stop]), first))
            first += groups[-1].rows
    return groups


def shards_of(facts: Mapping[str, Any], data: Mapping[str, ShardData]) -> tuple[ShardData, ...]:
    """The shards that the facts of a task name."""
    return tuple(data[slug] for slug in facts["shards"])
