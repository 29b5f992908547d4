"""A filter of one's own, in a pipeline with those that come with tokenmill.

    tokenmill run examples/my_filter.py:mine --input examples/data --output out/

Without an engine: `NoRecipeSpam().judge(Doc(text="a\\nb"))` gives "short_lines".
"""

from __future__ import annotations

from tokenmill import Doc, ExtractText, Filter, GopherQuality, LanguageFilter, Pipeline, ReadWarc, WriteParquet


class NoRecipeSpam(Filter):
    """Drops pages that are mostly short lines."""

    reads = ("text",)
    max_short_lines: float = 0.8
    """Largest share of lines under 20 characters (own measurement)."""

    def judge(self, doc: Doc) -> str | None:
        short = sum(len(line) < 20 for line in doc.lines)
        return "short_lines" if short > self.max_short_lines * len(doc.lines) else None


mine = Pipeline(
    "mine",
    [
        ReadWarc(),
        ExtractText(),
        NoRecipeSpam(max_short_lines=0.5),
        LanguageFilter(languages=("en",)),
        GopherQuality(min_words=40),
        WriteParquet(),
    ],
)
