"""Quality and speed of main-content extraction, as Markdown tables; ends with an error where a bound is missed.

Usage: python benchmarks/extraction.py [--shared ../shared] [--only articles,other,languages,speed,formulas]
                                       [--peer-python .bench/datatrove/bin/python]

articles   54 article pages with full bodies: shingle F1 as in scrapinghub's article-extraction-benchmark (4-gram
           shingles of words, multiset overlap; precision and recall averaged over pages, F1 of these averages); 672
           pages with wanted and unwanted segments (adbar/trafilatura), a segment being found when it is a substring
           after white space is normalised. All systems get the same decoded strings.
other      pages that are not articles: listings, forums, documentation, shops ... (tests/data/pages_gold)
languages  the ten most common languages of the crawl; needs `python -m tools.skim.labels`
speed      CPU time on pages of the crawl, the systems in turns
formulas   sources of TeX that survive, on the crawl's pages with MathJax and KaTeX

"out of fold" is skim with models that have seen no page of the site (five folds of registrable domains;
`python -m tools.skim.train --folds`), and what the bounds on quality are held against; the row without it is the
shipped model, which has seen these pages. Intervals are 90 %, from a bootstrap over pages.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from extraction_articles import run_articles
from extraction_formulas import run_formulas
from extraction_languages import run_languages
from extraction_other import run_other
from extraction_pages import ROOT, Verdicts
from extraction_speed import run_speed
from extraction_systems import CASCADE, FAST, RESILIPARSE, SKIM, default, fold_models, libraries, own, stages

PARTS = ("articles", "other", "languages", "speed", "formulas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    parser.add_argument("--pages", type=int, default=400, help="of the crawl, for speed")
    parser.add_argument("--rounds", type=int, default=3, help="of the measurement of speed")
    parser.add_argument("--shipped-only", action="store_true", help="no figures out of fold, and none of their bounds")
    args = parser.parse_args()
    parts = args.only.split(",")
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    if not (args.shared / "extraction-gold").is_dir():
        sys.exit(f"no gold pages in {args.shared}: give --shared")
    logging.disable(logging.CRITICAL)
    folds = None if args.shipped_only or parts == ["speed"] else fold_models()
    plain, ours, verdicts = libraries(), own(folds), Verdicts()
    timed = [*ours[:2], *stages(), *(system for system in plain if system.name in (FAST, RESILIPARSE))]
    run: dict[str, Callable[[], None]] = {
        "articles": lambda: run_articles(args.shared, [*ours, default(), *plain], args.peer_python, verdicts),
        "other": lambda: run_other(args.shared, [*ours, *plain], verdicts),
        "languages": lambda: run_languages(args.shared, ours, verdicts),
        "speed": lambda: run_speed(args.shared, timed, args.pages, args.rounds, verdicts),
        "formulas": lambda: run_formulas(args.shared, [*ours, *plain], verdicts),
    }
    print(f"# Extraction: {SKIM} and {CASCADE} against trafilatura and resiliparse")
    for part in PARTS:
        if part in parts:
            run[part]()
    if not verdicts.print():
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
