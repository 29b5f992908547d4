"""FineWeb-2: web pages of many languages with thresholds per language (arXiv:2506.20920).

Languages are found with lid.176 at 0.65, as FineWeb did for English; FineWeb-2 used GlotLID and a least score for each
language, which does not carry over. English, which FineWeb-2 leaves out, is kept by FineWeb's rules. Near-duplicates
are looked for before the filters, within a language and over all crawls, and clusters leave their size and how often
FineWeb-2 would repeat the document that is kept. Not part of this recipe: mending of encodings, removal of lines of
"|".
"""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.text import ExtractText
from tokenmill.filters.fineweb2 import FineWeb2Gopher, FineWeb2Quality, FineWeb2Repetition, builtin_languages
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.filters.pii import RedactPii
from tokenmill.filters.url import UrlFilter
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc


def fineweb2() -> Pipeline:
    """WARC to clean Parquet in all languages for which there are thresholds."""
    return Pipeline(
        "fineweb2",
        [
            ReadWarc(),
            UrlFilter(),
            DecodeHtml(),
            ExtractText(),
            LanguageId(),
            LanguageFilter(languages=builtin_languages(), min_score=0.65),
            MinHashDedup(scope=("language",), rehydration=("fineweb2",)),
            FineWeb2Repetition(),
            FineWeb2Quality(),
            FineWeb2Gopher(),
            RedactPii(),
            WriteParquet(),
        ],
    )
