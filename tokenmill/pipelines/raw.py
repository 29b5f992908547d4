"""Raw: all visible text of English pages, the baseline that a curation recipe is measured against.

Extraction is resiliparse's without its main-content rules: menus, footers and comments are in the text. No filter of
quality, no deduplication. The one filter is that of the language, with the threshold of the other recipes: arms are
compared on English text, and what a fifth of English or so in a raw crawl costs is no finding about extraction or
filters. `without: [language_filter]` in an ablation leaves every language in.
"""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.text import ExtractText
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc


def raw() -> Pipeline:
    """WARC to the whole text of English pages as Parquet."""
    return Pipeline(
        "raw",
        [
            ReadWarc(),
            DecodeHtml(),
            ExtractText(extractor="resiliparse", main_content=False),
            LanguageId(),
            LanguageFilter(languages=("en",), min_score=0.65),
            WriteParquet(),
        ],
    )
