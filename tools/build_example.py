"""Rebuild `examples/data/example.warc.gz` from the developers' crawl: gzip members copied byte for byte.

    python tools/build_example.py ../shared/crawl examples/data/example.warc.gz

Only hosts whose pages are under a licence that allows redistribution are taken: httpd.apache.org and
flink.apache.org, both Apache-2.0.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from fastwarc.warc import ArchiveIterator, WarcRecordType

HOSTS = {"httpd.apache.org": 700_000, "flink.apache.org": 1_100_000}
"""Host -> most compressed bytes taken from it."""
LARGEST = 60_000
"""Compressed bytes above which a page is left out: more pages are better than longer ones."""

SMALLEST, STUBS = 1_000, 6
"""Smaller members are redirect stubs, of which the crawl has many: a few are enough."""


def main(crawl: Path, target: Path) -> None:
    """Copy the first warcinfo record and the chosen members, in crawl order."""
    left = dict(HOSTS)
    taken: list[bytes] = []
    stubs = 0
    for path in sorted(crawl.glob("*.warc.gz")):
        data = path.read_bytes()
        marks = [
            (record.stream_pos, record.record_type, record.headers.get("WARC-Target-URI") or "")
            for record in ArchiveIterator(str(path), parse_http=False)
        ]
        ends = [mark[0] for mark in marks[1:]] + [len(data)]
        for (start, kind, url), end in zip(marks, ends, strict=True):
            if kind == WarcRecordType.warcinfo and not taken:
                taken.append(data[start:end])
            host = urlsplit(url).hostname or ""
            if kind == WarcRecordType.response and end - start <= min(left.get(host, 0), LARGEST):
                stubs += end - start < SMALLEST
                if end - start < SMALLEST and stubs > STUBS:
                    continue
                left[host] -= end - start
                taken.append(data[start:end])
    target.write_bytes(b"".join(taken))
    print(f"{len(taken)} records, {target.stat().st_size:,} bytes in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
