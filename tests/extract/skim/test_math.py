"""Formulas: every form they come in, what must stay as it is, and hostile pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.extract.skim import math
from tokenmill.extract.skim.math import clean_tex, looks_like_tex, rewrite
from tokenmill.extract.skim.mathml import find_tags, to_tex
from tokenmill.extract.skim.scan import scan

E_MC = "<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>"
NOTED = "<math><semantics><mrow>%s</mrow><annotation encoding='application/x-tex'>%s</annotation></semantics></math>"
RENDERED = '<span class="katex-html" aria-hidden="true"><span class="strut"></span><span class="mord">a1</span></span>'
LESS = NOTED % ("<mi>a</mi>", "a &lt; 1")
KATEX = f'<span class="katex"><span class="katex-mathml">{LESS}</span>{RENDERED}</span>'
HIDDEN = (
    '<span class="mwe-math-mathml-inline mwe-math-mathml-a11y" style="display: none;">'
    + (NOTED % (E_MC, r"{\displaystyle E=mc^{2}}"))
    + '</span><img src="https://wikimedia.org/api/rest_v1/media/math/render/svg/9f" alt="{\\displaystyle E=mc^{2}}"'
    ' class="mwe-math-fallback-image-inline">'
)
FRAME = (
    '<span class="MathJax" id="MathJax-Element-1-Frame"><nobr><span class="math">E=mc2</span></nobr>'
    f'<span class="MJX_Assistive_MathML"><math>{E_MC}</math></span></span>'
)
MJX = (
    '<mjx-container class="MathJax" jax="CHTML"%s><mjx-math class="MJX-TEX">E=mc2</mjx-math>'
    f"<mjx-assistive-mml><math>{E_MC}</math></mjx-assistive-mml></mjx-container>"
)
PREVIEW = '<span class="MathJax_Preview">E=mc2</span>'
TEX = '<script type="math/tex">E=mc^2</script>'
WIKI_TEX = r"${\displaystyle E=mc^{2}}$"
FORMS = {
    "katex": (KATEX, "$a < 1$"),
    "katex, displayed": (f'<span class="katex-display">{KATEX}</span>', "$$a < 1$$"),
    "katex, wrapper not closed": (KATEX.removesuffix("</span>"), "$a < 1$"),
    "katex, rendering only": (f'<span class="katex">{RENDERED}</span>', "a1"),
    "annotation": (NOTED % (E_MC, "E=mc^2"), "$E=mc^2$"),
    "annotation, a tag in it": (NOTED % ("<mi>a</mi>", "a<b"), "$a<b$"),
    "annotation of another language": ((NOTED % (E_MC, "x")).replace("x-tex", "x-maple"), "$E=mc^{2}$"),
    "annotation, displayed": ((NOTED % (E_MC, "E=mc^2")).replace("<math", '<math display="block"'), "$$E=mc^2$$"),
    "alternative text": ('<math alttext="E=mc^{2}"><mi>E</mi></math>', "$E=mc^{2}$"),
    "alternative text, spoken": (f'<math alttext="energy equals mass">{E_MC}</math>', "$E=mc^{2}$"),
    "elements": (f"<math>{E_MC}</math>", "$E=mc^{2}$"),
    "elements, prefixed": ("<m:math><m:mfrac><m:mi>a</m:mi><m:mi>b</m:mi></m:mfrac></m:math>", r"$\frac{a}{b}$"),
    "mathjax 2, preview and script": (PREVIEW + TEX, "$E=mc^2$"),
    "mathjax 2, preview, frame and script": (f"{PREVIEW}{FRAME} {TEX}", "$E=mc^2$"),
    "mathjax 2, frame alone": (FRAME, "$E=mc^{2}$"),
    "mathjax 2, attribute": (
        '<span class="MathJax_Display"><span class="MathJax" data-mathml="<math><mi>E</mi></math>">E</span></span>',
        "$$E$$",
    ),
    "mathjax 2, script of mathml": (f'<script type="math/mml"><math>{E_MC}</math></script>', "$E=mc^{2}$"),
    "mathjax 2, preview alone": (PREVIEW, "E=mc2"),
    "mathjax 3": (MJX % "", "$E=mc^{2}$"),
    "mathjax 3, displayed": (MJX % ' display="true"', "$$E=mc^{2}$$"),
    "mathjax 3, no source": ('<mjx-container class="MathJax"><mjx-math>E=1</mjx-math></mjx-container>', "E=1"),
    "mathjax 4": ('<mjx-container><mjx-math data-latex="E=\\pi">Eπ</mjx-math></mjx-container>', r"$E=\pi$"),
    "wiki": (f'<span class="mwe-math-element">{HIDDEN}</span>', WIKI_TEX),
    "wiki, no wrapper": (HIDDEN, WIKI_TEX),
    "wordpress": ('<img src="https://s0.wp.com/latex.php?latex=E%3Dmc%5E2&#038;bg=f" alt="E=mc^2">', "$E=mc^2$"),
    "address only": ('<img src="https://latex.codecogs.com/gif.latex?x%5E2">', "$x^2$"),
    "image, delimiters": ('<img src="images/formulas/0001.png" alt="\\(x^2\\)">', "$x^2$"),
    "image, displayed": ('<img class=tex src="a/formula-0123456789.png" alt="$$\\frac{a}{b}$$">', r"$$\frac{a}{b}$$"),
    "image of a letter": ('<img class="tex" src="https://a.org/f/01.png" alt="x">', "$x$"),
}  # fmt: skip


def words(page: bytes) -> str:
    return " ".join(scan(page).text.tobytes().decode().split())


@pytest.mark.parametrize("name", FORMS)
def test_forms_become_tex_and_offsets_stay(name: str) -> None:
    source, formula = FORMS[name]
    page = f"<p>so {source} end</p>".encode()
    out = rewrite(page)
    assert words(out) == f"so {formula} end"
    assert len(out) == len(page)
    assert out.endswith(b" end</p>")


def test_a_formula_longer_than_what_it_replaces_makes_the_page_longer() -> None:
    page = b"<p><img class=tex alt='x'> end"
    assert words(rewrite(page)) == "$x$ end"
    assert len(rewrite(page)) > len(page)


@pytest.mark.parametrize(
    "page",
    [
        "", "<p>text", r"<p>\(x^2\) and $$y$$ and \[z\]</p>", '<script type="math/tex">x</script>',
        '<img src="math.png" alt="Math lesson for kids">', '<img src="latex-logo.png" alt="LaTeX" class="logo">',
        '<img class="formula" alt="the formula of love" src=a.png>',
        '<img src="/context/IMG_1.png" alt="IMG_1">', '<img class="tex" alt="">',
        '<div class="katex"><p>prose</p><p>more</p></div>', '<div class="MathJax-config">a</div>',
        "<math><mi>x</mi> never closed", "<math></math>", "<math", "<!-- <math><mi>x</mi></math> -->",
        "<script>'<math><mi>x</mi></math>'</script>", "<textarea><math><mi>x</mi></math></textarea>",
    ],
)  # fmt: skip
def test_what_stays_as_it_is(page: str) -> None:
    assert rewrite(page.encode()) == page.encode()


def test_several_formulas_in_one_wrapper_are_taken_one_by_one() -> None:
    page = f'<p><span class="katex-display">{KATEX} and {KATEX}</span></p>'
    assert words(rewrite(page.encode())) == "$a < 1$ and $a < 1$"


def test_prose_in_a_wrapper_is_not_lost() -> None:
    page = f'<div class="MathJax"><p>one</p><div><math>{E_MC}</math></div><p>two</p></div>'
    scanned = scan(rewrite(page.encode()))
    assert [scanned.block_text(b) for b in range(3)] == ["one", "$E=mc^{2}$", "two"]


def test_a_picture_for_readers_without_scripts_is_no_second_formula() -> None:
    picture = '<img class="latex" src="https://s0.wp.com/latex.php?latex=x%5E2" alt="x^2">'
    assert words(rewrite(f"<p>{picture}<noscript>{picture}</noscript></p>".encode())) == "$x^2$"


@pytest.mark.parametrize(
    ("source", "tex"),
    [
        (" x ", "x"), ("$x$", "x"), ("\\[x\\]", "x"), ("$$x$$", "x"), ("$a$ and $b$", "$a$ and $b$"),
        ("a</script>b", "a< /script>b"), ("a<!--b", "a< !--b"), ("a\x00\x0bb", "a b"), ("a\n b", "a\n b"),
    ],
)  # fmt: skip
def test_clean_tex(source: str, tex: str) -> None:
    formula = clean_tex(source)
    assert formula is not None
    assert formula.tex == tex


@pytest.mark.parametrize("source", ["", " \n", "x" * (math.MOST_TEX + 1)])
def test_no_formula(source: str) -> None:
    assert clean_tex(source) is None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("\\frac ab", True), ("x^2", True), ("x_i", True), ("$x$", True), ("{\\displaystyle x}", True),
        ("A photo of a dog", False), ("C:\\a", False), ("price: 5$", False), ("file_", False), ("LaTeX", False),
    ],
)  # fmt: skip
def test_looks_like_tex(text: str, verdict: bool) -> None:
    assert looks_like_tex(text) is verdict


CELLS = "<mtable><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr></mtable>"


@pytest.mark.parametrize(
    ("formula", "tex"),
    [
        (E_MC, "E=mc^{2}"),
        ("<mfrac><mrow><mo>-</mo><mi>b</mi><mo>±</mo></mrow><mn>2</mn></mfrac>", r"\frac{-b\pm}{2}"),
        ("<mi>&alpha;</mi><mi>x</mi>", r"\alpha x"),
        ("<mi>sin</mi><mo>&ApplyFunction;</mo><mi>x</mi>", r"\sin x"),
        ("<munderover><mo>&sum;</mo><mi>i</mi><mi>n</mi></munderover><mi>x</mi>", r"\sum_{i}^{n}x"),
        ("<munder><mi>lim</mi><mrow><mi>x</mi><mo>→</mo><mn>0</mn></mrow></munder>", r"\lim_{x\rightarrow 0}"),
        ("<munder><mi>x</mi><mi>y</mi></munder>", r"\underset{y}{x}"),
        ("<mover><mi>x</mi><mo>^</mo></mover><mover><mi>AB</mi><mo>¯</mo></mover>", r"\hat{x}\overline{\mathrm{AB}}"),
        ("<msubsup><mo>∫</mo><mn>0</mn><mn>1</mn></msubsup><msup><mi>f</mi><mo>′</mo></msup>", r"\int_{0}^{1}f'"),
        ("<msub><mi>x</mi><mi>i</mi></msub><msqrt><mi>d</mi></msqrt>", r"x_{i}\sqrt{d}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        ("<mfenced><mi>x</mi><mi>y</mi></mfenced>", "(x,y)"),
        ("<mfenced open='[' close=']' separators=';'><mi>x</mi><mi>y</mi></mfenced>", "[x;y]"),
        (f"<mo>(</mo>{CELLS}<mo>)</mo>", r"\begin{pmatrix} a & b \end{pmatrix}"),
        (f"<mfenced open='['close=']'>{CELLS}</mfenced>", r"\begin{bmatrix} a & b \end{bmatrix}"),
        (f"<mo>{{</mo>{CELLS}", r"\begin{cases} a & b \end{cases}"),
        (CELLS.replace("</mtr>", "</mtr><mtr></mtr>"), r"\begin{matrix} a & b \\  \end{matrix}"),
        ("<mmultiscripts><mi>U</mi><mprescripts/><mn>92</mn><mn>238</mn></mmultiscripts>", r"{}_{92}^{238}U"),
        ("<mtext>if </mtext><mi>x</mi><mo>&lt;</mo><mn>0</mn>", r"\text{if }x<0"),
        ("<mtext>50%</mtext>", r"\text{50\%}"),
        ("<mi mathvariant='double-struck'>R</mi><mi>𝑥</mi><mi>ℝ</mi>", r"\mathbb{R}x\mathbb{R}"),
        ("<mfrac linethickness='0'><mi>n</mi><mi>k</mi></mfrac>", r"{n \atop k}"),
        ("<mphantom><mi>x</mi></mphantom><menclose notation='box'><mi>y</mi></menclose>", r"\phantom{x}\boxed{y}"),
        ("<mstyle><mpadded><mi>x</mi></mpadded></mstyle><mspace width='1em'/><mi>y</mi>", r"x\quad y"),
        ("<semantics><mi>x</mi><annotation>other</annotation></semantics>", "x"),
        ("<msup><mrow><mo>(</mo><mi>a</mi><mo>)</mo></mrow><mi>n</mi></msup>", "(a)^{n}"),
        ("<mi>x", "x"), ("<mo>%</mo><mo>#</mo>", r"\%\#"), ("", ""), ("<msup></msup><mfrac>", r"{}\frac{}{}"),
    ],
)  # fmt: skip
def test_mathml(formula: str, tex: str) -> None:
    assert to_tex(f"<math>{formula}</math>".encode()) == tex


def test_deep_formulas_keep_their_text() -> None:
    deep = "<mrow>" * 3000 + "<mi>x</mi><mi>y</mi>" + "</mrow>" * 3000
    assert to_tex(f"<math>{deep}</math>".encode()) == "xy"
    assert to_tex(b"<math>" + b"<msqrt>" * 3000 + b"y").count("y") == 1


PIECES = [
    "<math>", "</math>", "<mi>x</mi>", "<msup>", "</msup>", "<annotation encoding=x-tex>", "</annotation>", "<math",
    '<span class="katex">', '<span class="MathJax">', "</span>", '<div class="MathJax_Display">', "</div>", "<!--",
    '<script type="math/tex">', "</script>", '<img class=tex alt="x^2">', "<mjx-container>", "</mjx-container>", "<p>",
    '<span class="katex-html">', '<span class="MathJax_Preview">', '<span class="MathJax" data-mathml="<math>">', "a<b",
    "&lt;", "é", " ", '"', "<", ">", '<script type="math/mml">', "<semantics>", "<mtable>", "<mtr>", "<mo>(</mo>",
]  # fmt: skip


@examples(40, 150)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_page(page: str) -> None:
    out = rewrite(page.encode())
    out.decode()
    scan(out)


@pytest.mark.parametrize(
    "piece", [*PIECES, "<math><mi>x</mi></math>", "<math alttext='", "<math><semantics><annotation>"]
)
def test_hostile_pages_end(piece: str) -> None:
    count = 2000
    assert len(find_tags(piece.encode() * count).starts) <= piece.count("<") * count
    rewrite(piece.encode() * count)


def test_each_source_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def nothing(formula: bytes) -> str:
        read.append(len(formula))
        return ""

    monkeypatch.setattr(math, "to_tex", nothing)
    page = b'<span class="MathJax">' * 50 + b"<math><mspace></mspace></math>" + b"</span>" * 50
    assert rewrite(page) == page
    assert len(read) == 1
