"""The scorers of `benchmarks/extraction.py`: what they find on pages of which it is known."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.skim import align
from tools.skim.gold import split_blocks

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmark by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return lambda name: importlib.import_module(f"extraction_{name}")


PAGE = (
    "<ul><li>Menu<li>Contact us</ul><h1>Prices</h1><p>Apples are cheap in autumn.<p>Pears are not.<footer>Menu</footer>"
)


def gold(other: Any, keep: set[str]) -> Any:
    blocks = split_blocks(PAGE.encode())
    wanted = np.array([block.text in keep for block in blocks])
    return other.GoldPage(None, "listing", "en", [align.bare(block.text) for block in blocks], wanted, ~wanted)


@pytest.mark.parametrize(
    ("keep", "text", "score"),
    [
        ({"Prices", "Apples are cheap in autumn."}, "Prices\nApples are cheap in autumn.", 1.0),
        ({"Prices", "Apples are cheap in autumn."}, "", 0.0),
        # 22 of 28 characters
        ({"Prices", "Apples are cheap in autumn."}, "Apples are cheap in autumn.", 2 * 22 / (22 + 28)),
        # 11 too many
        ({"Apples are cheap in autumn."}, "Apples are cheap in autumn.\nPears are not.", 2 * 22 / (33 + 22)),
        # a word of the menu is not the menu; the wanted one of two equal blocks comes first
        ({"Apples are cheap in autumn.", "Menu"}, "Menu\nApples are cheap in autumn.", 2 * 26 / (26 + 30)),
        # nothing is wanted: 6 of 56 characters are kept
        (set(), "Prices", 1 - 6 / 56),
    ],
)
def test_page_score(part: Any, keep: set[str], text: str, score: float) -> None:
    other = part("other")
    assert other.page_score(gold(other, keep), text) == pytest.approx(score)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (r"<p>so \( a_b \) and \[ c \]", {(r"\( \)", "a_b"), (r"\[ \]", "c")}),
        (r"<p>$$ x < y $$ costs $5 or $6, $n$ of $\alpha x$", {("$$", "x<y"), ("$", "n"), ("$", r"\alphax")}),
        (r"<pre>\(code\)</pre><code>$x_1$</code><script>'\(s\)'</script>", set()),
        ('<script type="math/tex; mode=display">e^x</script>', {("script math/tex", "e^x")}),
        (
            '<math><semantics><mi>x</mi><annotation encoding="application/x-tex">x</annotation></semantics></math>',
            {("TeX annotation", "x")},
        ),
    ],
)
def test_sources_of_formulas(part: Any, body: str, expected: set[tuple[str, str]]) -> None:
    formulas = part("formulas")
    page = f'<script src="MathJax.js"></script><body>{body}</body>'.replace("x < y", "x &lt; y")
    assert formulas.formulas_of(page) == expected
    assert formulas.formulas_of(page.replace("MathJax", "j").replace("math/tex", "t").replace("x-tex", "t")) == set()


@pytest.mark.parametrize(
    ("text", "survives"),
    [(r"so \(a_b\)", True), ("so $a _b$", True), ("so $$ a_b$$", True), ("so a_b", False), (r"so \(a_c\)", False)],
)
def test_survival_of_formulas(part: Any, text: str, survives: bool) -> None:
    found = part("formulas").surviving(frozenset({(r"\( \)", "a_b")}), text)
    assert found == {(r"\( \)", "a_b"): survives}


def test_intervals(part: Any) -> None:
    pages = part("pages")
    counts = np.tile(np.array([[3.0, 1.0, 1.0], [1.0, 3.0, 0.0]]), (50, 1))
    np.testing.assert_allclose(pages.segment_scores(counts), [4 * 2 / 13, 4 / 5, 1 / 2], rtol=1e-6)
    same = pages.difference(counts, counts, pages.segment_scores)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = counts + np.array([1.0, -1.0, 0.0])
    gain = pages.difference(better, counts, pages.segment_scores)
    assert 0 < gain.low < gain.value < gain.high
    assert gain == pages.difference(better, counts, pages.segment_scores)


def test_bounds(part: Any, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = part("pages").Verdicts()
    assert verdicts.print()
    verdicts.hold("speed", 15.0, 15.0)
    assert verdicts.print()
    verdicts.hold_most("routed", 0.051, 0.05)
    assert not verdicts.print()
    assert "| routed | 0.0510 | at most 0.0500 | **missed** |" in capsys.readouterr().out
