"""Labels, weights and folds of the pages that the block model learns from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenmill.text.hosts import host_of
from tools.skim import align, data, labels

PROSE = "The river rose two metres in one night, and nobody in the village slept."
ADVERT = "Buy the book about rivers and floods now, at half the price of last year."
COMMENT = "I was there, and it was worse than what this report of yours says."
HTML = f"<ul><li>News<li>Contact</ul><h1>Flood</h1><p>{PROSE}</p><p>{ADVERT}</p><div>{COMMENT}</div><p>***</p>"
BLOCKS = ["News", "Contact", "Flood", PROSE, ADVERT, COMMENT, "***"]


def row(number: int, **texts: str | None) -> dict[str, Any]:
    """A row of the labels' table."""
    url = f"http://www.site{number % 2}.com/{number}"
    common = {"url": url, "host": host_of(url), "domain": labels.domain_of(url), "language": "en", "html": HTML}
    place = {"warc_file": "a.warc.gz", "warc_offset": number, "warc_length": 9, "sha256": f"{number}"}
    return {**common, **place, **{system: texts.get(system, texts["all"]) for system in labels.SYSTEMS}}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """Shared data and labels: one article, three pages of the crawl."""
    gold, bench = tmp_path / "shared/extraction-gold", tmp_path / "bench"
    (gold / "articles").mkdir(parents=True)
    (bench / "labels").mkdir(parents=True)
    (gold / "articles/a.html.gz").write_bytes(gzip.compress(HTML.encode()))
    article = {"file": "a.html.gz", "url": "http://paper.com/a", "article_body": PROSE}
    (gold / "articles.jsonl").write_text(json.dumps(article) + "\n")
    segments = {"warc_file": "a.warc.gz", "warc_offset": 1, "with": [PROSE[:40]], "without": [ADVERT]}
    with gzip.open(gold / "trafilatura-eval.jsonl.gz", "wt") as file:
        file.write(json.dumps(segments) + "\n")
    start = HTML.index(COMMENT)
    ranges = {
        "keep": [[start, start + len(COMMENT)]],
        "drop": [[0, start]],
        "unsure": [[start + len(COMMENT), len(HTML)]],
    }
    (tmp_path / "pages.jsonl").write_text(
        json.dumps({"warc_file": "a.warc.gz", "warc_offset": 2, "sha256": "2", "kind": "forum", **ranges}) + "\n"
    )
    monkeypatch.setattr(data, "RANGES", tmp_path / "pages.jsonl")
    data._ranges.cache_clear()
    rows = [
        row(0, all=f"Flood\n{PROSE}", recall=f"Flood\n{PROSE}\n{ADVERT}", precision=PROSE, resiliparse=None),
        row(1, all=f"{PROSE}\n{ADVERT}"),
        row(2, all=PROSE),
        row(3, all=None),
    ]
    table = pa.Table.from_pylist(rows, schema=labels.SCHEMA)
    pq.write_table(table.slice(0, 3), bench / "labels/00000.parquet")
    pq.write_table(table.slice(3), bench / "labels/00001.parquet")
    yield tmp_path / "shared", bench
    data._ranges.cache_clear()


