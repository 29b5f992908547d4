"""Deduplication of the bundled pages by all text-based stages, for the examples in the documentation."""

from __future__ import annotations

from tokenmill import ExactDedup, LineDedup, MinHashDedup, Pipeline, ReadParquet, SubstringDedup, UrlDedup, WriteParquet

dedup = Pipeline(
    "dedup",
    [
        ReadParquet(),
        UrlDedup(),
        ExactDedup(by="text"),
        MinHashDedup(),
        LineDedup(unit="line", keep="first", more_than=10),
        SubstringDedup(),
        WriteParquet(),
    ],
)
