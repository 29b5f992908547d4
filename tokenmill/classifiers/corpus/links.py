"""Addresses that a reference set links to, as a set of hashes: pages that Wikipedia cites, say, are the positives.

Links within a site are left out, for a site that links to itself recommends nothing.
"""

from __future__ import annotations

import codecs
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urljoin

from tokenmill.classifiers.corpus.hashes import HashSet, hash64
from tokenmill.classifiers.corpus.rows import JSON, TEXTS, Row, read_rows, texts_at, valid_text
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.io.jsonl import open_inflated
from tokenmill.io.members import Loss
from tokenmill.io.records import iter_records
from tokenmill.io.warc import HTML, ReadWarc
from tokenmill.text.hosts import host_of, registered_domain
from tokenmill.text.urls import canonical

Level = Literal["url", "host", "domain"]
LEVELS = ("url", "host", "domain")
PAGES = (".html", ".htm", ".xhtml")
URLS = (*TEXTS, ".urls", ".urls.gz")
SUFFIXES = (*URLS, *PAGES, ".parquet", *JSON, *ReadWarc.suffixes)
MAX_PAGE = 5 << 20
"""Longest page whose links are read, in bytes as archived, and after decompression."""
_EXAMPLES = 3
_HEADS = 64 << 10
_ENCODED = ("content-encoding:", "transfer-encoding:")  # Common Crawl decodes, and then writes X-Crawl- before them

Decode = Callable[[bytes, str], bytes]
"""(body as archived, HTTP headers as lines) -> the body without chunking and compression; raises what it likes."""


