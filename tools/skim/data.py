"""The pages that the block model is trained and judged on: blocks, weak labels, annotations, weights, folds.

    from tools.skim.data import load, pages

Labels come from `python -m tools.skim.labels` (weak), `shared/extraction-gold` (segments and bodies) and
`tests/data/pages_gold` (byte ranges). Alignment is kept in `.bench/skim/aligned`, by a digest of blocks and texts.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tokenmill.extract.skim.math import rewrite
from tokenmill.extract.skim.scan import Scan, scan
from tokenmill.text.hosts import host_of
from tools.skim import align
from tools.skim.align import Bools, Floats
from tools.skim.labels import ROOT, SYSTEMS, decoded, domain_of, extractors, takable

__all__ = ["FOLDS", "SYSTEMS", "Source", "TrainingPage", "fold_of", "load", "pages", "sources"]

FOLDS = 5
CONSENSUS = (0, 1, 2)
"""Columns of the systems whose mean share is the weak target: fast, default, precision."""
SPLIT = 0.5
"""The systems disagree on a block where their shares are farther apart."""
DISAGREED = 0.4
"""Weight of a block on which they disagree."""
GOLD_WEIGHT = 4.0
COPY_WEIGHT = 0.3
"""Weight of a block whose text the outputs have once and the page before: which of the copies was kept is unknown."""
BENCH = ROOT / ".bench/skim"
RANGES = ROOT / "tests/data/pages_gold/pages.jsonl"


@dataclass(frozen=True, eq=False)
class Source:
    """A page before it is scanned, with what is known of it."""

    url: str
    host: str
    domain: str
    language: str
    source: str
    """"crawl" or "articles"."""
    html: str
    texts: Mapping[str, str | None]
    """Output of each of SYSTEMS; None where there is none."""
    wanted: Sequence[str] = ()
    unwanted: Sequence[str] = ()
    body: str | None = None
    ranges: Mapping[str, Sequence[Sequence[int]]] | None = None
    kind: str = ""

    @property
    def fold(self) -> int:
        return fold_of(self.domain)

    @property
    def gold_source(self) -> str:
        """ "ranges", "body", "segments", or "" for a page without annotation."""
        if self.ranges is not None:
            return "ranges"
        if self.body is not None:
            return "body"
        return "segments" if self.wanted or self.unwanted else ""


@dataclass(frozen=True, eq=False)
class TrainingPage:
    """A scanned page of B blocks with labels and weights."""

    url: str
    host: str
    domain: str
    fold: int
    language: str
    """ISO 639-1, of the extracted text (lid.176)."""
    source: str
    """"crawl" or "articles"."""
    kind: str
    """Of a page of `tests/data/pages_gold`; "" of others."""
    scan: Scan
    weak: Floats
    """[B, systems] share of the block's text in the output; NaN: no output, or a block without letters and digits."""
    gold: Floats
    """[B] 1 wanted, 0 unwanted, NaN not annotated."""
    gold_source: str
    """"segments", "body", "ranges" or ""."""
    repeat: Bools
    """[B] the text stands before in the page, and in the outputs once."""
    target: Floats
    """[B] gold where there is some, else the mean share of CONSENSUS; NaN: no label."""
    weight: Floats
    """[B] of the block in training, page weight included; 0 without label."""
    page_weight: float = field(default=1.0)

    @property
    def html(self) -> str:
        return self.scan.page.tobytes().decode()


def fold_of(domain: str) -> int:
    """The fold of a registrable domain, 0 to FOLDS - 1."""
    return int(hashlib.sha256(domain.encode()).hexdigest()[:8], 16) % FOLDS


def pages(
    shared: Path | None = None, *, limit: int | None = None, gold_only: bool = False, bench: Path = BENCH
) -> Iterator[TrainingPage]:
    """The pages one at a time: articles, then the crawl in the order of its labels. `limit`: first pages of the crawl
    (annotated ones beyond it are in all the same). Raises FileNotFoundError without labels."""
    folder = shared or ROOT.parent / "shared"
    chosen = list(_rows(bench, folder, limit, gold_only))
    of_host = Counter(host for _, _, host in chosen)
    for article in _articles(folder):
        yield _page(article, *_aligned_one(article), of_host[article.host] + 1)
    by_chunk: dict[str, list[int]] = {}
    for name, row, _ in chosen:
        by_chunk.setdefault(name, []).append(row)
    for name, rows in by_chunk.items():
        found = list(_chunk(bench / "labels" / name, folder))
        aligned = _aligned(bench, name, found)
        for row in rows:
            yield _page(found[row], *aligned[row], of_host[found[row].host])


