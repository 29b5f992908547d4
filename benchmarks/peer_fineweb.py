"""datatrove's FineWeb steps on a folder of WARCs; runs in the peer environment (see `end_to_end.py`).

    .bench/datatrove/bin/python benchmarks/peer_fineweb.py INPUT OUTPUT LANGUAGE_MODEL

Order and settings are those of datatrove's own FineWeb example, with English made explicit and everything that would
go to the network pointed at local files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tldextract
import trafilatura
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.lid import FT176LID
from fasttext.FastText import _FastText

STAGES = ("warc", "url", "trafilatura", "language", "gopher_rep", "gopher_qual", "c4", "fineweb", "pii", "writer")


def main(source: str, output: str, model: str) -> None:
    """Run the steps in this process and print counts and seconds per step as JSON."""

    # its sandbox would hide a missing library behind an endless row of failed documents
    page = f"<html><body><article><p>{'Some prose for the test. ' * 20}</p></article></body></html>"
    assert "prose" in (trafilatura.extract(page) or "")

    def excluded(name: str) -> JsonlWriter:
        return JsonlWriter(f"{output}/removed/{name}")

    url = URLFilter(exclusion_writer=excluded("url"))
    url.tldextractor = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    language = LanguageFilter(languages=["en"], exclusion_writer=excluded("language"))
    fasttext = _FastText(model)
    FT176LID.model = property(lambda self: fasttext)  # no download: the same local file as ours
    pipeline = [
        WarcReader(source, glob_pattern="*.warc.gz"),
        url,
        Trafilatura(favour_precision=True),
        language,
        GopherRepetitionFilter(exclusion_writer=excluded("gopher_rep")),
        GopherQualityFilter(exclusion_writer=excluded("gopher_qual")),
        C4QualityFilter(filter_no_terminal_punct=False, exclusion_writer=excluded("c4")),
        FineWebQualityFilter(exclusion_writer=excluded("fineweb")),
        PIIFormatter(),
        JsonlWriter(f"{output}/data"),
    ]
    stats = LocalPipelineExecutor(
        pipeline=pipeline, tasks=1, workers=1, logging_dir=f"{output}/logs", skip_completed=False
    ).run()
    report = []
    for name, step in zip(STAGES, stats.stats, strict=True):
        counts = {key: value.total for key, value in step.stats.items() if isinstance(value.total, int | float)}
        report.append({"stage": name, "seconds": step.time_stats.total, "counts": counts})
    Path(output, "peer.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:4])
