"""Stages of which Hypothesis builds chains. Each does something that the books must show."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import pyarrow as pa

from tokenmill import Annotate, Doc, Drop, Filter, Rewrite, Rule


def dice(text: str, sides: int) -> int:
    """A throw that depends on the text alone."""
    return zlib.crc32(text.encode()) % sides


class ChainCut(Rewrite):
    """Keeps the first words; drops what has fewer than two, and dies of `poison-rewrite`."""

    reads = ("text",)
    most: int = 5

    def rewrite(self, doc: Doc) -> Mapping[str, object] | Drop:
        if "poison-rewrite" in doc.text:
            raise RuntimeError("a rewrite failed")
        words = doc.text.split()
        return {"text": " ".join(words[: self.most])} if len(words) > 1 else Drop("few_words")


class ChainUpper(Rewrite):
    """Upper case, and a column."""

    reads = ("text",)
    adds = {"chain_length": pa.int64()}

    def rewrite(self, doc: Doc) -> Mapping[str, object]:
        return {"text": doc.text.upper(), "chain_length": len(doc.text)}


class ChainLetters(Annotate):
    """A number for rules; dies of `poison-batch`, with the whole batch."""

    reads = ("text",)
    adds = {"chain_letters": pa.int64()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts = batch.column("text").to_pylist()
        if any("poison-batch" in text for text in texts):
            raise RuntimeError("a batch failed")
        return {"chain_letters": pa.array([len(text) for text in texts], pa.int64())}


class ChainRules(Filter):
    """Two rules on one number. Needs ChainLetters."""

    least: int = 8
    most: int = 40

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("chain_letters", "<", self.least, "short"), Rule("chain_letters", ">", self.most, "long"))


class ChainJudge(Filter):
    """Drops by chance, for two reasons; dies of `poison-judge`."""

    reads = ("text",)
    sides: int = 6

    def judge(self, doc: Doc) -> str | None:
        if "poison-judge" in doc.text:
            raise RuntimeError("a judge failed")
        return {0: "zero", 1: "one"}.get(dice(doc.text, self.sides))
