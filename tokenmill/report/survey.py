"""What the published tables of a run hold, summed in one pass: languages, domains, lengths, notices, phrases, samples.

What is kept in memory is bounded: by the rows that are read, and by constants here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.report.licenses import license_family, signal_families
from tokenmill.report.shares import coded, domain_of
from tokenmill.report.survey_samples import MOST_POOLS, Pool
from tokenmill.text.hosts import host_of
from tokenmill.text.phrases import found_phrases, phrases

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

TOP_DOMAINS = 25
TOP_LANGUAGES = 40
MOST_MONTHS = 600
OTHERS = "(others)"
_NAME_CHARS = 120
_MONTH = re.compile(r"^[12]\d{3}-(0[1-9]|1[0-2])(?=\D|$)")
_USUAL = r"^[A-Za-z][A-Za-z0-9+.\-]*://(?P<host>[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+)(?::[0-9]*)?(?:[/?#]|$)"
"""Addresses whose host can be seen at once; a tenth of the time of reading them one by one."""
_LENGTHS = np.array([0, *dict.fromkeys(round(2 ** (half / 2)) for half in range(61))], np.int64)
"""Edges of the histograms of lengths: 0, then powers of the square root of 2."""

COLUMNS = (
    "url",
    "language",
    "date",
    "robots",
    "license",
    "token_count",
    "text_characters",
    "text_bytes",
    "id",
    "doc_id",
)
"""Columns of `data/` that are read besides the text, `pii_*`, and what decides."""


@dataclass
class Survey:
    """Sums over the documents that were looked at. `kept` of a batch: which documents no filter drops."""

    pii_kinds: Sequence[str] = ()
    knows_dropped: bool = False
    """Whether `data/` holds dropped documents, too (annotate mode)."""
    languages: Counter[tuple[str | None, bool]] = field(default_factory=Counter)
    domains_kept: dict[str, list[int]] = field(default_factory=dict)
    domains_dropped: Counter[str] = field(default_factory=Counter)
    lengths: dict[tuple[str, bool], Counts] = field(default_factory=dict)
    pii: dict[str, list[int]] = field(default_factory=dict)
    notices: dict[str, list[int]] = field(default_factory=dict)
    months: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    phrase_counts: Counter[int] = field(default_factory=Counter)
    phrase_documents: int = 0
    kept_pool: Pool = field(default_factory=Pool)
    pools: dict[str, Pool] = field(default_factory=dict)
    kept: int = 0
    documents: int = 0

    def add(self, batch: pa.RecordBatch, kept: Mask, sizes: Counts) -> None:
        """Count a batch of `data/`. sizes: (n,) UTF-8 bytes of the texts."""
        self.documents += batch.num_rows
        self.kept += int(kept.sum())
        self._count_languages(batch, kept)
        self._count_domains(_column(batch, "url"), kept, sizes)
        self._count_lengths(batch, kept)
        self._count_pii(batch, kept)
        self._count_notices(batch, kept)

    def _count_languages(self, batch: pa.RecordBatch, kept: Mask) -> None:
        names, codes = coded(_column(batch, "language"))
        for keep in (True, False):
            counts = np.bincount(codes[kept == keep], minlength=len(names))
            for name, count in zip(names, counts.tolist(), strict=True):
                if count:
                    self.languages[None if name is None else str(name)[:_NAME_CHARS], keep] += count

    def _count_domains(self, urls: pa.Array, kept: Mask, sizes: Counts) -> None:
        names, codes = _domains(urls)
        through = np.bincount(codes[kept], minlength=len(names)).tolist()
        dropped = np.bincount(codes[~kept], minlength=len(names)).tolist()
        bytes_of = np.zeros(len(names), np.int64)
        np.add.at(bytes_of, codes[kept], sizes[kept])
        for name, documents, size, gone in zip(names, through, bytes_of.tolist(), dropped, strict=True):
            if documents:
                row = self.domains_kept.setdefault(name, [0, 0])
                row[0] += documents
                row[1] += size
            if gone:
                self.domains_dropped[name] += gone

    def _count_lengths(self, batch: pa.RecordBatch, kept: Mask) -> None:
        tokens = _numbers(batch, "token_count")
        characters = _characters(batch)
        for unit, values in (("tokens", tokens), ("characters", characters)):
            for keep in (True, False):
                mine = values[(values >= 0) & (kept == keep)]
                bins = np.searchsorted(_LENGTHS, mine, side="right") - 1
                found = np.bincount(bins.clip(0, len(_LENGTHS) - 1), minlength=len(_LENGTHS))
                self.lengths[unit, keep] = self.lengths.get((unit, keep), 0) + found

    def _count_pii(self, batch: pa.RecordBatch, kept: Mask) -> None:
        for name in self.pii_kinds:
            spans = _numbers(batch, name)[kept]
            row = self.pii.setdefault(name, [0, 0])
            row[0] += int((spans > 0).sum())
            row[1] += int(spans.clip(0).sum())

    def _count_notices(self, batch: pa.RecordBatch, kept: Mask) -> None:
        for name in ("robots", "license"):
            values, codes = coded(_column(batch, name))
            every = np.bincount(codes, minlength=len(values)).tolist()
            passed = np.bincount(codes[kept], minlength=len(values)).tolist()
            for value, documents, through in zip(values, every, passed, strict=True):
                signals = signal_families(value or "") if name == "robots" else (license_family(value or ""),)
                for signal in filter(None, signals):
                    row = self.notices.setdefault(signal, [0, 0])
                    row[0] += documents
                    row[1] += through

    def read_texts(
        self,
        batch: pa.RecordBatch,
        kept: Mask,
        reasons: pa.Array,
        ids: Sequence[str],
        why: Callable[[int], dict[str, Any]],
    ) -> None:
        """Look for phrases in kept texts, and offer every text as a sample.

        reasons: (n,) `stage.reason` of documents that were dropped; why: what to tell of a dropped row.
        """
        texts, urls, dates = (_column(batch, name) for name in ("text", "url", "date"))
        named = reasons.to_pylist()
        months = dates.to_pylist()
        for row, keep in enumerate(kept.tolist()):
            text = texts[row].as_py()
            if not text:
                continue
            if keep:
                self._find_phrases(text, months[row])
            pool = self.kept_pool if keep else self._pool(str(named[row]))
            if pool is not None:
                pool.offer(ids[row], partial(_told, why, row, urls, text))

    def _find_phrases(self, text: str, date: Any) -> None:
        found = found_phrases(text)
        self.phrase_documents += 1
        self.phrase_counts.update(found)
        match = _MONTH.match(date) if isinstance(date, str) else None
        if match is not None and (match.group() in self.months or len(self.months) < MOST_MONTHS):
            row = self.months[match.group()]
            row[0] += 1
            row[1] += bool(found)

    def _pool(self, reason: str) -> Pool | None:
        reason = reason[:_NAME_CHARS]
        if reason not in self.pools:
            if len(self.pools) >= MOST_POOLS:
                return None
            self.pools[reason] = Pool()
        return self.pools[reason]

    def add_dropped(self, batch: pa.RecordBatch) -> None:
        """Count a batch of `dropped/`, and offer its texts as samples."""
        self.documents += batch.num_rows
        names, codes = _domains(_column(batch, "url"))
        for name, gone in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
            self.domains_dropped[name] += gone
        texts = _column(batch, "text")
        for row in pc.indices_nonzero(pc.greater(pc.binary_length(texts), 0).fill_null(False)).to_pylist():
            found = {name: batch.column(name)[row].as_py() for name in _LISTED if name in batch.schema.names}
            pool = self._pool(f"{found.get('stage')}.{found.get('reason')}")
            if pool is not None:
                pool.offer(str(found.get("doc_id")), partial(dropped_row, found, texts[row].as_py()))

    def to_json(self) -> dict[str, Any]:
        """The parts of the page that are sums; samples are made apart, since they are cut to fit."""
        return {
            "languages": self._languages(),
            "domains": self._domains(),
            "lengths": self._lengths(),
            "pii": [
                {"kind": name.removeprefix("pii_"), "documents": row[0], "spans": row[1]}
                for name, row in self.pii.items()
            ],
            "optout": [
                {"signal": name, "documents": row[0], "kept": row[1]}
                for name, row in sorted(self.notices.items(), key=lambda item: (-item[1][0], item[0]))[:40]
            ],
            "phrases": self._phrases(),
        }

    def _languages(self) -> list[dict[str, Any]]:
        names = {name for name, _ in self.languages}
        rows = [(name, self.languages[name, True], self.languages[name, False]) for name in names]
        rows.sort(key=lambda row: (-row[1] - row[2], row[0] is None, row[0] or ""))
        if [row[0] for row in rows] == [None]:
            return []
        shown, rest = rows[:TOP_LANGUAGES], rows[TOP_LANGUAGES:]
        if rest:
            shown.append((OTHERS, sum(row[1] for row in rest), sum(row[2] for row in rest)))
        known = self.knows_dropped
        return [{"name": name, "kept": kept, "dropped": dropped if known else None} for name, kept, dropped in shown]

    def _domains(self) -> dict[str, Any]:
        kept = sorted(self.domains_kept.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
        dropped = sorted(self.domains_dropped.items(), key=lambda item: (-item[1], item[0]))
        return {
            "kept": [{"name": name, "documents": row[0], "bytes": row[1]} for name, row in kept if name][:TOP_DOMAINS],
            "dropped": [{"name": name, "documents": count} for name, count in dropped if name][:TOP_DOMAINS],
            "distinct_kept": sum(bool(name) for name in self.domains_kept),
            "distinct_dropped": sum(bool(name) for name in self.domains_dropped),
        }

    def _lengths(self) -> list[dict[str, Any]]:
        found = []
        for unit in ("tokens", "characters"):
            kept = self.lengths.get((unit, True), np.zeros(len(_LENGTHS), np.int64))
            dropped = self.lengths.get((unit, False), np.zeros(len(_LENGTHS), np.int64))
            filled = np.flatnonzero(kept + dropped)
            if len(filled):
                first, last = int(filled[0]), int(filled[-1]) + 1
                ends = [*_LENGTHS.tolist(), 2**31]
                found.append(
                    {
                        "unit": unit,
                        "edges": ends[first : last + 1],
                        "kept": kept[first:last].tolist(),
                        "dropped": dropped[first:last].tolist() if self.knows_dropped else None,
                    }
                )
        return found

    def _phrases(self) -> dict[str, Any] | None:
        if not self.phrase_documents:
            return None
        names = phrases()
        return {
            "documents": self.phrase_documents,
            "months": [
                {"month": month, "documents": row[0], "with": row[1]} for month, row in sorted(self.months.items())
            ],
            "phrases": [
                {"phrase": names[place], "documents": count}
                for place, count in sorted(self.phrase_counts.items(), key=lambda item: (-item[1], names[item[0]]))
            ],
        }


_LISTED = ("doc_id", "url", "stage", "reason", "signal", "value", "threshold", "detail")


def _told(why: Callable[[int], dict[str, Any]], row: int, urls: pa.Array, text: str) -> dict[str, Any]:
    return {"url": urls[row].as_py(), "text": text, **why(row)}


def dropped_row(found: Mapping[str, Any], text: str) -> dict[str, Any]:
    """What a sample tells of a row of `dropped/`."""
    return {
        **{name: found.get(name) for name in ("url", "signal", "value", "threshold")},
        "why": found.get("detail") or "",
        "text": text,
    }


def columns_wanted(names: Collection[str]) -> list[str]:
    """Columns of `data/` to read, of those that the run has."""
    return [name for name in COLUMNS if name in names] + sorted(name for name in names if name.startswith("pii_"))


def _domains(urls: pa.Array) -> tuple[list[str], npt.NDArray[np.int64]]:
    """(domains, the place of each address's domain among them); "" for what has none."""
    hosts = pc.struct_field(pc.extract_regex(urls.cast(pa.string()), _USUAL), "host")
    odd = pc.and_(hosts.is_null(), urls.is_valid())
    if odd.true_count:  # read as `host_of` reads them
        found = hosts.to_pylist()
        for row in pc.indices_nonzero(odd).to_pylist():
            found[row] = host_of(urls[row].as_py())
        hosts = pa.array(found, pa.string())
    names, codes = coded(pc.utf8_lower(hosts))
    domains = [(domain_of(name.rstrip(".")) or "")[:_NAME_CHARS] if name else "" for name in names]
    distinct = {name: place for place, name in enumerate(dict.fromkeys(domains))}
    places = np.array([distinct[name] for name in domains], np.int64)
    return list(distinct), places[codes]


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of strings; nulls where the batch has none."""
    if name in batch.schema.names:
        column = batch.column(name)
        try:
            return column if pa.types.is_string(column.type) else column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return pa.nulls(batch.num_rows, pa.string())


def _numbers(batch: pa.RecordBatch, name: str) -> Counts:
    """Whole numbers of a column, -1 where there is none."""
    if name not in batch.schema.names or not pa.types.is_integer(batch.column(name).type):
        return np.full(batch.num_rows, -1, np.int64)
    found: Counts = batch.column(name).cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return found


def _characters(batch: pa.RecordBatch) -> Counts:
    if "text" in batch.schema.names:
        lengths = pc.utf8_length(batch.column("text")).cast(pa.int64()).fill_null(-1)
        found: Counts = lengths.to_numpy(zero_copy_only=False)
        return found
    return _numbers(batch, "text_characters")
