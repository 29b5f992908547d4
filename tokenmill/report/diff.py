"""How two runs differ: settings, funnels, documents with another verdict and why, and texts that changed.

Use: docs/explain.md. In an annotated run the first verdict column that is not null is the verdict.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.schema import DOC_ID
from tokenmill.report.diff_documents import KEPT, QUARANTINE, Joined, Side, joined_documents
from tokenmill.report.diff_settings import Settings, compare_settings
from tokenmill.report.differences import Difference, difference
from tokenmill.report.funnel import Funnel, fold

FORMAT = 1
"""Of `RunDiff.to_json`; raised when a key changes its meaning."""
CELLS = 40
"""Most kinds of changed verdicts of which samples are kept."""
_ABOUT = (DOC_ID, "id", "url", "file_path", "warc_offset", "signal", "value", "threshold")


@dataclass(frozen=True)
class FunnelRow:
    """One reason (`reason` "" for a whole stage): documents that each run has lost there. left: after the stage."""

    stage: str
    reason: str
    a: int
    b: int
    left_a: int = 0
    left_b: int = 0


@dataclass(frozen=True)
class Sample:
    """A document with another verdict: as both runs have it. a, b: signal, value and threshold where a rule decided."""

    doc_id: str
    id: str
    url: str
    verdict_a: str
    verdict_b: str
    a: Mapping[str, Any]
    b: Mapping[str, Any]


@dataclass(frozen=True)
class TextSample:
    """A document kept by both with another text."""

    doc_id: str
    id: str
    url: str
    chars_a: int
    chars_b: int
    difference: Difference


@dataclass
class RunDiff:
    """Two runs compared. A verdict is `kept` or `<stage>.<reason>` (quarantine: with ` (quarantine)`).

    verdicts: documents in both by (verdict in A, verdict in B). untold: those of which nobody can tell whether they
    have changed: dropped by a filter in one run, while the annotated other one has only stored that a later stage ended
    them, and not the verdicts before it. only_a, only_b: documents that only one lists, by verdict; records that are
    counted only, such as requests, are in neither. texts: kept by both and compared.
    """

    run_a: str
    run_b: str
    settings: Settings
    funnel: list[FunnelRow] = field(default_factory=list)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    untold: Counter[tuple[str, str]] = field(default_factory=Counter)
    only_a: Counter[str] = field(default_factory=Counter)
    only_b: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    texts_changed: int = 0
    samples: list[Sample] = field(default_factory=list)
    text_samples: list[TextSample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stage: str = ""

    @property
    def changed(self) -> list[tuple[str, str, int]]:
        """(verdict in A, verdict in B, documents) where they differ, the most first; of `stage` where one is named."""
        cells = [(a, b, count) for (a, b), count in self.verdicts.items() if a != b]
        if self.stage:
            cells = [cell for cell in cells if self.stage in (stage_of(cell[0]), stage_of(cell[1]))]
        return sorted(cells, key=lambda cell: (-cell[2], cell[0], cell[1]))

    @property
    def documents(self) -> int:
        """Documents that both runs list."""
        return self.verdicts.total() + self.untold.total()

    @property
    def same(self) -> bool:
        """Whether every document has the same verdict and text in both."""
        return not (self.changed or self.only_a or self.only_b or self.texts_changed)

    def to_json(self) -> dict[str, Any]:
        """Plain values of a stable structure (docs/explain.md)."""
        return {
            "format": FORMAT,
            "same": self.same,
            "run_a": self.run_a,
            "run_b": self.run_b,
            "settings": asdict(self.settings),
            "funnel": [asdict(row) for row in self.funnel],
            "documents": self.documents,
            "unchanged": sum(count for (a, b), count in self.verdicts.items() if a == b),
            "changed": [{"a": a, "b": b, "documents": count} for a, b, count in self.changed],
            "untold": [{"a": a, "b": b, "documents": count} for (a, b), count in self.untold.most_common()],
            "only_a": dict(self.only_a.most_common()),
            "only_b": dict(self.only_b.most_common()),
            "texts": {"compared": self.texts, "changed": self.texts_changed},
            "samples": [asdict(sample) for sample in self.samples],
            "text_samples": [asdict(sample) for sample in self.text_samples],
            "stage": self.stage,
            "notes": self.notes,
        }


def stage_of(verdict: str) -> str:
    """The stage of a verdict, "" of `kept`."""
    return "" if verdict == KEPT else verdict.partition(".")[0]


def diff_runs(run_a: str, run_b: str, *, samples: int = 5, stage: str = "") -> RunDiff:
    """Compare two finished runs.

    samples: of documents of each kind of change, and of changed texts; chosen by a hash of the document. stage: only
    changes of verdicts of that stage are told. ConfigError where a folder holds no finished run.
    """
    if samples < 0:
        raise ConfigError(f"--samples {samples} is below 0")
    a, b = Side(run_a), Side(run_b)
    labels = [entry["stage"] for side in (a, b) for entry in side.run["stages"]]
    if stage and stage not in labels:
        raise ConfigError(f"no stage {stage!r} in either run", why=did_you_mean(stage, dict.fromkeys(labels)))
    found = RunDiff(run_a, run_b, compare_settings(a.run, b.run), stage=stage)
    for side in (a, b):
        if not side.has_texts:
            found.notes.append(f"{side.location} publishes no texts: they are not compared")
    chosen = _Chosen(samples)
    for part in joined_documents(a, b):
        _add(found, part, chosen, stage)
    found.funnel = list(_funnel(found, a, b))
    for pair in [pair for pair in found.verdicts if _is_untold(pair[0], pair[1], b) or _is_untold(pair[1], pair[0], a)]:
        found.untold[pair] = found.verdicts.pop(pair)
    found.samples = [one for one in chosen.documents(a, b) if (one.verdict_a, one.verdict_b) in found.verdicts]
    found.text_samples = list(chosen.texts(a, b))
    return found


def _is_untold(other: str, verdict: str, side: Side) -> bool:
    """Whether an annotated run (`side`) has lost a filter's verdict, `other` in the other run, since a later stage that
    is no annotated filter ended the document."""
    columns = side.published.verdicts
    labels = [entry["stage"] for entry in side.run["stages"]]
    stage, before = stage_of(verdict), stage_of(other)
    if f"{before}_verdict" not in columns or f"{stage}_verdict" in columns or stage not in labels:
        return False
    return labels.index(before) < labels.index(stage)


def _add(found: RunDiff, part: Joined, chosen: _Chosen, stage: str) -> None:
    found.only_a.update(_counts(part.only_a.column("verdict")))
    found.only_b.update(_counts(part.only_b.column("verdict")))
    if not part.a.num_rows:
        return
    verdicts = part.a.column("verdict"), part.b.column("verdict")
    pairs = pa.table({"a": verdicts[0], "b": verdicts[1]}).group_by(["a", "b"]).aggregate([([], "count_all")])
    for row in pairs.to_pylist():
        found.verdicts[row["a"], row["b"]] += row["count_all"]
    kept = pc.and_(pc.equal(verdicts[0], KEPT), pc.equal(verdicts[1], KEPT)).to_numpy()
    hashes = part.a.column("text").to_numpy(), part.b.column("text").to_numpy()
    other = kept & (hashes[0] != hashes[1])
    found.texts += int(kept.sum())
    found.texts_changed += int(other.sum())
    for row in np.flatnonzero(other).tolist():
        chosen.add("", "", part, row)
    for row in np.flatnonzero(pc.not_equal(*verdicts).to_numpy()).tolist():
        one, two = verdicts[0][row].as_py(), verdicts[1][row].as_py()
        if not stage or stage in (stage_of(one), stage_of(two)):
            chosen.add(one, two, part, row)


def _counts(verdicts: pa.ChunkedArray) -> Counter[str]:
    return Counter({row["values"]: row["counts"] for row in verdicts.value_counts().to_pylist()})


class _Chosen:
    """Of each kind of change the documents with the smallest hashes: the same ones in every run of the command."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heaps: dict[tuple[str, str], list[tuple[int, int, int, int, int]]] = {}

    def add(self, one: str, two: str, part: Joined, row: int) -> None:
        """A document by its place in both runs; changed texts are of the kind ("", "")."""
        if (one, two) not in self._heaps and len(self._heaps) > CELLS:
            return
        heap = self._heaps.setdefault((one, two), [])
        digest = hashlib.blake2b(part.a.column("key")[row].as_py().encode(), digest_size=8).digest()
        place = (part.a, "file"), (part.a, "row"), (part.b, "file"), (part.b, "row")
        entry = (-int.from_bytes(digest, "little"), *(table.column(name)[row].as_py() for table, name in place))
        if len(heap) < self._most:
            heapq.heappush(heap, entry)
        elif heap:
            heapq.heappushpop(heap, entry)

    def _places(self, kind: tuple[str, str]) -> Iterable[tuple[int, int, int, int]]:
        return (entry[1:] for entry in sorted(self._heaps.get(kind, ()), reverse=True))

    def documents(self, a: Side, b: Side) -> Iterable[Sample]:
        """Samples of changed verdicts."""
        for kind in sorted(kind for kind in self._heaps if kind != ("", "")):
            for file_a, row_a, file_b, row_b in self._places(kind):
                one, two = a.row(file_a, row_a, _ABOUT), b.row(file_b, row_b, _ABOUT)
                rules = [{name: row.get(name) for name in _ABOUT[-3:]} for row in (one, two)]
                yield Sample(*_identity({**two, **_present(one)}), *kind, *rules)

    def texts(self, a: Side, b: Side) -> Iterable[TextSample]:
        """Samples of changed texts."""
        columns = [*_ABOUT, "text"]
        for file_a, row_a, file_b, row_b in self._places(("", "")):
            one, two = a.row(file_a, row_a, columns), b.row(file_b, row_b, columns)
            texts = one["text"] or "", two["text"] or ""
            doc_id, id, url = _identity({**two, **_present(one)})
            yield TextSample(doc_id, id, url, len(texts[0]), len(texts[1]), difference(*texts))


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _identity(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """(doc_id, id, url)."""
    made = f"{row.get('file_path') or ''}#{row['warc_offset']}" if row.get("warc_offset") is not None else ""
    return row.get(DOC_ID) or made, row.get("id") or "", row.get("url") or ""


def _funnel(found: RunDiff, a: Side, b: Side) -> Iterable[FunnelRow]:
    """Every stage and reason with what each run has lost there, in the order of the stages."""
    lost = _lost(found, a, 0), _lost(found, b, 1)
    order = _merged(*([entry["stage"] for entry in side.run["stages"]] for side in (a, b)))
    left = [counts.total() for counts in lost]
    yield FunnelRow("", "", 0, 0, *left)
    for stage in order:
        reasons = sorted({verdict for counts in lost for verdict in counts if stage_of(verdict) == stage})
        if not reasons:
            continue
        sums = [sum(counts[verdict] for verdict in reasons) for counts in lost]
        left = [before - gone for before, gone in zip(left, sums, strict=True)]
        yield FunnelRow(stage, "", *sums, *left)
        for verdict in reasons:
            yield FunnelRow(stage, verdict.partition(".")[2], *(counts[verdict] for counts in lost))


def _merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """All stages; those that only the second run has stand behind what is before them there."""
    order, place = list(first), 0
    for stage in second:
        if stage in order:
            place = order.index(stage) + 1
        else:
            order.insert(place, stage)
            place += 1
    return order


def _lost(found: RunDiff, side: Side, place: int) -> Counter[str]:
    """Records by verdict, with those of the source that are counted and not listed."""
    counts = Counter(found.only_b if place else found.only_a)
    for pair, count in found.verdicts.items():
        counts[pair[place]] += count
    funnel: Funnel = fold(side.published.folder)
    source = funnel.stages[0] if funnel.stages else None
    for reason, count in source.dropped.items() if source is not None else ():
        verdict = (
            reason if side.run["mode"] == "refilter" and "." in reason else f"{side.run['stages'][0]['stage']}.{reason}"
        )
        counts[verdict] = max(counts[verdict], count)
    return counts


__all__ = ["QUARANTINE", "RunDiff", "diff_runs"]
