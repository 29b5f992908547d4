"""The gold of pages that are not articles: well formed, of many hosts and languages, true to the crawl."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tokenmill.text.hosts import host_of
from tools.skim.gold import GOLD, KINDS, lines, parse_numbers, read_page, split_blocks, to_numbers, to_ranges

ROWS = list(lines(GOLD / "pages.jsonl"))
PARTS = ("keep", "drop", "unsure")


def site(row: dict[str, Any]) -> str:
    return host_of(row["url"]).removeprefix("www.")


def test_size_and_spread() -> None:
    assert len(ROWS) >= 150
    hosts = Counter(map(site, ROWS))
    assert len(hosts) >= 90
    assert max(hosts.values()) <= 3
    assert sum(row["language"] != "en" for row in ROWS) >= len(ROWS) / 4
    assert {row["kind"] for row in ROWS} <= set(KINDS)
    assert len({row["url"] for row in ROWS}) == len({row["sha256"] for row in ROWS}) == len(ROWS)
    assert sum(path.stat().st_size for path in GOLD.iterdir()) < 300_000


@pytest.mark.parametrize("row", ROWS, ids=[str(row["number"]) for row in ROWS])
def test_ranges_are_sorted_and_disjoint(row: dict[str, Any]) -> None:
    for name in PARTS:
        assert row[name] == sorted(row[name])
    ranges = sorted(tuple(ends) for name in PARTS for ends in row[name])
    assert all(0 <= start < end for start, end in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))
    assert row["keep"]


def true_to_the_crawl(row: dict[str, Any], shared: Path) -> None:
    """The page is the one that was read, and every block of it has one verdict."""
    page = read_page(row, shared / "crawl")
    assert hashlib.sha256(page).hexdigest() == row["sha256"]
    blocks = split_blocks(page)
    verdicts = Counter(n for name in PARTS for n in to_numbers(blocks, row[name]))
    assert verdicts == Counter(range(len(blocks)))


@pytest.mark.parametrize("row", ROWS[::20], ids=lambda row: str(row["number"]))
def test_pages_of_the_crawl(row: dict[str, Any], shared: Path) -> None:
    true_to_the_crawl(row, shared)


@pytest.mark.ci
def test_all_pages_of_the_crawl(shared: Path) -> None:
    for row in ROWS:
        true_to_the_crawl(row, shared)


def test_no_page_has_annotations_elsewhere(shared: Path) -> None:
    with gzip.open(shared / "extraction-gold" / "trafilatura-eval.jsonl.gz", "rt", encoding="utf-8") as stream:
        annotated = {json.loads(line)["url"] for line in stream}
    assert not annotated & {row["url"] for row in ROWS}


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("<p>a<p>b</p>c", ["a", "b", "c"]),
        ("<p>a <b>b</b><!-- <p>no --> c", ["a b c"]),
        ("<p>a<br>b<br>\n<br>c", ["a / b", "c"]),
        ("<td>a<td>b<tr><th>c", ["a", "b", "c"]),
        ("<title>no</title><script>if (a<b) '</p>'</script>a<style>no", ["a"]),
        ('<a title="a > b">c</a> &amp; d', ["c & d"]),
        ("a<select><option>no</select> b<svg/> c", ["a", "b c"]),
        ("a < b <3", ["a < b <3"]),
        ("\n <div>  </div>", []),
        ("日本<hr>語", ["日本", "語"]),
    ],
)
def test_blocks(page: str, texts: list[str]) -> None:
    body = page.encode()
    blocks = split_blocks(body)
    assert [block.text for block in blocks] == texts
    for block in blocks:
        raw = body[block.start : block.end]
        assert raw == raw.strip()
        assert raw


def test_share_of_links_counts_any_depth() -> None:
    (block,) = split_blocks(b"<p><a href=x><b><i>ab</i></b></a>cd")
    assert block.links == 0.5


@pytest.mark.parametrize(
    ("ranges", "numbers"),
    [("none", set()), ("all", {0, 1, 2, 3}), ("0,2-3", {0, 2, 3}), ("2", {2})],
)
def test_numbers_of_blocks_and_their_ranges(ranges: str, numbers: set[int]) -> None:
    blocks = split_blocks(b"<p>a<p>b<p>c<p>d")
    assert parse_numbers(ranges, 4) == numbers
    assert to_numbers(blocks, to_ranges(blocks, numbers)) == numbers


def test_neighbours_are_one_range() -> None:
    blocks = split_blocks(b"<p>a<p>b<p>c<p>d")
    assert to_ranges(blocks, {0, 1, 3}) == [[3, 8], [15, 16]]


def test_a_number_that_the_page_lacks_is_refused() -> None:
    with pytest.raises(SystemExit, match="from 0 to 3"):
        parse_numbers("2-4", 4)
