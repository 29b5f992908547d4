"""What other extractors keep of the pages of the crawl: the texts from which blocks get their weak labels.

    nice -n 5 python -m tools.skim.labels [--shared ../shared] [--out .bench/skim] [--pages 20000]

Writes `OUT/labels/00000.parquet`, ... of 500 pages each; chunks that are there are not made again. Pages of hosts are
taken in turns, those with annotated segments first, so that the first chunks cover all hosts. A page on which an
extractor takes more than 20 s, or that its parser cannot take (see `ExtractText`), has no text of that extractor.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import multiprocessing
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.doc import Doc
from tokenmill.core.stage import InputShard
from tokenmill.extract import prescan
from tokenmill.extract.decode import DecodeHtml
from tokenmill.io.warc import ReadWarc
from tokenmill.text.hosts import host_of

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ("fast", "default", "precision", "recall", "resiliparse")
"""Columns of a chunk: trafilatura 2.3 in four settings and resiliparse's main content, all without comments."""
CHUNK = 500
SECONDS = 20.0
_TEXTS = {system: pa.string() for system in SYSTEMS}
SCHEMA = pa.schema(
    {
        "url": pa.string(),
        "host": pa.string(),
        "domain": pa.string(),
        "warc_file": pa.string(),
        "warc_offset": pa.int64(),
        "warc_length": pa.int64(),
        "sha256": pa.string(),
        "html": pa.string(),
        "language": pa.string(),
        **_TEXTS,
    }
)


@dataclass(frozen=True)
class Place:
    """Where a page lies in the crawl."""

    url: str
    warc_file: str
    warc_offset: int
    warc_length: int


class _Ignored:
    """What the archive reader reports of records that are no pages."""

    def __call__(
        self, reason: str, *, id: str = "", url: str = "", offset: int = -1, length: int = -1, detail: str = ""
    ) -> None:
        pass

    def covered(self, first: int, end: int) -> None:
        pass


def domain_of(url: str) -> str:
    """The unit of folds: the domain that somebody registered, hosts under the suffixes of hosters on their own
    ("a.github.io" is not "b.github.io"); the host where it has none."""
    host = host_of(url)
    parts = _suffixes().extract_str(host)
    return f"{parts.domain}.{parts.suffix}" if parts.domain and parts.suffix else host


@cache
def _suffixes() -> Any:
    import tldextract

    # the list within the package: no network
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


def crawl_places(crawl: Path) -> list[Place]:
    """All HTML pages of the crawl, in the order of its files."""
    found = []
    for path in sorted(crawl.glob("*.warc.gz")):
        shard = InputShard(str(path), path.name, 0, "")
        for batch in ReadWarc().read(shard, _Ignored()):
            columns = [batch.column(name).to_pylist() for name in ("url", "warc_offset", "warc_length")]
            found += [Place(url, path.name, offset, length) for url, offset, length in zip(*columns, strict=True)]
    return found


def ordered(places: Sequence[Place], first: frozenset[tuple[str, int]]) -> list[Place]:
    """Those of `first` (file, offset), then pages of all hosts in turns; within a host by a hash of the address."""
    by_host: dict[str, list[Place]] = defaultdict(list)
    for place in sorted(places, key=lambda place: (_hash(place.url), place.warc_file, place.warc_offset)):
        by_host[host_of(place.url)].append(place)
    turns = []
    for host, of_host in by_host.items():
        # annotated ones count as the turns of their host
        of_host.sort(key=lambda place: (place.warc_file, place.warc_offset) not in first)
        turns += [(turn, _hash(host), place) for turn, place in enumerate(of_host)]
    turns.sort(key=lambda row: ((row[2].warc_file, row[2].warc_offset) not in first, row[0], row[1]))
    return [place for _, _, place in turns]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def annotated_places(shared: Path) -> frozenset[tuple[str, int]]:
    """File and offset of the pages with annotated segments."""
    with gzip.open(shared / "extraction-gold/trafilatura-eval.jsonl.gz", "rt", encoding="utf-8") as file:
        return frozenset((row["warc_file"], row["warc_offset"]) for row in map(json.loads, file))


