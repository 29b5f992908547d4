"""What a page says about itself: title, language, address, dates, licence, robots, from the facts that the scan found.

Dates: JSON-LD's `datePublished` is believed before the metas (`article:published_time`, then the others), these before
the first `<time>`; all must be ISO 8601 or one of a few common forms, and exist.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

if TYPE_CHECKING:
    from tokenmill.extract.skim.scan import Scan

MOST_CHARACTERS = 1_000
"""Length of a fact; more is cut."""
MOST_JSON = 100_000
"""Bytes of JSON-LD of a page that are parsed; in more, keys are looked for."""
_RAW_BYTES = 8_000  # of a value as written
_NODES = 2_000  # objects and lists of one JSON-LD that are looked at
_EARLIEST = 1990

_ISO = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?:[T ]{1,2}([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:[.,][0-9]{1,9})?)?"
    r" ?(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})?)?(?![0-9])"
)
_SLASHED = re.compile(r"([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})(?![0-9])")
_NAMED = re.compile(
    r"(?:[A-Za-z]{3,9},? )?(?:([0-9]{1,2})(?:st|nd|rd|th)? ([A-Za-z]{3,9})\.?"
    r"|([A-Za-z]{3,9})\.? ([0-9]{1,2})(?:st|nd|rd|th)?),? ([0-9]{4})(?![0-9])"
)
_MONTHS = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)
}  # fmt: skip
_JSON_KEY = re.compile(rb'"(datePublished|dateModified|license)"[ \t\r\n]{0,20}:[ \t\r\n]{0,20}"([^"\\]{1,300})"')
_RAW_KEYS = (b"datePublished", b"dateModified", b"license", b"author")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,6}")
_KEYS = ("datePublished", "dateModified", "license", "author")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a page states; None for what it does not. White space is collapsed, character references are decoded."""

    title: str | None = None
    """`<title>`, else og:title."""
    language: str | None = None
    """`lang` of `<html>`, else og:locale, as a tag of BCP 47 (`en-US`)."""
    canonical: str | None = None
    """Absolute address (http, https) of rel=canonical, else og:url."""
    published: str | None = None
    """ISO 8601, a date or a time, with the offset where one is given."""
    modified: str | None = None
    license: str | None = None
    """Target of rel=license, else what metas or JSON-LD say."""
    robots: str | None = None
    """Values of robots metas, joined by "; "; a tdm-reservation with its name before it."""
    author: str | None = None
    sitename: str | None = None
    description: str | None = None


def page_facts(scan: Scan, url: str | None = None) -> Facts:
    """The facts of a page; relative canonical addresses are resolved against `url`, the page's own."""
    from tokenmill.extract.skim.scan_tables import FACTS

    ranges: dict[str, list[tuple[int, int]]] = {}
    for kind, start, end in zip(scan.fc_kind.tolist(), scan.fc_start.tolist(), scan.fc_end.tolist(), strict=True):
        ranges.setdefault(FACTS[kind], []).append((start, end))
    page = scan.page.data

    def first(read: Callable[[str], str | None], stated: Iterable[str], *names: str) -> str | None:
        """The first value that can be read: of those stated in JSON-LD, then of the named facts, in this order."""
        for value in stated:
            if found := read(value):
                return found
        for name in names:
            for start, end in ranges.get(name, ()):
                value = _value(bytes(page[start : min(end, start + _RAW_BYTES)]))
                if value and (found := read(value)):
                    return found
        return None

    def values(name: str) -> list[str]:
        limits = ranges.get(name, ())
        return [_value(bytes(page[start : min(end, start + _RAW_BYTES)])) for start, end in limits]

    stated = _from_json([bytes(page[start:end]) for start, end in ranges["json_ld"]]) if "json_ld" in ranges else {}
    robots = ""
    if "robots" in ranges or "tdm" in ranges:
        named = [*values("robots"), *(f"tdm-reservation: {value}" for value in values("tdm") if value)]
        robots = "; ".join(dict.fromkeys(filter(None, named)))[:MOST_CHARACTERS]
    return Facts(
        title=first(str, (), "title", "og_title"),
        language=first(_language, (), "html_lang", "og_locale"),
        canonical=first(lambda address: _absolute(address, url), (), "canonical", "og_url"),
        published=first(iso_date, stated.get("datePublished", ()), "published", "time"),
        modified=first(iso_date, stated.get("dateModified", ()), "modified"),
        license=first(str, (), "license") or first(_clean, stated.get("license", ())),
        robots=robots or None,
        author=first(str, (), "author") or first(_clean, stated.get("author", ())),
        sitename=first(str, (), "sitename"),
        description=first(str, (), "description"),
    )