def test_labels_and_weights(folders: tuple[Path, Path]) -> None:
    shared, bench = folders
    article, plain, segments, ranges, unlabelled = data.load(shared, bench=bench)
    assert [plain.scan.block_text(block) for block in range(7)] == BLOCKS
    np.testing.assert_array_equal(article.gold, [0, 0, 0, 1, 0, 0, np.nan])
    assert (article.source, article.gold_source) == ("articles", "body")
    assert np.isnan(article.weak[:, 1:]).all()  # trafilatura fast is asked for what routing would win
    np.testing.assert_array_equal(article.weak[3, 0], 1)

    np.testing.assert_array_equal(plain.weak[:, 0], [0, 0, 1, 1, 0, 0, np.nan])
    np.testing.assert_array_equal(plain.weak[:, 3], [0, 0, 1, 1, 1, 0, np.nan])
    assert np.isnan(plain.weak[:, 4]).all()
    np.testing.assert_allclose(plain.target, [0, 0, 2 / 3, 1, 0, 0, np.nan], rtol=1e-6)
    assert plain.weight[6] == 0
    sure = np.log1p(len("Flood")) * plain.page_weight
    assert plain.weight[2] == pytest.approx(sure * data.DISAGREED)
    assert plain.weight[3] == pytest.approx(np.log1p(len(PROSE)) * plain.page_weight)

    np.testing.assert_array_equal(segments.gold, [np.nan, np.nan, np.nan, 1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(segments.target, [0, 0, 0, 1, 0, 0, np.nan])
    assert segments.weight[3] == pytest.approx(data.GOLD_WEIGHT * np.log1p(len(PROSE)) * segments.page_weight)

    np.testing.assert_array_equal(ranges.gold, [0, 0, 0, 0, 0, 1, np.nan])
    assert (ranges.kind, ranges.gold_source) == ("forum", "ranges")
    assert ranges.target[5] == 1

    assert not unlabelled.weight.any()
    pages = [article, plain, segments, ranges, unlabelled]
    assert np.mean([page.page_weight for page in pages]) == pytest.approx(1)
    assert plain.fold == ranges.fold == data.fold_of("site0.com")


def test_alignment_is_kept_until_blocks_or_texts_change(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, bench = folders
    first = data.load(shared, bench=bench)
    aligned: list[int] = []
    shares = align.shares

    def counted(blocks: Sequence[bytes], output: align.Output) -> tuple[align.Floats, align.Bools]:
        aligned.append(len(blocks))
        return shares(blocks, output)

    monkeypatch.setattr(align, "shares", counted)
    again = data.load(shared, bench=bench)
    assert len(aligned) == 2  # the body of the article and its text
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.weak, other.weak)
        np.testing.assert_array_equal(one.repeat, other.repeat)
    path = bench / "labels/00000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1]["fast"] = ADVERT
    pq.write_table(pa.Table.from_pylist(rows, schema=labels.SCHEMA), path)
    changed = data.load(shared, bench=bench)
    assert len(aligned) == 4 + len(labels.SYSTEMS)
    np.testing.assert_array_equal(changed[2].weak[3:5, 0], [0, 1])


def test_limits(folders: tuple[Path, Path]) -> None:
    shared, bench = folders
    # annotated pages beyond the limit are in all the same
    assert [page.url[-1] for page in data.pages(shared, bench=bench, limit=1)] == ["a", "0", "1", "2"]
    assert [page.url[-1] for page in data.pages(shared, bench=bench, gold_only=True)] == ["a", "1", "2"]
    assert [source.url[-1] for source in data.sources(shared, bench=bench, limit=2)] == ["a", "0", "1"]
    with pytest.raises(FileNotFoundError, match=r"tools\.skim\.labels"):
        list(data.pages(shared, bench=bench / "none"))


def test_another_crawl_is_refused(folders: tuple[Path, Path]) -> None:
    shared, bench = folders
    data.RANGES.write_text(data.RANGES.read_text().replace('"sha256": "2"', '"sha256": "3"'))
    data._ranges.cache_clear()
    with pytest.raises(ValueError, match="not the one that was annotated"):
        list(data.pages(shared, bench=bench))


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("http://news.bbc.co.uk/1", "bbc.co.uk"),
        ("https://a.github.io/x", "a.github.io"),
        ("https://www.example.com:8080/", "example.com"),
        ("http://127.0.0.1/", "127.0.0.1"),
        ("no address", ""),
    ],
)
def test_domain(url: str, domain: str) -> None:
    assert labels.domain_of(url) == domain


def test_hosts_take_turns_behind_annotated_pages() -> None:
    places = [
        labels.Place(f"http://h{host}.example/{page}", "f", 10 * host + page, 1) for host in (1, 2) for page in range(3)
    ]
    found = labels.ordered(places, frozenset({("f", 12)}))
    assert found[0].warc_offset == 12
    hosts = [place.url[8] for place in found]
    assert sorted(hosts) == ["1"] * 3 + ["2"] * 3
    assert hosts[1] == "2"  # the first page of h1 has been taken
    assert set(hosts[2:4]) == {"1", "2"}
    assert labels.ordered(places[::-1], frozenset({("f", 12)})) == found
