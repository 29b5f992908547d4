"""The page as text: what `render` puts together. What a browser makes of it is in `test_page_browser`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from copy import deepcopy
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report import browser_data
from tests.report.xss_payloads import PAYLOADS
from tokenmill.report.html import SCRIPTS, STYLES, island, render

_ISLAND = '<script type="application/json" id="data">'
_ANY = st.text(st.characters(exclude_categories=())) | st.sampled_from(PAYLOADS)


def between(page: str, before: str, after: str) -> str:
    start = page.index(before) + len(before)
    return page[start : page.index(after, start)]


def hostile(value: Any, payload: str) -> Any:
    """The data with the payload before every string and key of the samples."""
    if isinstance(value, str):
        return payload + value
    if isinstance(value, list):
        return [hostile(one, payload) for one in value]
    return {key: hostile(one, payload) for key, one in value.items()} if isinstance(value, dict) else value


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value or "" for name, value in attrs if name in ("href", "src")]


def elements(page: str) -> Elements:
    parser = Elements()
    parser.feed(page)
    return parser


@settings(max_examples=20, deadline=None)
@given(st.recursive(_ANY | st.none() | st.integers() | st.booleans(), lambda s: st.lists(s) | st.dictionaries(_ANY, s)))
def test_the_island_is_the_data_and_nothing_else(value: Any) -> None:
    text = island({"any": value})
    assert json.loads(text) == {"any": value}
    assert not re.search(r"[<>&\u2028\u2029]", text)
    assert text.encode("utf-8").decode() == text


def test_the_page_holds_the_data_and_only_its_own_elements() -> None:
    harmless = elements(render(browser_data.short()))
    assert {tag for tag, _ in harmless.found} == {
        *("html", "head", "meta", "title", "style", "body", "a", "noscript", "p", "code", "main", "script")
    }
    assert harmless.values == ["#report"]
    for payload in PAYLOADS:
        data = hostile(browser_data.short(), payload)
        page = render(data)
        assert elements(page).found == harmless.found
        assert json.loads(between(page, _ISLAND, "</script>")) == data
        page.encode("utf-8")


def test_the_policy_names_the_digests_of_style_and_script() -> None:
    page = render(browser_data.page())
    policy = between(page, 'http-equiv="Content-Security-Policy" content="', '"').replace("&#39;", "'")
    style, script = between(page, "<style>", "</style>"), between(page, "<script>", "</script>")
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_the_policy_stands_before_everything_that_it_governs() -> None:
    page = render(browser_data.page())
    assert page.index("Content-Security-Policy") < page.index("<title>") < page.index("<style>") < page.index(_ISLAND)


def test_the_title_is_escaped() -> None:
    data = browser_data.page()
    data["run"]["recipe"] = "</title><script>x</script>\ud800"
    page = render(data)
    assert "<title>&lt;/title&gt;&lt;script&gt;x&lt;/script&gt;?: what was kept and why</title>" in page


def test_numbers_that_json_lacks_are_refused() -> None:
    data = browser_data.page()
    data["totals"]["seconds"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        render(data)


def test_same_data_same_bytes_and_the_data_stay_as_they_are() -> None:
    data = browser_data.page()
    before = deepcopy(data)
    assert render(data) == render(before)
    assert data == before


@pytest.mark.parametrize("name", [*(f"{name}.js" for name in SCRIPTS), *(f"{name}.css" for name in STYLES)])
def test_sources_are_short_and_have_no_way_to_make_markup_or_load(name: str) -> None:
    source = (files("tokenmill.report") / "templates/page" / name).read_text(encoding="utf-8")
    assert source.count("\n") <= 400
    assert not re.search(
        r"inner" r"HTML|outerHTML|insertAdjacent|document\.write|DOMParser|createContextual|\beval\b", source
    )
    assert not re.search(r"new Function|setTimeout\(\s*[\"'`]|\bfetch\b|XMLHttp|import\(|WebSocket|sendBeacon", source)
    assert not re.search(r"https?://(?!www\.w3\.org/)|url\(|@import|localStorage|</|<!--", source)


def test_all_sources_are_in_the_page() -> None:
    folder = files("tokenmill.report") / "templates/page"
    assert {entry.name for entry in folder.iterdir()} == {*(f"{n}.js" for n in SCRIPTS), *(f"{n}.css" for n in STYLES)}


def test_the_frame_without_data_is_small() -> None:
    assert len(render(browser_data.empty()).encode()) < 120_000
