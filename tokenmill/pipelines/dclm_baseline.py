"""DCLM-Baseline: the heuristic part of its making (arXiv:2406.11794, section 4 and appendix).

That is resiliparse, RefinedWeb's filters and no more: deduplication and the fastText classifier, which keeps a tenth
of what is left, come after. Differences: URL lists are those of `UrlFilter` (DCLM made RefinedWeb's again); two
distinct stop words are asked for, not two occurrences; host names without `http://` or `www.` stay in the text.
"""

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


def dclm_baseline() -> Pipeline:
    """WARC to English Parquet by the heuristics of DCLM-Baseline, in the order of its configuration."""
    return Pipeline(
        "dclm-baseline",
        [
            ReadWarc(),
            UrlFilter(),
            DecodeHtml(),
            LanguageGate(languages=("en",)),
            ExtractText(extractor="resiliparse"),
            RefinedWebFormat(),
            LanguageId(),
            LanguageFilter(languages=("en",), min_score=0.65),
            GopherQuality(),
            GopherRepetition(),
            RefinedWebLines(),
            RefinedWebQuality(),
            WriteParquet(),
        ],
    )
