"""Pages that are not articles: kept characters against the byte ranges of `tests/data/pages_gold`.

A page's gold blocks are the runs of text between block-level tags that its readers judged (`tools/skim/gold.py`); they
know nothing of the scanner. Of every block the share of its letters and digits that is in the output counts as kept
(`tools/skim/align.py`), for all systems alike. F1 of a page is that of kept characters; a page of which nothing is
wanted has the share of its text that was left out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from extraction_pages import ROOT, Array, Page, Verdicts, difference, mean_scores, table
from extraction_systems import FAST, OUT_OF_FOLD, SKIM, System

from tools.skim import align
from tools.skim.gold import split_blocks
from tools.skim.labels import page_at

GOLD = ROOT / "tests/data/pages_gold/pages.jsonl"
LEAST_PAGES = 150
LEAST_OF_GROUP = 5
"""Groups of fewer pages are not shown by themselves."""


@dataclass(frozen=True)
class GoldPage:
    """A page, its blocks as bare text, and which of them are wanted and which are not."""

    page: Page
    kind: str
    language: str
    blocks: list[bytes]
    keep: align.Bools
    drop: align.Bools


def gold_pages(shared: Path, path: Path = GOLD) -> list[GoldPage]:
    """The annotated pages; ValueError where the crawl has another page in its place."""
    found = []
    with open(path, encoding="utf-8") as file:
        for row in map(json.loads, file):
            place = row["warc_file"], row["warc_offset"]
            html = page_at(shared / "crawl", *place, row["warc_length"])
            if html is None:
                raise ValueError(f"{row['url']}: an annotated page cannot be decoded")
            page = Page(row["url"], html, place=place)
            parts = split_blocks(html.encode())
            starts = np.array([part.start for part in parts], np.int64)
            ends = np.array([part.end for part in parts], np.int64)
            labels = align.by_ranges(starts, ends, row)
            blocks = [align.bare(part.text) for part in parts]
            found.append(GoldPage(page, row["kind"], row["language"], blocks, labels == 1, labels == 0))
    return found


def page_score(gold: GoldPage, text: str) -> float:
    """F1 of the characters kept."""
    share, _ = align.shares(gold.blocks, align.Output(text), gold.keep)
    size = np.array([len(block.decode()) for block in gold.blocks], np.float64)
    kept = np.nan_to_num(share) * size
    right, wrong, wanted = kept[gold.keep].sum(), kept[gold.drop].sum(), size[gold.keep].sum()
    if wanted == 0:
        return float(1 - wrong / max(1.0, size[gold.drop].sum()))
    return float(2 * right / (right + wrong + wanted))


def run_other(shared: Path, systems: Sequence[System], verdicts: Verdicts) -> None:
    """Print the part; note what must hold."""
    pages = gold_pages(shared)
    scores: dict[str, Array] = {}
    routed: dict[str, str] = {}
    for system in systems:
        system.warm_up()
        scores[system.name] = np.array([page_score(gold, system.extract(gold.page)) for gold in pages], np.float64)
        share = system.routed_share()
        routed[system.name] = "" if share is None else f"{share:.1%}"
    kinds, languages = _groups([gold.kind for gold in pages]), _groups([gold.language for gold in pages])
    print(f"\n## Pages that are not articles ({len(pages)})\n\nMean F1 of kept characters, and by kind.")
    head = [
        "system",
        "all",
        "to trafilatura fast, 90 % interval",
        "routed",
        *(f"{k} ({len(v)})" for k, v in kinds.items()),
    ]
    rows = []
    for name, found in scores.items():
        gain = difference(found, scores[FAST], mean_scores)
        by_kind = [f"{found[at].mean():.3f}" for at in kinds.values()]
        rows.append([name, f"{found.mean():.4f}", str(gain), routed[name], *by_kind])
    table(head, rows)
    print("\nBy language.")
    table(
        ["system", *(f"{name} ({len(at)})" for name, at in languages.items())],
        [[name, *(f"{found[at].mean():.3f}" for at in languages.values())] for name, found in scores.items()],
    )
    best = max((system.name for system in systems if system.trafilatura), key=lambda name: scores[name].mean())
    ours = scores[SKIM + OUT_OF_FOLD] if SKIM + OUT_OF_FOLD in scores else scores.get(SKIM)
    verdicts.hold("annotated pages that are not articles", len(pages), LEAST_PAGES, "{:.0f}")
    if ours is not None:
        gain = difference(ours, scores[best], mean_scores)
        print(f"\nskim to trafilatura's best here ({best}): {gain}")
        for name in (FAST, best):
            verdicts.hold(f"pages that are not articles: skim to {name}", float((ours - scores[name]).mean()), 0.0)


def _groups(labels: Sequence[str]) -> dict[str, list[int]]:
    """Places of the pages with each label, most frequent first; rare labels are left out."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        places[label].append(place)
    return {
        label: at
        for label, at in sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
        if len(at) >= LEAST_OF_GROUP
    }
