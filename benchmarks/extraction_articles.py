"""Articles with full bodies and pages with annotated segments: the table of systems, and differences with intervals."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extraction_pages import (
    Array,
    Difference,
    Page,
    Verdicts,
    article_counts,
    article_scores,
    articles,
    difference,
    segment_counts,
    segment_pages,
    segment_scores,
    table,
)
from extraction_systems import DEFAULT, FAST, System, peer

ARTICLE_LOSS = 0.003
"""Article F1 of skim may be so far below trafilatura fast."""
SEGMENT_GAIN = 0.005
"""Segment F1 of skim must be so far above it."""
ROUTED = 0.05
"""Most pages that the cascade may send to trafilatura. Share."""


@dataclass(frozen=True)
class Result:
    """A system's outcome on the gold pages."""

    name: str
    articles: Array
    segments: Array
    speed: float
    """Pages per CPU second."""
    trafilatura: bool = False
    routed: float | None = None

    @property
    def cells(self) -> list[str]:
        scores = [*article_scores(self.articles), *segment_scores(self.segments)]
        return [self.name, *(f"{score:.4f}" for score in scores), f"{self.speed:.0f}"]


def run_articles(shared: Path, systems: Sequence[System], peer_python: str, verdicts: Verdicts) -> None:
    """Print the part; note what must hold."""
    full, segmented = articles(shared), segment_pages(shared)
    pages = [*full, *segmented]
    results = []
    for system in systems:
        system.warm_up()
        start = time.process_time()
        texts = [system.extract(page) for page in pages]
        seconds = time.process_time() - start
        results.append(_result(system.name, texts, seconds, full, segmented, system.trafilatura, system.routed_share()))
    if Path(peer_python).exists():
        version, texts, seconds = peer(peer_python, [page.html for page in pages])
        results.append(_result(f"trafilatura {version}, settings of datatrove", texts, seconds, full, segmented))
        ours = next(result for result in results if result.name == DEFAULT)
        for what, attribute, scores in (
            ("article", "articles", article_scores),
            ("segment", "segments", segment_scores),
        ):
            gain = difference(getattr(ours, attribute), getattr(results[-1], attribute), scores)
            verdicts.hold(f"{DEFAULT}: {what} F1 to datatrove's", gain.value, 0.0, "{:+.4f}")
    else:
        print(f"peer left out: no {peer_python} (make bench-env)", file=sys.stderr)
    print(f"\n## Articles ({len(full)}) and segments ({len(segmented)} pages)")
    table(["system", "article F1", "P", "R", "segment F1", "P", "R", "pages/s"], [result.cells for result in results])
    _differences(results, verdicts)


def _result(
    name: str,
    texts: Sequence[str],
    seconds: float,
    full: Sequence[Page],
    segmented: Sequence[Page],
    trafilatura: bool = False,
    routed: float | None = None,
) -> Result:
    on_articles = article_counts(texts[: len(full)], full)
    on_segments = segment_counts(texts[len(full) :], segmented)
    return Result(name, on_articles, on_segments, len(texts) / seconds, trafilatura, routed)


def _differences(results: Sequence[Result], verdicts: Verdicts) -> None:
    theirs = [result for result in results if result.trafilatura]
    fast = next(result for result in results if result.name == FAST)
    best_article = max(theirs, key=lambda result: article_scores(result.articles)[0])
    best_segment = max(theirs, key=lambda result: segment_scores(result.segments)[0])
    rows = []
    for ours in results:
        if ours.name.startswith(("skim", "cascade")):
            gains = (
                difference(ours.articles, fast.articles, article_scores),
                difference(ours.segments, fast.segments, segment_scores),
                difference(ours.articles, best_article.articles, article_scores),
                difference(ours.segments, best_segment.segments, segment_scores),
            )
            share = "" if ours.routed is None else f"{ours.routed:.1%}"
            rows.append([ours.name, *map(str, gains), share])
            _hold(ours, gains, verdicts)
    print(f"\nDifferences, with 90 % intervals (bootstrap over pages). Best setting on articles: {best_article.name};")
    print(f"on segments: {best_segment.name}.")
    head = ["system", "article F1 to fast", "segment F1 to fast", "article F1 to the best", "segment F1 to the best"]
    table([*head, "routed"], rows)


def _hold(ours: Result, gains: Sequence[Difference], verdicts: Verdicts) -> None:
    if "out of fold" not in ours.name:
        return
    if ours.name.startswith("skim"):
        verdicts.hold(f"{ours.name}: article F1 to trafilatura fast", gains[0].value, -ARTICLE_LOSS, "{:+.4f}")
        verdicts.hold(f"{ours.name}: segment F1 to trafilatura fast", gains[1].value, SEGMENT_GAIN, "{:+.4f}")
    else:
        verdicts.hold(f"{ours.name}: article F1 to trafilatura's best", gains[2].value, 0.0, "{:+.4f}")
        verdicts.hold(f"{ours.name}: segment F1 to trafilatura's best", gains[3].value, 0.0, "{:+.4f}")
        if ours.routed is not None:
            verdicts.hold_most(f"{ours.name}: routed gold pages", ours.routed, ROUTED, "{:.3f}")
