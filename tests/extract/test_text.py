"""`ExtractText`: content out, boilerplate gone, and another way for pages that the extractor cannot take."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.extract.text import ExtractText

SENTENCE = "The committee met on Tuesday to discuss the budget for the coming year and the new library. "
NAV = "<nav><ul>" + "<li><a href='/x'>Menu entry</a></li>" * 10 + "</ul></nav>"
PAGE = (
    f"<html><head><title>T</title><script>var x;</script></head><body>{NAV}<article><h1>A heading</h1>"
    + "".join(f"<p>{i}. {SENTENCE * 3}</p>" for i in range(5))
    + "</article><footer>All rights reserved by the footer</footer></body></html>"
)
STAGES = [
    ExtractText(),
    ExtractText(fast=False, focus="precision"),
    ExtractText(extractor="resiliparse"),
]
SKIMMING = [ExtractText(extractor="skim"), ExtractText(extractor="cascade")]
WAYS = ("by bus", "on foot", "in a small boat", "with her brother", "through the old forest")
STORY = (
    f"<html><head><title>T</title><script>var x;</script></head><body>{NAV}<article><h1>A heading</h1>"
    + "".join(
        f"<p>{i}. On day {i} she went to the town {way}, because nobody had told her about the {i + 3} bridges that "
        f"the flood of the year before had taken away, and the way back took her {i + 7} hours. {SENTENCE}</p>"
        for i, way in enumerate(WAYS)
    )
    + "</article><footer>All rights reserved by the footer</footer></body></html>"
)
"""Paragraphs that are no copies of each other, of which skim would keep one."""


def text_of(html: str, stage: ExtractText | None = None) -> str | None:
    result = (stage or ExtractText()).rewrite(Doc(html=html))
    if isinstance(result, Drop):
        assert result.reason == "no_text"
        return None
    return str(result["text"])


@pytest.mark.parametrize("stage", STAGES, ids=repr)
def test_content_without_boilerplate(stage: ExtractText) -> None:
    stage.setup()
    text = text_of(PAGE, stage)
    assert text is not None
    assert text.count(SENTENCE.strip()) == 15
    assert "Menu entry" not in text
    assert "var x" not in text
    assert text == text.strip()


@pytest.mark.parametrize("stage", SKIMMING, ids=repr)
def test_content_without_boilerplate_by_skim(stage: ExtractText) -> None:
    stage.setup()
    text = text_of(STORY, stage)
    assert text is not None
    assert text.count(SENTENCE.strip()) == 5
    assert all(way in text for way in WAYS)
    assert "Menu entry" not in text
    assert "var x" not in text
    assert text == text.strip()
    assert (text_of(PAGE, stage) or "").count(SENTENCE.strip()) == 3  # a paragraph that stands five times is kept once


@pytest.mark.parametrize("html", ["", " ", "<html><body></body></html>", "<script>x</script>", "<html><body><p> </p>"])
def test_no_text(html: str) -> None:
    assert text_of(html) is None


@pytest.mark.parametrize("extractor", ["skim", "cascade"])
def test_skim_takes_what_it_needs_from_one_pass(extractor: str) -> None:
    head = (
        '<html lang="en-GB"><head><title>The &amp; title</title><link rel=canonical href="/a?b&amp;c">'
        '<meta property="article:published_time" content="2024-05-06T07:08:09+02:00">'
    )
    stage = ExtractText(extractor=extractor)
    page = STORY.replace("<html><head><title>T</title>", head)
    found = stage.rewrite(Doc(html=page, url="https://example.org/x/y"))
    assert isinstance(found, dict)
    assert set(found) == set(stage.columns_added())
    assert found["title"] == "The & title"
    assert found["html_language"] == "en-GB"
    assert found["canonical_url"] == "https://example.org/a?b&c"
    assert found["published"].startswith("2024-05-06")
    assert found["extracted_by"] == "skim"
    assert 0.8 < found["extract_confidence"] <= 1


def test_the_cascade_asks_trafilatura_above_the_threshold_and_within_its_limits() -> None:
    never, always = (
        ExtractText(extractor="cascade", route_above=2.0),
        ExtractText(extractor="cascade", route_above=-2.0),
    )
    small = ExtractText(extractor="cascade", route_above=-2.0, max_elements=5)
    by = {
        name: stage.rewrite(Doc(html=STORY)) for name, stage in (("never", never), ("always", always), ("small", small))
    }
    assert {name: found["extracted_by"] for name, found in by.items() if isinstance(found, dict)} == {
        "never": "skim",
        "always": "trafilatura",
        "small": "skim",
    }
    assert by["always"]["text"] == text_of(STORY)  # type: ignore[index]
    assert isinstance(never.rewrite(Doc(html="<html><body><img src=x><script>y</script></body></html>")), Drop)


def test_skim_writes_markdown() -> None:
    page = STORY.replace("<p>0. ", "<h2>A part</h2><p>0. <strong>Strong</strong> ")
    text = text_of(page, ExtractText(extractor="skim", markdown=True)) or ""
    assert "## A part" in text
    assert "**Strong**" in text
    assert "**" not in (text_of(page, ExtractText(extractor="skim")) or "")


def test_focus_moves_the_cut_of_skim() -> None:
    cuts = [ExtractText(extractor="skim", focus=focus)._skim.cut for focus in ("recall", "balanced", "precision")]
    assert cuts == sorted(cuts)
    assert len(set(cuts)) == 3


def test_comments_and_tables_are_settings() -> None:
    table = "<table>" + f"<tr><td>Cell one</td><td>{SENTENCE}</td></tr>" * 3 + "</table>"
    page = PAGE.replace("</article>", table + "</article>")
    assert "Cell one" in (text_of(page) or "")
    assert "Cell one" not in (text_of(page, ExtractText(tables=False)) or "")


ALL = ExtractText(extractor="resiliparse", main_content=False)


def test_all_visible_text_in_document_order() -> None:
    """The raw text of an ablation: menus, footers and comments stay, and nothing of the main content is missing."""
    page = PAGE.replace("</article>", "</article><div class='comments'><p>A comment of a reader</p></div>")
    text = text_of(page, ALL) or ""
    places = [text.index(part) for part in ("Menu entry", "A heading", SENTENCE.strip(), "A comment", "All rights")]
    assert places == sorted(places)
    assert text.count(SENTENCE.strip()) == 15
    assert text.count("Menu entry") == 10
    assert "var x" not in text
    main = text_of(page, ExtractText(extractor="resiliparse")) or ""
    assert "Menu entry" not in main
    assert set(main.split()) <= set(text.split())


def test_only_resiliparse_gives_all_text() -> None:
    with pytest.raises(ConfigError, match=r"trafilatura cannot give all text[\s\S]*main_content"):
        ExtractText(main_content=False).digests()
    assert ALL.digests().keys() == {"resiliparse"}


@pytest.mark.parametrize("depth", [150, 195, 205, 300, 1500, 1990, 2100, 100_000])
def test_deep_pages_are_not_lost(depth: int) -> None:
    page = "<html><body>" + "<div>" * depth + f"<p>{SENTENCE * 5}</p>" + "</div>" * depth + "</body></html>"
    assert SENTENCE.strip() in (text_of(page) or "")


@pytest.mark.parametrize(
    "page",
    [
        "<html><body><select>" + "<option>a" * 200_000 + f"</select><p>{SENTENCE}</p>",
        "<html><body>" + "<p>ab cd</p>" * 200_000 + f"<p>{SENTENCE}</p>",
        f"<html><body><p {'x=1 ' * 100_000}>{SENTENCE}</p>",
        "<html><body><table>" + "<tr><td>a</td></tr>" * 100_000 + f"</table><p>{SENTENCE}</p>",
        "<html><body>" + "<b><i>x</b>" * 100_000 + SENTENCE,
    ],
    ids=["options", "paragraphs", "attributes", "cells", "misnested"],
)
def test_pages_that_no_parser_survives_give_their_visible_text(page: str) -> None:
    assert (text_of(page, ExtractText(max_text_bytes=8 << 20)) or "").endswith(SENTENCE.strip())


def test_limits_at_their_boundary() -> None:
    page = f"<html><body>{'<div>' * 8}<p>{SENTENCE * 4}</p><aside>Aside text</aside></body></html>"
    everything = f"{SENTENCE * 4}".strip() + "\nAside text"
    assert text_of(page, ExtractText(max_depth=11)) == everything.removesuffix("\nAside text")
    assert text_of(page, ExtractText(max_depth=10)) == everything
    assert text_of(page, ExtractText(max_elements=12)) == everything.removesuffix("\nAside text")
    assert text_of(page, ExtractText(max_elements=11)) == everything


@pytest.mark.parametrize(
    "reference", ["&#0;", "&#1;", "&#012", "&#x1F;", "&#xd800;", "&#xffff;", "&#65534;", "&#9999999999;"]
)
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.extractor)
def test_references_to_forbidden_characters_neither_come_out_nor_cost_the_page(
    reference: str, stage: ExtractText
) -> None:
    text = text_of(PAGE.replace("budget", f"budget{reference} x"), stage)
    assert text is not None
    text.encode()
    assert text.count("budget") == 15
    assert not set(text) & {*map(chr, range(9)), "\x0b", "\x0c", "\x1f", "\ufffe", "\uffff"}


def test_lone_surrogate_costs_one_character() -> None:
    assert (text_of(PAGE.replace("budget", "bud\ud800get")) or "").count("bud\ufffdget") == 15


def test_order_of_documents_does_not_matter() -> None:
    others = [PAGE.replace("Tuesday", day) for day in ("Monday", "Friday")] + [PAGE] * 4
    stage = ExtractText()
    alone = [text_of(page, ExtractText()) for page in others]
    assert [text_of(page, stage) for page in others] == alone
    assert [text_of(page, stage) for page in reversed(others)] == alone[::-1]
    assert len(set(alone[2:])) == 1  # a page seen four times is not deduplicated away


@pytest.mark.ci
def test_same_text_as_the_library_alone(shared: Path) -> None:
    """The settings object and the element lookup that save time change nothing."""
    from lxml.html import HtmlElementClassLookup
    from trafilatura import extract
    from trafilatura.utils import HTML_PARSER

    gold = shared / "extraction-gold"
    pages = []
    for line in (gold / "articles.jsonl").read_text(encoding="utf-8").splitlines()[:12]:
        payload = gzip.decompress((gold / "articles" / json.loads(line)["file"]).read_bytes())
        pages.append(payload.decode("utf-8", "replace"))
    ours = [ExtractText().extract(page) for page in pages]
    HTML_PARSER.set_element_class_lookup(HtmlElementClassLookup())
    assert ours == [extract(page, fast=True, include_comments=False) or "" for page in pages]
    assert ours[::-1] == [ExtractText().extract(page) for page in pages[::-1]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<div>", "</div>", "<table>", "<td>", "<a href='::'>", "&#xd800;", "\0", "<!--"]
        )
        | st.text(max_size=20),
        max_size=30,
    )
)
def test_any_page_gives_clean_text_or_a_reason(pieces: list[str]) -> None:
    text = text_of("<html><body>" + "".join(pieces))
    if text is not None:
        text.encode()
        assert text == text.strip() != ""
        assert "\0" not in text


def test_digests_are_the_versions_of_the_libraries() -> None:
    assert set(ExtractText().digests()) == {"trafilatura", "lxml", "justext", "resiliparse"}
    assert set(ExtractText(extractor="resiliparse").digests()) == {"resiliparse"}
    assert set(ExtractText(extractor="skim").digests()) == {"block_model"}
    assert set(ExtractText(extractor="cascade").digests()) == {"trafilatura", "lxml", "justext", "block_model"}


@pytest.mark.parametrize(
    "stage",
    [
        ExtractText(extractor="other"),
        ExtractText(focus="other"),
        ExtractText(markdown=True),
        ExtractText(extractor="cascade", markdown=True),
        ExtractText(block_model="x.npz"),
        ExtractText(extractor="skim", block_model="no-such.npz"),
        ExtractText(extractor="skim", route_above=0.1),
        ExtractText(extractor="skim", comments=True),
        ExtractText(extractor="cascade", tables=False),
        ExtractText(extractor="skim", main_content=False),
    ],
    ids=repr,
)
def test_unknown_settings(stage: ExtractText) -> None:
    with pytest.raises(ConfigError):
        stage.digests()


def test_importing_the_stages_loads_no_parser() -> None:
    import subprocess
    import sys

    code = (
        "import sys, tokenmill.extract.text, tokenmill.extract.gate, tokenmill.extract.decode;"
        "print([m for m in ('trafilatura', 'lxml', 'numba', 'resiliparse', 'fasttext') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
