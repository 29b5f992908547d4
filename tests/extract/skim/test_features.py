from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.extract.skim import twin
from tokenmill.extract.skim import features
from tokenmill.extract.skim import stats_kernel as s
from tokenmill.extract.skim.context_kernel import log8, share
from tokenmill.extract.skim.features_kernel import FEATURES
from tokenmill.extract.skim.model import Model, both_stages
from tokenmill.extract.skim.model_kernel import SECOND
from tokenmill.extract.skim.scan import scan

PAGES = (
    "",
    "text only",
    "<p>",
    "<ul class='nav main-menu'><li><a href=/>Home</a><li><a href=/b>More »</a></ul>"
    "<article class='post entry'><h1>Title</h1>"
    "<p>One sentence. <b>Two</b> <i>sentences</i>, and a <a href=x>link to it</a>.</p><p>Mail me@example.org"
    " © 2024…</p>"
    "<pre>if (x) {\n  y = [1];\n}</pre><p>$x^2$ and \\(a_1\\), \\frac{1}{2}</p></article><footer>About |"
    " Contact</footer>",
    "<div id=content><p>日本語の文章です。これは、長い段落です！「引用」</p>"
    "<p>هذه جملة، وهذه أخرى؟</p><p>यह एक वाक्य है।</p></div>",
    "<table><tr><th>Name<td>Price: 12,50 €<tr><td>Ünï<td><img alt='a picture'></table><form><label>Mail</label>"
    "<button>Send</button></form><aside hidden>aside</aside>",
    "<div>" * 40 + "deep <span class=fooBar2>inner</span><br><br>second" + "</div>" * 40,
    "<body class=comments><div><p>Before, "
    + "a long text goes on. " * 8
    + "<div class='x entry-content'><p>body " * 2
    + "and its words. " * 9
    + "</div><ul id=comments class=commentList><li class='comment even'><p>I think so. " * 3
    + "<li>"
    + "no, I do not think so, " * 6
    + "</ul><p>end",
    "<div><div><ol class=yorumlar><li>bir<li>iki</ol><div><p itemprop=articleBody>" + "text, and text. " * 8,
    "<h2>A</h2>" + "".join(f"<p>Paragraph {i}, which is of some length and ends here.</p>" for i in range(40)),
)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load()


def test_every_feature_has_a_name() -> None:
    assert len(features.NAMES) == len(set(features.NAMES)) == FEATURES
    assert len(features.SECOND_NAMES) == len(set(features.SECOND_NAMES)) == SECOND


@pytest.mark.parametrize("page", PAGES)
def test_features_are_those_of_the_definition(page: str, model: Model) -> None:
    weights = model.kernel_arguments[0]
    scanned = scan(page.encode())
    slow = twin.Page(scanned, weights)
    _, likely = both_stages(scanned, model)
    first, second = features.matrix(scanned, weights), features.second_matrix(scanned, weights, likely)
    for b in range(slow.blocks):
        assert dict(zip(features.NAMES, first[b].tolist(), strict=True)) == dict(
            zip(features.NAMES, slow.first_features(b), strict=True)
        )
        assert dict(zip(features.SECOND_NAMES, second[b].tolist(), strict=True)) == dict(
            zip(features.SECOND_NAMES, slow.second_features(b, likely.tolist()), strict=True)
        )


PIECES = st.sampled_from(
    ["<p>", "</p>", "<div class='a-b c'>", "</div>", "<li>", "<a href=x>", "</a>", "<h2>", "</h2>", "<td>", "<table>",
     "</table>", "<div id=comments>", "<div class=post-content>", "<br><br>",
     "<nav>", "</nav>", "<b>", "</b>", "$x$ ", "\\(y\\) ", "Some words, and more. ",
     "漢字。", "© 12 ", "long " * 20]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=25).map("".join))
@settings(max_examples=40, deadline=None)
def test_features_of_any_page_are_those_of_the_definition(page: str) -> None:
    model = Model.load()
    scanned = scan(page.encode("utf-8", "replace"))
    slow = twin.Page(scanned, model.kernel_arguments[0])
    first = features.matrix(scanned, model.kernel_arguments[0])
    assert first.tolist() == [slow.first_features(b) for b in range(slow.blocks)]


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("Hello, World.", s.WEIGHT, 13),
        ("日本", s.WEIGHT, 6),
        ("日本", s.LETTERS, 2),
        ("Версия 3.5 вышла.", s.ENDS, 1),
        ("end。", s.ENDS, 1),
        ("end؟", s.LAST, s.L_END),
        ("end।", s.ENDS, 1),
        ('He said "yes."', s.LAST, s.L_END),
        ("he said (no)", s.LAST, s.L_CLOSE),
        ("see:", s.LAST, s.L_COLON),
        ("more »", s.LAST, s.L_CLOSE),
        ("more ›", s.LAST, s.L_SEPARATOR),
        ("«Bonjour»", s.FIRST, s.F_QUOTE),
        ("2024-01-01", s.FIRST, s.F_DIGIT),
        ("\\(x\\) $y$ \\frac", s.MATH, 7),
        ("x" * 100_000, s.LETTERS, 100_000),
    ],
)
def test_what_is_counted(text: str, column: int, value: int) -> None:
    scanned = scan(f"<pre>{text}</pre>".encode())
    assert twin.stats(scanned.block_text(0), int(scanned.bl_link[0]))[column] == value


@numba.njit
def log8_of(value: int) -> Any:
    return log8(value)


@numba.njit
def share_of(part: int, whole: int) -> Any:
    return share(part, whole)


def test_functions_of_kernels_cannot_be_called_from_python() -> None:
    with pytest.raises(TypeError, match="log8 is for kernels"):
        log8(1)


@pytest.mark.parametrize("value", [0, 1, 2, 3, 7, 8, 9, 100, 1023, 1024, 1025, 10**6])
def test_logarithms_are_eighths_of_octaves(value: int) -> None:
    assert log8_of(value) == twin.log8(value)


@given(st.integers(-5, 1 << 40), st.integers(-5, 1 << 40))
@settings(max_examples=200, deadline=None)
def test_shares_are_exact(part: int, whole: int) -> None:
    assert share_of(part, whole) == twin.share(part, whole)


@pytest.mark.parametrize("size", [1, 64, *(pytest.param(size, marks=pytest.mark.ci) for size in (63, 65, 130))])
def test_the_place_in_the_buffer_does_not_matter(size: int, model: Model) -> None:
    page = "".join(f"<p>Paragraph {i} of some words.</p>" for i in range(size))
    scanned = scan(page.encode())
    found, likely = both_stages(scanned, model)
    assert len(found) == len(likely) == size
    slow, slow_likely = twin.probabilities(scanned, model)
    assert likely.tolist() == slow_likely
    np.testing.assert_array_equal(found, np.float32(slow))
