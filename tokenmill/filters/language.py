"""Language: `LanguageId` measures it, `LanguageFilter` keeps the listed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pyarrow as pa

from tokenmill.core.kernels import Kernel
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Annotate, Filter
from tokenmill.text.langid import BUNDLED, KERNEL, load_langid, model_digest


class LanguageId(Annotate):
    """Adds the likeliest language of each text and its score, by a fastText model.

    The whole text is looked at, newlines as spaces (as datatrove 0.10.1). Texts without words get "und", 0.0.
    """

    version: ClassVar[int] = 2
    on_demand: ClassVar[bool] = True
    reads = ("text",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {"language": pa.string(), "language_score": pa.float64()}

    model: str = BUNDLED
    """`lid176-ftz` is the compressed lid.176 that is bundled; else the path of a fastText model.
    FineWeb used the uncompressed lid.176.bin."""

    def kernels(self) -> Sequence[Kernel]:
        return (KERNEL,)

    def setup(self) -> None:
        load_langid(self.model).warm_up()

    def digests(self) -> Mapping[str, str]:
        return {"model": model_digest(self.model)}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        labels, scores = load_langid(self.model).tops(batch.column("text"))
        return {"language": labels, "language_score": scores}


class LanguageFilter(Filter):
    """Keeps texts whose likeliest language is listed and sure enough."""

    reads = ("language", "language_score")

    languages: tuple[str, ...] | None = ("en",)
    """Labels that are kept; None keeps all. Source: FineWeb."""
    min_score: float | None = 0.65
    """A text is kept when its score is above this (strictly). Unit: probability. Source: FineWeb."""

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("language", "not in", self.languages, "other_language"),
            Rule("language_score", "<=", self.min_score, "low_score"),
        )
