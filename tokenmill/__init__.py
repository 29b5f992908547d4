"""tokenmill: raw web archives in, training tokens out, and the proof that they are good tokens.

The package loads nothing heavy here: `from tokenmill import Pipeline, Filter, Doc` resolves lazily,
so that `import tokenmill` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tokenmill.classifiers.bins import QualityLevel, ScoreBins
    from tokenmill.classifiers.decide import RoundScore, ScoreFilter
    from tokenmill.classifiers.encoder.stage import EncoderScore, EncoderScoreGpu
    from tokenmill.classifiers.ensemble import Ensemble
    from tokenmill.classifiers.fasttext.stage import FastTextScore
    from tokenmill.core.doc import Doc
    from tokenmill.core.pipeline import Pipeline
    from tokenmill.core.rule import Drop, Rule
    from tokenmill.core.scorer import Scorer
    from tokenmill.core.signals import signal
    from tokenmill.core.stage import Annotate, Barrier, Filter, Rewrite, Sink, Source
    from tokenmill.dedup.exact import ExactDedup, UrlDedup
    from tokenmill.dedup.lines import LineDedup
    from tokenmill.dedup.minhash import MinHashDedup
    from tokenmill.dedup.substring import SubstringDedup
    from tokenmill.extract.decode import DecodeHtml
    from tokenmill.extract.gate import LanguageGate
    from tokenmill.extract.text import ExtractText
    from tokenmill.filters.c4 import C4Lines, C4Quality
    from tokenmill.filters.fineweb import FineWebQuality
    from tokenmill.filters.fineweb2 import FineWeb2Gopher, FineWeb2Quality, FineWeb2Repetition
    from tokenmill.filters.gopher import GopherQuality
    from tokenmill.filters.language import LanguageFilter, LanguageId
    from tokenmill.filters.nsfw import NsfwSignals, NsfwWords
    from tokenmill.filters.optout import OptOut, OptOutSignals
    from tokenmill.filters.pii import RedactPii
    from tokenmill.filters.refinedweb import RefinedWebFormat, RefinedWebLines, RefinedWebQuality
    from tokenmill.filters.repetition import GopherRepetition
    from tokenmill.filters.toxicity import NsfwClassifierFilter, ToxicityFilter
    from tokenmill.filters.url import UrlFilter
    from tokenmill.io.jsonl import ReadJsonl
    from tokenmill.io.parquet import ReadParquet, WriteParquet
    from tokenmill.io.warc import ReadWarc
    from tokenmill.io.wet import ReadWet
    from tokenmill.text.measure import TextSignals
    from tokenmill.tokens.decontaminate.stage import DropContaminated, FindContamination, MaskContamination
    from tokenmill.tokens.stages import CountTokens, EncodeText
    from tokenmill.tokens.write import WriteTokens

_EXPORTS = {
    "Annotate": "core.stage",
    "Barrier": "core.stage",
    "C4Lines": "filters.c4",
    "C4Quality": "filters.c4",
    "CountTokens": "tokens.stages",
    "DecodeHtml": "extract.decode",
    "Doc": "core.doc",
    "Drop": "core.rule",
    "DropContaminated": "tokens.decontaminate.stage",
    "EncodeText": "tokens.stages",
    "EncoderScore": "classifiers.encoder.stage",
    "EncoderScoreGpu": "classifiers.encoder.stage",
    "Ensemble": "classifiers.ensemble",
    "ExactDedup": "dedup.exact",
    "ExtractText": "extract.text",
    "FastTextScore": "classifiers.fasttext.stage",
    "Filter": "core.stage",
    "FindContamination": "tokens.decontaminate.stage",
    "FineWeb2Gopher": "filters.fineweb2",
    "FineWeb2Quality": "filters.fineweb2",
    "FineWeb2Repetition": "filters.fineweb2",
    "FineWebQuality": "filters.fineweb",
    "GopherQuality": "filters.gopher",
    "GopherRepetition": "filters.repetition",
    "LanguageFilter": "filters.language",
    "LanguageGate": "extract.gate",
    "LanguageId": "filters.language",
    "LineDedup": "dedup.lines",
    "MaskContamination": "tokens.decontaminate.stage",
    "MinHashDedup": "dedup.minhash",
    "NsfwClassifierFilter": "filters.toxicity",
    "NsfwSignals": "filters.nsfw",
    "NsfwWords": "filters.nsfw",
    "OptOut": "filters.optout",
    "OptOutSignals": "filters.optout",
    "Pipeline": "core.pipeline",
    "QualityLevel": "classifiers.bins",
    "ReadJsonl": "io.jsonl",
    "ReadParquet": "io.parquet",
    "ReadWarc": "io.warc",
    "ReadWet": "io.wet",
    "RedactPii": "filters.pii",
    "RefinedWebFormat": "filters.refinedweb",
    "RefinedWebLines": "filters.refinedweb",
    "RefinedWebQuality": "filters.refinedweb",
    "Rewrite": "core.stage",
    "RoundScore": "classifiers.decide",
    "Rule": "core.rule",
    "ScoreBins": "classifiers.bins",
    "ScoreFilter": "classifiers.decide",
    "Scorer": "core.scorer",
    "Sink": "core.stage",
    "Source": "core.stage",
    "SubstringDedup": "dedup.substring",
    "TextSignals": "text.measure",
    "ToxicityFilter": "filters.toxicity",
    "UrlDedup": "dedup.exact",
    "UrlFilter": "filters.url",
    "WriteParquet": "io.parquet",
    "WriteTokens": "tokens.write",
    "signal": "core.signals",
}
"""Public name -> module that defines it."""

__all__ = [
    "Annotate",
    "Barrier",
    "C4Lines",
    "C4Quality",
    "CountTokens",
    "DecodeHtml",
    "Doc",
    "Drop",
    "DropContaminated",
    "EncodeText",
    "EncoderScore",
    "EncoderScoreGpu",
    "Ensemble",
    "ExactDedup",
    "ExtractText",
    "FastTextScore",
    "Filter",
    "FindContamination",
    "FineWeb2Gopher",
    "FineWeb2Quality",
    "FineWeb2Repetition",
    "FineWebQuality",
    "GopherQuality",
    "GopherRepetition",
    "LanguageFilter",
    "LanguageGate",
    "LanguageId",
    "LineDedup",
    "MaskContamination",
    "MinHashDedup",
    "NsfwClassifierFilter",
    "NsfwSignals",
    "NsfwWords",
    "OptOut",
    "OptOutSignals",
    "Pipeline",
    "QualityLevel",
    "ReadJsonl",
    "ReadParquet",
    "ReadWarc",
    "ReadWet",
    "RedactPii",
    "RefinedWebFormat",
    "RefinedWebLines",
    "RefinedWebQuality",
    "Rewrite",
    "RoundScore",
    "Rule",
    "ScoreBins",
    "ScoreFilter",
    "Scorer",
    "Sink",
    "Source",
    "SubstringDedup",
    "TextSignals",
    "ToxicityFilter",
    "UrlDedup",
    "UrlFilter",
    "WriteParquet",
    "WriteTokens",
    "__version__",
    "signal",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tokenmill' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"tokenmill.{_EXPORTS[name]}"), name)
