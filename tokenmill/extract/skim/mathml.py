"""Presentation MathML as plain LaTeX, for formulas that come without their source.

What each element means: MathML Core and MathML 3, chapter 3 (w3.org). The result is made to be read, not to be set:
fences keep their size, spacing is left out where LaTeX spaces by itself. Time is linear: at most `DEPTH` elements are
nested, what is deeper gives its text.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tokenmill.extract.skim.mathml_tables import ACCENTS, FENCES, FUNCTIONS, LIMITS, SYMBOLS, UNDER, VARIANTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEPTH = 64
"""Elements within each other; the text of deeper ones belongs to the deepest."""

_COMMAND_AT_END = re.compile(r"\\[A-Za-z]{1,24}\Z")
_EM = re.compile(r"\s*([0-9.]{1,8})em")
_ESCAPED = str.maketrans({c: "\\" + c for c in "%#&$_{}"} | {"\\": "\\backslash "})
_TOKENS = ("mi", "mn", "mo", "mtext", "ms")


class Tags(NamedTuple):
    """Tags of a page; what the arrays mean: `math_kernel.tags`."""

    starts: NDArray[np.int64]
    names: NDArray[np.int64]
    ends: NDArray[np.int64]
    kinds: NDArray[np.int64]
    partners: NDArray[np.int64]


def find_tags(page: bytes) -> Tags:
    """The tags of a page or of a part of one."""
    import numpy as np

    from tokenmill.extract.skim import math_kernel

    found = [np.empty(page.count(b"<"), np.int64) for _ in range(5)]
    count = math_kernel.tags(np.frombuffer(page, np.uint8), *found)
    return Tags(*(array[:count] for array in found))


@dataclass
class Element:
    """One element of a formula."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    def elements(self) -> list[Element]:
        return [child for child in self.children if isinstance(child, Element)]

    def text(self) -> str:
        """Its own text, white space collapsed."""
        return " ".join("".join(child for child in self.children if isinstance(child, str)).split())


def to_tex(formula: bytes) -> str:
    """LaTeX of a `<math>` element given as UTF-8; empty where there is nothing to show."""
    root = _parse(formula)
    return _row(root.children).strip()


def _parse(formula: bytes) -> Element:
    from tokenmill.extract.charset import attributes
    from tokenmill.extract.skim import math_kernel

    tags = find_tags(formula)
    root = Element("")
    open_elements, numbers = [root], [-1]
    at = 0
    for number, (start, name_end, end, kind, partner) in enumerate(zip(*(a.tolist() for a in tags), strict=True)):
        if start > at:
            open_elements[-1].children.append(html.unescape(formula[at:start].decode("utf-8", "replace")))
        at = end
        if kind == math_kernel.END_TAG:
            while partner >= 0 and numbers[-1] >= partner:
                open_elements.pop()
                numbers.pop()
        elif len(numbers) <= DEPTH:
            name = formula[start + 1 : name_end].decode("utf-8", "replace").lower().rpartition(":")[2]
            found = attributes(formula[name_end:end]) if end - name_end > 2 else {}
            values = {k.decode("latin-1"): html.unescape(v.decode("utf-8", "replace")) for k, v in found.items()}
            element = Element(name, values)
            open_elements[-1].children.append(element)
            if partner != number:
                open_elements.append(element)
                numbers.append(number)
    open_elements[-1].children.append(html.unescape(formula[at:].decode("utf-8", "replace")))
    return root


def _joined(pieces: Iterable[str]) -> str:
    """Pieces one behind the other, with a blank where a command would run into a letter."""
    out: list[str] = []
    for piece in pieces:
        if not piece:
            continue
        if out and piece[0].isalnum() and _COMMAND_AT_END.search(out[-1][-25:]):
            out.append(" ")
        out.append(piece)
    return "".join(out)


def _row(children: list[Element | str]) -> str:
    parts: list[str] = []
    elements = [child for child in children if isinstance(child, Element) or child.strip()]
    i = 0
    while i < len(elements):
        child = elements[i]
        fenced = _fenced_table(elements, i)
        if fenced is not None:
            tex, i = fenced
            parts.append(tex)
            continue
        parts.append(_tex(child) if isinstance(child, Element) else _words(child))
        i += 1
    return _joined(parts)


def _fenced_table(elements: list[Element | str], i: int) -> tuple[str, int] | None:
    """Matrix or cases that begin at a fence, and where the row goes on."""
    if i + 1 >= len(elements):
        return None
    fence, table = elements[i], elements[i + 1]
    if not (isinstance(fence, Element) and fence.name == "mo" and isinstance(table, Element)):
        return None
    if table.name in ("mrow", "mstyle", "mpadded") and len(table.elements()) == 1:
        table = table.elements()[0]
    if table.name != "mtable":
        return None
    after = elements[i + 2] if i + 2 < len(elements) else None
    close = after.text() if isinstance(after, Element) and after.name == "mo" else ""
    environment = FENCES.get((fence.text(), close))
    if environment is not None:
        return _table(table, environment), i + 3
    if fence.text() == "{" and not close:
        return _table(table, "cases"), i + 2 + (after is not None and isinstance(after, Element) and after.name == "mo")
    return None


