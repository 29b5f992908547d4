"""`LineDedup`: lines, paragraphs or windows of sentences that a corpus has more than once, as a barrier of four steps.

keys     per group of shards: the distinct hashes of its spans
counts   per range of hashes: those that occur too often, for every group that has them
samples  once: which of them are shown to people
table    per group: one row per document, with the numbers of its spans that go
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import JOINED, ShardData, TaskOutput, Work
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.kernels import Kernel
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import Barrier
from tokenmill.dedup.groups import Group, group
from tokenmill.dedup.keyfile import write_keys
from tokenmill.dedup.removal import (
    SHOWN_CHARACTERS,
    batches_of,
    lists_of,
    outcome,
    outcome_kernels,
    parts_of,
    selected,
    texts_at,
    warm_up,
    write_shards,
)
from tokenmill.dedup.repeats import Marks, bands_for, distinct, find_repeated, in_bands, load, merge_samples, slices
from tokenmill.dedup.runs import numbers_of, runs_of
from tokenmill.dedup.scope import salts
from tokenmill.text.spans import UNITS, span_hashes, span_text, without_spans

KEEPS = ("first", "none")
NAMES = {"line": "lines", "paragraph": "paragraphs", "sentences": "sentences"}
"""Unit -> what is removed, as the columns call it."""
TABLE = pa.schema([("doc_id", pa.string()), ("removed", pa.list_(pa.uint32()))])
"""One row per document. removed: numbers of its lines, paragraphs or sentences that go; null where it took no part."""
SPANS = pa.schema(
    [
        ("text", pa.string()),
        ("times", pa.int64()),
        ("doc_id", pa.string()),
        ("number", pa.uint32()),
        ("chosen", pa.string()),
    ]
)
"""Removed spans for people to look at. times: occurrences in the corpus. doc_id, number: the first of them. chosen:
`frequent` or `drawn` (by its hash)."""


class LineDedup(Barrier):
    """Removes lines, paragraphs or runs of sentences that occur again and again, and leaves the rest of each text.

    Spans are compared in lower case, with runs of white space as one space; what has no letter and no digit is never
    compared. Which one is first follows the names of the inputs and the order in them. A document of which nothing is
    left is dropped as `all_repeated`; documents that are dropped keep their text in the samples of `dropped/`.

    The columns are named by the unit: `repeated_lines_removed`, `repeated_lines_removed_bytes`.

    Raffel et al. 2020 (arXiv:1910.10683): `unit="sentences"`. Wenzek et al. 2020, CCNet (arXiv:1911.00359): lines.
    Navigation and footers: `unit="line", keep="none", more_than=10, min_characters=5`, or so.
    """

    name: ClassVar[str] = "line_dedup"
    keeps_text: ClassVar[bool] = False
    steps: ClassVar[tuple[str, ...]] = ("keys", "counts", "samples", "table")
    published: ClassVar[Mapping[str, str]] = {"table": "", "spans": "spans"}
    table: ClassVar[Mapping[str, pa.DataType]] = {"removed": pa.list_(pa.uint32())}

    unit: str = "paragraph"
    """"line", "paragraph" (lines between blank lines; in a text that has none of these, each line), or "sentences"."""
    sentences: int = 3
    """Sentences of a run, for that unit. C4: 3."""
    more_than: int = 1
    """Spans that occur more often than this, in the corpus or the scope, are repeated. C4: 1."""
    keep: str = "first"
    """"first": the first occurrence of a repeated span stays. "none": all go, as boilerplate should. Runs of sentences
    overlap: a sentence in the first occurrence of one stays, and what is left to go is at least `sentences` long."""
    scope: tuple[str, ...] = ()
    """Columns within whose values spans are compared: ("dump",) for each crawl by itself, ("language",); empty: all
    with all. A null counts as a value."""
    min_characters: int = 20
    """Spans with fewer characters are never compared. Those are headings, labels, lines of code: on the developers'
    crawl two fifths of the repeated lines, but a tenth of their bytes, and without them texts lose their structure."""
    min_words_left: int = 0
    """Documents that lost spans and have fewer words left are dropped as `too_short`; spans that they were the first
    to have go with them. datatrove's code for C4: 50."""

    def __post_init__(self) -> None:
        for name, value, known in (("unit", self.unit, UNITS), ("keep", self.keep, KEEPS)):
            if value not in known:
                raise ConfigError(f"{self.name}.{name}={value!r} is not known", why=did_you_mean(value, known))
        for name, least in (("sentences", 1), ("more_than", 1), ("min_characters", 0), ("min_words_left", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{self.name}.{name}={getattr(self, name)} is too small", fix=f"at least {least}")

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(("text", *self.scope)))

    @property
    def _columns(self) -> tuple[str, str]:
        removed = f"repeated_{NAMES[self.unit]}_removed"
        return removed, f"{removed}_bytes"

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return dict.fromkeys(self._columns, pa.int64())

    @property
    def _hashes(self) -> str:
        return f"_{type(self).name}_hashes"

    def prepares(self) -> Mapping[str, pa.DataType]:
        return {self._hashes: pa.list_(pa.uint64())}

    def kernels(self) -> Sequence[Kernel]:
        return (Kernel("tokenmill.dedup.lines:warm_up_spans", 15), *outcome_kernels(self.min_words_left))

    def setup(self) -> None:
        warm_up_spans()
        warm_up(self.min_words_left)

    def prepare(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        hashes, offsets = span_hashes(
            batch.column("text"), self.unit, sentences=self.sentences, min_characters=self.min_characters
        )
        salt = salts(batch, self.scope)
        if salt is not None:
            salted = np.maximum(hashes ^ np.repeat(salt, np.diff(offsets)), np.uint64(1))
            hashes = np.where(hashes == 0, hashes, salted)
        return {self._hashes: lists_of(hashes, offsets)}

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        if step == "samples":
            return ["all"]
        if step == "counts":
            records = sum(int(task.facts["rows_of"]["keys"]) for task in work.outputs("keys"))
            return [part.name for part in slices(records, self._bands(work))]
        return [one.name for one in group(work.shards)]

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        if step == "keys":
            return self._write_keys(group(work.shards)[number], self._bands(work), out)
        if step == "counts":
            keys = work.outputs("keys")
            records = sum(int(task.facts["rows_of"]["keys"]) for task in keys)
            part = slices(records, self._bands(work))[number]
            files = [task.paths["keys"] for task in keys]
            first, overlap = self.keep == "first", self.unit == "sentences"
            return find_repeated(part, files, out, more_than=self.more_than, first=first, overlap=overlap)
        if step == "samples":
            return merge_samples([task.paths["samples"] for task in work.outputs("counts")], out)
        return self._write_table(number, work, out)

    def _bands(self, work: Work) -> int:
        return bands_for(sum(shard.rows for shard in work.shards))

    def _write_keys(self, mine: Group, bands: int, out: TaskOutput) -> dict[str, Any]:
        """Memory: 50 bytes a span of the group."""
        parts = [np.zeros(0, np.uint64)]
        for _, _, batch in batches_of(mine, [self._hashes], out):
            parts.append(parts_of(batch.column(0))[0])
        every = np.concatenate(parts)
        parts.clear()
        keys, counts = distinct(every)
        about = {"keys": "spans", "unit": self.unit, "sentences": self.sentences, "scope": list(self.scope)}
        write_keys(out.path("keys", ".keys"), in_bands(keys, counts, bands), about)
        return {**mine.facts(), "rows_of": {"keys": len(keys)}, "spans": len(every)}

    def _write_table(self, number: int, work: Work, out: TaskOutput) -> dict[str, Any]:
        mine = group(work.shards)[number]
        marks = Marks.of_group([task.paths["repeated"] for task in work.outputs("counts")], number)
        shown = _Shown(load(work.outputs("samples")[0].paths["chosen"]), number, self.unit, self.sentences)
        removed = 0

        def rows() -> Any:
            nonlocal removed
            for shard, first, batch in batches_of(mine, [DOC_ID, self._hashes], out):
                hashes, offsets = parts_of(batch.column(1))
                shown.look(shard, first, batch.column(0), hashes, offsets)
                places = marks.find(hashes)
                numbers, bounds = self._removed(places, marks.firsts(places), offsets)
                removed += len(numbers)
                lists = lists_of(numbers.astype(np.uint32), bounds, batch.column(1).is_valid())
                yield shard, pa.record_batch([batch.column(0), lists], names=TABLE.names)

        total = write_shards(out.path("table", ".parquet"), TABLE, rows())
        spans = shown.write(out)
        return {**mine.facts(), "rows_of": {"table": total, **spans}, "removed": removed}

    def _removed(self, places: Any, stays: Any, offsets: Any) -> tuple[Any, Any]:
        """(numbers of what goes, offsets per document) of spans that are repeated where their place is not -1."""
        gone = (places >= 0) & ~stays
        if self.unit != "sentences":
            return selected(gone, offsets)
        starts, _ = selected(np.ones(len(places), np.bool_), offsets)
        runs = runs_of(starts, offsets, self.sentences, gone, stays)
        return numbers_of(runs.starts, runs.lengths, runs.offsets)

    def apply(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts, removed = batch.column("text"), batch.column(JOINED + "removed")
        numbers, offsets = parts_of(removed)
        left, _ = without_spans(texts, self.unit, numbers, offsets, sentences=1)
        return outcome(
            texts,
            left,
            np.diff(offsets),
            removed.is_valid(),
            columns=self._columns,
            what=NAMES[self.unit],
            min_words_left=self.min_words_left,
        )

    def describe(self) -> Sequence[str]:
        unit = f"runs of {self.sentences} sentences" if self.unit == "sentences" else f"{self.unit}s"
        stays = "all but the first go" if self.keep == "first" else "all of them go"
        lines = [f"{unit} of at least {self.min_characters} characters that occur more than {self.more_than} times"]
        lines[0] += f": {stays}"
        if self.min_words_left:
            lines.append(f"documents that lose some and have fewer than {self.min_words_left} words left are dropped")
        lines.append("compared within equal " + ", ".join(self.scope) if self.scope else "all documents are compared")
        return lines


class _Shown:
    """The sampled spans of a group: where each stands first, and its text."""

    def __init__(self, chosen: pa.Table, group_number: int, unit: str, sentences: int) -> None:
        mine = chosen.filter(pa.array(chosen.column("group").to_numpy() == group_number))
        mine = mine.sort_by("key")
        self._unit, self._sentences = unit, sentences
        self._times = mine.column("times").to_pylist()
        self._chosen = mine.column("chosen").to_pylist()
        keys = mine.column("key").to_numpy()
        zeros = np.zeros(len(keys), np.uint32)
        self._marks = Marks(keys, zeros, np.ones(len(keys), np.bool_), zeros)
        self._waiting: dict[ShardData, list[tuple[int, dict[str, Any]]]] = {}

    def look(self, shard: ShardData, first: int, ids: pa.Array, hashes: Any, offsets: Any) -> None:
        """Notice where sampled spans stand in a batch, whose first document is number `first` of its shard."""
        places = self._marks.find(hashes)
        for at in np.flatnonzero(self._marks.firsts(places)).tolist():
            place = int(places[at])
            row = int(np.searchsorted(offsets, at, side="right")) - 1
            span = {
                "times": self._times[place],
                "doc_id": ids[row].as_py(),
                "number": at - int(offsets[row]),
                "chosen": self._chosen[place],
            }
            self._waiting.setdefault(shard, []).append((first + row, span))

    def write(self, out: TaskOutput) -> dict[str, int]:
        """Write them with their texts, the most frequent first; nothing where the group has none."""
        found: list[dict[str, Any]] = []
        for shard, spans in self._waiting.items():
            rows = sorted({row for row, _ in spans})
            texts = dict(zip(rows, texts_at(shard, rows), strict=True))
            for row, span in spans:
                text = span_text(texts[row], self._unit, span["number"], sentences=self._sentences)
                found.append({**span, "text": text[:SHOWN_CHARACTERS]})
            out.alive()
        if not found:
            return {}
        found.sort(key=lambda span: (-span["times"], span["doc_id"], span["number"]))
        pq.write_table(pa.Table.from_pylist(found, SPANS), out.path("spans", ".parquet"), compression="zstd")
        return {"spans": len(found)}


def warm_up_spans() -> None:
    """Compile the kernels, the same for every unit, or load them from numba's cache."""
    batch = pa.record_batch({"text": ["a", "a"], JOINED + "removed": pa.array([[0], []], TABLE.field(1).type)})
    span_hashes(batch.column("text"), "line", sentences=1)
    without_spans(batch.column("text"), "line", *parts_of(batch.column(1)), sentences=1)
