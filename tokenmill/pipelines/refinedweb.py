"""RefinedWeb: English web pages as in the paper (arXiv:2306.01116), without its two deduplications."""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.gate import LanguageGate
from tokenmill.extract.text import ExtractText
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.filters.refinedweb import RefinedWebFormat, RefinedWebLines, RefinedWebQuality
from tokenmill.filters.repetition import GopherRepetition
from tokenmill.filters.url import UrlFilter
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc


def refinedweb() -> Pipeline:
    """WARC to English Parquet by RefinedWeb's rules."""
    return Pipeline(
        "refinedweb",
        [
            ReadWarc(),
            UrlFilter(),
            DecodeHtml(),
            LanguageGate(languages=("en",)),
            ExtractText(),
            RefinedWebFormat(),
            LanguageId(),
            LanguageFilter(languages=("en",), min_score=0.65),
            GopherRepetition(),
            GopherQuality(),
            RefinedWebLines(),
            RefinedWebQuality(),
            WriteParquet(),
        ],
    )
