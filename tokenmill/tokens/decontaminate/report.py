"""Which benchmark items leak, and how often: a fold over documents, in memory that depends on the benchmarks alone."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.text.hosts import host_of
from tokenmill.tokens.decontaminate.documents import Documents
from tokenmill.tokens.decontaminate.index import BenchmarkIndex
from tokenmill.tokens.decontaminate.stage import MIN_13GRAMS, MIN_SHARE

JSON_NAME, CSV_NAME = "contamination.json", "contamination.csv"
_EXCERPT = 240
_MAX_HOSTS = 100_000
_IN_JSON = 1000
"""Items in the JSON; the CSV has all."""


@dataclass(frozen=True)
class Leak:
    """Where an item was found first."""

    field: str
    document: str
    share: float
    excerpt: str


@dataclass
class Report:
    """What was found in all documents."""

    names: Sequence[str]
    tasks: Sequence[str]
    task_of: npt.NDArray[np.int32]
    findable: npt.NDArray[np.bool_]
    """Per item, whether it can be found at all."""
    documents: int = 0
    contaminated: int = 0
    masked: int = 0
    """Documents out of which items had been cut before: counted for the item that the run has named."""
    unknown: int = 0
    """Documents that were dropped as contaminated, of which the run keeps no text, or too little of it."""
    times: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Per item, in how many documents it was found."""
    asked: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    """Per item, whether its question or answer was found anywhere, and not only a passage to read."""
    leaks: dict[int, Leak] = field(default_factory=dict)
    hosts: Counter[str] = field(default_factory=Counter)
    """Contaminated documents per host; only the commonest where there are very many."""

    def tasks_table(self) -> list[dict[str, Any]]:
        """Per task: items, those that can be found, items that leak, their share (None where none can be found), those
        whose question or answer does, and finds (items in documents)."""
        table = []
        for number, task in enumerate(self.tasks):
            times = self.times[self.task_of == number]
            leaked = int((times > 0).sum())
            asked = int(self.asked[self.task_of == number].sum())
            findable = int(self.findable[self.task_of == number].sum())
            share = leaked / len(times) if findable or leaked else None
            row = {"task": task, "items": len(times), "findable": findable, "leaked": leaked, "share": share}
            table.append({**row, "questions": asked, "finds": int(times.sum())})
        return table

    def items_table(self) -> Iterator[dict[str, Any]]:
        """Items that leak, the most frequent first."""
        for number in np.lexsort((np.arange(len(self.times)), -self.times)).tolist():
            if not self.times[number]:
                return
            leak = self.leaks.get(number, Leak("", "", 0.0, ""))
            yield {
                "task": self.tasks[self.task_of[number]],
                "item": self.names[number],
                "documents": int(self.times[number]),
                "field": leak.field,
                "share": round(leak.share, 4),
                "first_document": leak.document,
                "excerpt": leak.excerpt,
            }

    def top_hosts(self, count: int = 20) -> list[tuple[str, int]]:
        return sorted(self.hosts.items(), key=lambda pair: (-pair[1], pair[0]))[:count]

    def to_json(self) -> dict[str, Any]:
        items = [row for row, _ in zip(self.items_table(), range(_IN_JSON), strict=False)]
        return {
            "documents": self.documents,
            "contaminated": self.contaminated,
            "masked_before": self.masked,
            "dropped_without_enough_text": self.unknown,
            "tasks": self.tasks_table(),
            "hosts": [{"host": host, "documents": count} for host, count in self.top_hosts(100)],
            "items": items,
        }

    def write(self, folder: Path) -> list[Path]:
        """The JSON and the CSV into a folder, which is made; their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / JSON_NAME, folder / CSV_NAME]
        paths[0].write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        columns = ("task", "item", "documents", "field", "share", "first_document", "excerpt")
        with open(paths[1], "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.items_table())
        return paths


def make_report(
    documents: Documents,
    index: BenchmarkIndex,
    *,
    min_share: float = MIN_SHARE,
    min_13grams: int = MIN_13GRAMS,
    same: bool = False,
) -> Report:
    """Look for all items in all documents, those that a run has dropped as contaminated included.

    min_share, min_13grams: as in `DropContaminated`. same: whether the run has looked for these items, from these
    thresholds on (`runs.has_searched`): then documents in which it has found nothing are not searched again.
    """
    size = len(index.names)
    nothing = np.zeros(size, np.int64), np.zeros(size, bool)
    report = Report(index.names, index.tasks, index.task_of, index.covered, times=nothing[0], asked=nothing[1])
    search = _Search(report, index, min_share, min_13grams, same)
    for rows in documents.rows():
        report.documents += len(rows)
        search.rows([row for row in rows if not same or _worth_it(row)])
    for rows in documents.rows(dropped=True):
        gone = [row for row in rows if str(row.get("reason") or "").startswith("contaminated")]
        report.documents += len(gone)
        report.unknown += len(gone) - search.rows(gone)
    return report


def _worth_it(row: Mapping[str, Any]) -> bool:
    """Whether a document may be contaminated, as far as its run has told; one that it left out may be."""
    return row.get("contamination") is not None or row.get("contamination_share") is None


class _Search:
    """What the fold needs besides what it has counted."""

    def __init__(self, report: Report, index: BenchmarkIndex, min_share: float, min_13grams: int, same: bool) -> None:
        self._report, self._index, self._same = report, index, same
        self._least, self._runs = min_share, min_13grams
        self._number = {name: number for number, name in enumerate(index.names)}

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Count what is in these documents; how many of them have anything."""
        known = [self._named(row) for row in rows]
        # of a text out of which these items were cut, nothing more is left
        texts = pa.array(
            [None if self._same and row.get("contamination_masked") else row.get("text") for row in rows],
            pa.large_string(),
        )
        found = self._index.search(texts, min_share=self._least, min_runs=self._runs)
        for place in np.unique(found.text).tolist():
            row, leaks = rows[place], known[place]
            excerpt = self._excerpt(row["text"])
            for at in np.flatnonzero(found.text == place).tolist():
                passage = int(found.passage[at])
                leak = Leak(self._index.field(passage), _name(row), float(found.share[at]), excerpt)
                for number in self._index.items_of(passage):
                    self._report.asked[number] |= self._index.asks(passage)
                    if number not in leaks or leaks[number].share < leak.share:
                        leaks[number] = leak
        for row, leaks in zip(rows, known, strict=True):
            if leaks:
                self._add(row, leaks)
        return sum(map(bool, known))

    def _named(self, row: Mapping[str, Any]) -> dict[int, Leak]:
        """The item that a run has named when it cut it out of a document."""
        number = self._number.get(str(row.get("contamination"))) if row.get("contamination_masked") else None
        if number is None:
            return {}
        self._report.masked += 1
        return {number: Leak("", _name(row), float(row.get("contamination_share") or 0.0), "")}

    def _add(self, row: Mapping[str, Any], leaks: Mapping[int, Leak]) -> None:
        report = self._report
        report.contaminated += 1
        for number, leak in leaks.items():
            report.times[number] += 1
            report.leaks.setdefault(number, leak)
        report.hosts[host_of(str(row.get("url") or "")) or "(none)"] += 1
        if len(report.hosts) > _MAX_HOSTS:
            report.hosts = Counter(dict(report.top_hosts(_MAX_HOSTS // 2)))

    def _excerpt(self, text: str) -> str:
        """The beginning of what was found."""
        found = self._index.search(pa.array([text]), min_share=self._least, min_runs=self._runs, spans=True)
        start = int(found.spans[:, 1].min(initial=len(text.encode())))
        piece = text.encode()[start : start + 4 * _EXCERPT].decode("utf-8", "ignore")
        return " ".join(piece.split())[:_EXCERPT]


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("url") or row.get("id") or "")
