"""Which documents are labelled: a sample by strata, drawn by a hash of the document's id and a seed.

The same documents give the same sample in any order and any files. Two passes over the input: the first counts the
strata and keeps the smallest hashes of each, the second fetches the texts. Memory holds as many candidates for each
stratum as the sample has documents, whatever the input has: equal ids have equal hashes, so that rows of one id are
told by the candidates alone.
"""

from __future__ import annotations

import bisect
import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tokenmill.classifiers.corpus.rows import valid_text
from tokenmill.classifiers.label.source import Head, Input
from tokenmill.core.errors import ConfigError

__all__ = ["Document", "Sample", "SampleSettings", "allocate", "draw"]

ALL = "all"
_MAX_STRATA = 1000


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What is drawn from where."""

    input: str
    """Folder of a run (its published documents, in annotate mode those that no filter has judged), or any Parquet or
    JSON Lines: folder, file or pattern."""
    documents: int
    """Documents of the sample; fewer where the input has fewer."""
    seed: int = 0
    strata: str | None = None
    """Column whose values, or bins, are the strata; None: one stratum."""
    edges: tuple[float, ...] = ()
    """Edges of bins of a numeric column: below the first, from each edge to the next, and from the last on."""
    allocation: Literal["equal", "proportional"] = "equal"
    """equal: as many from each stratum, as far as it has them; proportional: by the sizes of the strata."""
    id_column: str = "id"
    """Column with the identifier; where it is null, or there is no `id`, `<file>#<row>` is used."""
    text_column: str = "text"
    min_chars: int = 1
    """Shorter texts are left out, as are texts of spaces only."""


@dataclass(frozen=True)
class Document:
    """One sampled document."""

    id: str
    doc_id: str
    """`<file>#<row>` in the input."""
    url: str
    text: str
    stratum: str
    weight: float
    """Documents of the input that it stands for: size of its stratum / documents drawn from it."""


@dataclass
class Sample:
    """The documents in the order of their hashes, and what they were drawn from."""

    documents: list[Document] = field(default_factory=list)
    strata: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Stratum -> (documents of the input, documents drawn). Rows with one id are one document; how many there are is
    estimated from the candidates where a stratum has more documents than the sample was to have, else counted."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows that could not be drawn, by reason: malformed, too_short, same_id (with that estimate), filtered."""


def draw(settings: SampleSettings) -> Sample:
    """The sample. ConfigError where the input is missing, has no such column, or too many strata for one sample."""
    _check(settings)
    source = Input.open(
        settings.input,
        id_column=settings.id_column,
        text_column=settings.text_column,
        stratum_column=settings.strata,
        min_chars=settings.min_chars,
    )
    sample = Sample()
    candidates = _first_pass(settings, source, sample.skipped)
    sizes = candidates.sizes()
    taken = allocate(sizes, settings.documents, settings.allocation)
    found: list[tuple[int, Document]] = []
    for file, rows in sorted(candidates.chosen(taken).items()):
        for number, identifier, url, text in source.fetch(file, sorted(rows)):
            key, stratum = rows[number]
            if key == _key(settings.seed, identifier):  # else it is no more the row that was drawn
                weight = sizes[stratum] / taken[stratum]
                document = Document(identifier, source.doc_id(file, number), url, text, stratum, weight)
                found.append((key, document))
    if len(found) < sum(taken.values()):
        raise ConfigError(f"the input {settings.input} has changed while it was read", fix="run the command again")
    sample.documents = [document for _, document in sorted(found, key=lambda pair: (pair[0], pair[1].id))]
    sample.strata = {stratum: (sizes[stratum], taken[stratum]) for stratum in sorted(sizes)}
    return sample


