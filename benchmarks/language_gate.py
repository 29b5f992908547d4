"""What the language gate loses and saves on the crawl, and what it costs.

    python -m tools.skim.labels --shared ../shared && python benchmarks/language_gate.py

Full path: every page is extracted, then identified. A page counts as lost when its extracted text is in the language
(0.65, as FineWeb) and the gate drops it; also by the whole recipe, since most of these are dropped later for their
length. The time is that of the samples and the model: skim's pass over the page is that of the extraction.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tokenmill.core.doc import Doc
from tokenmill.extract.gate import LanguageGate
from tokenmill.extract.skim import skim
from tokenmill.text.langid import load_langid
from tools.skim.data import sources

ROOT = Path(__file__).resolve().parents[1]
LANGUAGE, SCORE = "en", 0.65


def main() -> None:
    """Print a table; ends with an error where a page of 50 words or more is lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--pages", type=int, default=None, help="at most so many")
    arguments = parser.parse_args()
    gate, model = LanguageGate(), load_langid()
    gate.setup()
    counts: Counter[str] = Counter()
    lost: list[str] = []
    seconds = 0.0
    for source in sources(arguments.shared, limit=arguments.pages):
        if source.source != "crawl":
            continue
        doc = Doc(html=source.html, url=source.url)
        text = skim.skimmed_of(doc).text
        start = time.process_time()
        dropped = gate.judge(doc) is not None
        seconds += time.process_time() - start
        counts["pages"] += 1
        counts["dropped"] += dropped
        for path, found in (("skim", text), ("trafilatura fast", source.texts["fast"] or "")):
            language, score = model.top(" ".join(found.split()))
            wanted = language == LANGUAGE and score > SCORE
            words = len(found.split())
            counts[f"{path}: wanted"] += wanted
            counts[f"{path}: others dropped"] += dropped and not wanted
            counts[f"{path}: others"] += not wanted
            if wanted and dropped:
                counts[f"{path}: lost"] += 1
                counts[f"{path}: lost, 50 words"] += words >= 50
                lost.append(f"{source.url} ({path}, {words} words, {score:.2f})")
    report(counts, lost, seconds)


def report(counts: Counter[str], lost: list[str], seconds: float) -> None:
    """Markdown."""
    print(
        f"{counts['pages']:,} pages, {counts['dropped']:,} dropped, {1000 * seconds / counts['pages']:.3f} ms a page\n"
    )
    print("| full path | pages in the language | lost | lost, 50 words | other pages dropped |")
    print("|---|---:|---:|---:|---:|")
    for path in ("skim", "trafilatura fast"):
        share = counts[f"{path}: others dropped"] / max(1, counts[f"{path}: others"])
        print(
            f"| {path} | {counts[f'{path}: wanted']:,} | {counts[f'{path}: lost']} |"
            f" {counts[f'{path}: lost, 50 words']} | {share:.1%} |"
        )
    print("\nLost:", *lost, sep="\n- ")
    if any(counts[f"{path}: lost, 50 words"] for path in ("skim", "trafilatura fast")):
        sys.exit("a page of 50 words or more is lost")


if __name__ == "__main__":
    main()
