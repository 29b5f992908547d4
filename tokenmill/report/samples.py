"""Samples of dropped texts: a few per reason, chosen by a hash, so that the same run shows the same ones."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from tokenmill.core.doc import Doc
from tokenmill.filters.pii import RedactPii
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder

PER_REASON = 5
CHARS = 1500
"""Most characters of a sample in a report."""


@dataclass(frozen=True)
class Sample:
    """One dropped document as a report shows it; personal data that `RedactPii` finds is masked."""

    url: str
    where: str
    why: str
    text: str


def collect_samples(folder: RunFolder, per_reason: int = PER_REASON) -> dict[str, list[Sample]]:
    """Up to `per_reason` samples with text for every `stage.reason` of the published `dropped/` tables."""
    heaps: dict[str, list[tuple[int, int, dict[str, object]]]] = {}
    for number, row in enumerate(_rows_with_text(folder)):
        digest = hashlib.blake2b(str(row["doc_id"]).encode("utf-8", "replace"), digest_size=6).digest()
        entry = (-int.from_bytes(digest, "little"), -number, row)
        heap = heaps.setdefault(f"{row['stage']}.{row['reason']}", [])
        if len(heap) < per_reason:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return {key: [_sample(row) for _, _, row in sorted(heap, key=lambda e: e[:2])] for key, heap in heaps.items()}


def _rows_with_text(folder: RunFolder) -> Iterator[dict[str, object]]:
    columns = ["doc_id", "url", "stage", "reason", "signal", "value", "threshold", "detail", "text"]
    for path in published(folder, "dropped"):
        with open_binary(folder.path(path)) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(columns=columns):
                for row in batch.to_pylist():
                    if row["text"]:
                        yield row


def published(folder: RunFolder, kind: str) -> Iterator[str]:
    """Paths of the committed files of a kind (data, dropped, quarantine), as the manifests list them."""
    for phase in folder.read_json("run.json")["phases"]:
        for _, manifest in folder.manifests(phase["directory"]):
            for file in manifest["files"]:
                if file["kind"] == kind and file["rows"] and not file["path"].startswith("phases/"):
                    yield file["path"]


def _sample(row: dict[str, object]) -> Sample:
    why = ""
    if row["signal"] is not None:
        value, threshold = row["value"], row["threshold"]
        why = f"{row['signal']}"
        if isinstance(value, float):
            why += f" = {value:.4g}"
        if isinstance(threshold, float):
            why += f" (threshold {threshold:g})"
    elif row["detail"] is not None:
        why = str(row["detail"])
    text = str(row["text"])[: CHARS * 2]
    masked = str(RedactPii().rewrite(Doc(text=text, doc_id=row["doc_id"])).get("text", text))
    return Sample(str(row["url"] or ""), str(row["doc_id"]), why, masked[:CHARS])
