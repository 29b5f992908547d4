"""What a decision does to a corpus: shares by language, domain and label before and after, and pages at the border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.text.hosts import host_of, registered_domain

MOST_VALUES = 1_000_000
"""Distinct values of a column that are counted one by one."""
EXAMPLE_CHARS = 120

Amounts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """A value of a column: its share of the weight before and after. `ratio` above 1: it gains."""

    value: str
    before: float
    after: float
    documents: int
    documents_kept: int

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 0.0


@dataclass
class Shares:
    """Weights by value of a column. `rest`: what rare values hold that are no longer counted one by one."""

    table: dict[str | None, Amounts] = field(default_factory=dict)
    rest: Amounts = field(default_factory=lambda: np.zeros(4, np.int64))

    def add(self, values: pa.Array, weights: Amounts, kept: Mask) -> None:
        """values: (n,) strings; weights: (n,) of what is asked for; kept: (n,) the decision."""
        names, codes = coded(values)
        sums = np.zeros((len(names), 4), np.int64)
        for place, column in enumerate((weights, weights * kept, np.ones_like(weights), kept.astype(np.int64))):
            np.add.at(sums[:, place], codes, column)
        for name, row in zip(names, sums, strict=True):
            self.table[name] = self.table[name] + row if name in self.table else row
        if len(self.table) > MOST_VALUES:
            self._prune()

    def _prune(self) -> None:
        """Forget the rarer half: what is frequent over all files is never among these for long."""
        ordered = sorted(self.table.items(), key=lambda item: (-item[1][0], item[0] or ""))
        for _, row in ordered[MOST_VALUES // 2 :]:
            self.rest = self.rest + row
        self.table = dict(ordered[: MOST_VALUES // 2])

    def largest(self, top: int) -> list[Share]:
        """The `top` values whose share changes most; empty where the column says nothing (one value, or none)."""
        whole = sum(self.table.values(), self.rest)
        named = {name: row for name, row in self.table.items() if name}
        if len(named) < 2 or not whole[0]:
            return []
        found = [
            Share(str(name), float(row[0] / whole[0]), float(row[1] / max(whole[1], 1)), int(row[2]), int(row[3]))
            for name, row in named.items()
        ]
        return sorted(found, key=lambda share: (-abs(share.after - share.before), share.value))[:top]


@dataclass(frozen=True)
class Example:
    """A page near the threshold. `text`: its beginning, in one line."""

    url: str
    score: float
    threshold: float
    text: str


@dataclass
class Border:
    """The `count` pages nearest to the threshold on one side; of equally near ones the first."""

    count: int
    found: list[tuple[float, Example]] = field(default_factory=list)

    def add(
        self,
        columns: Mapping[str, pa.Array],
        scores: npt.NDArray[np.float64],
        limits: npt.NDArray[np.float64],
        mask: Mask,
    ) -> None:
        """columns: `url` and `text`; mask: the rows of this side."""
        places = np.flatnonzero(mask)
        if not self.count or not len(places):
            return
        distances = np.abs(scores[places] - limits[places])
        nearest = np.argsort(distances, kind="stable")[: self.count]
        chosen = pa.array(places[nearest])
        urls, texts = (columns[name].take(chosen).to_pylist() for name in ("url", "text"))
        for near, place, url, text in zip(distances[nearest], places[nearest], urls, texts, strict=True):
            beginning = " ".join((text or "")[: 2 * EXAMPLE_CHARS].split())[:EXAMPLE_CHARS]
            example = Example(url or "", float(scores[place]), float(limits[place]), beginning)
            self.found.append((float(near), example))
        self.found = sorted(self.found, key=lambda pair: pair[0])[: self.count]

    def examples(self) -> list[Example]:
        return [example for _, example in self.found]


def coded(values: pa.Array) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """(distinct values, the place of each row's value among them); null is a value of its own, the last one."""
    encoded = values.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    return [*names, None], encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)


def domains(urls: pa.Array) -> pa.Array:
    """The registered domain of each address (`bbc.co.uk`), else its host, else null: (n,) -> (n,) strings."""
    return pa.array([domain_of(host_of(url)) if url else None for url in urls.to_pylist()], pa.string())


def domain_of(host: str) -> str | None:
    """The domain under a public suffix; the host itself where there is none (an IP address), null for ""."""
    return registered_domain(host) or host or None