@dataclass
class Links:
    """What a reference set links to."""

    level: Level
    hashes: HashSet = field(default_factory=HashSet)
    """Of the keys of `address_key`."""
    pages: int = 0
    """Pages, or rows and lines of lists, that were read."""
    links: int = 0
    """Links on them; together those that count (`counted`) and those of `left_out`."""
    counted: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> links: same_site, no_web_address (mailto:, javascript:, relative without a base, unreadable)."""
    unread: Counter[str] = field(default_factory=Counter)
    """Reason -> pages or rows: not_html, too_large, undecodable, malformed."""
    examples: list[str] = field(default_factory=list)
    """The first keys."""

    def add(self, address: str, page: str = "") -> None:
        """One absolute link of a page ("" where the page is not known)."""
        self.links += 1
        key, site = _key_and_site(address, self.level)
        if not key:
            self.left_out["no_web_address"] += 1
        elif page and site == _key_and_site(page, "domain")[1]:
            self.left_out["same_site"] += 1
        else:
            self.counted += 1
            self.hashes.add(hash64(key.encode()))
            if len(self.examples) < _EXAMPLES and key not in self.examples:
                self.examples.append(key)

    def __contains__(self, url: str) -> bool:
        key = address_key(url, self.level)
        return bool(key) and hash64(key.encode()) in self.hashes


def address_key(url: str, level: Level) -> str:
    """What two addresses have in common at a level; "" where an address is none of the web.

    url: `tokenmill.text.urls.canonical` (no fragment, no tracking, no `www.`). host: without `www.` and port.
    domain: "bbc.co.uk" of "news.bbc.co.uk" (public suffix list), the host where there is none.
    """
    form = canonical(url)
    if not form.startswith("//"):
        return ""
    if level == "url":
        return valid_text(form)
    host = host_of(form)
    return (registered_domain(host) or host) if level == "domain" else host


def read_links(location: str, level: Level = "url", *, column: str = "links", decode: Decode | None = None) -> Links:
    """The links of a reference set: a file, a folder or a pattern.

    Lists of addresses (.txt, .urls, one a line; # begins a comment; also .gz), WARC files, HTML files (relative links
    count only where a page names its address in <base> or <link rel=canonical>), Parquet and JSON Lines whose `column`
    holds an address or a list of them (`url`, where there is another column of that name, is the page's own).
    decode: see `Decode`; without it, compressed pages of archives are counted as `undecodable`.
    ConfigError where the level is none, a file cannot be read, or there is no link.
    """
    if level not in LEVELS:
        raise ConfigError(f"links at level {level!r}", fix=f"one of {', '.join(LEVELS)}")
    found = Links(level)
    for shard in list_inputs(location, SUFFIXES):
        try:
            _read(shard, column, decode, found)
        except (OSError, EOFError, ShardError) as error:
            why = f"{type(error).__name__}: {error}"
            raise ConfigError(f"cannot read {shard.name}", where=shard.path, why=why, fix="leave it out") from error
    if not found.hashes:
        raise ConfigError(
            "the reference set links to nothing",
            where=location,
            why=f"{found.pages:,} pages or rows with {found.links:,} links; left out: {dict(found.left_out)}; "
            f"not read: {dict(found.unread)}",
            fix="look at the files, and at the column (--links-column)",
        )
    return found


def linked(links: Links) -> Callable[[Row], str | None]:
    """`Source.keep` of the positives: documents whose address is linked to."""
    return lambda row: None if row.url in links else "not_linked"


def not_linked(links: Links) -> Callable[[Row], str | None]:
    """`Source.keep` of the negatives: all other documents."""
    return lambda row: "linked" if row.url in links else None


def links_of_html(body: bytes | str, encoding: str | None = None) -> tuple[list[str], str]:
    """(values of `href` of <a> and <area>, in order; the base that the page names: <base>, else its canonical link).

    The page is read as a stream of tags, without a tree, so that no shape of a page takes long.
    """
    from lxml import etree  # type: ignore[import-untyped]

    target = _Tags()
    parser = etree.HTMLParser(target=target, huge_tree=True, encoding=encoding, no_network=True)
    parser.feed(body)
    parser.close()
    return target.links, target.base or target.canonical


class _Tags:
    """What lxml tells of a page."""

    def __init__(self) -> None:
        self.links: list[str] = []
        self.base = ""
        self.canonical = ""

    def start(self, tag: str, attributes: Any) -> None:
        href = attributes.get("href")
        if not href:
            return
        if tag in ("a", "area"):
            self.links.append(href)
        elif tag == "base":
            self.base = self.base or href
        elif tag == "link" and (attributes.get("rel") or "").lower() == "canonical":
            self.canonical = self.canonical or href

    def close(self) -> None:
        """Nothing is made."""


def _joined(page: str, link: str) -> str:
    """The absolute address of a link, "" where it cannot be read."""
    link = link.strip()
    if link[:8].lower().startswith(("http://", "https://")):
        return link  # most are; joining costs more than all the rest
    try:
        return urljoin(page, link)
    except ValueError:
        return ""


@lru_cache(1 << 16)  # menus make most links of a page those of the page before
def _key_and_site(address: str, level: Level) -> tuple[str, str]:
    """Key, and what stays the same within a site: the registered domain, or the host where there is none."""
    return address_key(address, level), address_key(address, "domain")


def _read(shard: InputShard, column: str, decode: Decode | None, found: Links) -> None:
    """Add the links of one file."""
    if shard.name.endswith(URLS):
        _read_list(shard, found)
    elif shard.name.endswith(PAGES):
        with open_input(shard) as stream:
            body = stream.read(MAX_PAGE + 1)
        _add_page(found, body, "", None)
    elif shard.name.endswith((".parquet", *JSON)):
        for row in read_rows(shard, [column], ["url"]):
            found.pages += 1
            if row is None:
                found.unread["malformed"] += 1
                continue
            page = row.get("url") if column != "url" else None
            _add_all(found, texts_at(row, column), page if isinstance(page, str) else "", bare=True)
    else:
        _read_archive(shard, decode, found)


def _read_list(shard: InputShard, found: Links) -> None:
    with open_inflated(shard) as stream:
        for line in stream:
            entry = line.decode("utf-8-sig", "replace").strip()
            if entry and not entry.startswith("#"):
                found.pages += 1
                _add_all(found, [entry], "", bare=True)


def _read_archive(shard: InputShard, decode: Decode | None, found: Links) -> None:
    """The HTML responses of a WARC file."""
    with open_input(shard) as stream:
        for record in iter_records(stream, name=shard.name, max_block=MAX_PAGE + _HEADS):
            if isinstance(record, Loss) or record.kind != "response" or record.http is None:
                continue
            media = record.http.get("content-type").partition(";")
            if record.http.status != 200 or media[0].strip().lower() not in ("", *HTML):
                found.unread["not_html"] += 1
                continue
            if not record.held:
                found.unread["too_large"] += 1
                continue
            body = _decoded(record.block[record.http.size :], record.http.text, decode)
            if body is None:
                found.unread["undecodable"] += 1
                continue
            page = record.headers.get("warc-target-uri", "").strip("<>")
            _add_page(found, body, page, _charset(media[2]))


def _decoded(body: bytes, headers: str, decode: Decode | None) -> bytes | None:
    if decode is None:
        encoded = any(line.startswith(_ENCODED) for line in headers.lower().split("\n"))
        return None if encoded else body
    try:
        return decode(body, headers)
    except (ValueError, ArithmeticError, LookupError, EOFError, OSError, zlib.error, RuntimeError):
        return None


def _charset(parameters: str) -> str | None:
    """The encoding that the server names, if lxml knows it; None: what the page says."""
    name = parameters.lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    try:
        return codecs.lookup(name).name if name else None
    except LookupError:
        return None


def _add_page(found: Links, body: bytes, page: str, encoding: str | None) -> None:
    """Add the links of one page. page: its address, "" where only the page itself can tell."""
    if len(body) > MAX_PAGE:
        found.unread["too_large"] += 1
        return
    try:
        links, base = links_of_html(body, encoding)
    except (ValueError, LookupError, SyntaxError):  # lxml's errors of parsing are syntax errors
        found.unread["undecodable"] += 1
        return
    found.pages += 1
    base = _joined(page, base)
    for link in links:
        address = _joined(base or page, link)
        found.add(address, page or base)


def _add_all(found: Links, links: Iterable[str], page: str, *, bare: bool) -> None:
    """Add links of a list. bare: `example.org/a` is an address."""
    for link in links:
        entry = link.strip()
        with_scheme = "//" in entry.partition("?")[0] or ":" in entry.partition("/")[0] or entry.startswith(("/", "#"))
        bare_host = bare and not with_scheme and "." in entry.partition("/")[0]
        found.add(_joined(page, f"//{entry}" if bare_host else entry), page)
