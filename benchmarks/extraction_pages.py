"""Annotated pages, scores and intervals, shared by the parts of the extraction benchmark."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.skim.data import fold_of
from tools.skim.labels import Place, crawl_places, decoded, domain_of, ordered, page_at

ROOT = Path(__file__).resolve().parents[1]
RESAMPLES = 2000
_WORD = re.compile(r"\w+")

Score = tuple[float, float, float]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Page:
    """A decoded page with its annotation: `body`, or segments `wanted` and `unwanted`, or neither."""

    url: str
    html: str
    body: str | None = None
    wanted: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    place: tuple[str, int] = ("", 0)
    """Archive and offset of a page of the crawl."""

    @cached_property
    def fold(self) -> int:
        """The fold of cross-validation in which its site is tested."""
        return fold_of(domain_of(self.url))


def articles(shared: Path) -> list[Page]:
    """The 54 pages with full bodies."""
    gold = shared / "extraction-gold"
    found = []
    with open(gold / "articles.jsonl", encoding="utf-8") as file:
        for row in map(json.loads, file):
            payload = gzip.decompress((gold / "articles" / row["file"]).read_bytes())
            html = decoded(payload, "Content-Type: text/html; charset=utf-8")
            found.append(Page(row["url"], _given(html, row["file"]), body=row["article_body"]))
    return found


def segment_pages(shared: Path) -> list[Page]:
    """The 672 pages with wanted and unwanted segments."""
    found = []
    with gzip.open(shared / "extraction-gold/trafilatura-eval.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            place = row["warc_file"], row["warc_offset"]
            html = _given(page_at(shared / "crawl", *place, row["warc_length"]), row["url"])
            found.append(Page(row["url"], html, wanted=row["with"], unwanted=row["without"], place=place))
    return found


def crawl_pages(shared: Path, count: int | None = None) -> Iterator[Page]:
    """Pages of the crawl by a hash of their addresses, as they come: what a run sees. At most `count`."""
    places = sorted(crawl_places(shared / "crawl"), key=lambda place: hashlib.sha256(place.url.encode()).digest())
    yield from _decoded_pages(shared, places, count)


def pages_in_turns(shared: Path) -> Iterator[Page]:
    """Pages of the crawl, those of all hosts in turns."""
    yield from _decoded_pages(shared, ordered(crawl_places(shared / "crawl"), frozenset()), None)


def _decoded_pages(shared: Path, places: Iterable[Place], count: int | None) -> Iterator[Page]:
    for place in places:
        html = page_at(shared / "crawl", place.warc_file, place.warc_offset, place.warc_length)
        if html is not None:
            if count is not None and count == 0:
                return
            count = None if count is None else count - 1
            yield Page(place.url, html, place=(place.warc_file, place.warc_offset))


def _given(html: str | None, name: str) -> str:
    if html is None:
        raise ValueError(f"{name}: a gold page cannot be decoded")
    return html


def article_counts(predicted: Sequence[str], pages: Sequence[Page]) -> Array:
    """Precision and recall of every page's 4-gram shingles, NaN where there is nothing to divide by: [pages, 2]."""
    rows = []
    for text, page in zip(predicted, pages, strict=True):
        found, wanted = _shingles(text), _shingles(page.body or "")
        both = sum((found & wanted).values())
        rows.append((both / found.total() if found else np.nan, both / wanted.total() if wanted else np.nan))
    return np.array(rows, np.float64)


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3))) if words else Counter()


def article_scores(counts: Array, drawn: npt.NDArray[np.int64] | None = None) -> Array:
    """F1, precision, recall: those of the averages over pages. [3], or [draws, 3] for drawn pages [draws, pages]."""
    chosen = counts if drawn is None else counts[drawn]
    means = np.nanmean(chosen, axis=-2)
    return _scores(means[..., 0], means[..., 1])


def segment_counts(predicted: Sequence[str], pages: Sequence[Page]) -> Array:
    """Wanted segments found, wanted ones missed, unwanted ones found, of every page: [pages, 3]."""
    rows = []
    for text, page in zip(predicted, pages, strict=True):
        text = " ".join(text.split())
        found = sum(" ".join(segment.split()) in text for segment in page.wanted)
        wrong = sum(" ".join(segment.split()) in text for segment in page.unwanted)
        rows.append((found, len(page.wanted) - found, wrong))
    return np.array(rows, np.float64)


def segment_scores(counts: Array, drawn: npt.NDArray[np.int64] | None = None) -> Array:
    """F1, precision, recall over all segments. [3], or [draws, 3] for drawn pages [draws, pages]."""
    found, missed, wrong = np.moveaxis((counts if drawn is None else counts[drawn]).sum(axis=-2), -1, 0)
    return _scores(found / np.maximum(1, found + wrong), found / np.maximum(1, found + missed))


def mean_scores(values: Array, drawn: npt.NDArray[np.int64] | None = None) -> Array:
    """Mean of one figure a page, in the form of the others: [1] or [draws, 1]."""
    return np.asarray((values if drawn is None else values[drawn]).mean(axis=-1))[..., None]


def _scores(precision: Array, recall: Array) -> Array:
    return np.stack([2 * precision * recall / np.maximum(1e-12, precision + recall), precision, recall], axis=-1)


@dataclass(frozen=True)
class Difference:
    """Of two systems' figures on the same pages, with a bootstrap interval over pages (5 % and 95 %)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def difference(ours: Array, theirs: Array, scores: Callable[..., Array], seed: int = 1) -> Difference:
    """The first score of `ours` less that of `theirs`; pages drawn with replacement, the same ones for both."""
    drawn = np.random.default_rng(seed).integers(0, len(ours), (RESAMPLES, len(ours)))
    spread = scores(ours, drawn)[:, 0] - scores(theirs, drawn)[:, 0]
    low, high = np.quantile(spread, (0.05, 0.95))
    return Difference(float(scores(ours)[0] - scores(theirs)[0]), float(low), float(high))


@dataclass
class Verdicts:
    """What must hold, and whether it does."""

    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def hold(self, what: str, value: float, least: float, form: str = "{:.4f}") -> None:
        """Note that `value` must be at least `least`."""
        self.rows.append((what, form.format(value), "at least " + form.format(least), value >= least))

    def hold_most(self, what: str, value: float, most: float, form: str = "{:.4f}") -> None:
        """Note that `value` must be at most `most`."""
        self.rows.append((what, form.format(value), "at most " + form.format(most), value <= most))

    def print(self) -> bool:
        """The table; whether all hold."""
        if not self.rows:
            return True
        print("\n### Must hold\n\n| what | measured | bound | |\n|---|---|---|---|")
        for what, value, bound, holds in self.rows:
            print(f"| {what} | {value} | {bound} | {'holds' if holds else '**missed**'} |")
        return all(row[3] for row in self.rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table."""
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def mean(values: Sequence[float]) -> float:
    """Their mean; NaN of none."""
    return statistics.fmean(values) if values else float("nan")
