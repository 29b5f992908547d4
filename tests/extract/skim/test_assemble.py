"""From kept blocks to text: made-up pages in both modes, any page and any choice of blocks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.extract.skim.assemble import MOST_TARGET, assemble
from tokenmill.extract.skim.scan import scan

ROWS = "<tr><th>n<th>v</tr><tr><td>a|b<td>1</tr><tr><td><td>2</tr>"


def of(page: str, markdown: bool = False, drop: tuple[int, ...] = ()) -> str:
    scanned = scan(page.encode())
    keep = np.ones(len(scanned.bl_el), np.bool_)
    keep[list(drop)] = False
    return assemble(scanned, keep, markdown)


@pytest.mark.parametrize(
    ("page", "plain", "markdown"),
    [
        ("", "", ""),
        ("<h1>T</h1><p>a  b</p><div>c</div>", "T\na b\nc", "# T\n\na b\n\nc"),
        ("<h3>a<br>b <b>c</b></h3>", "a\nb c", "### a b c"),
        ("<p>a<br>b<br><br>c", "a\nb\nc", "a\nb\n\nc"),
        ("<p>x <b>y </b>z <i>w</i>, <strong>(<em>v</em>)</strong>", "x y z w, (v)", "x **y** z *w*, **(*v*)**"),
        ("<b><p>x</p><p>y</p></b><p>z", "x\ny\nz", "**x**\n\n**y**\n\nz"),
        ("<p><b><b>x</b> y</b></p>", "x y", "**x y**"),
        ("<p>a <b></b> b<i> </i>c", "a b c", "a b c"),
        ("<p>1 &lt; 2 &amp; 3", "1 < 2 & 3", "1 < 2 & 3"),
        ("<p>use <code>a`b</code>, <code>c <b>d</b></code>", "use a`b, c d", "use `` a`b ``, `c d`"),
        ("<hr><p>a<hr>b", "a\nb", "a\n\nb"),
        # lists
        ("<ul><li>a<li>b<ul><li>c</ul><li><p>d</p><p>e</p></ul>", "- a\n- b\n  - c\n- d\ne",
         "- a\n- b\n  - c\n- d\n\n  e"),
        ("<ol start=9><li>a<li>b<ol><li>c</ol></ol>z", "- a\n- b\n  - c\nz", "9. a\n10. b\n    1. c\n\nz"),
        ("<ul><li><div><ul><li>a</ul></div></ul>", "- a", "- a"),
        ("<ul><li>a<br>b</ul>", "- a\nb", "- a\n  b"),
        ("<dl><dt>a<dd>b</dl>", "a\nb", "a\n\nb"),
        # tables
        (f"<table>{ROWS}</table>", "n | v\na|b | 1\n2", "| n | v |\n| --- | --- |\n| a\\|b | 1 |\n|  | 2 |"),
        ("<table><tr><td>a<br>b<td>c</table>", "a b | c", "a b | c"),
        ("<table><tr><td><p>menu</p><p>two</p><td>more</table>", "menu\ntwo\nmore", "menu\n\ntwo\n\nmore"),
        ("<table><tr><td><h2>a</h2><td>b</table>", "a\nb", "## a\n\nb"),
        ("<table><tr><td>a<td><ul><li>b<li>c</ul></table>", "a\n- b\n- c", "a\n\n- b\n- c"),
        (f"<table><tr><td>a<td>{'b ' * 300}</table>", "a\n" + "b " * 299 + "b", "a\n\n" + "b " * 299 + "b"),
        ("<table><tr><td>a<td><table><tr><td>b<td>c</table><td>d</table>", "a\nb | c\nd", "a\n\nb | c\n\nd"),
        # code
        ("<pre>def f():\n    return 1  \n\n\n\n\nx</pre>", "def f():\n    return 1\n\n\nx",
         "```\ndef f():\n    return 1\n\n\nx\n```"),
        ('<pre><code class="hljs language-C++">a</code></pre>b', "a\nb", "```c++\na\n```\n\nb"),
        ('<div class="highlight highlight-source-python"><pre>a</pre></div>', "a", "```python\na\n```"),
        ("<pre>a ``` b</pre>", "a ``` b", "````\na ``` b\n````"),
        ("<pre><b>a</b> x<sup>2</sup>*</pre>", "a x2*", "```\na x2*\n```"),
        ("<ul><li>x<pre>a\n b</pre><li>y</ul>", "- x\na\n b\n- y", "- x\n\n  ```\n  a\n   b\n  ```\n\n- y"),
        # quotes
        ("<blockquote><p>a</p><p>b</p><blockquote>c</blockquote></blockquote>d", "a\nb\nc\nd",
         "> a\n>\n> b\n>\n> > c\n\nd"),
        ("<blockquote>a<br>b<ul><li>c</ul></blockquote>", "a\nb\n- c", "> a\n> b\n>\n> - c"),
        # links and images
        ('<p>a <a href="/x?a=1&amp;b=(2)">b </a>c', "a b c", "a [b](/x?a=1&b=(2)) c"),
        ('<p><a href="u)">b</a><a href="a b">c</a>', "bc", "[b](<u)>)[c](a%20b)"),
        ('<p><a href=" JavaScript:x()">a</a> <a href="mailto:x">b</a> <a>c</a>', "a b c", "a b c"),
        ('<a href="/l"><h3>a</h3><p>b</p></a>c', "a\nb\nc", "### [a](/l)\n\nb\n\nc"),
        ('<p>a <img src=i.png alt="A [pic]"> b <img src=x><img alt=y>', "a b", "a ![A pic](i.png) b"),
        ('<p>a <a href=u><img src=i alt=I></a></p><p>b', "a\nb", "a [![I](i)](u)\n\nb"),
        # scripts of other directions and ruby
        ("<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>", "漢字(かんじ)", "漢字(かんじ)"),
        ("<ruby>漢<rt>かん</rt></ruby>だ", "漢(かん)だ", "漢(かん)だ"),
        ("<p dir=rtl>שלום <b>עולם</b></p>", "שלום עולם", "שלום **עולם**"),
        # formulas stay as they are
        ("<p>\\(x_i*y*\\) <script type='math/tex'>a^2</script>", "\\(x_i*y*\\) $a^2$", "\\(x_i*y*\\) $a^2$"),
        ("<p>\\begin{align}\na &= b \\\\\nc\n\\end{align}", "\\begin{align} a &= b \\\\ c \\end{align}",
         "\\begin{align} a &= b \\\\ c \\end{align}"),
    ],
)  # fmt: skip
def test_text(page: str, plain: str, markdown: str) -> None:
    assert of(page) == plain
    assert of(page, True) == markdown


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("E=mc<sup>2</sup>", "E=mc^2"), ("10<sup>-3</sup> m<sup>2</sup>", "10^{-3} m^2"),
        ("10<sup>−3</sup>", "10^{−3}"),
        ("2<sup>n</sup>", "2^n"), ("e<sup>iπ</sup>", "e^{iπ}"), ("(a+b)<sup>2</sup>", "(a+b)^2"),
        ("π<sup>2</sup>", "π^2"), ("x<sup>n-1</sup>", "x^{n-1}"), ("e<sup><i>x</i></sup>", "e^x"),
        ("1<sup>st</sup> 2<sup>nd</sup> 3<sup>rd</sup> 4<sup>th</sup>", "1st 2nd 3rd 4th"),
        ("1<sup>er</sup> 2<sup>e</sup> n<sup>o</sup> M<sup>me</sup> n<sup>º</sup>", "1er 2e no Mme nº"),
        ("Foo<sup>TM</sup> Bar<sup>®</sup>", "FooTM Bar®"),
        ("word<sup><a href='#n1'>1</a></sup> x<sup>[2]</sup>", "word[1] x[2]"),
        ("<a href='#n1'>word<sup>1</sup></a>", "word[1]"),
        ("end.<sup>3</sup> “end”<sup>4,5</sup>", "end.[3] “end”[4,5]"),
        ("10 <sup>th</sup>", "10 th"), ("<sup>1</sup> note", "1 note"), ("x<sup> 2</sup>", "x 2"),
        ("H<sub>2</sub>O CO<sub>2</sub> (OH)<sub>2</sub>", "H2O CO2 (OH)2"), ("10<sub>2</sub>", "10_2"),
        ("x<sub>i</sub> V<sub>max</sub>", "x_i V_{max}"), ("x<sub>1</sub> $$y$$", "x_1 $$y$$"),
        ("a<sup></sup>b", "ab"), ("x<sup>a long remark above</sup>", "xa long remark above"),
        ("x<sup>2<p>y</p></sup>", "x2\ny"),
    ],
)  # fmt: skip
def test_raised_and_lowered(page: str, text: str) -> None:
    assert of(f"<div>{page}</div>") == text


def test_only_kept_blocks() -> None:
    assert of("<p>a<p>b<p>c", drop=(1,)) == "a\nc"
    assert of("<table><tr><td>a<td>b<td>c</table>", drop=(1,)) == "a | c"
    assert of("<ul><li>a<ul><li>b</ul></ul>", drop=(0,)) == "- b"
    assert of("<ol><li>a<li>b</ol>", True, drop=(0,)) == "2. b"
    assert of(f"<table>{ROWS}</table>", True, drop=(0, 1)) == "| a\\|b | 1 |\n| --- | --- |\n|  | 2 |"
    assert of("<b><p>a</b><p>b", True, drop=(0,)) == "b"
    assert of("<p>a<p>b", drop=(0, 1)) == ""


def test_a_link_over_many_blocks_is_written_once_and_a_long_one_never() -> None:
    assert of("<a href=/l>" + "<div>x</div>" * 500, True).count("/l") == 1
    assert of(f"<a href=/{'l' * MOST_TARGET}>x</a>", True) == "x"


def test_verdicts_must_be_as_many_as_blocks() -> None:
    with pytest.raises(ValueError, match="2 verdicts for 1 blocks"):
        assemble(scan(b"<p>a"), np.ones(2, np.bool_))


PIECES = [
    *"<p> </p> <div> </div> <b> </b> <i> </i> <ul> <ol> <li> </ul> </ol> <table> <tr> <td> <th> </table> <pre>".split(),
    *"</pre> <h2> </h2> <blockquote> </blockquote> <sup> </sup> <sub> </sub> <code> </code> <br> <hr> <a> </a>".split(),
    *"<dl> <dt> <dd> <ruby> <rt> <rp> </ruby> <xmp> </xmp> word other ünï 1 2 . ` | * x &amp; &lt; &nbsp;".split(),
    *["<a href='/u'>", "<a href='a(b'>", "<img src=i alt=A>", " ", "\n", "\t", "<ol start=99>", "\n\n\n"],
    *["<script type='math/tex; mode=display'>z\n\n\ny</script>", "<pre class='language-x'>", "<b>bold", "  "],
]  # fmt: skip
MARKS = re.compile(r"[^a-zA-Zünï0-9.&<]+")


@examples(60, 300)
@given(st.lists(st.sampled_from(PIECES), max_size=50).map("".join), st.integers(0, 2**32 - 1))
def test_any_page_and_choice(page: str, choice: int) -> None:
    scanned = scan(page.encode())
    keep = np.array([choice >> (b % 32) & 1 for b in range(len(scanned.bl_el))], np.bool_)
    letters = "".join(MARKS.sub("", scanned.block_text(b)) for b in np.flatnonzero(keep).tolist())
    for markdown in (False, True):
        text = assemble(scanned, keep, markdown)
        assert text == text.strip("\n")
        assert not re.search(r"[ \t]$", text, re.MULTILINE), "a line ends with a blank"
        assert "\n\n\n\n" not in text
        if not markdown:
            assert MARKS.sub("", text) == letters
            assert "**" not in text or "**" in page
        else:
            assert _is_subsequence(letters, text)


def _is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(character in rest for character in short)


@pytest.mark.parametrize(
    "piece", [*PIECES, "<ul><li>a", "<table><tr><td>a", "<blockquote>a", "<a href=/u><b>x", "<ol><li><pre>a\n"]
)
@pytest.mark.parametrize("markdown", [False, True])
def test_repeated_pieces_stay_in_proportion(piece: str, markdown: bool) -> None:
    page = piece * 1000
    assert len(of(page, markdown)) <= 90 * len(page) + 1000
