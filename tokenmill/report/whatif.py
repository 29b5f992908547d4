"""What other thresholds would remove and keep: one code of a byte per document and threshold.

With the edges e[0] < e[1] < ... of a slider, a rule `<` or `<=` removes a document with the threshold at edge i exactly
if i >= code, a rule `>` or `>=` exactly if i < code. So all counts are sums over codes, in Python here and in the
page's script alike.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.decide import holds
from tokenmill.core.plan import verdict_column
from tokenmill.report.signals import Signals, Slider, Table
from tokenmill.text.quantiles import as_floats

Codes = npt.NDArray[np.uint8]
"""(n,): one code per document."""
Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
NEVER_BELOW = 255
"""Code of a document that a rule `<` or `<=` never removes; that of `>` and `>=` is 0."""


def codes_of(slider: Slider, edges: npt.NDArray[np.float64], values: npt.NDArray[np.float64], null: Mask) -> Codes:
    """values: (n,) of the signal; null: where there is none, or it is no number."""
    side = {"<": "right", "<=": "left", ">": "left", ">=": "right"}[slider.comparison]
    found = np.searchsorted(edges, values, side=side)  # type: ignore[call-overload]
    if slider.below:
        found[found == len(edges)] = NEVER_BELOW
        found[null] = 0 if slider.nulls_fall else NEVER_BELOW
    else:
        found[null] = len(edges) if slider.nulls_fall else 0
    codes: Codes = found.astype(np.uint8)
    return codes


def removed(slider: Slider, codes: Codes, edge: int) -> Mask:
    """Which documents the rule removes with its threshold at that edge; -1: the rule is off."""
    if edge < 0:
        return np.zeros(len(codes), np.bool_)
    found: Mask = (edge >= codes) if slider.below else (edge < codes)
    return found


@dataclass
class WhatIf:
    """Codes of all documents that were looked at, in their order, and sums over them."""

    signals: Signals
    edges: Sequence[npt.NDArray[np.float64]]
    codes: list[list[Codes]] = field(init=False)
    fixed: list[Mask] = field(default_factory=list)
    sizes: list[Counts] = field(default_factory=list)
    tokens: list[Counts] = field(default_factory=list)
    keys: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    nulls: Counts = field(init=False)
    histograms: list[Counts] = field(init=False)
    unlike: int = 0
    """Documents that rules would drop and the stored verdict keeps, or the other way round."""

    def __post_init__(self) -> None:
        count = len(self.signals.sliders)
        self.codes = [[] for _ in range(count)]
        self.nulls = np.zeros(count, np.int64)
        self.histograms = [np.zeros(len(edges) + 1, np.int64) for edges in self.edges]

    def add(self, batch: pa.RecordBatch, sizes: Counts, tokens: Counts, ids: Sequence[Any]) -> None:
        """batch: the columns that `signals` wants; sizes, tokens: (n,) of the texts; ids choose a sample."""
        slid = np.zeros((len(self.signals.sliders), batch.num_rows), np.bool_)
        for place, slider in enumerate(self.signals.sliders):
            slid[place] = self._slide(place, slider, batch)
        fixed = np.zeros(batch.num_rows, np.bool_)
        for label in self.signals.stored:
            fixed |= _valid(batch, verdict_column(label))
        for table in self.signals.tables:
            mine = [place for place, slider in enumerate(self.signals.sliders) if slider.label == table.label]
            fixed |= self._fixed(table, batch, np.logical_or.reduce(slid[mine], axis=0))
        self.fixed.append(fixed)
        self.sizes.append(sizes)
        self.tokens.append(tokens)
        self.keys.append(np.array([_key(one) for one in ids], np.uint64))

    def _slide(self, place: int, slider: Slider, batch: pa.RecordBatch) -> Mask:
        """Note the codes of a slider; which documents it removes as it is."""
        edges = self.edges[place]
        column = batch.column(slider.column)
        values, null = as_floats(column)[0], column.is_null().to_numpy(zero_copy_only=False)
        null |= np.isnan(values)
        codes = codes_of(slider, edges, np.where(null, 0.0, values), null)
        here = _group(slider, batch)
        if here is not None:
            codes[~here] = NEVER_BELOW if slider.below else 0
        counted = ~null if here is None else here & ~null
        bins = np.searchsorted(edges, values[counted], side="right")
        self.histograms[place] += np.bincount(bins, minlength=len(edges) + 1)
        self.nulls[place] += int((null if here is None else null & here).sum())
        self.codes[place].append(codes)
        return removed(slider, codes, current(slider, edges))

    def _fixed(self, table: Table, batch: pa.RecordBatch, slid: Mask) -> Mask:
        """What rules of the filter drop that no slider moves. slid: what its sliders remove as they are."""

        def held(place: int) -> Mask:
            found = holds(table.rules[place], lambda name: batch.column(table.columns[name]))
            mask: Mask = found.to_numpy(zero_copy_only=False).copy()
            return mask

        fixed = np.zeros(batch.num_rows, np.bool_)
        for place in table.fixed:
            fixed |= held(place)
        for place, sliders in self._by_value(table).items():
            rest = held(place)  # documents whose value has no slider
            for slider in sliders:
                rest[_group(slider, batch)] = False
            fixed |= rest
        for place in table.follows:
            fixed |= held(place) & ~slid & ~fixed
        verdict = _valid(batch, verdict_column(table.label))
        self.unlike += int(((fixed | slid) != verdict).sum())
        return fixed

    def _by_value(self, table: Table) -> dict[int, list[Slider]]:
        """Sliders of rules with a threshold per value, by place of the rule."""
        found: dict[int, list[Slider]] = {}
        for slider in self.signals.sliders:
            if slider.label == table.label and slider.by:
                found.setdefault(slider.rule, []).append(slider)
        return found

    def joined(self) -> Joined:
        """All documents."""
        empty = np.empty(0, np.int64)
        return Joined(
            self.signals.sliders,
            self.edges,
            [np.concatenate(one) if one else np.empty(0, np.uint8) for one in self.codes],
            np.concatenate(self.fixed) if self.fixed else np.empty(0, np.bool_),
            np.concatenate(self.sizes) if self.sizes else empty,
            np.concatenate(self.tokens) if self.tokens else empty,
            np.concatenate(self.keys) if self.keys else np.empty(0, np.uint64),
        )


@dataclass(frozen=True)
class Joined:
    """Codes and sizes of documents: lists over sliders, arrays over documents."""

    sliders: Sequence[Slider]
    edges: Sequence[npt.NDArray[np.float64]]
    codes: Sequence[Codes]
    fixed: Mask
    sizes: Counts
    tokens: Counts
    keys: npt.NDArray[np.uint64]

    def kept(self, places: Mapping[int, int] | None = None) -> Mask:
        """(n,): which documents pass with sliders at these edges (slider -> edge, -1 off), the others as they are."""
        gone = self.fixed.copy()
        for number, (slider, edges, codes) in enumerate(zip(self.sliders, self.edges, self.codes, strict=True)):
            edge = current(slider, edges) if places is None or number not in places else places[number]
            gone |= removed(slider, codes, edge)
        return ~gone

    def curves(self) -> list[dict[str, list[int]]]:
        """For each slider, by edge: `removes`, `kept`, `kept_bytes`."""
        hits = self.fixed.astype(np.int64)
        now = []
        for slider, edges, codes in zip(self.sliders, self.edges, self.codes, strict=True):
            now.append(removed(slider, codes, current(slider, edges)))
            hits += now[-1]
        found = []
        for slider, edges, codes, mine in zip(self.sliders, self.edges, self.codes, now, strict=True):
            free = hits == mine
            all_removed, all_kept = _by_edge(slider, codes, len(edges))
            _, kept = _by_edge(slider, codes[free], len(edges))
            _, size = _by_edge(slider, codes[free], len(edges), self.sizes[free])
            assert len(all_kept) == len(edges)
            found.append({"removes": all_removed, "kept": kept, "kept_bytes": size})
        return found

    def sample(self, documents: int) -> Joined:
        """At most that many documents, those with the smallest hashes of their ids."""
        if documents >= len(self.fixed):
            return self
        chosen = np.sort(np.argsort(self.keys, kind="stable")[: max(0, documents)])
        return Joined(
            self.sliders,
            self.edges,
            [codes[chosen] for codes in self.codes],
            self.fixed[chosen],
            self.sizes[chosen],
            self.tokens[chosen],
            self.keys[chosen],
        )

    def to_json(self, of: int) -> dict[str, Any]:
        """Plain values; arrays in base64. of: documents of which these are all, or a sample."""
        return {
            "documents": len(self.fixed),
            "of": of,
            "bytes": _encoded(self.sizes.clip(0, 2**32 - 1).astype("<u4")),
            "tokens": _encoded(self.tokens.clip(0, 2**32 - 1).astype("<u4")) if self.tokens.any() else None,
            "fixed": _encoded(self.fixed.astype(np.uint8)),
            "codes": [_encoded(codes) for codes in self.codes],
        }

    def bytes_each(self) -> float:
        """Characters of `to_json` per document."""
        return (len(self.codes) + 5 + (4 if self.tokens.any() else 0)) * 4 / 3


def current(slider: Slider, edges: npt.NDArray[np.float64]) -> int:
    """The place of the present threshold among the edges; -1 where the rule is off."""
    return -1 if slider.threshold is None else int(np.searchsorted(edges, slider.threshold))


def _by_edge(slider: Slider, codes: Codes, edges: int, weights: Counts | None = None) -> tuple[list[int], list[int]]:
    """(removed, kept) by edge: documents, or their weights."""
    tally = np.zeros(256, np.int64)
    if weights is None:
        tally += np.bincount(codes, minlength=256)
    else:
        np.add.at(tally, codes, weights)
    total = int(tally.sum())
    sums = np.cumsum(tally)[:edges]  # of codes up to i
    if slider.below:
        return sums.tolist(), (total - sums).tolist()
    return (total - sums).tolist(), sums.tolist()


def _group(slider: Slider, batch: pa.RecordBatch) -> Mask | None:
    """Documents to which the threshold applies; None: all."""
    if not slider.by:
        return None
    same = pc.equal(batch.column(slider.by), slider.value).fill_null(False)
    found: Mask = same.to_numpy(zero_copy_only=False)
    return found


def _valid(batch: pa.RecordBatch, name: str) -> Mask:
    if name not in batch.schema.names:
        return np.zeros(batch.num_rows, np.bool_)
    found: Mask = batch.column(name).is_valid().to_numpy(zero_copy_only=False)
    return found


def _key(value: Any) -> int:
    digest = hashlib.blake2b(str(value).encode("utf-8", "replace"), digest_size=8, key=b"whatif").digest()
    return int.from_bytes(digest, "little")


def _encoded(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