def load(
    shared: Path | None = None, *, limit: int | None = None, gold_only: bool = False, bench: Path = BENCH
) -> list[TrainingPage]:
    """All pages of `pages`, with page weights of mean 1. Some 80 kB a page."""
    found = list(pages(shared, limit=limit, gold_only=gold_only, bench=bench))
    mean = sum(page.page_weight for page in found) / max(1, len(found))
    return [
        replace(page, weight=(page.weight / mean).astype(np.float32), page_weight=page.page_weight / mean)
        for page in found
    ]


def sources(shared: Path | None = None, *, limit: int | None = None, bench: Path = BENCH) -> Iterator[Source]:
    """The pages as they are, not scanned: articles, then the crawl."""
    folder = shared or ROOT.parent / "shared"
    yield from _articles(folder)
    count = 0
    for path in sorted((bench / "labels").glob("*.parquet")):
        for source in _chunk(path, folder):
            if limit is not None and count == limit:
                return
            count += 1
            yield source


def _rows(bench: Path, shared: Path, limit: int | None, gold_only: bool) -> Iterator[tuple[str, int, str]]:
    """Chunk, row and host of the pages to be taken."""
    paths = sorted((bench / "labels").glob("*.parquet"))
    if not paths:
        raise FileNotFoundError(f"no labels in {bench}: run python -m tools.skim.labels")
    annotated = {*_ranges(), *_segments(str(shared))}
    count = 0
    for path in paths:
        table = pq.read_table(path, columns=["warc_file", "warc_offset", "host"])
        for row, (name, offset, host) in enumerate(zip(*(column.to_pylist() for column in table), strict=True)):
            count += 1
            has_gold = (name, offset) in annotated
            if has_gold or (not gold_only and (limit is None or count <= limit)):
                yield path.name, row, host


@cache
def _ranges() -> dict[tuple[str, int], dict[str, Any]]:
    if not RANGES.exists():
        return {}
    with open(RANGES, encoding="utf-8") as file:
        return {(row["warc_file"], row["warc_offset"]): row for row in map(json.loads, file)}


@cache
def _segments(shared: str) -> dict[tuple[str, int], dict[str, Any]]:
    path = Path(shared, "extraction-gold/trafilatura-eval.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return {(row["warc_file"], row["warc_offset"]): row for row in map(json.loads, file)}


def _chunk(path: Path, shared: Path) -> Iterator[Source]:
    ranges, segments = _ranges(), _segments(str(shared))
    for row in pq.read_table(path).to_pylist():
        place = (row["warc_file"], row["warc_offset"])
        read = ranges.get(place)
        if read is not None and read["sha256"] != row["sha256"]:
            raise ValueError(f"{row['url']}: the page is not the one that was annotated; is the crawl another?")
        segment = segments.get(place, {})
        yield Source(
            url=row["url"],
            host=row["host"],
            domain=row["domain"],
            language=row["language"],
            source="crawl",
            html=row["html"],
            texts={system: row[system] for system in SYSTEMS},
            wanted=segment.get("with", ()),
            unwanted=segment.get("without", ()),
            ranges=None if read is None else {name: read.get(name, ()) for name in ("keep", "drop", "unsure")},
            kind="" if read is None else read["kind"],
        )


def _articles(shared: Path) -> Iterator[Source]:
    gold = shared / "extraction-gold"
    with open(gold / "articles.jsonl", encoding="utf-8") as file:
        for row in map(json.loads, file):
            payload = gzip.decompress((gold / "articles" / row["file"]).read_bytes())
            html = decoded(payload, "Content-Type: text/html; charset=utf-8")
            if html is None:
                raise ValueError(f"{row['file']} cannot be decoded")
            host, domain = host_of(row["url"]), domain_of(row["url"])
            texts = {SYSTEMS[0]: _fast(html)}
            yield Source(row["url"], host, domain, "en", "articles", html, texts, body=row["article_body"])


def _fast(html: str) -> str | None:
    """Text of the first of SYSTEMS; None of a page that no parser takes."""
    return extractors()[SYSTEMS[0]](html) if takable(html) else None


def _scanned(source: Source) -> Scan:
    """As the extractor scans a page; annotated byte ranges are of the page before formulas are rewritten."""
    page = source.html.encode()
    rewritten = rewrite(page)
    return scan(page if source.ranges is not None and len(rewritten) != len(page) else rewritten)


def _align(blocks: Sequence[bytes], texts: Mapping[str, str | None]) -> tuple[Floats, Bools]:
    """Shares [B, systems] and copies [B], a block being a copy where it is one in every output that has it."""
    shares = np.full((len(blocks), len(SYSTEMS)), np.nan, np.float32)
    copies, held = np.zeros(len(blocks), np.int64), np.zeros(len(blocks), np.int64)
    for column, system in enumerate(SYSTEMS):
        text = texts.get(system)
        if text is not None:
            shares[:, column], copy = align.shares(blocks, align.Output(text))
            copies += copy
            held += shares[:, column] > SPLIT
    return shares, (copies > 0) & (copies >= held)


def _aligned_one(source: Source) -> tuple[Scan, Floats, Bools]:
    found = _scanned(source)
    return found, *_align(align.block_texts(found), source.texts)


def _aligned(bench: Path, name: str, found: Sequence[Source]) -> list[tuple[Scan, Floats, Bools]]:
    """Scan, shares and copies of every page of a chunk; those of which scan or texts have changed are aligned anew."""
    scans = [_scanned(source) for source in found]
    digests = [_digest(source, scanned) for source, scanned in zip(found, scans, strict=True)]
    path = bench / "aligned" / f"{name.removesuffix('.parquet')}.npz"
    held = _read_aligned(path)
    parts = [held.get(digest) for digest in digests]
    changed = any(part is None for part in parts)
    done = [
        _align(align.block_texts(scanned), source.texts) if part is None else part
        for part, scanned, source in zip(parts, scans, found, strict=True)
    ]
    if changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(f".{os.getpid()}"), "wb") as file:
            np.savez_compressed(
                file,
                digests=np.array(digests),
                sizes=np.array([len(copies) for _, copies in done], np.int64),
                shares=np.concatenate([shares for shares, _ in done]),
                copies=np.concatenate([copies for _, copies in done]),
            )
        path.with_suffix(f".{os.getpid()}").rename(path)
    return [(scanned, *part) for scanned, part in zip(scans, done, strict=True)]


