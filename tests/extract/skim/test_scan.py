"""The scanner against its readable twin, and what it makes of markup that one can check by hand."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extract.skim import scan_twin
from tests.properties import examples
from tokenmill.extract.skim import scan_tables as t
from tokenmill.extract.skim.scan import Scan, scan


def assert_same(page: bytes) -> Scan:
    found, wanted = scan(page), scan_twin.scan(page)
    blocks = [[b.el, b.inner, b.start, b.end, b.link, b.src, b.src_end, b.flags, b.split] for b in wanted.blocks]
    columns = (
        found.bl_el, found.bl_inner, found.bl_start, found.bl_end, found.bl_link, found.bl_src, found.bl_src_end,
        found.bl_flags, found.bl_break,
    )  # fmt: skip
    assert bytes(found.text) == bytes(wanted.text), page
    assert [list(map(int, row)) for row in zip(*columns, strict=True)] == blocks, page
    elements = (found.el_tag, found.el_parent, found.el_flags, found.el_start, found.el_attrs, found.el_attrs_end)
    assert [tuple(map(int, row)) for row in zip(*elements, strict=True)] == wanted.elements, page
    bounds = found.el_token.tolist()
    tokens = [found.tokens[a:b].tolist() for a, b in pairwise(bounds)]
    assert tokens == wanted.tokens, page
    marks = zip(found.mk_pos, found.mk_kind, found.mk_el, strict=True)
    assert [tuple(map(int, row)) for row in marks] == wanted.marks, page
    facts = zip(found.fc_kind, found.fc_start, found.fc_end, strict=True)
    assert [tuple(map(int, row)) for row in facts] == wanted.facts, page
    assert [found.elements, found.depth, found.attribute_bytes, found.attributes] == wanted.counts, page
    assert found.unended == wanted.unended, page
    return found


NAMES = st.sampled_from([*t.TAGS[1:], "x-y", "template-x", "foreignObject", "plaintext", "P", "sCript", "textarea2"])
SPACES = st.sampled_from(["", " ", "\n", "\t ", "/", " / "])
VALUES = st.sampled_from(
    ["", "a", "postTitle nav-bar x", '"a b"', "'main \"x'", '"', "'", "navigation", '"display : none"', "math/tex",
     '"math/tex; mode=display"', "application/ld+json", "robots", "true", "x/", "aBcDeF9g", "&amp;", "=", ">", "<b>"]
)  # fmt: skip
ATTRIBUTE = st.tuples(
    SPACES, st.sampled_from([*t.ATTRIBUTES, "=", "ID", "data-x", "contents", "<", '"']), SPACES,
    st.sampled_from(["", "=", " = "]), VALUES, SPACES,
).map("".join)  # fmt: skip
TAG = st.builds(
    lambda end, name, attributes, close: end + name + " ".join(["", *attributes]) + close,
    st.sampled_from(["<", "<", "</", "</ ", "< "]), NAMES, st.lists(ATTRIBUTE, max_size=3),
    st.sampled_from([">", ">", ">", "/>", " ", ""]),
)  # fmt: skip
TEXT = st.sampled_from(
    ["a", "two words", " ", "\n", "\r\n", "\t", "\xa0", "\xad", "é", "中文", "😀", "<", ">", "&",
     "&amp;", "&nGt;", "&notit;", "&notin;", "&amp", "&#0", "&#x41;", "&#150;", "&#129;", "&#10;", "&#9;", "&#xD800;",
     "&#99999999999;", "&#;", "&#x;", "&nbsp;", "&shy;", "&CounterClockwiseContourIntegral;",
     "&zzz;", "«", "\x00", "\x7f"]
) | st.text(max_size=8)  # fmt: skip
PIECE = st.sampled_from(
    ["<!--", "-->", "--!>", "<!-->", "<!--->", "<!---->", "<!--!>", "<!x>", "<?x", "</>", "</ x>", "<![CDATA[x]]>",
     "<script>", "</script>", "</script", "<br><br>", "</br>", "<pre>", "\n", "<ul><li>a<li>b", "<table><tr><td>a<td>b",
     "<select><option>a", "<svg><path/>", "<svg/>", "<ruby>a<rt>b", "<a href=x>l</a>", "<title>", "<h1>a</h2>", "<xmp>",
     "<p>", "<div>", "</div>", "</p>", "<b>", "</b>"]
)  # fmt: skip
SOUP = st.lists(TAG | TEXT | PIECE, max_size=24).map(lambda parts: "".join(parts).encode("utf-8", "replace"))


@examples(60, 1500)
@given(SOUP)
def test_equals_the_twin(page: bytes) -> None:
    assert_same(page)


@examples(20, 500)
@given(st.binary(max_size=200))
def test_equals_the_twin_on_any_bytes(page: bytes) -> None:
    assert_same(page)


def blocks(page: str) -> list[str]:
    found = assert_same(page.encode())
    return [found.block_text(block) for block in range(len(found.bl_el))]


MARKUP = [
    # comments and what is like them (WHATWG 13.2.5.42 to 13.2.5.52)
    ("a<!-->b", ["ab"]),
    ("a<!--->b", ["ab"]),
    ("a<!-- x --!>b", ["ab"]),
    ("a<!-- > -- > --!x -->b", ["ab"]),
    ("a<!----->b", ["ab"]),
    ("a<!--!>x-->b", ["ab"]),
    ("a<!-- never ends <p>b", ["a"]),
    ("a<!doctype x>b<?php x>c</ x>d</>e<![CDATA[f]]>g", ["abcdeg"]),
    ("a < b <3 <é", ["a < b <3 <é"]),
    # attributes
    ("<p a=>x", ["x"]),
    ("<p a='>'b=\">\"c=d/>x", ["x"]),
    ("<p =a=b ==c>x", ["x"]),
    ("<p a = 'x>' b>y", ["y"]),
    ("a<p b='never ends>x", ["a"]),
    # raw text
    ("<script>a</scriptx></ script>b</script >c", ["c"]),
    ("<script><!-- <script>a</script> --></script>b", ["b"]),
    ("<script><!-- a</script>b", ["b"]),
    ("<script><!--> <script>a</script>b", ["b"]),
    ("<style>a</style/>b<textarea><p>c</textarea>d", ["bd"]),
    ("<textarea-x>a</textarea-x><template-x>b</template-x>", ["ab"]),
    ("<title>a</title>b", ["b"]),
    ("<title>a<p>b", ["a", "b"]),
    ("<xmp> a<b>\n c </xmp>d", ["a<b>\n c", "d"]),
    ("a<script>b<p>c", ["a"]),
    # references
    ("&amp;&lt;&AMP&copy2&notit;&notin;&amp", ["&<&©2¬it;∉&"]),
    ("&#65;&#x42&#x43;&#0;&#x80;&#1114112;&#xD800;&#;&#x;&", ["ABC\ufffd€\ufffd\ufffd&#;&#x;&"]),
    ("a&nbsp;&#32;b&#10;c&shy;d", ["a b cd"]),
    ("&nGt;&nLt;", ["≫⃒≪⃒"]),
    # white space and line breaks
    (" a \n\t b<span> c</span> <b> d</b> ", ["a b c d"]),
    ("a<br>b<br/>\n<br>c</br>d", ["a\nb", "c\nd"]),
    ("<br>a<br><br><br>b<br>", ["a", "b"]),
    ("<pre>\n\n  a\n\tb &amp;\r\nc<br>d \n</pre>e", ["  a\n\tb &\nc\nd", "e"]),
    ("<pre>\t\t a</pre><pre><pre> b</pre></pre>", ["\t\t a", " b"]),
    ("<pre>a&#10;b&#9;c<code> d</code></pre>", ["a\nb\tc d"]),
    # implied ends
    ("<p>a<p>b<div>c", ["a", "b", "c"]),
    ("<ul><li>a<li>b<ul><li>c</ul>d<li>e</ul>f", ["a", "b", "c", "d", "e", "f"]),
    ("<dl><dt>a<dd>b<dt>c</dl>", ["a", "b", "c"]),
    ("<table>x<tr><td>a<td>b<tr><th>c<table><td>d</table>e</table>f", ["x", "a", "b", "c", "d", "e", "f"]),
    ("<select><option>a<option>b</select>c<option>d", ["cd"]),
    ("a</p>b</div>c", ["a", "b", "c"]),
    ("<ruby>漢<rp>(<rt>かん<rp>)</ruby>字", ["漢(かん)字"]),
    ("<ruby>漢 <rp>(</rp><rt>かん</rt><rp>)</rp></ruby>", ["漢(かん)"]),
    # content that is no text, not closed as it should be
    ("<div><select><option>a</div>b", ["b"]),
    ("<select><option>a<select>b<p>c", ["b", "c"]),
    ("<svg><path/><style/><text>a</text></svg>b<svg/>c", ["bc"]),
    ("<svg><g><p>a", ["a"]),
    ("<svg><foreignObject><p>a</p></foreignObject></svg>b", ["b"]),
    ("<template><p>a</template>b<video><p>c</p></video>d<object>e</object>f", ["bdf"]),
    ("<iframe><p>a</iframe>b<noscript>c</noscript>d", ["b", "c", "d"]),
    ("<frameset><noframes>a</noframes></frameset>b", ["b"]),
    # after the end
    ("<html><body>a</body></html>b<p>c", ["ab", "c"]),
    ("<script type='math/tex'> a<b </script>c<script type='math/tex; mode=display'>x</script>d", ["$a<b$c\n$$x$$\nd"]),
]


@pytest.mark.parametrize(("page", "wanted"), MARKUP, ids=[page for page, _ in MARKUP])
def test_markup(page: str, wanted: list[str]) -> None:
    assert blocks(page) == wanted


@pytest.mark.parametrize(
    ("page", "linked"),
    [
        ("<a href=x>ab c</a>d", [3]),
        ("<a name=x>ab</a>d", [0]),
        ("<a href=x>ab<a href=y>c</a>d", [3]),
        ("<a href=x><div>ab</a>c</div>d", [2, 0]),
        ("<a href=x>&amp;<b>é</a>c", [3]),
        ("<p><a href=x>ab<p>c", [2, 0]),
        ("<a href=x>a<table><td>b</table>", [1, 1]),
    ],
)
def test_link_bytes(page: str, linked: list[int]) -> None:
    assert assert_same(page.encode()).bl_link.tolist() == linked


@pytest.mark.parametrize(
    ("page", "flags"),
    [
        ("<h1>a</h2><p>b", [t.HEADING, t.PARA]),
        ("<div role='navigation x'>a</div>b", [t.NAV, 0]),
        ("<div role=unknown hidden>a", [t.HIDDEN]),
        ("<div style='Color:red; DISPLAY : none'>a", [t.HIDDEN]),
        ("<div style='display:block' aria-hidden=false>a", [0]),
        ("<div aria-hidden='true'>a", [t.HIDDEN]),
        ("<ul><li><p>a</ul>b", [t.LIST | t.ITEM | t.PARA, 0]),
        ("<table><tr><td>a</table>", [t.TABLE | t.CELL]),
        ("<pre><code>a</code></pre>", [t.IN_PRE | t.CODE]),
    ],
)
def test_context(page: str, flags: list[int]) -> None:
    assert assert_same(page.encode()).bl_flags.tolist() == flags


def test_marks_of_misnested_elements_end_where_their_end_tags_stand() -> None:
    found = assert_same(b"<p><b>a<div>b</b>c</div><i>d <p>e</i>")
    text = bytes(found.text).decode()
    marks = [(text[int(p) :], int(k)) for p, k in zip(found.mk_pos, found.mk_kind, strict=True)]
    assert marks[:2] == [(text, t.STRONG), (text[1:], t.STRONG | t.END)]
    assert Counter(int(k) & 127 for k in found.mk_kind) == {t.STRONG: 2, t.EM: 2}


def test_facts() -> None:
    page = (
        b"<html lang=en><title>A &amp; b</title><meta content=x name=Robots><meta property='og:title'content='t'>"
        b"<link rel=canonical href=/c><a rel=license href=l>c</a><time datetime=2020>x</time>"
        b'<script type=application/ld+json>{"a":1}</script><svg><title>no</title></svg>'
    )
    found = assert_same(page)
    facts = zip(found.fc_kind, found.fc_start, found.fc_end, strict=True)
    assert [(t.FACTS[kind], page[start:end]) for kind, start, end in facts] == [
        ("html_lang", b"en"), ("title", b"A &amp; b"), ("robots", b"x"), ("og_title", b"t"), ("canonical", b"/c"),
        ("license", b"l"), ("time", b"2020"), ("json_ld", b'{"a":1}'),
    ]  # fmt: skip


def test_what_never_ends_is_counted() -> None:
    for page, unended in (
        (b"a<!-- b", 6),
        (b"a<p b='c", 7),
        (b"a<script>bc", 2),
        (b"<p>a</p>", 0),
        (b"a<!x", 3),
        (b"<!--<p>", 7),
        (b"<!--x-->", 0),
    ):
        assert assert_same(page).unended == unended, page


def test_names_of_elements_and_numbers_of_tables_agree() -> None:
    assert len({t.name_code(name.encode()) for name in t.TAGS}) == len(t.TAGS)
    assert len(t.TAGS) <= 256  # `el_tag` has bytes
    found = scan("".join(f"<{name}>x</{name}>" for name in t.TAGS[1:]).encode())
    names = {found.tag_name(element) for element in range(len(found.el_tag))}
    assert {"div", "blockquote", "figcaption", "fieldset", "td"} <= names


def pages_of(shared: Path, most: int) -> list[bytes]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    path = sorted((shared / "crawl").glob("*.warc.gz"))[3]
    found = []
    with open(path, "rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            body = record.reader.read()
            if len(body) < 100_000 and b"<body" in body:
                found.append(body.decode("utf-8", "ignore").encode())
            if len(found) == most:
                break
    return found


@pytest.mark.ci
def test_pages_equal_the_twin(shared: Path) -> None:
    for page in pages_of(shared, 60):
        assert_same(page)


WORD = re.compile(r"\w+")


@pytest.mark.ci
def test_words_are_those_of_another_parser(shared: Path) -> None:
    """All words outside of form choices that resiliparse finds: at least 99 of 100, and few others."""
    from resiliparse.extract.html2text import extract_plain_text

    common = missing = more = 0
    for page in pages_of(shared, 100):
        found = scan(page)
        ours = Counter(w for b in range(len(found.bl_el)) for w in WORD.findall(found.block_text(b)))
        cleaned = re.sub(r"(?is)<(select|datalist|textarea)\b.*?</\1>", " ", page.decode())
        text = extract_plain_text(cleaned, main_content=False, alt_texts=False, list_bullets=False, noscript=True)
        theirs = Counter(WORD.findall(text))
        common += (ours & theirs).total()
        missing += (theirs - ours).total()
        more += (ours - theirs).total()
    assert common / (common + missing) >= 0.99
    assert common / (common + more) >= 0.97


def test_a_page_is_not_changed_by_the_page_before() -> None:
    first, second = b"<p>" + b"<b>x" * 300, b"<pre><a href=x>y"
    alone = scan(second)
    scan(first)
    again = scan(second)
    for name in Scan.__slots__:
        assert np.array_equal(getattr(alone, name), getattr(again, name)), name
