"""Cheap recipes over real archives: what is tested is the machinery around the stages, so they do little."""

from __future__ import annotations

import os
import re
import signal

import pyarrow as pa

from tokenmill import Annotate, Doc, Filter, Pipeline, ReadWarc, Rule, WriteParquet
from tokenmill.dedup.exact import ExactDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.io.jsonl import ReadJsonl

_TAG = re.compile(rb"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class Markup(Annotate):
    """The payload without its tags, as the text. An archived page must not take milliseconds here."""

    reads = ("payload",)
    adds = {"text": pa.string()}

    def annotate(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        pages = (value.as_py() or b"" for value in batch.column("payload"))
        texts = [" ".join(_TAG.sub(b" ", page[:20_000]).decode("utf-8", "replace").split()) for page in pages]
        return {"text": pa.array(texts, pa.string())}


class Letters(Annotate):
    """The number of characters."""

    reads = ("text",)
    adds = {"letters": pa.int64()}

    def annotate(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        return {"letters": pa.array([len(text) for text in batch.column("text").to_pylist()], pa.int64())}


class LongEnough(Filter):
    """Drops very short pages, by a rule."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("letters", "<", 200, "short"),)


class Poison(Filter):
    """A page whose text begins with `poison` kills its process; that is one page per run, in quarantine."""

    reads = ("text",)

    def judge(self, doc: Doc) -> str | None:
        if doc.text.startswith("poison"):
            if doc.text.startswith("poison kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("a poisonous page")
        return None


_pages = (Markup(), Letters(), LongEnough(), Poison())

plain = Pipeline("plain", [ReadWarc(), *_pages, WriteParquet()])
exact = Pipeline("exact", [ReadWarc(), *_pages, ExactDedup(), WriteParquet()])
near = Pipeline("near", [ReadWarc(), *_pages, MinHashDedup(), WriteParquet()])
lines = Pipeline("lines", [ReadJsonl(), Letters(), WriteParquet()])
