"""Documents into passages: what `WriteRephrased` writes for each shard while the documents pass."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tokenmill.io.parquet import ParquetShardWriter
from tokenmill.rephrase.chunks import passages_of
from tokenmill.rephrase.columns import PART_COLUMNS
from tokenmill.rephrase.ledger import part_of
from tokenmill.rephrase.passages import SortedWriter
from tokenmill.rephrase.routes import key_of

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased


MOST_VALUES = 1000
"""Values of the column of routes that are told apart in a shard; others are together."""
OTHER = "(other)"


class PassageWriter:
    """The files of one shard: its documents, and their passages sorted by `part`."""

    def __init__(self, paths: Mapping[str, str], schema: pa.Schema, stage: WriteRephrased) -> None:
        self._stage = stage
        self._kept = pa.schema([field for field in schema if field.name not in stage.takes])
        if not stage.keep_documents:
            self._kept = pa.schema([field for field in self._kept if field.name != "text"])
        self._data = ParquetShardWriter(paths["data"], self._kept, level=3, rows=5000, size=32 << 20, chunking=True)
        self._passages = SortedWriter(paths["passages"], PART_COLUMNS, ("part", "row", "style", "number"))
        self._row = 0
        self._facts: Counter[str] = Counter()
        self._styles: dict[str, Counter[str]] = {}
        self._unrouted: Counter[str] = Counter()

    def write(self, batch: pa.RecordBatch) -> None:
        self._data.write(batch.select(self._kept.names))
        texts = batch.column("text").to_pylist()
        ids = batch.column("doc_id").to_pylist()
        urls = batch.column("url").to_pylist() if "url" in batch.schema.names else [""] * len(ids)
        by = self._stage.by
        values = batch.column(by).to_pylist() if by else [None] * len(ids)
        for doc_id, url, text, value in zip(ids, urls, texts, values, strict=True):
            styles = self._stage.router.styles_of(value)
            self._facts["documents"] += 1
            if not styles:
                self._facts["without_style"] += 1
                told = self._value(value)
                self._unrouted[told if told in self._unrouted or len(self._unrouted) < MOST_VALUES else OTHER] += 1
            for name in styles:
                self._cut(doc_id, url or "", text, name)
            self._row += 1

    def _value(self, value: Any) -> str:
        """A value of the column that decides on styles, as routes name it."""
        if value is None or value != value:
            return "(none)"
        edges = self._stage.edges
        return str(bisect.bisect_right(edges, value)) if edges else key_of(value)[:80]

    def _cut(self, doc_id: str, url: str, text: str, name: str) -> None:
        style = self._stage.all_styles[name]
        found, skipped = passages_of(doc_id, text, style, self._stage.counter)
        counts = self._styles.setdefault(style.name, Counter())
        counts["documents"] += 1
        for passage in found:
            counts["asked"] += 1
            counts["chars"] += len(passage.text)
            counts["tokens"] += passage.tokens
            self._add(style.name, passage.number, passage.start, passage.end, passage.tokens, passage.text, doc_id, url)
        for number, one in enumerate(skipped, len(found)):
            counts["skipped"] += 1
            piece = text[one.start : one.end]
            self._add(style.name, number, one.start, one.end, 0, piece, doc_id, url, one.reason)

    def _add(
        self,
        style: str,
        number: int,
        start: int,
        end: int,
        tokens: int,
        text: str,
        doc_id: str,
        url: str,
        skipped: str | None = None,
    ) -> None:
        row: dict[str, Any] = {
            "part": part_of(text),
            "shard": None,
            "row": self._row,
            "doc_id": doc_id,
            "url": url,
            "style": style,
            "number": number,
            "start": start,
            "end": end,
            "tokens": tokens,
            "text": text,
            "skipped": skipped,
        }
        self._passages.add(row, len(text))

    def close(self) -> None:
        self._data.close()
        self._passages.close()

    def facts(self) -> dict[str, Any]:
        """For the steps and for forecasts: documents, passages asked about, and by style documents, passages,
        characters, tokens, and pieces that nobody is asked about; values of documents without a style."""
        asked = sum(counts["asked"] for counts in self._styles.values())
        styles = {name: dict(counts) for name, counts in sorted(self._styles.items())}
        unrouted = dict(sorted(self._unrouted.items()))
        return {**self._facts, "asked": asked, "rows": self._passages.rows, "styles": styles, "unrouted": unrouted}
