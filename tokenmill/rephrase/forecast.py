"""What rephrasing would take: volume from a sample of the documents, and figures from a pilot with a real model.

Sums over a sample of documents are scaled to all of them. Intervals are percentiles of 2,000 bootstrap samples of
*documents*, for passages and styles of one document are alike.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.rephrase.chunks import passages_of
from tokenmill.rephrase.corpus.rates import wilson
from tokenmill.rephrase.counting import Counter as TokenCounter
from tokenmill.rephrase.render import messages_of
from tokenmill.rephrase.routes import Routes
from tokenmill.rephrase.style import Style

RESAMPLES = 2000
SAMPLE = 2000
"""Documents from which the volume is estimated."""
INTERVAL = (2.5, 97.5)


@dataclass
class Sample:
    """Documents drawn by a hash of their ids: the same ones in any order and from any files."""

    size: int
    seed: int = 0
    documents: int = 0
    chars: int = 0
    _heap: list[tuple[int, str, Mapping[str, Any]]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a document, and keep it if its hash is among the smallest."""
        self.documents += 1
        self.chars += len(row["text"])
        raw = hashlib.sha256(f"{self.seed}\0{row['doc_id']}".encode()).digest()
        place = -int.from_bytes(raw[:8], "big")
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, (place, row["doc_id"], row))
        elif place > self._heap[0][0]:
            heapq.heapreplace(self._heap, (place, row["doc_id"], row))

    def rows(self, most: int | None = None) -> list[Mapping[str, Any]]:
        """Those kept, the smallest hashes first."""
        return [row for _, _, row in sorted(self._heap, key=lambda one: (-one[0], one[1]))[:most]]


@dataclass(frozen=True)
class Volume:
    """What would be sent, scaled from a sample. Of each style: documents, passages, characters, tokens of prompts, and
    the most tokens that answers may have."""

    documents: int
    sampled: int
    styles: Mapping[str, Mapping[str, float]]

    def total(self, name: str) -> float:
        return sum(counts.get(name, 0.0) for counts in self.styles.values())


def volume(sample: Sample, styles: Mapping[str, Style], routes: Routes, counter: TokenCounter, seed: int = 0) -> Volume:
    """What the documents would take. styles: as `routes` names them."""
    rows = sample.rows()
    scale = sample.documents / max(1, len(rows))
    found: dict[str, Counter[str]] = {style.name: Counter() for style in styles.values()}
    for row in rows:
        value = row.get(routes.by) if routes.by else None
        for name in routes.styles_of(value):
            style = styles[name]
            counts = found[style.name]
            passages, skipped = passages_of(row["doc_id"], row["text"], style, counter)
            counts["documents"] += bool(passages)
            counts["skipped"] += len(skipped)
            for passage in passages:
                counts["passages"] += 1
                counts["chars"] += len(passage.text)
                messages = messages_of(style, passage, seed=seed, url=row.get("url") or "")
                counts["tokens_in"] += sum(counter.count(message["content"]) for message in messages)
                counts["tokens_out_most"] += style.output_tokens
    scaled = {name: {key: value * scale for key, value in counts.items()} for name, counts in found.items()}
    return Volume(sample.documents, len(rows), scaled)


@dataclass(frozen=True)
class Figure:
    """An estimate with its interval (95 %)."""

    value: float
    low: float
    high: float | None
    """None: no bound, as of dollars for what may not be kept at all."""


