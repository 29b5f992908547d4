"""FineWeb: English web pages as in the paper (arXiv:2406.17557), cheap steps before dear ones.

Rules, thresholds and their order within a filter are FineWeb's. The language gate on cheap text stands before
the extraction, which is the dearest step, and is loose enough to lose no English page.

Near-duplicates are looked for within each crawl, as FineWeb found best, and compared before they are dropped;
`--set minhash_dedup.verify=none --set minhash_dedup.short_documents=keep` drops what FineWeb drops. Personal data are
redacted before that and not after it: the texts of dropped duplicates are kept as samples, and thresholds of filters
can be moved after the run as long as no stage behind the deduplication changes texts.
"""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.gate import LanguageGate
from tokenmill.extract.text import ExtractText
from tokenmill.filters.c4 import C4Lines, C4Quality
from tokenmill.filters.fineweb import FineWebQuality
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.filters.pii import RedactPii
from tokenmill.filters.repetition import GopherRepetition
from tokenmill.filters.url import UrlFilter
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc


def fineweb() -> Pipeline:
    """WARC to clean English Parquet by FineWeb's rules."""
    return Pipeline(
        "fineweb",
        [
            ReadWarc(),
            UrlFilter(),
            DecodeHtml(),
            LanguageGate(languages=("en",)),
            ExtractText(),
            LanguageId(),
            LanguageFilter(languages=("en",), min_score=0.65),
            GopherRepetition(),
            GopherQuality(),
            C4Lines(terminal_punctuation=False),
            C4Quality(),
            FineWebQuality(),
            RedactPii(),
            MinHashDedup(scope=("dump",)),
            WriteParquet(),
        ],
    )
