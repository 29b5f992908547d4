"""DCLM-RefinedWeb: what DCLM-Baseline is chosen from (arXiv:2406.11794, section 4 and appendix).

That is resiliparse, RefinedWeb's filters, and deduplication. Differences: URL lists are those of `UrlFilter` (DCLM made
RefinedWeb's again); two distinct stop words are asked for, not two occurrences; host names without `http://` or `www.`
stay in the text; near-duplicate documents are found by MinHash and compared, where DCLM dropped paragraphs and
documents by a Bloom filter over runs of words.
"""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.core.stage import Stage
from tokenmill.dedup.minhash import MinHashDedup
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


def dclm_stages() -> list[Stage]:
    """From WARC to documents without near-duplicates, in the order of DCLM's configuration."""
    return [
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
        MinHashDedup(),
    ]


def dclm_refinedweb() -> Pipeline:
    """WARC to English Parquet by DCLM's heuristics and deduplication; no model is needed."""
    return Pipeline("dclm-refinedweb", [*dclm_stages(), WriteParquet()])
