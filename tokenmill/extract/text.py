"""`ExtractText`: the main content of a page as plain text."""

from __future__ import annotations

import html as html_module
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.kernels import Kernel
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Rewrite
from tokenmill.extract import decode as _  # noqa: F401 - registers the stage that the plan puts before this one
from tokenmill.extract import prescan
from tokenmill.extract.sanitize import sanitize, without_forbidden_references
from tokenmill.extract.skim import skim
from tokenmill.extract.skim.skim import CUTS, DEFAULT, KERNELS, MARKDOWN_KERNELS, Skim, skimmed_of

_LIBRARIES = {
    "trafilatura": ("trafilatura", "lxml", "justext", "resiliparse"),
    "resiliparse": ("resiliparse",),
    "skim": (),
    "cascade": ("trafilatura", "lxml", "justext"),
}
_SKIMMING = ("skim", "cascade")
_LARGE_PAGE = 1 << 20
_FACTS = ("title", "html_language", "canonical_url", "published")


class ExtractText(Rewrite):
    """Takes the main content out of a page; menus, footers, adverts and comments stay behind.

    A page that the extractor cannot take goes another way rather than being lost: deeper than libxml2's limit,
    to resiliparse; of a shape that no parser survives, to the visible text of the linear pre-scan. skim takes any page.
    Reason: `no_text`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("html",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {"text": pa.string()}

    extractor: str = "trafilatura"
    """Who extracts: "trafilatura", "resiliparse" (about ten times as fast, worse), "skim" (a linear scan and a learned
    model of blocks) or "cascade" (skim, and trafilatura for the few pages where it is expected to do better). Measured
    in docs/extraction.md. The last two add columns: title, html_language, canonical_url, published, extract_confidence,
    extracted_by ("skim", "trafilatura"; "skim_cut" where a page had more blocks than are judged)."""
    fast: bool = True
    """trafilatura without the comparison with readability and justext: 1.5 times as fast, same quality."""
    focus: str = "balanced"
    """"balanced", "precision" or "recall": trafilatura's, and for skim the probability from which a block is kept
    (0.6, 0.7, 0.5)."""
    markdown: bool = False
    """Markdown instead of plain text: headings, lists, tables, links, emphasis, code. Only skim can."""
    block_model: str | None = None
    """Another model of blocks for skim than the one that comes with the package: the path of a file that
    `python -m tools.skim.train` wrote."""
    route_above: float | None = None
    """Which pages the cascade sends to trafilatura: those whose route, the loss of F1 that the model expects of its own
    text, is above this. Default: the model's own threshold, which takes at most 5 % of a crawl's pages."""
    comments: bool = False
    """Keep reader comments. Default false, as FineWeb; true costs 2 points of precision on articles."""
    main_content: bool = True
    """False: all visible text in document order, menus and footers included, which is the raw text that ablations
    compare with. Only resiliparse can; comments and tables are in it then."""
    tables: bool = True
    """Keep the text of tables; without them segment recall falls by one point."""
    max_lxml_depth: int = 200
    """A page with more nested elements goes to resiliparse. Elements; libxml2 silently drops what is below 256
    (the pre-scan's depth is an estimate, hence the margin)."""
    max_depth: int = 2_000
    """A page with more nested elements is left to the pre-scan. Elements; resiliparse is quadratic in depth (0.1 s
    at 2,000, 3 s at 10,000), the deepest page of the test crawl has 43."""
    max_elements: int = 50_000
    """A page with more elements is left to the pre-scan. Elements; both parsers need seconds to minutes beyond,
    the largest page of the test crawl has 9,748."""
    max_attributes: int = 5_000
    """A page with a tag of more attributes is left to the pre-scan. Both parsers are quadratic in them (3 s at
    20,000), the most in the test crawl are 152."""
    max_text_bytes: int = 1 << 20
    """Most text taken by the pre-scan from a page that is left to it. Bytes of UTF-8; default 1 MiB."""

    def kernels(self) -> Sequence[Kernel]:
        if self.extractor in _SKIMMING:
            return MARKDOWN_KERNELS if self.markdown else KERNELS
        return (prescan.KERNEL,)

    def setup(self) -> None:
        page = "<html><body><p>a</p></body></html>"
        if self.extractor in _SKIMMING:
            skim.warm_up()
            self._skim.page(page)
        if self.extractor in ("trafilatura", "resiliparse"):
            prescan.warm_up()
            self._extract(page)
            self._resiliparse(page)
        if self.extractor == "cascade":
            self._trafilatura(page)

    def columns_added(self) -> Mapping[str, pa.DataType]:
        if self.extractor not in _SKIMMING:
            return self.adds
        texts = dict.fromkeys((*_FACTS, "extracted_by"), pa.string())
        return {**self.adds, **texts, "extract_confidence": pa.float32()}

    def digests(self) -> Mapping[str, str]:
        if self.extractor not in _LIBRARIES:
            raise ConfigError(
                f"no extractor {self.extractor!r}",
                where="extract_text.extractor",
                fix=f"one of {', '.join(_LIBRARIES)}",
            )
        if self.focus not in CUTS:
            raise ConfigError(f"no focus {self.focus!r}", where="extract_text.focus", fix=f"one of {', '.join(CUTS)}")
        if not self.main_content and self.extractor != "resiliparse":
            raise ConfigError(
                f"{self.extractor} cannot give all text of a page",
                where="extract_text.main_content",
                why="it looks for the main content, and has no other way",
                fix='extractor="resiliparse" with main_content=false',
            )
        self._check_skimming()
        versions = {name: _version(name) for name in _LIBRARIES[self.extractor]}
        return {**versions, "block_model": self._skim.digest} if self.extractor in _SKIMMING else versions

    def _check_skimming(self) -> None:
        """ConfigError where settings of skim are given to another extractor, or those of others to skim."""
        skimming = self.extractor in _SKIMMING
        for name, wrong in (
            ("markdown", self.markdown and self.extractor != "skim"),
            ("block_model", self.block_model is not None and not skimming),
            ("route_above", self.route_above is not None and self.extractor != "cascade"),
            ("comments", self.comments and skimming),
            ("tables", not self.tables and skimming),
        ):
            if wrong:
                raise ConfigError(
                    f"{self.extractor} has no such setting",
                    where=f"extract_text.{name}",
                    fix="leave it at its default, or choose another extractor",
                )

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        # `DecodeHtml` leaves it clean; what comes from elsewhere must not stop lxml, which ASCII never does
        html = doc["html"] if doc["html"].isascii() else sanitize(doc["html"])
        if self.extractor in _SKIMMING:
            return self._rewrite_skimming(doc, html)
        text = sanitize(self.extract(html, prescan.shape_of(doc))).strip()
        return {"text": text} if text else Drop("no_text")

    def _rewrite_skimming(self, doc: Doc, html: str) -> Mapping[str, Any] | Drop:
        skimmed = (
            skimmed_of(doc) if self._skim == DEFAULT else self._skim.page(html, doc["url"] if "url" in doc else None)
        )
        text, asked = self._cascade(html, skimmed.text, skimmed.route, skimmed.shape)
        by = "trafilatura" if asked else "skim_cut" if skimmed.unjudged else "skim"
        text = sanitize(text).strip()
        if not text:
            return Drop("no_text", "extract_confidence", skimmed.confidence)
        facts = skimmed.facts
        return {
            "text": text,
            "title": facts.title,
            "html_language": facts.language,
            "canonical_url": facts.canonical,
            "published": facts.published,
            "extract_confidence": skimmed.confidence,
            "extracted_by": by,
        }

    def _cascade(self, html: str, text: str, route: float, shape: prescan.Shape) -> tuple[str, bool]:
        """Text, and whether it is trafilatura's. Limits come before trafilatura sees a page: it is what hangs."""
        if self.extractor == "cascade" and route > self._route_above and self.parsable(shape):
            other = self._trafilatura(without_forbidden_references(html))
            if other.strip():
                return other, True
        return text, False

    def parsable(self, shape: prescan.Shape) -> bool:
        """Whether a page of this shape is within the limits of the parser below trafilatura."""
        return (
            shape.depth <= self.max_lxml_depth
            and shape.elements <= self.max_elements
            and shape.attributes <= self.max_attributes
        )

    def extract(self, html: str, shape: prescan.Shape | None = None) -> str:
        """The main content, by the way that the shape of the page allows."""
        if self.extractor in _SKIMMING:
            return self._cascade(html, *self._skim.text(html))[0]
        html = without_forbidden_references(html)
        shape = shape or prescan.prescan(html.encode())
        if shape.depth > self.max_depth or shape.elements > self.max_elements or shape.attributes > self.max_attributes:
            return html_module.unescape(prescan.prescan(html.encode(), self.max_text_bytes).text)
        if shape.depth > self.max_lxml_depth:
            return self._resiliparse(html)
        return self._extract(html)

    @cached_property
    def _skim(self) -> Skim:
        return Skim(CUTS[self.focus], self.markdown, Path(self.block_model) if self.block_model else None)

    @cached_property
    def _route_above(self) -> float:
        return self._skim.route_above if self.route_above is None else self.route_above

    @cached_property
    def _extract(self) -> Callable[[str], str]:
        return self._resiliparse if self.extractor == "resiliparse" else self._trafilatura

    @cached_property
    def _resiliparse(self) -> Callable[[str], str]:
        from resiliparse.extract.html2text import extract_plain_text

        def extract(html: str) -> str:
            return extract_plain_text(
                html,
                main_content=self.main_content,
                alt_texts=False,
                list_bullets=False,
                post_meta=False,
                comments=self.comments or not self.main_content,
            )

        return extract

    @cached_property
    def _trafilatura(self) -> Callable[[str], str]:
        _quieten()
        from lxml import etree
        from lxml import html as lxml_html
        from trafilatura import extract as trafilatura_extract
        from trafilatura.meta import reset_caches
        from trafilatura.settings import Extractor
        from trafilatura.utils import HTML_PARSER

        # The default lookup calls Python for each of some 1,700 nodes of a page; this one stays in C. A tenth
        # of the time, and the same text, since trafilatura uses no method of special elements.
        HTML_PARSER.set_element_class_lookup(
            etree.ElementDefaultClassLookup(
                element=lxml_html.HtmlElement,
                comment=lxml_html.HtmlComment,
                pi=lxml_html.HtmlProcessingInstruction,
                entity=lxml_html.HtmlEntity,
            )
        )
        # Made once: an Extractor reads its configuration file's sections on every creation. No deduplication:
        # it keeps a process-wide cache of seen paragraphs, and the text of a page would depend on those before.
        options = Extractor(
            output_format="txt",
            fast=self.fast,
            precision=self.focus == "precision",
            recall=self.focus == "recall",
            comments=self.comments,
            tables=self.tables,
            dedup=False,
        )

        def extract(html: str) -> str:
            text = trafilatura_extract(html, options=options)
            if len(html) > _LARGE_PAGE:
                reset_caches()  # they hold up to 16,384 strings, which a large page makes large
            return text or ""

        return extract


def _quieten() -> None:
    """trafilatura logs every page without text as an error; the stage's drop reasons say it already."""
    import logging

    for name in ("trafilatura", "htmldate", "justext"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError as error:
        raise ConfigError(f"{library} is not installed", where="extract_text", fix=f"pip install {library}") from error
