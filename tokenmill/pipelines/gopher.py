"""Gopher: English web pages by the quality and repetition rules of arXiv:2112.11446, Table A1."""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.gate import LanguageGate
from tokenmill.extract.text import ExtractText
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.filters.repetition import GopherRepetition
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc


def gopher() -> Pipeline:
    """WARC to English Parquet by Gopher's rules alone."""
    return Pipeline(
        "gopher",
        [
            ReadWarc(),
            DecodeHtml(),
            LanguageGate(languages=("en",)),
            ExtractText(),
            LanguageId(),
            LanguageFilter(languages=("en",), min_score=0.65),
            GopherRepetition(),
            GopherQuality(),
            WriteParquet(),
        ],
    )
