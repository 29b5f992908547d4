"""Languages: segments where they are annotated, elsewhere agreement with trafilatura fast, out of fold.

Agreement of two systems on a page is the F1 of the characters of the page's blocks (as scanned) that both have in their
outputs; means are those of hosts, then of the language, since some hosts hold hundreds of pages of one make. Outputs of
the libraries are those that `python -m tools.skim.labels` has made.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from extraction_pages import Page, Verdicts, difference, mean, segment_counts, segment_scores, table
from extraction_systems import FAST, OUT_OF_FOLD, SKIM, System

from tokenmill.extract.skim.scan import scan
from tokenmill.text.langid import UNDETERMINED
from tools.skim import align
from tools.skim.data import Source, sources

LANGUAGES = 10
PAGES = 300
"""Pages of a language without annotations on which agreement is measured, those of its hosts in turns."""
LEAST_PAGES = 10
"""Annotated pages from which on a language is judged by its segments."""
BEHIND = 0.02
OTHERS = ("precision", "resiliparse")


def run_languages(shared: Path, systems: Sequence[System], verdicts: Verdicts) -> None:
    """Print the part; note what must hold."""
    ours = next(system for name in (SKIM + OUT_OF_FOLD, SKIM) for system in systems if system.name == name)
    ours.warm_up()
    counts, by_language = _pages(shared)
    common = sorted(counts, key=lambda language: (-counts[language], language))[:LANGUAGES]
    print(f"\n## The {LANGUAGES} most common languages of the crawl ({ours.name})")
    rows = []
    for language in common:
        cells, judged = _segments(ours, language, by_language[language], verdicts)
        rows.append([f"{language} ({counts[language]:,})", *cells])
        rows[-1] += _agreement(ours, language, by_language[language], judged, verdicts)
    head = ["language (pages)", "annotated", FAST, "skim", "difference"]
    head += ["agreement: pages", "hosts", "skim with fast", *(f"{name} with fast" for name in OTHERS)]
    table(head, rows)


def _pages(shared: Path) -> tuple[Counter[str], dict[str, list[Source]]]:
    """Number of pages by language, and those to be measured: all annotated ones, the first PAGES others."""
    counts: Counter[str] = Counter()
    others: Counter[str] = Counter()
    chosen: dict[str, list[Source]] = defaultdict(list)
    for source in sources(shared):
        if source.source != "crawl" or source.language == UNDETERMINED[0]:
            continue
        counts[source.language] += 1
        annotated = bool(source.wanted or source.unwanted)
        if annotated or (source.texts["fast"] is not None and others[source.language] < PAGES):
            others[source.language] += not annotated
            chosen[source.language].append(source)
    return counts, chosen


def _segments(ours: System, language: str, pages: Sequence[Source], verdicts: Verdicts) -> tuple[list[str], bool]:
    """Cells of the annotated pages, and whether there are enough of them to judge by."""
    annotated = [source for source in pages if source.wanted or source.unwanted]
    if len(annotated) < LEAST_PAGES:
        return [str(len(annotated)), "", "", ""], False
    gold = [Page(s.url, s.html, wanted=list(s.wanted), unwanted=list(s.unwanted)) for s in annotated]
    theirs = segment_counts([source.texts["fast"] or "" for source in annotated], gold)
    found = segment_counts([ours.extract(page) for page in gold], gold)
    gain = difference(found, theirs, segment_scores)
    verdicts.hold(f"{language}: segment F1 of skim to trafilatura fast", gain.value, -BEHIND, "{:+.4f}")
    scores = segment_scores(theirs)[0], segment_scores(found)[0]
    return [str(len(annotated)), *(f"{score:.4f}" for score in scores), str(gain)], True


def _agreement(ours: System, language: str, pages: Sequence[Source], judged: bool, verdicts: Verdicts) -> list[str]:
    """Cells of the pages without annotations. They decide where segments do not."""
    chosen = [s for s in pages if not (s.wanted or s.unwanted)]
    by_host: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in (SKIM, *OTHERS)}
    for source in chosen:
        blocks = align.block_texts(scan(source.html.encode()))
        texts = {SKIM: ours.extract(Page(source.url, source.html)), **{name: source.texts[name] for name in OTHERS}}
        fast = _kept(blocks, source.texts["fast"] or "")
        for name, text in texts.items():
            by_host[name][source.host].append(_f1(fast, _kept(blocks, text or "")))
    means = {name: mean([mean(values) for values in hosts.values()]) for name, hosts in by_host.items()}
    if not judged:
        gain = means[SKIM] - means["precision"]
        what = f"{language}: agreement of skim with trafilatura fast, to that of its precision setting"
        verdicts.hold(what, gain, -BEHIND, "{:+.4f}")
    hosts = Counter(source.host for source in chosen)
    return [str(len(chosen)), str(len(hosts)), *(f"{means[name]:.3f}" for name in (SKIM, *OTHERS))]


def _kept(blocks: Sequence[bytes], text: str) -> align.Floats:
    """Bytes of each block in the text."""
    share, _ = align.shares(blocks, align.Output(text))
    size = np.array([len(block) for block in blocks], np.float32)
    kept: align.Floats = np.nan_to_num(share) * size
    return kept


def _f1(one: align.Floats, other: align.Floats) -> float:
    """F1 of the bytes that both keep; 1 where both keep nothing."""
    total = float(one.sum() + other.sum())
    return 2 * float(np.minimum(one, other).sum()) / total if total else 1.0
