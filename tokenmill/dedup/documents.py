"""`DocumentDedup`: what all deduplication of whole documents has in common, as a barrier of six steps.

keys        per group of shards: the keys of its documents, sorted, in one file
candidates  per (bands, range of keys): pairs of documents with equal keys
clusters    once: connected pairs, by union-find
gather      per group: its clustered documents with what verification needs of them
verify      per bucket of whole clusters: representatives chosen, every other document compared before it goes
table       per group: one row per document
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.barrier import DETAIL, JOINED, VERDICT, TaskOutput, Work
from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import Barrier
from tokenmill.dedup.candidates import components, find_pairs, range_tasks
from tokenmill.dedup.gather import Shingles, bucket_count, gather, load_members, read_shard
from tokenmill.dedup.groups import Group, group, index_origin
from tokenmill.dedup.index import Index, copy_kept_keys, open_index
from tokenmill.dedup.keyfile import write_keys
from tokenmill.dedup.preference import Preference, parse
from tokenmill.dedup.scope import salts
from tokenmill.dedup.tables import TABLE, write_table
from tokenmill.dedup.verify import Policy, verify_bucket
from tokenmill.io.filesystem import absolute_location

MOST_OF_GROUP = 2_000_000
"""Documents of a group in large runs: their keys are 0.36 GB, and 3 billion pages 1,500 groups, of which every task of
`candidates` reads a slice."""
DUPLICATE = "duplicate"
"""The reason for which documents are dropped."""


class DocumentDedup(Barrier):
    """Keeps one document of each cluster. Sub-classes say which keys a document has and how candidates are verified."""

    steps: ClassVar[tuple[str, ...]] = ("keys", "candidates", "clusters", "gather", "verify", "table")
    published: ClassVar[Mapping[str, str]] = {"table": "", "evidence": "evidence"}
    table: ClassVar[Mapping[str, pa.DataType]] = {name: TABLE[name] for name in TABLE if name != DOC_ID}
    size_column: ClassVar[str] = ""
    """Column that holds the size of a document's cluster."""

    scope: tuple[str, ...] = ()
    """Columns within whose values documents are compared: ("dump",) for each crawl by itself, ("language",); empty:
    all with all. A null counts as a value."""
    prefer: tuple[str, ...] = ()
    """Which document of a cluster is kept, as a sort key: "date" (smallest first), "-language_score" (largest first),
    "length" or "-length" (bytes of text), "dump:A|B" (an order of values). Ties, and the default: the first document
    in the order of the input's names."""
    index: tuple[str, ...] = ()
    """Folders of earlier runs with the same settings: documents that are like one that those have published are
    dropped. In the table, ids of the first run's documents begin with "index[0]/"."""

    def __post_init__(self) -> None:
        places = tuple(absolute_location(place.rstrip("/")) for place in self.index)
        object.__setattr__(self, "index", places)  # the run may be resumed from another folder

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        for name in (*self.scope, *(preference.reads() for preference in self._preferences)):
            dtype = types.get(name, pa.string())
            if pa.types.is_nested(dtype) or pa.types.is_dictionary(dtype):
                raise ConfigError(
                    f"{self.name} cannot sort or compare {name!r}",
                    why=f"it is of type {dtype}",
                    fix="name columns of numbers, strings, dates or booleans in scope and prefer",
                )

    @abstractmethod
    def about(self) -> Mapping[str, Any]:
        """What two runs must have in common for their keys to be comparable; stored in every file of keys."""

    @abstractmethod
    def keys_of(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint64] | None, npt.NDArray[np.uint64], Any]:
        """(keys (n, bands) or None, digests (n, 2), per document: 0 no part, 1 exact copies only, 2 all bands)."""

    @property
    def bands_of_keys(self) -> int:
        """Bands of `keys_of`; 0 where only exact copies are looked for."""
        return 0

    def policy(self) -> Policy:
        """How candidates are verified."""
        return Policy(measure="none")

    def shingles(self) -> Shingles | None:
        """How the texts of candidates are compared; None where digests are enough."""
        return None

    @property
    def looks_again(self) -> bool:
        return False

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys((*self.reads_for_keys(), *self.scope, *(p.reads() for p in self._preferences))))

    @abstractmethod
    def reads_for_keys(self) -> Sequence[str]:
        """Columns from which `keys_of` makes keys."""

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {self.size_column: pa.int64()} if self.size_column else {}

    def columns_kept(self) -> Collection[str]:
        # and what tells people which documents they look at
        return ["id", "url", "date", *(preference.reads() for preference in self._preferences)]

    def digests(self) -> Mapping[str, str]:
        for one in self._indexes:
            one.check(self.about())
        return {f"index {place}": one.digest for place, one in zip(self.index, self._indexes, strict=True)}

    def prepares(self) -> Mapping[str, pa.DataType]:
        found: dict[str, pa.DataType] = {self._digest_column: pa.binary(16)}
        if self.bands_of_keys:
            found[self._keys_column] = pa.binary(8 * self.bands_of_keys)
        return found

    @property
    def _digest_column(self) -> str:
        return f"_{type(self).name}_digest"

    @property
    def _keys_column(self) -> str:
        return f"_{type(self).name}_keys"

    @cached_property
    def _preferences(self) -> tuple[Preference, ...]:
        return parse(self.prefer)

    @cached_property
    def _indexes(self) -> tuple[Index, ...]:
        return tuple(open_index(place, type(self).name, self.steps) for place in self.index)

    def prepare(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        keys, digests, part = self.keys_of(batch)
        salt = salts(batch, self.scope)
        if salt is not None:
            digests = digests ^ salt[:, None]
            keys = None if keys is None else keys ^ salt[:, None]
        found: dict[str, pa.Array] = {self._digest_column: _fixed(digests, part >= 1)}
        if keys is not None:
            found[self._keys_column] = _fixed(keys, part >= 2)
        return found

    def groups(self, work: Work) -> list[Group]:
        """All groups: those of the index first, so that its documents have the smaller numbers."""
        found: list[Group] = []
        for number, index in enumerate(self._indexes):
            for old in index.groups:
                first = sum(one.rows for one in found)
                name, origin = f"index-{len(found):05d}", index_origin(number)
                found.append(replace(old, name=name, first=first, origin=origin))
        first = sum(one.rows for one in found)
        if first + sum(shard.rows for shard in work.shards) >= 2**63:
            raise ConfigError("too many documents")
        return [*found, *group(work.shards, first, most=MOST_OF_GROUP)]

    def size(self, work: Work) -> int:
        return sum(one.rows for one in self.groups(work))

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        groups = self.groups(work)
        if step in ("keys", "gather"):
            return [one.name for one in groups]
        if step == "table":
            return [one.name for one in groups if not one.index]
        if step == "candidates":
            return range_tasks(sum(one.rows for one in groups), self.bands_of_keys + 1)
        if step == "clusters":
            return ["all"]
        return [f"bucket-{number:05d}" for number in range(self._buckets(work))]

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        groups = self.groups(work)
        if step == "keys":
            return self._write_keys(groups[number], out)
        if step == "candidates":
            files = [task.paths["keys"] for task in work.outputs("keys")]
            return find_pairs(self.tasks(step, work)[number], groups, files, self.bands_of_keys, out)
        if step == "clusters":
            return components(work.outputs("candidates"), groups, out)
        if step == "gather":
            members = load_members(work.outputs("clusters")[0].paths["members"], number)
            buckets = self._buckets(work)
            return gather(
                groups[number], members, buckets, self._digest_column, self._preferences, self.shingles(), out
            )
        if step == "verify":
            files = [task.paths["gathered"] for task in work.outputs("gather")]
            return verify_bucket(files, number, self._buckets(work), groups, self.policy(), self._preferences, out)
        files = [task.paths["labels"] for task in work.outputs("verify")]
        new = [one for one in groups if not one.index]
        return write_table(new[number], files, number, self._digest_column, out)

    def _buckets(self, work: Work) -> int:
        return bucket_count(int(work.outputs("clusters")[0].facts["clustered"]))

    def _write_keys(self, mine: Group, out: TaskOutput) -> dict[str, Any]:
        """The keys of a group, sorted: the last band is the first half of the digests."""
        about = dict(self.about())
        if mine.index:
            records = copy_kept_keys(mine, about, out)
            return {**mine.facts(), "rows_of": {"keys": records}}
        columns = [self._digest_column, *([self._keys_column] if self.bands_of_keys else [])]
        bands: list[list[tuple[Any, Any]]] = [[] for _ in range(self.bands_of_keys + 1)]
        first = 0
        for shard in mine.shards:
            for batch in read_shard(shard, columns):
                for place, (keys, rows) in enumerate(self._columns_of(batch)):
                    bands[place].append((keys, (rows + first).astype(np.uint32)))
                first += batch.num_rows
                out.alive()
        joined = [
            (
                np.concatenate([np.zeros(0, np.uint64), *(keys for keys, _ in parts)]),
                np.concatenate([np.zeros(0, np.uint32), *(rows for _, rows in parts)]),
            )
            for parts in bands
        ]
        write_keys(out.path("keys", ".keys"), joined, about)
        return {**mine.facts(), "rows_of": {"keys": sum(len(keys) for keys, _ in joined)}}

    def _columns_of(self, batch: pa.RecordBatch) -> list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]]:
        """(keys, rows that have them) of every band."""
        found = []
        if self.bands_of_keys:
            keys, rows = _loose(batch.column(self._keys_column), self.bands_of_keys)
            found += [(keys[:, band], rows) for band in range(self.bands_of_keys)]
        digests, rows = _loose(batch.column(self._digest_column), 2)
        return [*found, (digests[:, 0], rows)]

    def setup_apply(self) -> None:
        """The table says everything: no kernels."""

    def apply(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        keep = batch.column(JOINED + "keep")
        verdicts = pc.if_else(keep, pa.scalar(None, pa.string()), DUPLICATE)
        rules, others = batch.column(JOINED + "rule"), batch.column(JOINED + "representative_id")
        scores = pc.coalesce(pc.cast(pc.round(batch.column(JOINED + "score"), 3), pa.string()), "")
        details = pc.binary_join_element_wise(rules, scores, "copy of", others, " ")
        found = {VERDICT: verdicts, DETAIL: pc.replace_substring(details, "  ", " ")}
        if self.size_column:
            found[self.size_column] = batch.column(JOINED + "cluster_size")
        return found


def _fixed(values: npt.NDArray[np.uint64], present: npt.NDArray[np.bool_]) -> pa.Array:
    """Rows of numbers as fixed-size binaries, null where not present."""
    width = values.shape[1] * 8
    data = np.ascontiguousarray(values, "<u8")
    mask = pa.array(present).buffers()[1] if len(present) and not present.all() else None
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), [mask, pa.py_buffer(data)])


def _loose(column: pa.Array, width: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """(numbers (n, width), rows) of the valid values of a column that `_fixed` made."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    data = column.buffers()[1]
    size = width * 8
    every = np.frombuffer(data, np.uint8)[column.offset * size : (column.offset + len(column)) * size]
    return every.view("<u8").reshape(len(column), width)[rows], rows
