"""`LanguageGate`: drops pages of other languages before the dear extraction, by their cheap plain text."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Filter
from tokenmill.extract import decode as _  # noqa: F401 - registers the stage that the plan puts before this one
from tokenmill.extract import prescan
from tokenmill.text.langid import BUNDLED, LangId, load_langid, model_digest


class LanguageGate(Filter):
    """Keeps a page whose cheap text may be in one of the languages; the real decision comes after extraction.

    Reason: `language`.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("html",)

    languages: tuple[str, ...] = ("en",)
    """Languages to keep, as labels of the model (lid.176: ISO 639 codes). Default English, as FineWeb."""
    min_score: float = 0.1
    """A page is dropped when no sample of it reaches this for any language. Probability; default 0.1, measured on
    the test crawl (docs/extraction.md). Far below FineWeb's 0.65 after extraction, since menus and code are in."""
    model: str = BUNDLED
    """Language model: the bundled lid.176 (compressed) or the path of a fastText model."""
    samples: int = 4
    """Samples judged on their own: a page in several languages, or with a long listing, is kept if one of them
    may be in the language. Each costs some 0.1 ms on pages of other languages, pages to keep need one."""
    sample_chars: int = 200
    """Length of a sample. Characters; four of 200 lose a twelfth of what one of 1,000 loses."""
    min_chars: int = 50
    """A page with less visible text is kept, since its language cannot be judged. Characters."""
    scan_bytes: int = 1 << 18
    """Visible text in which the samples are looked for. Bytes of UTF-8."""

    def setup(self) -> None:
        prescan.warm_up()
        assert self._model

    def digests(self) -> Mapping[str, str]:
        if not self.languages:
            raise ConfigError("no language to keep", where="language_gate.languages", fix="name at least one")
        return {"model": model_digest(self.model)}

    def judge(self, doc: Doc) -> Drop | None:
        text = prescan.shape_of(doc, self.scan_bytes).text
        if len(text) < self.min_chars:
            return None
        best = 0.0
        for sample in longest_blocks(text, self.samples, self.sample_chars):
            best = max(best, self._likelihood(sample))
            if best >= self.min_score:
                return None
        return Drop("language", "language_gate_score", best, self.min_score)

    def _likelihood(self, text: str) -> float:
        """Score of the likeliest of the languages."""
        return max(self._model.scores(text, self.languages))

    @cached_property
    def _model(self) -> LangId:
        return load_langid(self.model)


def longest_blocks(text: str, count: int, chars: int) -> list[str]:
    """Samples of about `chars` characters from the lines of a text, longest lines first, each cut to `chars`.

    A page begins with menus; its prose stands in the long blocks.
    """
    samples: list[str] = []
    current: list[str] = []
    length = 0
    for line in sorted(text.split("\n"), key=len, reverse=True):
        current.append(line[:chars])
        length += len(current[-1]) + 1
        if length >= chars:
            samples.append(html.unescape(" ".join(current)))
            current, length = [], 0
            if len(samples) == count:
                return samples
    return [*samples, html.unescape(" ".join(current))] if current else samples
