"""Hostile pages through skim: seconds per case, how time grows with size, and mutated pages under bounds checking.

    python benchmarks/hostile.py [--scan-only] [--mutations 100000] [--largest 10000000]

Must hold: every case under 1 s at 10 MB, fitted exponent of time over size at most 1.1, and no mutated page that
raises, hangs or reads out of bounds. Seeds are hashes of the numbers of the pages: every run has the same pages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Page = Callable[[bytes], Any]
Unit = tuple[bytes, bytes, bytes]

CASES: dict[str, Unit] = {
    # the study's
    "nested elements": (b"", b"<div>", b""),
    "misnested inline": (b"", b"<b><i></b>x</i>", b""),
    "options in a select": (b"<select>", b"<option>a", b""),
    "options without a select": (b"", b"<option>a", b""),
    "stray end tags": (b"", b"</div></b>", b""),
    "mismatched end tags, 250 deep": (b"<div>" * 250, b"</p></b></li>", b"x"),
    "mismatched inline end tags, 250 deep": (b"<i>" * 250, b"</b></q></code>", b"x"),
    "comment openers": (b"", b"<!--", b""),
    "comments that nearly end": (b"<!--", b"-- >->--!", b""),
    "bare <": (b"", b"<", b""),
    "unclosed scripts": (b"", b"<script>", b""),
    "unclosed titles": (b"", b"<title>", b""),
    "unclosed textareas": (b"", b"<textarea>", b""),
    "unclosed quotes": (b"", b"<a b='", b""),
    "attributes": (b"<p ", b"a=b c ", b">x"),
    "a class value": (b'<p class="', b"word-and ", b'">x'),
    "an attribute value": (b'<p title="', b"x", b'">x'),
    "a name": (b"<", b"x", b">x"),
    "references": (b"", b"&amp;", b""),
    "references that grow": (b"", b"&nGt;", b""),
    "references that are none": (b"", b"&CounterClockwiseContourIntegra", b""),
    "digits of a reference": (b"&#", b"9", b";x"),
    "unclosed nested lists": (b"", b"<ul><li>a", b""),
    "unclosed list entries in inline elements": (b"<ul>", b"<li><b><i>a", b""),
    "paragraphs": (b"", b"<p>a", b""),
    "table cells": (b"<table>", b"<td>a", b""),
    "nested tables": (b"", b"<table><tr><td>a", b""),
    # others
    "text": (b"", b"some words of text, ", b""),
    "one word": (b"", b"x", b""),
    "spaces": (b"a", b" ", b"b"),
    "no-break spaces": (b"a", b"\xc2\xa0", b"b"),
    "tabs in pre": (b"<pre>", b"\t", b"x"),
    "tabs in many pre": (b"", b"<pre>\t\t\t\t\t\t\t\t\t\t\t\tx", b""),
    "line breaks": (b"a", b"<br>", b"b"),
    "line breaks and text": (b"", b"a<br><br>", b""),
    "links in links": (b"", b"<a href=x>a", b""),
    "headings": (b"", b"<h1>a</h2>", b""),
    "ruby": (b"", b"<ruby>a<rt>b", b""),
    "pronunciations": (b"x", b"<rt>", b""),
    "marks": (b"", b"<b></b>", b""),
    "white space and marks in pre": (b"<pre>x", b" <b></b>", b""),
    "formulas": (b"", b"<script type=math/tex>x</script>", b""),
    "displayed formulas": (b"", b"<script type='math/tex; mode=display'>x</script>", b""),
    "dollars": (b"", b"$x$ \\(y\\) ", b""),
    "unclosed formulas": (b"", b"<script type='math/tex'>", b""),
    "MathML": (b"", b"<math><mi>x</mi></math>", b""),
    "unclosed MathML": (b"", b"<math><mrow><mi>x", b""),
    "svg": (b"", b"<svg><path d='M'/>", b""),
    "foreign objects": (b"<svg><foreignObject>", b"<p>x", b""),
    "script in a comment in a script": (b"<script><!--", b"<script", b""),
    "comments in a script": (b"<script>", b"<!--", b""),
    "end tags in a script": (b"<script>", b"</scrip", b""),
    "facts": (b"", b"<meta name=author content=x>", b""),
    "images": (b"", b"<img alt=x>", b""),
    "class words": (b"", b"<p class='aB-cD eF gH' id=iJ>x", b""),
    "styles": (b"", b"<p style='display display display'>x", b""),
    "noscript and nav": (b"", b"<noscript><nav>x</nav></noscript>", b""),
    "equal paragraphs": (b"", b"<p>" + b"the same words again and again, long enough to count. " * 5, b""),
    "NUL": (b"", b"\0", b""),
    "bytes that are no UTF-8": (b"", b"\xff\xc2<p>\xe2\x82", b""),
    "no-break space, half": (b"", b"\xc2<b>", b""),
    "long lines of Chinese": (b"<p>", "很好的数据".encode(), b""),
}
"""What comes first, what is repeated, what comes last."""


def page_of(case: str, size: int) -> bytes:
    """The page of a case, of about this many bytes."""
    first, unit, last = CASES[case]
    return first + unit * max(1, (size - len(first) - len(last)) // len(unit)) + last


def exponent_of(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log time over log size."""
    logs = np.log(np.array(list(zip(sizes, seconds, strict=True))))
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def mutated(pages: list[bytes], number: int, most: int = 20_000) -> bytes:
    """A page with 1 to 8 mutations, all of them from the hash of the number: bytes flipped, ranges deleted or
    doubled, pieces with tags of another page put in, the end cut off."""
    seed = hashlib.blake2b(number.to_bytes(8, "little"), digest_size=16).digest()
    source = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "little")))
    draw = source.integers
    page = bytearray(pages[int(draw(len(pages)))])
    if len(page) > most:
        start = int(draw(len(page) - most))
        page = page[start : start + most]
    for _ in range(int(draw(1, 9))):
        if not page:
            break
        kind, at, length = int(draw(5)), int(draw(len(page))), int(2 ** draw(1, 10))
        if kind == 0:
            for place in draw(len(page), size=min(length, 32)):
                page[int(place)] ^= 1 << int(draw(8))
        elif kind == 1:
            del page[at : at + length]
        elif kind == 2:
            page[at:at] = page[at : at + length] * int(draw(1, 8))
        elif kind == 3:
            other = pages[int(draw(len(pages)))]
            start = max(other.find(b"<", int(draw(len(other) + 1))), 0)
            page[at:at] = other[start : start + length]
        elif at > len(page) // 2:
            del page[at:]
    return bytes(page)