def _tex(element: Element) -> str:
    if element.name in _TOKENS:
        return _token(element)
    rule = _RULES.get(element.name)
    return rule(element) if rule is not None else _row(element.children)


def _words(text: str) -> str:
    """Text outside of token elements, which is not MathML, but happens."""
    return "".join(_symbol(c) for c in " ".join(text.split()))


def _symbol(character: str) -> str:
    found = SYMBOLS.get(character)
    if found is not None:
        return found
    return unicodedata.normalize("NFKC", character) if "\U0001d400" <= character <= "\U0001d7ff" else character


def _token(element: Element) -> str:
    text = element.text()
    if element.name in ("mtext", "ms"):
        text = "".join(child for child in element.children if isinstance(child, str))
        text = re.sub(r"\s+", " ", text)
        inner = _row(list(element.elements()))
        return ("\\text{" + text.translate(_ESCAPED) + "}" if text.strip() else " " if text else "") + inner
    bare = "".join(_symbol(c) for c in text) if len(text) == 1 else ""
    if not bare:
        if text in FUNCTIONS:
            bare = "\\" + text
        elif element.name == "mi" and len(text) > 1 and text.isalpha() and text.isascii():
            return ("\\mathbf{" if element.attributes.get("mathvariant") == "bold" else "\\mathrm{") + text + "}"
        elif element.name == "mo" and len(text) > 1 and text.isalpha():
            bare = "\\operatorname{" + text + "}"
        else:
            bare = _joined(_symbol(c) for c in text)
    variant = VARIANTS.get(element.attributes.get("mathvariant", ""))
    inner = _row(list(element.elements()))
    return (f"\\{variant}{{{bare}}}" if variant and bare else bare) + inner


def _arguments(element: Element, count: int) -> list[str]:
    """LaTeX of the first elements, empty strings for missing ones; what is too much joins the last."""
    found = [_tex(child) for child in element.elements()]
    if len(found) > count:
        found[count - 1 :] = [_joined(found[count - 1 :])]
    return found + [""] * (count - len(found))


def _base(tex: str) -> str:
    """What may carry a script as it is: one character, one command, or something in fences of its own."""
    if tex[:1] in ("(", "[", "|") and tex[-1] in (")", "]", "|") and len(tex) > 1:
        return tex
    if len(tex) <= 1 or re.fullmatch(r"\\[A-Za-z]{1,24}|\\[^A-Za-z]|[0-9]{1,24}", tex) or _is_call(tex):
        return tex or "{}"
    return "{" + tex + "}"


def _is_call(tex: str) -> bool:
    return re.fullmatch(r"\\[A-Za-z]{1,24}\{[^{}]{0,40}\}", tex) is not None


def _script(sign: str, tex: str) -> str:
    return f"{sign}{{{tex}}}" if tex else ""


def _power(tex: str) -> str:
    primes = tex.count("\\prime")
    return "'" * primes if primes and tex == "\\prime" * primes else _script("^", tex)


def _sup(element: Element) -> str:
    base, over = _arguments(element, 2)
    return _base(base) + _power(over)


def _sub(element: Element) -> str:
    base, under = _arguments(element, 2)
    return _base(base) + _script("_", under)


def _subsup(element: Element) -> str:
    base, under, over = _arguments(element, 3)
    return _base(base) + _script("_", under) + _power(over)


def _plain(element: Element) -> str:
    """The text of an element and of the single elements within it."""
    for _ in range(DEPTH):
        inside = element.elements()
        if len(inside) != 1:
            break
        element = inside[0]
    return element.text()


def _over(element: Element) -> str:
    inside = element.elements()
    base, over = _arguments(element, 2)
    accent = ACCENTS.get(_plain(inside[1])) if len(inside) > 1 else None
    if accent == "bar" and len(base) > 1:
        accent = "overline"
    if accent is not None:
        return f"\\{accent}{{{base}}}"
    if not over:
        return base
    if inside and _plain(inside[0]) in LIMITS:
        return base + _script("^", over)
    if base.startswith(("\\overbrace", "\\underbrace")):
        return base + _script("^", over)
    return f"\\overset{{{over}}}{{{base}}}"


def _under(element: Element) -> str:
    inside = element.elements()
    base, under = _arguments(element, 2)
    line = UNDER.get(_plain(inside[1])) if len(inside) > 1 else None
    if line is not None:
        return f"\\{line}{{{base}}}"
    if not under:
        return base
    if (inside and _plain(inside[0]) in LIMITS) or base.startswith(("\\underbrace", "\\overbrace")):
        return base + _script("_", under)
    return f"\\underset{{{under}}}{{{base}}}"