@dataclass(frozen=True)
class Prices:
    """US dollars: for a million tokens of prompts and of answers, and for an hour of the machines that answer."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0
    hour: float = 0.0

    @property
    def known(self) -> bool:
        return self.tokens_in + self.tokens_out + self.hour > 0


@dataclass(frozen=True)
class Forecast:
    """What all documents would take, from a pilot."""

    pilot_documents: int
    documents: int
    pilot_seconds: float
    """Wall clock of the requests of the pilot."""
    figures: Mapping[str, Figure]
    """requests, tokens_in, tokens_out, accept_rate, kept_tokens, hours, dollars, dollars_per_billion_kept."""
    accept_rates: Mapping[str, Figure]
    """By style."""
    reasons: Mapping[str, int]
    """Why outputs of the pilot were rejected."""


def forecast(
    rows: Iterable[Mapping[str, Any]],
    pilot_ids: Sequence[str],
    documents: int,
    *,
    seconds: float,
    prices: Prices,
    seed: int = 0,
) -> Forecast:
    """What `documents` would take, if they are as those of the pilot.

    rows: outputs of the pilot, accepted and rejected, with parent_doc_id, style, request_keys, attempts, tokens_in,
    tokens_out, reason (null where accepted) and kept_tokens. pilot_ids: of all its documents, those without outputs
    too. seconds: wall clock; hours are those at the pilot's throughput, which a small pilot does not bring to its
    ceiling.
    """
    place = {doc_id: number for number, doc_id in enumerate(pilot_ids)}
    names = ("requests", "tokens_in", "tokens_out", "asked", "accepted", "kept_tokens")
    totals = np.zeros((len(place), len(names)))
    by_style: dict[str, npt.NDArray[np.float64]] = {}
    reasons: Counter[str] = Counter()
    for row in rows:
        if not row["request_keys"]:
            continue  # too short: nobody was asked
        number, accepted = place[row["parent_doc_id"]], row.get("reason") is None
        kept = row["kept_tokens"] if accepted else 0
        totals[number] += (row["attempts"], row["tokens_in"], row["tokens_out"], 1, accepted, kept)
        by_style.setdefault(row["style"], np.zeros((len(place), 2)))[number] += (1, accepted)
        if not accepted:
            reasons[f"{row['style']}: {row['reason']}"] += 1
    count = len(place)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / max(1, count)), RESAMPLES)
    scale = documents / max(1, count)

    def figure(of: Any, sums: npt.NDArray[np.float64]) -> Figure:
        """`of` a vector of sums over documents."""
        if not count:
            return Figure(0.0, 0.0, 0.0)
        low, high = np.percentile([of(one) for one in weights @ sums], INTERVAL, method="nearest")
        return Figure(float(of(sums.sum(axis=0))), float(low), float(high) if np.isfinite(high) else None)

    def rate(sums: npt.NDArray[np.float64]) -> Figure:
        """The share of accepted ones of [asked, accepted]. Of few documents, or none accepted, the bootstrap says too
        little: Wilson's interval is the least that is told."""
        found = figure(lambda one: float(one[1] / max(1, one[0])), sums)
        asked, accepted = (round(float(one)) for one in sums.sum(axis=0))
        low, high = wilson(accepted, asked)
        return Figure(found.value, min(found.low, low), max(found.high or 0.0, high))

    at = {name: number for number, name in enumerate(names)}
    speed = totals[:, at["tokens_out"]].sum() / max(seconds, 1e-9)

    def hours(sums: npt.NDArray[np.float64]) -> float:
        return float(sums[at["tokens_out"]] * scale / max(speed, 1e-9) / 3600)

    def dollars(sums: npt.NDArray[np.float64]) -> float:
        tokens = sums[at["tokens_in"]] * prices.tokens_in + sums[at["tokens_out"]] * prices.tokens_out
        return float(tokens * scale / 1e6 + hours(sums) * prices.hour)

    figures = {
        name: figure(lambda sums, n=at[name]: float(sums[n] * scale), totals) for name in names if name != "asked"
    }
    figures["accept_rate"] = rate(totals[:, [at["asked"], at["accepted"]]])
    figures["hours"] = figure(hours, totals)

    def per_billion(sums: npt.NDArray[np.float64]) -> float:
        kept = float(sums[at["kept_tokens"]] * scale)
        return 1e9 * dollars(sums) / kept if kept else float("inf")

    if prices.known:
        figures["dollars"] = figure(dollars, totals)
        if totals[:, at["kept_tokens"]].any():
            figures["dollars_per_billion_kept"] = figure(per_billion, totals)
    rates = {style: rate(sums) for style, sums in sorted(by_style.items())}
    return Forecast(len(place), documents, seconds, figures, rates, dict(reasons.most_common()))
