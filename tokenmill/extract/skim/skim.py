"""`Skim`: the main content of a page in one linear pass and a learned model of its blocks.

Bounded in time and memory for any input, and of the same bytes on every machine: the scan (`scan`), probabilities
(`model`), the choice of blocks with the confidence in it (`choose`), the text of those kept (`assemble`) and what the
page says of itself (`facts`). docs/extraction.md has the measurements, docs/skim-model.md the model's card.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tokenmill.core.kernels import Kernel
from tokenmill.extract.prescan import Shape
from tokenmill.extract.skim import assemble, choose, facts, math, scan
from tokenmill.extract.skim.model import Model, probabilities

if TYPE_CHECKING:
    from tokenmill.core.doc import Doc

SAMPLES, SAMPLE_CHARS = 4, 200
"""How much of a page's likeliest text is kept for the language gate: samples, and characters of each."""


CUTS = {"balanced": choose.Settings().cut, "precision": 0.7, "recall": 0.5}
"""Probability from which a block is kept, by what matters more."""


@dataclass(frozen=True)
class Skimmed:
    """What skim made of a page."""

    text: str
    """Main content; empty where there is none."""
    confidence: float
    """Expected F1 of the text against what a careful reader would keep, calibrated on annotated pages; 0 to 1."""
    route: float
    """How much another extractor is expected to win on this page; the cascade sends pages above a threshold."""
    facts: facts.Facts
    shape: Shape
    """As the pre-scan's, without text: whether a parser may take the page."""
    unjudged: int
    """Blocks beyond those that the model looks at (`model.MOST_BLOCKS`); they are left out."""
    samples: tuple[bytes, ...]
    """Pieces of the likeliest text (UTF-8), best first, for the language gate."""


@dataclass(frozen=True)
class Judged:
    """A page with the probability of every block; what `tokenmill explain --blocks` shows."""

    scan: scan.Scan
    probabilities: npt.NDArray[np.float32]
    """[B]"""
    choice: choose.Choice


@dataclass(frozen=True)
class Skim:
    """The extractor with its settings; `page` may be called from any thread."""

    cut: float = CUTS["balanced"]
    """Probability from which a block is kept."""
    markdown: bool = False
    """Markdown instead of plain text."""
    model_path: Path | None = None
    """Another model than the shipped one."""
    model: Model | None = None
    """The same, loaded."""

    def page(self, html: str | bytes, url: str | None = None) -> Skimmed:
        """The main content of a page: clean text or its UTF-8. `url` resolves relative links among the facts."""
        judged = self.judge(html)
        return Skimmed(
            assemble.assemble(judged.scan, judged.choice.keep, self.markdown),
            judged.choice.confidence,
            judged.choice.route,
            facts.page_facts(judged.scan, url),
            _shape(judged.scan),
            judged.choice.unjudged,
            samples(judged.scan, judged.probabilities),
        )

    def text(self, html: str | bytes) -> tuple[str, float, Shape]:
        """Only the text of a page, what another extractor promises, and the shape; a fifth cheaper than `page`."""
        judged = self.judge(html)
        text = assemble.assemble(judged.scan, judged.choice.keep, self.markdown)
        return text, judged.choice.route, _shape(judged.scan)

    def judge(self, html: str | bytes) -> Judged:
        """The scan of a page, the probabilities of its blocks, and which are kept."""
        page = math.rewrite(_encoded(html) if isinstance(html, str) else html)
        scanned = scan.scan(page)
        found = probabilities(scanned, self._model)
        return Judged(scanned, found, choose.choose(scanned, found, self._model, choose.Settings(cut=self.cut)))

    @property
    def route_above(self) -> float:
        """The model's threshold on `Skimmed.route`, which at most 5 % of a crawl's pages pass."""
        return self._model.route_above

    @property
    def digest(self) -> str:
        """SHA-256 of the model's file, hexadecimal."""
        return self._model.digest

    @cached_property
    def _model(self) -> Model:
        return self.model or Model.load(self.model_path)


def _shape(scanned: scan.Scan) -> Shape:
    return Shape(scanned.elements, scanned.depth, scanned.attribute_bytes, scanned.attributes, "")


def _encoded(html: str) -> bytes:
    try:
        return html.encode()
    except UnicodeEncodeError:  # lone surrogates, of which decoded pages have none
        return html.encode("utf-8", "replace")


def samples(scanned: scan.Scan, found: npt.NDArray[np.float32]) -> tuple[bytes, ...]:
    """Up to SAMPLES pieces of about SAMPLE_CHARS characters from the blocks with the most likely text, best first.

    A block counts by the length of its text outside links times its probability, to which a tenth is added: where
    nothing is likely, the longest text is looked at.
    """
    own = scanned.bl_end - scanned.bl_start - scanned.bl_link
    order = np.argsort(-(own * (found + np.float32(0.1))), kind="stable")
    pieces: list[bytes] = []
    current: list[bytes] = []
    length = 0
    order = order[: 64 * SAMPLES]
    text = scanned.text.data
    for start, end in zip(scanned.bl_start[order].tolist(), scanned.bl_end[order].tolist(), strict=True):
        current.append(_first_chars(bytes(text[start : min(end, start + 4 * SAMPLE_CHARS)])))
        length += len(current[-1]) + 1
        if length >= SAMPLE_CHARS:
            pieces.append(b" ".join(current).replace(b"\n", b" "))
            current, length = [], 0
            if len(pieces) == SAMPLES:
                return tuple(pieces)
    return (*pieces, b" ".join(current).replace(b"\n", b" ")) if current else tuple(pieces)


def _first_chars(text: bytes) -> bytes:
    return text[:SAMPLE_CHARS] if text.isascii() else text.decode("utf-8", "ignore")[:SAMPLE_CHARS].encode()


KERNELS = (
    Kernel("tokenmill.extract.skim.model:warm_up", 25),
    Kernel("tokenmill.extract.skim.assemble:warm_up", 24),
    Kernel("tokenmill.extract.skim.scan:warm_up", 23),
    Kernel("tokenmill.extract.skim.choose:warm_up", 9),
    Kernel("tokenmill.extract.skim.math:warm_up", 8),
)
MARKDOWN_KERNELS = (*KERNELS, Kernel("tokenmill.extract.skim.assemble:warm_up_markdown", 5))
DEFAULT = Skim()
"""The extractor with default settings, whose results stages share."""


def skimmed_of(doc: Doc) -> Skimmed:
    """The page of a document by the default extractor, once for all stages."""
    found: Skimmed = doc.cached("skimmed", lambda doc: DEFAULT.page(doc["html"], doc["url"] if "url" in doc else None))
    return found


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache."""
    DEFAULT.page("<html><body><p>a</p><p>b <b>c</b></p></body></html>")
    math.warm_up()