def _underover(element: Element) -> str:
    base, under, over = _arguments(element, 3)
    inside = element.elements()
    if inside and (_plain(inside[0]) in LIMITS or len(base) == 1):
        return base + _script("_", under) + _script("^", over)
    return f"\\underset{{{under}}}{{\\overset{{{over}}}{{{base}}}}}"


def _multiscripts(element: Element) -> str:
    """A base, pairs of lower and upper scripts behind it and, after `mprescripts`, before it."""
    before, behind, base = "", "", ""
    scripts: list[str] = []
    for child in element.elements():
        if child.name == "mprescripts":
            behind, scripts = _pairs_of(scripts[1:]), scripts[:1]
            base = scripts.pop() if scripts else ""
            scripts = ["mprescripts"]
        else:
            scripts.append(_tex(child))
    if scripts[:1] == ["mprescripts"]:
        before = "{}" + _pairs_of(scripts[1:])
    else:
        base, behind = scripts[0] if scripts else "", _pairs_of(scripts[1:])
    return before + _base(base) + behind


def _pairs_of(scripts: list[str]) -> str:
    padded = [*scripts, ""]
    return "".join(
        _script("_", low) + _power(high) for low, high in zip(padded[: len(scripts) : 2], padded[1::2], strict=False)
    )


def _fraction(element: Element) -> str:
    above, below = _arguments(element, 2)
    if re.fullmatch(r"0(\.0*)?[a-z%]{0,3}", element.attributes.get("linethickness", "").strip()):
        return f"{{{above} \\atop {below}}}"
    if element.attributes.get("bevelled") == "true":
        return f"{_base(above)}/{_base(below)}"
    return f"\\frac{{{above}}}{{{below}}}"


def _root(element: Element) -> str:
    inside, index = _arguments(element, 2)
    return f"\\sqrt[{index}]{{{inside}}}" if index else f"\\sqrt{{{inside}}}"


def _fenced(element: Element) -> str:
    opening = element.attributes.get("open", "(").strip()
    closing = element.attributes.get("close", ")").strip()
    tables = element.elements()
    if len(tables) == 1 and tables[0].name == "mtable" and (environment := FENCES.get((opening, closing))):
        return _table(tables[0], environment)
    marks = "".join(element.attributes.get("separators", ",").split())[:64]
    parts = [_symbol(opening[:1])]
    for i, child in enumerate(tables):
        if i and marks:
            parts.append(_symbol(marks[min(i - 1, len(marks) - 1)]))
        parts.append(_tex(child))
    return _joined([*parts, _symbol(closing[:1])])


def _table(element: Element, environment: str = "matrix") -> str:
    rows = []
    for row in element.elements():
        cells = row.elements() if row.name in ("mtr", "mlabeledtr") else [row]
        rows.append(" & ".join(_tex(cell).strip() for cell in cells))
    return f"\\begin{{{environment}}} " + " \\\\ ".join(rows) + f" \\end{{{environment}}}"


def _space(element: Element) -> str:
    width = _EM.match(element.attributes.get("width", ""))
    return "\\quad " if width and width[1].count(".") < 2 and float(width[1].strip(".") or 0) >= 1 else " "


def _enclosed(element: Element) -> str:
    notation = element.attributes.get("notation", "longdiv").split()
    inside = _row(element.children)
    if "radical" in notation:
        return f"\\sqrt{{{inside}}}"
    if "box" in notation or "roundedbox" in notation:
        return f"\\boxed{{{inside}}}"
    if any("strike" in name for name in notation):
        return f"\\cancel{{{inside}}}"
    return f"\\overline{{{inside}}}" if "top" in notation else inside


def _first(element: Element) -> str:
    """Of alternatives the first that is no annotation."""
    for child in element.elements():
        if not child.name.startswith("annotation"):
            return _tex(child)
    return _row(element.children)


_RULES: dict[str, Callable[[Element], str]] = {
    "mfrac": _fraction,
    "msqrt": lambda element: f"\\sqrt{{{_row(element.children)}}}",
    "mroot": _root,
    "msup": _sup,
    "msub": _sub,
    "msubsup": _subsup,
    "mover": _over,
    "munder": _under,
    "munderover": _underover,
    "mmultiscripts": _multiscripts,
    "mfenced": _fenced,
    "mtable": _table,
    "mtd": lambda element: _row(element.children),
    "mspace": _space,
    "mphantom": lambda element: f"\\phantom{{{_row(element.children)}}}",
    "menclose": _enclosed,
    "semantics": _first,
    "maction": _first,
    "annotation": lambda element: "",
    "annotation-xml": lambda element: "",
    "none": lambda element: "",
    "mprescripts": lambda element: "",
}
