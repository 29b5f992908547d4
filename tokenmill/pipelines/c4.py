"""C4: English web pages by the rules of arXiv:1910.10683, with the line rule on terminal punctuation."""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.gate import LanguageGate
from tokenmill.extract.text import ExtractText
from tokenmill.filters.c4 import C4Lines, C4Quality
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.filters.nsfw import NsfwSignals, NsfwWords
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc


def c4() -> Pipeline:
    """WARC to English Parquet by C4's rules; the language as FineWeb decides it.

    C4 asked for 0.99 of another identifier; hardly an English page gets that much from lid.176.
    """
    return Pipeline(
        "c4",
        [
            ReadWarc(),
            DecodeHtml(),
            LanguageGate(languages=("en",)),
            ExtractText(),
            LanguageId(),
            LanguageFilter(languages=("en",), min_score=0.65),
            NsfwSignals(),
            NsfwWords(),
            C4Lines(terminal_punctuation=True),
            C4Quality(),
            WriteParquet(),
        ],
    )
