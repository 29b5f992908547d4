"""Speed: CPU time of one core on pages of the crawl, the systems in turns, and what the cascade sends on.

Pages are drawn by a hash of their addresses, as a run sees them, and decoded beforehand. Each round goes over all pages
in portions; within a portion every system has its turn, so that a busy moment of the machine hits all of them. Ratios
are those of whole rounds; the median counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from extraction_articles import ROUTED
from extraction_pages import Page, Verdicts, crawl_pages, table
from extraction_systems import CASCADE, FAST, RESILIPARSE, SKIM, STAGE_FAST, STAGE_RESILIPARSE, System

PORTION = 50
ROUTED_PAGES = 4000
"""Pages of the crawl on which the share that the cascade sends on is measured: more than are timed."""
BOUNDS = {(SKIM, FAST): 15.0, (SKIM, RESILIPARSE): 2.0, (CASCADE, FAST): 6.0}
"""Least ratio of speeds."""
TWINS = {FAST: STAGE_FAST, RESILIPARSE: STAGE_RESILIPARSE}
"""tokenmill calls the libraries with less overhead than they have by themselves: the faster way is the measure."""


def seconds(systems: Sequence[System], pages: Sequence[Page], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every system for all pages, one figure a round."""
    found: dict[str, list[float]] = {system.name: [0.0] * rounds for system in systems}
    for turn in range(rounds):
        for first in range(0, len(pages), PORTION):
            portion = pages[first : first + PORTION]
            for system in systems:
                start = time.process_time()
                for page in portion:
                    system.extract(page)
                found[system.name][turn] += time.process_time() - start
    return found


def run_speed(shared: Path, systems: Sequence[System], count: int, rounds: int, verdicts: Verdicts) -> None:
    """Print the part; note what must hold."""
    pages = list(crawl_pages(shared, count))
    for system in systems:
        for page in pages[:PORTION]:  # kernels are compiled when the first page needs them
            system.extract(page)
        system.warm_up()
    taken = seconds(systems, pages, rounds)
    size = sum(len(page.html.encode()) for page in pages) / len(pages)
    print(f"\n## Speed ({len(pages)} pages of the crawl, {size / 1000:.0f} kB on average, {rounds} rounds, one core)")

    def ratio(name: str, other: str) -> float:
        return statistics.median(theirs / ours for ours, theirs in zip(taken[name], taken[other], strict=True))

    def to(name: str, library: str) -> float:
        """Times the faster way to call the library."""
        return min(ratio(name, way) for way in (library, TWINS[library]) if way in taken)

    rows = []
    for system in systems:
        median = statistics.median(taken[system.name])
        share = system.routed_share()
        rows.append(
            [
                system.name,
                f"{len(pages) / median:,.0f}",
                f"{1000 * median / len(pages):.3f}",
                f"{to(system.name, FAST):.1f}",
                f"{to(system.name, RESILIPARSE):.2f}",
                "" if share is None else f"{share:.1%}",
            ]
        )
    table(["system", "pages/s", "ms", "times trafilatura fast", "times resiliparse", "routed"], rows)
    for (ours, theirs), least in BOUNDS.items():
        if ours in taken:
            verdicts.hold(f"speed: {ours}, times {theirs}", to(ours, theirs), least, "{:.2f}")
    for system in systems:
        if system.routed is not None:
            system.warm_up()
            for page in crawl_pages(shared, ROUTED_PAGES):
                system.extract(page)
            share = system.routed_share() or 0.0
            print(f"\n{system.name} sends {share:.2%} of {len(system.routed):,} pages of the crawl to trafilatura.")
            verdicts.hold_most(f"{system.name}: routed pages of the crawl", share, ROUTED, "{:.4f}")
