"""Self-test: items are planted in clean documents, and it is measured how many the stages find, and what else.

Precision counts documents without a planted item that are flagged; recall counts planted items that are found under
their own name. Intervals are Wilson's, of 95 %. Thresholds are chosen on every second task in the order of names; the
others are held out, and are reported apart.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tokenmill.core.decide import first_holding
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.decontaminate.benchmarks import read_items
from tokenmill.tokens.decontaminate.forms import Item
from tokenmill.tokens.decontaminate.index import BenchmarkIndex
from tokenmill.tokens.decontaminate.plant import KINDS, generated_texts, planted
from tokenmill.tokens.decontaminate.stage import DropContaminated, FindContamination, decontamination

TARGETS: Mapping[str, float] = {"verbatim": 0.99, "rewrapped": 0.99, "embedded": 0.95}
"""Recall that the self-test demands, of the items that can be found at all."""
MAX_FALSE_POSITIVES = 0.001
"""Share of clean documents that may be flagged."""
MIN_COVERAGE = 0.5
"""Share of a task's items that must be findable: of what is not looked for, nothing is ever found."""
_Z = 1.96
_BATCH = 128
_MAX_HOSTS = 2000
_SHOWN = 50


@dataclass
class Count:
    """How many of how many."""

    hits: int = 0
    of: int = 0

    def add(self, hit: bool) -> None:
        self.hits += hit
        self.of += 1

    @property
    def share(self) -> float:
        """NaN of nothing."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 %; (0, 1) of nothing."""
        if not self.of:
            return 0.0, 1.0
        n, p = self.of, self.share
        middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        share = None if math.isnan(self.share) else round(self.share, 6)
        return {"hits": self.hits, "of": self.of, "share": share, "low": round(low, 6), "high": round(high, 6)}


@dataclass
class Result:
    """What the self-test has found."""

    tasks: Sequence[str]
    coverage: Mapping[str, tuple[int, int]]
    """Task -> (items, those that can be found)."""
    recall: dict[tuple[str, str], Count]
    """(kind, task) -> planted items that can be found at all, and were."""
    every: dict[str, Count]
    """Kind -> all planted items, those that are too short included."""
    clean: Count = field(default_factory=Count)
    """Documents without a planted item that were flagged."""
    flagged: list[dict[str, Any]] = field(default_factory=list)
    """The first of these, to be looked at by hand: clean documents may hold an item in fact."""
    generated: bool = True
    """Whether the clean documents are made up, so that false positives say little."""

    def held_out(self, task: str) -> bool:
        """Whether thresholds were chosen without this task (every second one in the order of names)."""
        return sorted(self.tasks).index(task) % 2 == 1

    def total(self, kind: str, held_out: bool | None = None) -> Count:
        """Over all tasks, or one half of them."""
        chosen = [
            count
            for (name, task), count in self.recall.items()
            if name == kind and held_out in (None, self.held_out(task))
        ]
        return Count(sum(count.hits for count in chosen), sum(count.of for count in chosen))

    def precision(self, kind: str) -> Count:
        """Of the documents that were flagged, those in which an item of this kind had been planted."""
        found = self.total(kind).hits
        return Count(found, found + self.clean.hits)

    def failures(self) -> list[str]:
        """The targets that are missed, as sentences."""
        missed = [
            f"recall {kind}: {count.share:.4f} is below {least:g}"
            for kind, least in TARGETS.items()
            if (count := self.total(kind)).of and count.share < least
        ]
        missed += [
            f"recall {kind}: not one item that can be found was planted, so nothing is known"
            for kind in self.every
            if kind in TARGETS and not self.total(kind).of
        ]
        missed += [
            f"task {task}: {found:,} of {items:,} items can be found, a share below {MIN_COVERAGE:g}: they are shorter"
            " than what is looked for, or --fields leaves them out"
            for task, (items, found) in sorted(self.coverage.items())
            if found < MIN_COVERAGE * items
        ]
        if self.clean.of and self.clean.share > MAX_FALSE_POSITIVES:
            missed.append(f"false positives: {self.clean.share:.4%} is above {MAX_FALSE_POSITIVES:.1%}")
        return missed

    def to_json(self) -> dict[str, Any]:
        kinds = [kind for kind in KINDS if self.total(kind).of]
        return {
            "recall": {
                kind: {
                    "all": self.total(kind).to_json(),
                    "tuned": self.total(kind, False).to_json(),
                    "held_out": self.total(kind, True).to_json(),
                    "short_items_included": self.every[kind].to_json(),
                }
                for kind in kinds
            },
            "precision": {kind: self.precision(kind).to_json() for kind in kinds},
            "false_positives": {**self.clean.to_json(), "generated_documents": self.generated},
            "tasks": {
                task: {
                    "items": self.coverage[task][0],
                    "findable": self.coverage[task][1],
                    "held_out": self.held_out(task),
                    **{kind: self.recall[kind, task].to_json() for kind in kinds},
                }
                for task in sorted(self.tasks)
            },
            "flagged": self.flagged,
            "failures": self.failures(),
        }