def page_at(crawl: Path, name: str, offset: int, length: int) -> str | None:
    """The decoded page of a record; None where it is none."""
    with open(crawl / name, "rb") as archive:
        archive.seek(offset)
        record = zlib.decompress(archive.read(length), 31)
    _, head, payload = record.split(b"\r\n\r\n", 2)
    return decoded(payload.removesuffix(b"\r\n\r\n"), head.decode("latin-1"))


def decoded(payload: bytes, headers: str) -> str | None:
    """The page as `DecodeHtml` makes it; None where it drops it."""
    result = DecodeHtml().rewrite(Doc(payload=payload, http_headers=headers, content_type="", truncated=""))
    return str(result["html"]) if isinstance(result, dict) else None


def extractors() -> dict[str, Callable[[str], str]]:
    """The extractors of SYSTEMS."""
    from tokenmill.extract.text import ExtractText

    stages = {
        "fast": ExtractText(extractor="trafilatura", fast=True),
        "default": ExtractText(extractor="trafilatura", fast=False),
        "precision": ExtractText(extractor="trafilatura", fast=False, focus="precision"),
        "recall": ExtractText(extractor="trafilatura", fast=False, focus="recall"),
        "resiliparse": ExtractText(extractor="resiliparse"),
    }
    return {name: stage.extract for name, stage in stages.items()}


def takable(html: str) -> bool:
    """Whether all parsers take a page; of others the extractors have no text of their own."""
    from tokenmill.extract.text import ExtractText

    return ExtractText().parsable(prescan.prescan(html.encode()))


def _serve(pipe: Connection) -> None:
    logging.disable(logging.CRITICAL)
    by_name = extractors()
    while True:
        name, html = pipe.recv()
        try:
            pipe.send(by_name[name](html))
        except Exception as error:
            pipe.send(None)
            print(f"{name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)


class Child:
    """A process that extracts, and is replaced when it dies or takes too long."""

    def __init__(self) -> None:
        self._process: multiprocessing.Process | None = None
        self._pipe: Connection | None = None

    def extract(self, name: str, html: str) -> str | None:
        """The text; None where there is none within SECONDS."""
        if self._pipe is None:
            self._pipe, theirs = multiprocessing.Pipe()
            self._process = multiprocessing.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._pipe.send((name, html))
        try:
            if self._pipe.poll(SECONDS):
                answer: str | None = self._pipe.recv()
                return answer
        except EOFError:
            pass
        assert self._process is not None
        self._process.kill()
        self._process.join()
        self._process = self._pipe = None
        return None


def _rows(places: Sequence[Place], crawl: Path, child: Child) -> Iterator[dict[str, Any]]:
    from tokenmill.text.langid import load_langid

    for place in places:
        html = page_at(crawl, place.warc_file, place.warc_offset, place.warc_length)
        if html is None:
            continue
        takes = takable(html)
        texts = {system: child.extract(system, html) if takes else None for system in SYSTEMS}
        longest = max((text or "" for text in texts.values()), key=len)
        yield {
            "url": place.url,
            "host": host_of(place.url),
            "domain": domain_of(place.url),
            "warc_file": place.warc_file,
            "warc_offset": place.warc_offset,
            "warc_length": place.warc_length,
            "sha256": hashlib.sha256(html.encode()).hexdigest(),
            "html": html,
            # menus are in another language more often than the text is
            "language": load_langid().top(" ".join((texts["fast"] or longest).split())[:5000])[0],
            **texts,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench/skim")
    parser.add_argument("--pages", type=int, default=20_000, help="at most so many")
    arguments = parser.parse_args()
    crawl = arguments.shared / "crawl"
    if not crawl.is_dir():
        sys.exit(f"no crawl in {arguments.shared}: give --shared")
    folder = arguments.out / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    places = ordered(crawl_places(crawl), annotated_places(arguments.shared))[: arguments.pages]
    print(f"{len(places)} pages of {len({host_of(place.url) for place in places})} hosts", flush=True)
    child = Child()
    for first in range(0, len(places), CHUNK):
        path = folder / f"{first // CHUNK:05d}.parquet"
        if path.exists():
            continue
        start = time.monotonic()
        table = pa.Table.from_pylist(list(_rows(places[first : first + CHUNK], crawl, child)), schema=SCHEMA)
        pq.write_table(table, path.with_suffix(".part"), compression="zstd")
        path.with_suffix(".part").rename(path)
        print(f"{path.name}: {table.num_rows} pages, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
