"""What pages say about themselves: one fact at a time, their order, dates, and hostile values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.extract.skim import facts
from tokenmill.extract.skim.facts import Facts, iso_date, page_facts
from tokenmill.extract.skim.scan import scan


def of(page: str, url: str | None = None) -> Facts:
    return page_facts(scan(page.encode()), url)


def ld(value: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(value)}</script>'


META = '<meta property="article:published_time" content="2021-02-03T04:05:06+00:00">'
POSTED = {"@type": "NewsArticle", "datePublished": "2020-01-02", "author": {"name": "A. B."}}


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [
        ("<title> A &amp;\n B | C </title>", "title", "A & B | C"),
        ('<meta property="og:title" content="og"><title>t</title>', "title", "t"),
        ('<meta property="og:title" content="og">', "title", "og"),
        ('<html lang="de-AT">', "language", "de-AT"),
        ('<meta property="og:locale" content="en_US">', "language", "en-US"),
        ('<html lang="{{ lang }}">', "language", None),
        ('<link rel="canonical" href="https://a.org/?x=1&amp;y=2">', "canonical", "https://a.org/?x=1&y=2"),
        ('<link rel="canonical" href="/x">', "canonical", None),
        ('<link rel="canonical" href="javascript:x">', "canonical", None),
        ('<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">', "license",
         "https://creativecommons.org/licenses/by/4.0/"),
        ('<p><a rel="license" href="/cc">cc</a>', "license", "/cc"),
        (ld({"license": "https://a.org/l"}), "license", "https://a.org/l"),
        ('<meta name="robots" content="noindex"><meta name="googlebot" content="nosnippet">'
         '<meta name="tdm-reservation" content="1">', "robots", "noindex; nosnippet; tdm-reservation: 1"),
        (META, "published", "2021-02-03T04:05:06+00:00"),
        (META + ld(POSTED), "published", "2020-01-02"),
        (ld(POSTED), "author", "A. B."),
        (ld([{"@graph": [{"comment": {"datePublished": "2024-05-06"}}, POSTED]}]), "published", "2020-01-02"),
        (ld(POSTED)[:100] + "</script>" + META, "published", "2020-01-02"),  # broken JSON
        (ld({"datePublished": "soon"}) + META, "published", "2021-02-03T04:05:06+00:00"),
        ('<time datetime="2019-01-01">x</time>' + META, "published", "2021-02-03T04:05:06+00:00"),
        ('<p><time datetime="yesterday">x</time><time datetime="2019-01-01">x</time>', "published", "2019-01-01"),
        (ld({"dateModified": "2022-01-01T00:00Z"}), "modified", "2022-01-01T00:00Z"),
        ('<meta name="author" content="C&eacute;sar">', "author", "César"),
        ('<meta property="og:site_name" content="Site">', "sitename", "Site"),
        ('<meta name="description" content="  a   b ">', "description", "a b"),
        ("<title> \n </title>", "title", None),
        ("<p>nothing", "published", None),
    ],
)  # fmt: skip
def test_facts(page: str, name: str, value: str | None) -> None:
    assert getattr(of(page), name) == value


def test_a_relative_canonical_address_is_resolved() -> None:
    assert of('<link rel="canonical" href="../x">', "https://a.org/b/c").canonical == "https://a.org/x"
    assert of('<link rel="canonical" href="//[x">', "https://a.org/b/c").canonical is None


def test_long_values_are_cut() -> None:
    page = f"<title>{'a' * 5000}</title>" + '<meta name="robots" content="noindex">' * 90
    assert len(of(page).title or "") == facts.MOST_CHARACTERS
    assert of(page).robots == "noindex"


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024-02-29", "2024-02-29"), ("2023-02-29", None), ("20240228", "2024-02-28"), ("1970-01-01", None),
        ("2024-02-28T10:11:12.345+0100", "2024-02-28T10:11:12+01:00"), ("2024-02-28 10:11 GMT", "2024-02-28T10:11Z"),
        ("2024-02-28T25:00", "2024-02-28"), ("2024-02-281", None), ("Feb 28, 2024", "2024-02-28"),
        ("28th February 2024", "2024-02-28"), ("Wed, 28 Feb 2024 10:00:00 GMT", "2024-02-28"),
        ("2024/2/3", "2024-02-03"), ("02/03/2024", None), ("Foo 12, 2024", None), ("now", None), ("", None),
    ],
)  # fmt: skip
def test_dates(text: str, date: str | None) -> None:
    assert iso_date(text) == date


@pytest.mark.parametrize("source", ["[" * 60_000, '{"datePublished":' * 20_000, '"datePublished"' * 20_000])
def test_hostile_json(source: str) -> None:
    assert of(f'<script type="application/ld+json">{source}"datePublished"</script>').published is None


def test_json_too_long_to_parse_is_still_searched() -> None:
    long = {"text": "x" * facts.MOST_JSON}
    assert of(ld({"datePublished": "2020-01-02"} | long)).published == "2020-01-02"


@examples(20, 60)
@given(st.text(max_size=80))
def test_any_value(text: str) -> None:
    page = f"<title>{text}</title>{ld({'datePublished': text, 'author': [text]})}<meta name=author content='{text}'>"
    found = page_facts(scan(page.encode("utf-8", "replace")))
    assert all(value is None or (value.isprintable() and value) for value in (found.title, found.author))
    assert found.published is None or iso_date(found.published) == found.published