def run_self_test(
    against: Sequence[str],
    documents: Iterable[Mapping[str, Any]] | None = None,
    *,
    fields: Sequence[str] = (),
    per_task: int = 100,
    seed: int = 0,
    min_share: float | None = None,
    min_13grams: int | None = None,
) -> Result:
    """Plant items of every task in clean documents and look for them with the stages.

    documents: rows with `text` and perhaps `url` or `id`, read once; without them texts are made up. per_task: items
    planted of each task, drawn with `seed`, in each of `KINDS`. min_share, min_13grams: other thresholds than those of
    `DropContaminated`. ConfigError where there is nothing to plant, or no clean text.
    """
    items = read_items(against, fields)
    finder, drop = decontamination(against, "drop", fields, min_share=min_share, min_13grams=min_13grams)
    assert isinstance(finder, FindContamination)
    assert isinstance(drop, DropContaminated)
    tester = _Tester(finder, drop)
    numbers = {task: [n for n, item in enumerate(items) if item.task == task] for task in finder.index.tasks}
    result = Result(
        tuple(numbers),
        finder.index.coverage(),
        {(kind, task): Count() for kind in KINDS for task in numbers},
        {kind: Count() for kind in KINDS},
        generated=documents is None,
    )
    rows = documents if documents is not None else ({"text": text} for text in generated_texts(400, 300, seed))
    hosts = tester.clean(rows, result, seed)
    if not hosts:
        raise ConfigError("no clean document to plant items in", fix="give --documents with texts of 50 words and more")
    for kind in KINDS:
        for task, chosen in numbers.items():
            drawn = sorted(random.Random(f"{seed} {task}").sample(chosen, min(per_task, len(chosen))))
            for at in range(0, len(drawn), _BATCH):
                tester.planted(kind, drawn[at : at + _BATCH], items, hosts, seed, result)
    return result


class _Tester:
    """The stages under test."""

    def __init__(self, finder: FindContamination, drop: DropContaminated) -> None:
        self._finder, self._drop = finder, drop
        self._index: BenchmarkIndex = finder.index

    def _flagged(self, texts: pa.Array) -> tuple[list[bool], Mapping[str, pa.Array]]:
        columns = self._finder.annotate(pa.record_batch({"text": texts}))
        verdicts = first_holding(self._drop.rules(), lambda name: columns[name], len(texts))
        return [verdict >= 0 for verdict in verdicts], columns

    def clean(self, rows: Iterable[Mapping[str, Any]], result: Result, seed: int) -> list[str]:
        """Count what is flagged of clean documents; the others, or a sample of them, are the hosts."""
        rng = random.Random(f"hosts {seed}")
        hosts: list[str] = []
        seen = 0
        for batch in _batches(rows):
            texts = pa.array([row["text"] for row in batch], pa.large_string())
            flagged, columns = self._flagged(texts)
            for row, number in zip(batch, range(len(batch)), strict=True):
                result.clean.add(flagged[number])
                if flagged[number]:
                    self._show(row, {name: array[number].as_py() for name, array in columns.items()}, result)
                elif len(row["text"].split()) >= 50:
                    seen += 1
                    place = len(hosts) if len(hosts) < _MAX_HOSTS else rng.randrange(seen)
                    if place == len(hosts):
                        hosts.append(row["text"])
                    elif place < _MAX_HOSTS:
                        hosts[place] = row["text"]
        return hosts

    def _show(self, row: Mapping[str, Any], columns: Mapping[str, Any], result: Result) -> None:
        if len(result.flagged) < _SHOWN:
            found = self._index.search(
                pa.array([row["text"]]),
                min_share=self._drop.min_share or 1.0,
                min_runs=self._drop.min_13grams or 1 << 30,
                spans=True,
            )
            data = row["text"].encode()
            first, last = (int(found.spans[0, 1]), int(found.spans[-1, 2])) if len(found.spans) else (0, 200)
            excerpt = data[first : min(max(last, first), first + 200)].decode("utf-8", "ignore")
            where = str(row.get("url") or row.get("id") or "")
            result.flagged.append({"document": where, **columns, "excerpt": " ".join(excerpt.split())})

    def planted(
        self, kind: str, numbers: Sequence[int], items: Sequence[Item], hosts: Sequence[str], seed: int, result: Result
    ) -> None:
        """Plant some items, and count those that are found under their names."""
        texts = pa.array([planted(items[number], kind, hosts, seed) for number in numbers], pa.large_string())
        flagged, _ = self._flagged(texts)
        found = self._index.search(
            texts, min_share=self._drop.min_share or 1.0, min_runs=self._drop.min_13grams or 1 << 30
        )
        for place, number in enumerate(numbers):
            passages = found.passage[np.flatnonzero(found.text == place)].tolist()
            hit = flagged[place] and any(number in self._index.items_of(passage) for passage in passages)
            result.every[kind].add(hit)
            if self._index.covered[number]:
                result.recall[kind, items[number].task].add(hit)


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows with a text, some at a time."""
    batch: list[Mapping[str, Any]] = []
    for row in rows:
        if isinstance(row.get("text"), str) and row["text"]:
            batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