def iso_date(text: str) -> str | None:
    """A date or time as ISO 8601; None for one that does not exist, is older than the web, or is not understood."""
    text = text.strip()[:100]
    if (match := _ISO.match(text)) is not None:
        year, month, day, hour, minute, second, zone = match.groups()
        when = _date(year, month, day)
        if when is None or hour is None:
            return when
        if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
            return when
        if zone in ("UTC", "GMT"):
            zone = "Z"
        elif zone and zone != "Z" and ":" not in zone:
            zone = f"{zone[:3]}:{zone[3:]}"
        return f"{when}T{hour}:{minute}" + (f":{second}" if second else "") + (zone or "")
    if (match := _SLASHED.match(text)) is not None:
        return _date(*match.groups())
    if (match := _NAMED.match(text)) is not None:
        day_first, month_second, month_first, day_second, year = match.groups()
        month = _MONTHS.get((month_second or month_first)[:3].lower())
        return _date(year, str(month), day_first or day_second) if month else None
    return None


def _date(year: str, month: str, day: str) -> str | None:
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found.isoformat() if found.year >= _EARLIEST else None


def _value(raw: bytes) -> str:
    text = raw.decode("utf-8", "ignore")
    return _clean(html.unescape(text) if "&" in text else text)


def _clean(text: str) -> str:
    text = " ".join(text.split())[:MOST_CHARACTERS]
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text).strip()


def _language(text: str) -> str | None:
    tag = text.strip().replace("_", "-")
    return tag if _LANGUAGE.fullmatch(tag) else None


def _absolute(address: str, url: str | None) -> str | None:
    try:
        resolved = urljoin(url, address) if url else address
    except ValueError:  # brackets that are no IPv6 address
        return None
    return resolved if resolved.lower().startswith(("http://", "https://")) and " " not in resolved else None


def _from_json(sources: list[bytes]) -> dict[str, list[str]]:
    """Values of the keys of interest: of articles before those of other things, outer before inner ones."""
    found: dict[str, list[str]] = {}
    room = MOST_JSON
    for source in sources:
        if not any(key in source for key in _RAW_KEYS):
            continue
        try:
            parsed = json.loads(source) if len(source) <= room else None
        except (ValueError, RecursionError):
            parsed = None
        room -= len(source)
        if parsed is None:
            for key, value in _JSON_KEY.findall(source[:MOST_JSON]):
                found.setdefault(key.decode(), []).append(_value(value))
            continue
        objects = sorted(_objects(parsed), key=lambda item: not _is_article(item))
        for item in objects:
            for key in _KEYS:
                if key in item and (text := _named(item[key])):
                    found.setdefault(key, []).append(html.unescape(text))
    return found


def _objects(parsed: Any) -> Iterator[dict[str, Any]]:
    """Objects of a JSON value, level by level, a bounded number of them."""
    level, seen = [parsed], 0
    while level and seen < _NODES:
        below: list[Any] = []
        for node in level[: _NODES - seen]:
            if isinstance(node, dict):
                yield node
            values = node.values() if isinstance(node, dict) else node
            below += [value for value in values if isinstance(value, dict | list)]
        seen += len(level)
        level = below


def _is_article(item: dict[str, Any]) -> bool:
    kind = item.get("@type")
    kinds = kind if isinstance(kind, list) else [kind]
    return any(isinstance(name, str) and name.endswith(("Article", "Posting", "Report", "WebPage")) for name in kinds)


def _named(value: Any) -> str | None:
    """A text, or the name or address of a thing; of several the first."""
    for _ in range(4):
        if isinstance(value, list):
            value = value[0] if value else None
        elif isinstance(value, dict):
            value = value.get("name") or value.get("url") or value.get("@id")
    return value[:MOST_CHARACTERS] if isinstance(value, str) else None