def allocate(sizes: Mapping[str, int], documents: int, how: Literal["equal", "proportional"]) -> dict[str, int]:
    """Documents to draw from each stratum; together `documents`, or all that there are."""
    documents = min(documents, sum(sizes.values()))
    if how == "proportional":
        total = sum(sizes.values())
        taken = {name: documents * size // total for name, size in sizes.items()}
        rest = sorted(sizes, key=lambda name: (-(documents * sizes[name] % total), name))
        for name in rest[: documents - sum(taken.values())]:
            taken[name] += 1
        return taken
    taken = {}
    left, larger = documents, sorted(sizes, key=lambda name: (sizes[name], name))
    while larger and sizes[larger[0]] <= left // len(larger):  # what a small stratum lacks is shared by the larger ones
        name = larger.pop(0)
        taken[name] = sizes[name]
        left -= sizes[name]
    for place, name in enumerate(sorted(larger)):  # by name: sizes that are estimated must not decide
        taken[name] = left // len(larger) + (place < left % len(larger))
    return taken


@dataclass(slots=True)
class _Candidate:
    """The first row of an id whose hash is among the smallest of its stratum."""

    stratum: str
    file: int
    row: int
    copies: int = 1
    """Rows of its stratum with this id."""


class _Candidates:
    """The smallest hashes of every stratum, at most `most` of each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: Counter[str] = Counter()
        self._heaps: dict[str, list[int]] = {}
        """Stratum -> hashes, negated, the largest first."""
        self._known: dict[int, _Candidate] = {}
        self._elsewhere = 0
        """Rows with the id of a candidate of another stratum."""

    def add(self, key: int, stratum: str, head: Head) -> None:
        """Take in a row."""
        known = self._known.get(key)
        if known is not None and known.stratum != stratum:
            self._elsewhere += 1
            return
        self._rows[stratum] += 1
        heap = self._heaps.setdefault(stratum, [])
        if known is not None:
            known.copies += 1
        elif len(heap) < self._most:
            heapq.heappush(heap, -key)
            self._known[key] = _Candidate(stratum, head.file, head.row)
        elif -key > heap[0]:
            del self._known[-heapq.heapreplace(heap, -key)]
            self._known[key] = _Candidate(stratum, head.file, head.row)

    def strata(self) -> Collection[str]:
        return self._heaps.keys()

    def sizes(self) -> dict[str, int]:
        """Stratum -> documents, rows of one id counted once: exact up to `most`, then by the candidates' copies."""
        copies: Counter[str] = Counter()
        for candidate in self._known.values():
            copies[candidate.stratum] += candidate.copies
        return {
            stratum: max(len(heap), round(self._rows[stratum] * len(heap) / copies[stratum]))
            for stratum, heap in self._heaps.items()
        }

    def same_id(self) -> int:
        """Further rows of ids, as far as `sizes` knows of them."""
        return self._elsewhere + self._rows.total() - sum(self.sizes().values())

    def chosen(self, taken: Mapping[str, int]) -> dict[int, dict[int, tuple[int, str]]]:
        """File -> row -> (hash, stratum) of the smallest hashes of every stratum."""
        found: dict[int, dict[int, tuple[int, str]]] = {}
        for stratum, heap in self._heaps.items():
            for key in sorted(-key for key in heap)[: taken[stratum]]:
                candidate = self._known[key]
                found.setdefault(candidate.file, {})[candidate.row] = key, stratum
        return found


def _first_pass(settings: SampleSettings, source: Input, skipped: Counter[str]) -> _Candidates:
    """The candidates of every stratum. ConfigError where there is nothing to draw, or there are too many strata."""
    found = _Candidates(settings.documents)
    for head in source.heads(skipped):
        found.add(_key(settings.seed, head.id), _stratum(settings, head.stratum), head)
        if len(found.strata()) > _MAX_STRATA:
            fix = "give edges of bins (--edges), or another column"
            raise ConfigError(f"{settings.strata} has more than {_MAX_STRATA} values", fix=fix)
    if not found.strata():
        raise ConfigError(f"{settings.input} has no document to label", why=f"left out: {dict(skipped)}")
    if settings.strata is not None and set(found.strata()) == {"null"}:
        raise ConfigError(f"no document has a value in {settings.strata}", where=settings.input, fix="--strata COLUMN")
    if same := found.same_id():
        skipped["same_id"] += same
    return found


def _key(seed: int, identifier: str) -> int:
    """Its place in the order by hashes; the first 16 bytes, so that no two ids share one."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identifier}".encode("utf-8", "replace")).digest()[:16], "big")


def _stratum(settings: SampleSettings, value: Any) -> str:
    if settings.strata is None:
        return ALL
    if value is None or value != value:
        return "null"
    if not settings.edges:
        return valid_text(value) if isinstance(value, str) else json.dumps(value, default=str)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{settings.strata} is no number: {value!r}", fix="leave out --edges: each value a stratum")
    place = bisect.bisect_right(settings.edges, value)
    low = f"{settings.edges[place - 1]:g}" if place else "-inf"
    high = f"{settings.edges[place]:g}" if place < len(settings.edges) else "inf"
    return f"[{low}, {high})"


def _check(settings: SampleSettings) -> None:
    if settings.documents < 1:
        raise ConfigError(f"a sample of {settings.documents} documents", fix="--documents >= 1")
    if settings.allocation not in ("equal", "proportional"):
        raise ConfigError(f"allocation {settings.allocation!r}", fix="equal or proportional")
    if settings.edges and settings.strata is None:
        raise ConfigError("edges of bins without a column", fix="--strata COLUMN")
    if list(settings.edges) != sorted(set(settings.edges)):
        raise ConfigError(f"edges {list(settings.edges)} do not rise", fix="--edges 0.5,1.5,2.5")