def _digest(source: Source, scanned: Scan) -> str:
    """Of all that an alignment depends on."""
    digest = hashlib.sha256(f"{align.VERSION} {SYSTEMS}".encode())
    for part in (scanned.text, scanned.bl_start, scanned.bl_end):
        digest.update(np.ascontiguousarray(part).tobytes())
    for system in SYSTEMS:
        digest.update(repr(source.texts[system]).encode("utf-8", "replace"))
    return digest.hexdigest()[:32]


def _read_aligned(path: Path) -> dict[str, tuple[Floats, Bools]]:
    """Shares and copies by digest."""
    if not path.exists():
        return {}
    with np.load(path) as file:
        ends = np.cumsum(file["sizes"])[:-1]
        parts = zip(np.split(file["shares"], ends), np.split(file["copies"], ends), strict=True)
        return dict(zip(file["digests"].tolist(), parts, strict=True))


def _gold(source: Source, scanned: Scan, weak: Floats) -> Floats:
    if source.ranges is not None:
        return align.from_ranges(scanned, source.ranges)
    blocks = align.block_texts(scanned) if source.gold_source else []
    if source.body is not None:
        return align.from_body(blocks, source.body)
    if source.gold_source:
        return align.from_segments(blocks, source.wanted, source.unwanted, _consensus(weak))
    return np.full(len(scanned.bl_start), np.nan, np.float32)


def _consensus(weak: Floats) -> Floats:
    """Mean share of CONSENSUS; NaN where one of them has no output. [B, systems] -> [B]"""
    mean: Floats = weak[:, CONSENSUS].mean(axis=1)
    return mean


def _page(source: Source, scanned: Scan, weak: Floats, repeat: Bools, of_host: int) -> TrainingPage:
    gold = _gold(source, scanned, weak)
    annotated = ~np.isnan(gold)
    target = np.where(annotated, gold, _consensus(weak)).astype(np.float32)
    page_weight = 1.0 / float(np.sqrt(of_host * max(1, len(target))))
    weight = np.log1p(scanned.bl_end - scanned.bl_start).astype(np.float32) * np.float32(page_weight)
    voices = weak[:, CONSENSUS]
    with np.errstate(invalid="ignore"):
        weight[(np.ptp(voices, axis=1) > SPLIT) & ~annotated] *= DISAGREED
    weight[repeat & ~annotated] *= COPY_WEIGHT
    weight[annotated] *= GOLD_WEIGHT
    weight[np.isnan(target)] = 0.0
    return TrainingPage(
        url=source.url,
        host=source.host,
        domain=source.domain,
        fold=source.fold,
        language=source.language,
        source=source.source,
        kind=source.kind,
        scan=scanned,
        weak=weak,
        gold=gold,
        gold_source=source.gold_source,
        repeat=repeat,
        target=target,
        weight=weight.astype(np.float32),
        page_weight=page_weight,
    )
