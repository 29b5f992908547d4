"""Formulas: which sources of TeX on the crawl's MathJax and KaTeX pages are in the text that is kept.

A formula survives when its source is in the text, verbatim up to white space, between delimiters of TeX: those of the
page or others. Sources are found without tokenmill: in the text nodes of lxml's tree outside of code, in
`<script type="math/tex">`, in TeX annotations of MathML. A source that occurs several times in a page counts once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extraction_pages import Page, Verdicts, mean, pages_in_turns, table
from extraction_systems import CASCADE, OUT_OF_FOLD, SKIM, System

from tokenmill.text.hosts import host_of

LEAST = 0.97
PAGES = 400
PAGES_OF_HOST = 150
"""Most pages of a host: one manual in 22 versions would decide."""
_NAMED = re.compile(r"mathjax|katex|math/tex|application/x-tex", re.IGNORECASE)
_FORMS = {
    r"\( \)": re.compile(r"\\\((.{1,2000}?)\\\)", re.DOTALL),
    r"\[ \]": re.compile(r"\\\[(.{1,4000}?)\\\]", re.DOTALL),
    "$$": re.compile(r"(?<!\\)\$\$([^$]{1,4000}?)\$\$"),
    "$": re.compile(r"(?<![\\$\w])\$(?![\s$\d])([^$\n]{1,300}?)(?<![\s\\])\$(?![\d$])"),
}
_TEX = re.compile(r"\\[A-Za-z]+|[_^]\s*[{\w\\]|^[A-Za-z]$|^[^a-z]*[=<>+][^a-z]*$")
"""What a text between single dollars must have to be a formula and not two prices."""
_SILENT = frozenset(("script", "style", "pre", "code", "textarea", "noscript", "template", "title", "option", "svg"))
SCRIPT, ANNOTATION = "script math/tex", "TeX annotation"


@dataclass(frozen=True)
class FormulaPage:
    """A page and its sources: (form, TeX without white space)."""

    page: Page
    formulas: frozenset[tuple[str, str]]


def formulas_of(html: str) -> frozenset[tuple[str, str]]:
    """The sources of a page by form, without white space."""
    if _NAMED.search(html) is None:
        return frozenset()
    from lxml import html as lxml_html

    tree = lxml_html.document_fromstring(html.encode(), parser=lxml_html.HTMLParser(encoding="utf-8", huge_tree=True))
    found: set[tuple[str, str]] = set()
    for element in tree.iter():
        tag = element.tag if isinstance(element.tag, str) else ""
        if tag == "script" and (element.get("type") or "").startswith("math/tex"):
            found.add((SCRIPT, _bare(element.text or "")))
        elif tag == "annotation" and (element.get("encoding") or "") in ("application/x-tex", "TeX"):
            found.add((ANNOTATION, _bare(element.text or "")))
        elif tag and tag not in _SILENT and not any(around.tag in _SILENT for around in element.iterancestors()):
            found |= _in_text(element.text or "")
        parent = element.getparent()
        if parent is not None and parent.tag not in _SILENT and tag != "annotation":
            found |= _in_text(element.tail or "")
    return frozenset(formula for formula in found if formula[1])


def _in_text(text: str) -> set[tuple[str, str]]:
    if "\\" not in text and "$" not in text:
        return set()
    found = set()
    for form, pattern in _FORMS.items():
        for match in pattern.finditer(text):
            source = match[1].strip()
            if form != "$" or _TEX.search(source):
                found.add((form, _bare(source)))
        text = pattern.sub(" ", text)
    return found


def _bare(source: str) -> str:
    return "".join(source.split())


def surviving(formulas: frozenset[tuple[str, str]], text: str) -> dict[tuple[str, str], bool]:
    """Whether each source is in the text between delimiters."""
    bare = _bare(text)
    pairs = (("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"))
    return {
        formula: any(f"{opening}{formula[1]}{closing}" in bare for opening, closing in pairs) for formula in formulas
    }


def formula_pages(shared: Path) -> list[FormulaPage]:
    """Pages of the crawl with formulas, at most PAGES_OF_HOST of a host, PAGES in all."""
    of_host: Counter[str] = Counter()
    found = []
    for page in pages_in_turns(shared):
        if of_host[host_of(page.url)] >= PAGES_OF_HOST:
            continue
        formulas = formulas_of(page.html)
        if formulas:
            of_host[host_of(page.url)] += 1
            found.append(FormulaPage(page, formulas))
            if len(found) == PAGES:
                break
    return found


def run_formulas(shared: Path, systems: Sequence[System], verdicts: Verdicts) -> None:
    """Print the part; note what must hold."""
    pages = formula_pages(shared)
    total: Counter[str] = Counter(form for entry in pages for form, _ in entry.formulas)
    forms = [form for form, _ in total.most_common()]
    hosts = {host_of(entry.page.url) for entry in pages}
    print(f"\n## Formulas ({sum(total.values())} sources on {len(pages)} pages of {len(hosts)} hosts)")
    rows = []
    for system in systems:
        system.warm_up()
        kept: Counter[str] = Counter()
        by_host: dict[str, list[float]] = defaultdict(list)
        for entry in pages:
            found = surviving(entry.formulas, system.extract(entry.page))
            kept.update(form for (form, _), survives in found.items() if survives)
            by_host[host_of(entry.page.url)].append(mean([float(survives) for survives in found.values()]))
        share = sum(kept.values()) / max(1, sum(total.values()))
        whole = mean([float(value >= 0.9) for values in by_host.values() for value in values])
        macro = mean([mean(values) for values in by_host.values()])
        cells = [f"{share:.1%}", f"{macro:.1%}", f"{whole:.0%}", *(f"{kept[form] / total[form]:.1%}" for form in forms)]
        rows.append([system.name, *cells])
        if system.name in (SKIM + OUT_OF_FOLD, CASCADE + OUT_OF_FOLD):
            verdicts.hold(f"{system.name}: share of formula sources that survive", share, LEAST)
    head = ["system", "survive", "mean of hosts", "pages with 90 %", *(f"`{form}` ({total[form]})" for form in forms)]
    table(head, rows)