def whole_skim() -> Page:
    """The whole of skim, from the page to its text."""
    from tokenmill.extract.skim.skim import Skim

    skim = Skim()
    return lambda page: skim.page(page.decode("utf-8", "replace"))


def scan_only() -> Page:
    """The scanner, its result checked for what others rely on."""
    from tokenmill.extract.skim.scan import scan

    return scan


def check(page: bytes) -> None:
    """Raise AssertionError where the scan of a page is not consistent in itself."""
    from tokenmill.extract.skim.scan import scan

    found = scan(page)
    assert np.all(found.el_parent < np.arange(len(found.el_parent)))
    assert np.all(found.bl_start < found.bl_end)
    assert np.all(found.bl_start[1:] == found.bl_end[:-1])
    assert not len(found.bl_end) or found.bl_end[-1] == len(found.text)
    assert np.all(found.bl_src < found.bl_src_end)
    assert np.all(found.bl_src_end[:-1] <= found.bl_src[1:])
    assert np.all(found.bl_link <= found.bl_end - found.bl_start)
    assert np.all(np.diff(found.mk_pos) >= 0)
    assert np.all(np.diff(found.el_token) >= 0)
    assert len(found.text) <= len(page) * 6 / 5


def mutations(count: int, pages: list[bytes], run: Page) -> Counter[str]:
    """What became of mutated pages: how many passed, and of the others the kinds of errors."""
    found: Counter[str] = Counter()
    for number in range(count):
        page = mutated(pages, number)
        try:
            check(page)
            run(page)
            found["passed"] += 1
        except Exception as error:
            found[f"{type(error).__name__}: {error}"[:200]] += 1
            print(f"page {number}: {type(error).__name__}: {error}", file=sys.stderr)
    return found


def checked_mutations(count: int, pages: list[bytes], whole: bool, limit_s: int = 3600) -> dict[str, int]:
    """`mutations` in a process of its own whose kernels check their bounds; a crash or hang is an error there."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "pages.json"
        data.write_text(json.dumps([page.decode("latin-1") for page in pages]))
        environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, __file__, "--child", str(data), "--mutations", str(count)]
        command += [] if whole else ["--scan-only"]
        root = str(Path(__file__).resolve().parents[1])
        environment["PYTHONPATH"] = root
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=root, timeout=limit_s)
    if done.returncode:
        return {f"process ended with {done.returncode}: {done.stderr[-500:]}": 1}
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def crawl_pages(most: int = 300) -> list[bytes]:
    """Pages of the crawl beside this checkout; made-up ones where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "crawl"
    found: list[bytes] = []
    for path in sorted(folder.glob("*.warc.gz")):
        from fastwarc.warc import ArchiveIterator, WarcRecordType

        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                body = record.reader.read()
                if b"<body" in body:
                    found.append(body.decode("utf-8", "ignore").encode())
                if len(found) >= most:
                    return found
    return found or [page_of(case, 5000) for case in CASES]


def table(run: Page, largest: int) -> list[tuple[str, float, float]]:
    """Seconds at the largest size and exponent, by case."""
    rows = []
    sizes = [size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size <= largest]
    for case in CASES:
        seconds = []
        for size in sizes:
            page = page_of(case, size)
            spent = []
            for _ in range(3 if size < 10_000_000 else 1):
                start = time.process_time()
                run(page)
                spent.append(time.process_time() - start)
            seconds.append(max(min(spent), 1e-6))
        rows.append((case, seconds[-1], exponent_of(sizes, seconds)))
        print(f"{case:45s} {' '.join(f'{s:9.4f}' for s in seconds)}  exponent {rows[-1][2]:.2f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan-only", action="store_true")
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--largest", type=int, default=10_000_000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    run = scan_only() if options.scan_only else whole_skim()
    if options.child:
        pages = [page.encode("latin-1") for page in json.loads(Path(options.child).read_text())]
        print(json.dumps(mutations(options.mutations, pages, run)))
        return
    run(b"<p>a")
    rows = table(run, options.largest)
    slow = [case for case, seconds, _ in rows if seconds >= 1]
    steep = [case for case, seconds, exponent in rows if exponent > 1.1 and seconds > 0.01]
    print(f"slowest {max(seconds for _, seconds, _ in rows):.2f} s; not under 1 s: {slow}; exponent above 1.1: {steep}")
    if options.mutations:
        print(checked_mutations(options.mutations, crawl_pages(), not options.scan_only))


if __name__ == "__main__":
    main()
