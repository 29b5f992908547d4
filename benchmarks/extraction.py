"""Quality and speed of main-content extraction on the developers' gold pages, as a Markdown table.

Usage: python benchmarks/extraction.py [--shared ../shared] [--peer-python .bench/datatrove/bin/python] [--ours]

`articles`: 54 article pages with their full bodies; shingle F1 as in scrapinghub's article-extraction-benchmark
(4-gram shingles of words, multiset overlap; precision and recall averaged over pages, F1 of these averages).
`segments`: 672 pages with wanted and unwanted segments (adbar/trafilatura); a segment counts as found when it is
a substring after white space is normalised. All systems get the same decoded strings. Pages per second are CPU
seconds of one process over the gold pages, which are 3.6 times as large as those of the crawl.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenmill.core.doc import Doc
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.text import ExtractText

ROOT = Path(__file__).resolve().parents[1]
PEER_SCRIPT = Path(__file__).with_name("extraction_peer.py")
_WORD = re.compile(r"\w+")

Score = tuple[float, float, float]


@dataclass(frozen=True)
class Page:
    """A decoded page with its annotation: `body`, or segments `wanted` and `unwanted`."""

    html: str
    body: str | None = None
    wanted: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)


def gold_pages(shared: Path) -> list[Page]:
    gold = shared / "extraction-gold"
    return [*_articles(gold), *_segments(gold, shared / "crawl")]


def _articles(gold: Path) -> Iterator[Page]:
    with open(gold / "articles.jsonl", encoding="utf-8") as file:
        for row in map(json.loads, file):
            payload = gzip.decompress((gold / "articles" / row["file"]).read_bytes())
            yield Page(_decoded(payload, "Content-Type: text/html; charset=utf-8"), body=row["article_body"])


def _segments(gold: Path, crawl: Path) -> Iterator[Page]:
    with gzip.open(gold / "trafilatura-eval.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            with open(crawl / row["warc_file"], "rb") as archive:
                archive.seek(row["warc_offset"])
                record = zlib.decompress(archive.read(row["warc_length"]), 31)
            _, head, payload = record.split(b"\r\n\r\n", 2)
            html = _decoded(payload.removesuffix(b"\r\n\r\n"), head.decode("latin-1"))
            yield Page(html, wanted=row["with"], unwanted=row["without"])


def _decoded(payload: bytes, headers: str) -> str:
    result = DecodeHtml().rewrite(Doc(payload=payload, http_headers=headers, content_type="", truncated=""))
    if not isinstance(result, dict):
        raise ValueError(f"a gold page cannot be decoded: {result}")
    return str(result["html"])


def shingle_score(predicted: list[str], bodies: list[str]) -> Score:
    """F1, precision and recall over articles."""
    precisions, recalls = [], []
    for text, body in zip(predicted, bodies, strict=True):
        found, wanted = _shingles(text), _shingles(body)
        both = sum((found & wanted).values())
        if found:
            precisions.append(both / found.total())
        if wanted:
            recalls.append(both / wanted.total())
    return _with_f1(statistics.mean(precisions), statistics.mean(recalls))


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3))) if words else Counter()


def segment_score(predicted: list[str], pages: list[Page]) -> Score:
    """F1, precision and recall over all segments."""
    right = wrong = missing = 0
    for text, page in zip(predicted, pages, strict=True):
        text = " ".join(text.split())
        found = sum(" ".join(segment.split()) in text for segment in page.wanted)
        right += found
        missing += len(page.wanted) - found
        wrong += sum(" ".join(segment.split()) in text for segment in page.unwanted)
    return _with_f1(right / (right + wrong), right / (right + missing))


def _with_f1(precision: float, recall: float) -> Score:
    return 2 * precision * recall / (precision + recall), precision, recall


def timed(extract: Callable[[str], str | None], pages: list[Page]) -> tuple[list[str], float]:
    extract("<html><body><p>loads what is loaded on first use</p></body></html>")
    start = time.process_time()
    texts = [extract(page.html) or "" for page in pages]
    return texts, time.process_time() - start


def peer(python: str, pages: list[Page]) -> tuple[str, list[str], float]:
    """Version, texts and seconds of the peer's trafilatura, run in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        pages_path, texts_path = Path(folder, "pages.jsonl"), Path(folder, "texts.jsonl")
        pages_path.write_text("".join(json.dumps(page.html) + "\n" for page in pages))
        done = subprocess.run(
            [python, str(PEER_SCRIPT), str(pages_path), str(texts_path)], capture_output=True, text=True, check=True
        )
        answer = json.loads(done.stdout)
        texts = [json.loads(line) for line in texts_path.read_text().splitlines()]
    return answer["version"], texts, answer["seconds"]


def systems() -> dict[str, Callable[[str], str | None]]:
    """The libraries as they are, by the name of the row."""
    from resiliparse.extract.html2text import extract_plain_text
    from trafilatura import extract

    def trafilatura(**settings: Any) -> Callable[[str], str | None]:
        return lambda html: extract(html, include_comments=False, **settings)

    def resiliparse(**settings: Any) -> Callable[[str], str | None]:
        return lambda html: extract_plain_text(html, main_content=True, alt_texts=False, **settings)

    return {
        "trafilatura fast": trafilatura(fast=True),
        "trafilatura fast, with comments": lambda html: extract(html, fast=True),
        "trafilatura fast, no tables": trafilatura(fast=True, include_tables=False),
        "trafilatura fast + precision": trafilatura(fast=True, favor_precision=True),
        "trafilatura fast + recall": trafilatura(fast=True, favor_recall=True),
        "trafilatura precision": trafilatura(favor_precision=True),
        "trafilatura default": trafilatura(),
        "resiliparse main content": resiliparse(),
        "resiliparse main content, no comments, no metadata": resiliparse(
            comments=False, post_meta=False, list_bullets=False
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    parser.add_argument("--ours", action="store_true", help="only tokenmill and the peer")
    args = parser.parse_args()
    if not (args.shared / "extraction-gold").is_dir():
        sys.exit(f"no gold pages in {args.shared}: give --shared")
    logging.disable(logging.CRITICAL)
    pages = gold_pages(args.shared)
    articles = [page.body for page in pages if page.body is not None]

    print("| system | article F1 | P | R | segment F1 | P | R | pages/s |")
    print("|---|---|---|---|---|---|---|---|")

    def row(name: str, texts: list[str], seconds: float) -> tuple[float, float]:
        on_articles = shingle_score(texts[: len(articles)], articles)
        on_segments = segment_score(texts[len(articles) :], pages[len(articles) :])
        cells = [f"{value:.4f}" for value in (*on_articles, *on_segments)]
        print(f"| {name} | {' | '.join(cells)} | {len(pages) / seconds:.0f} |", flush=True)
        return on_articles[0], on_segments[0]

    ours = row("**ExtractText (default)**", *timed(ExtractText().extract, pages))
    row("ExtractText, extractor=resiliparse", *timed(ExtractText(extractor="resiliparse").extract, pages))
    theirs = None
    if Path(args.peer_python).exists():
        version, texts, seconds = peer(args.peer_python, pages)
        theirs = row(f"trafilatura {version}, settings of datatrove", texts, seconds)
    else:
        print(f"peer left out: no {args.peer_python} (make bench-env)", file=sys.stderr)
    if not args.ours:
        for name, extract in systems().items():
            row(name, *timed(extract, pages))
    if theirs is not None and (ours[0] < theirs[0] or ours[1] < theirs[1]):
        sys.exit("the default is worse than the peer")


if __name__ == "__main__":
    main()
