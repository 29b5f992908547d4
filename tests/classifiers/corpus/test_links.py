"""What a reference set links to: from archives, pages, tables and lists."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.classifiers.corpus.support import jsonl, warc
from tokenmill.classifiers.corpus.links import address_key, links_of_html, read_links
from tokenmill.core.errors import ConfigError

PAGE = """<html><head><link rel="stylesheet" href="/style.css"></head><body>
<a href="HTTPS://WWW.Cited.ORG:443/Paper.html#results">a paper</a> <a href=http://other.co.uk/x?utm_source=w&b=1>b</a>
<!-- <a href="http://comment.org/">c</a> --><script>"<a href='http://script.org/'>"</script>
<a href="/wiki/Itself">d</a> <a href="https://de.ency.org/wiki/e">e</a> <a href="mailto:f@g.org">f</a> <a>none</a>
<map><area href="//area.net/"></map> <a href="http://[broken/">g</a> <a href="#top">h</a></body></html>"""
HOME = "https://en.ency.org/wiki/Paper"


def test_an_archive(tmp_path: Path) -> None:
    path = warc(
        tmp_path / "a.warc.gz",
        [
            (HOME, PAGE.encode(), {"X-Crawl-Content-Encoding": "gzip"}),
            ("https://en.ency.org/logo", b"\x89PNG", {"Content-Type": "image/png"}),
            ("https://en.ency.org/zipped", gzip.compress(PAGE.encode()), {"Content-Encoding": "gzip"}),
        ],
    )
    found = read_links(path)
    for url in ("http://cited.org/Paper.html", "https://other.co.uk/x?b=1&utm_medium=m#there", "http://area.net"):
        assert url in found
    for url in (
        "http://cited.org/",
        "http://comment.org/",
        "http://script.org/",
        "https://en.ency.org/wiki/Itself",
        "",
    ):
        assert url not in found
    assert (found.pages, found.links, found.counted, len(found.hashes)) == (1, 8, 3, 3)
    assert found.left_out == {"same_site": 3, "no_web_address": 2}
    assert found.unread == {"not_html": 1, "undecodable": 1}
    assert found.examples == ["//cited.org/Paper.html", "//other.co.uk/x?b=1", "//area.net/"]
    decoded = read_links(
        path, decode=lambda body, headers: zlib.decompress(body, 47) if "\nContent-Encoding:" in headers else body
    )
    assert (decoded.pages, decoded.links, len(decoded.hashes), decoded.unread) == (2, 16, 3, {"not_html": 1})

    def refusing(body: bytes, headers: str) -> bytes:
        raise ValueError

    with pytest.raises(ConfigError, match=r"links to nothing(.|\n)*undecodable"):
        read_links(path, decode=refusing)


def test_levels(tmp_path: Path) -> None:
    (tmp_path / "a.urls").write_text("# cited\nhttps://News.BBC.co.uk:8080/a/b?c\nexample.org/page\n192.0.2.7\n")
    by_url, by_host, by_domain = (read_links(str(tmp_path), level) for level in ("url", "host", "domain"))
    asked = [
        "http://news.bbc.co.uk:8080/a/b?c=", "http://news.bbc.co.uk:8080/a/b/?c#d", "http://www.news.bbc.co.uk/other",
        "https://sport.bbc.co.uk/", "http://co.uk/", "HTTP://EXAMPLE.ORG/page/", "http://192.0.2.7/x", "ftp://example.org/page",
    ]  # fmt: skip
    assert [url in by_url for url in asked] == [False, True, False, False, False, True, False, False]
    assert [url in by_host for url in asked] == [True, True, True, False, False, True, True, False]
    assert [url in by_domain for url in asked] == [True, True, True, True, False, True, True, False]
    assert (by_url.pages, by_url.links, by_url.counted) == (3, 3, 3)
    with pytest.raises(ConfigError, match="one of url, host, domain"):
        read_links(str(tmp_path), "site")  # type: ignore[arg-type]


def test_pages_of_a_folder_tell_their_address_or_do_not(tmp_path: Path) -> None:
    links = '<a href="next">a</a><a href="https://cited.org/">b</a><a href="//ency.org/same">c</a>'
    (tmp_path / "bare.html").write_text(links)
    found = read_links(str(tmp_path))
    assert (found.counted, dict(found.left_out)) == (2, {"no_web_address": 1})
    (tmp_path / "bare.html").write_text(f'<link rel="canonical" href="https://ency.org/wiki/">{links}')
    found = read_links(str(tmp_path))
    assert (found.counted, dict(found.left_out), found.examples) == (1, {"same_site": 2}, ["//cited.org/"])
    (tmp_path / "bare.html").write_text(f'<base href="https://mirror.net/">{links}')
    found = read_links(str(tmp_path))
    assert (found.counted, dict(found.left_out)) == (2, {"same_site": 1})


def test_tables_and_lists(tmp_path: Path) -> None:
    rows = [
        {"url": "https://en.ency.org/a", "links": ["https://cited.org/1", "https://ency.org/b", "/c"]},
        {"url": None, "links": ["cited.org/2#x", None]},
        {"url": "https://en.ency.org/d", "links": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for location in (str(tmp_path / "t.parquet"), jsonl(tmp_path / "t.jsonl.gz", rows)):
        found = read_links(location)
        assert (found.pages, found.links, len(found.hashes)) == (3, 4, 2)
        assert found.left_out == {"same_site": 2}
        assert "http://cited.org/2" in found
    urls = read_links(str(tmp_path / "t.parquet"), column="url")
    assert (urls.links, urls.counted, urls.left_out) == (2, 2, {})
    (tmp_path / "u.txt.gz").write_bytes(gzip.compress(b"http://cited.org/3\r\n\r\nnonsense\n"))
    listed = read_links(str(tmp_path / "u.txt.gz"))
    assert (listed.links, listed.counted, listed.left_out) == (2, 1, {"no_web_address": 1})
    with pytest.raises(ConfigError, match="no column 'outlinks'"):
        read_links(str(tmp_path / "t.parquet"), column="outlinks")
    (tmp_path / "v.txt").write_text("nonsense\n")
    with pytest.raises(ConfigError, match=r"(?s)links to nothing.*no_web_address"):
        read_links(str(tmp_path / "v.txt"))
    (tmp_path / "w.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ConfigError, match="cannot read"):
        read_links(str(tmp_path / "w.parquet"))


@given(st.lists(st.sampled_from(["<a href='x'>", "<div>", "</p>", "<!--", "-->", "<base href=", "\0", "é", "'", ">"])))
def test_no_page_is_too_odd(pieces: list[str]) -> None:
    links, base = links_of_html("".join(pieces).encode())
    assert all(isinstance(link, str) for link in [*links, base])


def test_deep_and_long_pages() -> None:
    deep = b"<div>" * 50_000 + b"<a href='http://deep.org/'>" + b"</div>" * 50_000
    assert links_of_html(deep)[0] in (["http://deep.org/"], [])
    links, _ = links_of_html(b"<p><a href='http://a.org/'>x</a>" * 10_000)
    assert len(links) == 10_000


@given(st.text(max_size=40))
def test_keys_of_anything(text: str) -> None:
    for url in (text, f"http://{text}", f"//e.org/{text}"):
        for level in ("url", "host", "domain"):
            key = address_key(url, level)  # type: ignore[arg-type]
            assert key == "" or key.encode()
