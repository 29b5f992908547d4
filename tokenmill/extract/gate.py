"""`LanguageGate`: drops pages of other languages before the dear steps, by their likeliest text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.kernels import Kernel
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Filter
from tokenmill.extract import decode as _  # noqa: F401 - registers the stage that the plan puts before this one
from tokenmill.extract.skim import skim
from tokenmill.text.langid import BUNDLED, KERNEL, LangId, load_langid, model_digest


class LanguageGate(Filter):
    """Keeps a page whose likeliest text may be in one of the languages; the real decision comes after extraction.

    Looks at samples of the blocks that skim takes for main content, each judged on its own, so that a page in several
    languages is kept if one of them may be wanted. What skim finds is used again by `ExtractText`. Reason: `language`.
    """

    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("html",)

    languages: tuple[str, ...] = ("en",)
    """Languages to keep, as labels of the model (lid.176: ISO 639 codes). Default English, as FineWeb."""
    min_score: float = 0.1
    """A page is dropped when no sample of it reaches this for any language. Probability; default 0.1, measured on
    the test crawl (docs/extraction.md). Far below FineWeb's 0.65 after extraction, since code and names are in."""
    model: str = BUNDLED
    """Language model: the bundled lid.176 (compressed) or the path of a fastText model."""
    min_chars: int = 50
    """A page with less text is kept, since its language cannot be judged. Characters of the samples."""

    def kernels(self) -> Sequence[Kernel]:
        return (*skim.KERNELS, KERNEL)

    def setup(self) -> None:
        skim.warm_up()
        self._model.warm_up()

    def digests(self) -> Mapping[str, str]:
        if not self.languages:
            raise ConfigError("no language to keep", where="language_gate.languages", fix="name at least one")
        return {"model": model_digest(self.model), "block_model": skim.DEFAULT.digest}

    def judge(self, doc: Doc) -> Drop | None:
        samples = skim.skimmed_of(doc).samples
        if len(b"".join(samples).decode("utf-8", "replace")) < self.min_chars:
            return None
        best = 0.0
        for sample in samples:
            best = max(best, self._model.likelihood(sample, self.languages))
            if best >= self.min_score:
                return None
        return Drop("language", "language_gate_score", best, self.min_score)

    @cached_property
    def _model(self) -> LangId:
        return load_langid(self.model)
