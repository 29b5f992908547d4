"""FineWeb's own quality rules."""

from __future__ import annotations

import tokenmill.text  # noqa: F401  (registers the signals)
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter


class FineWebQuality(Filter):
    """Drops lists, menus and texts with repeated lines (Penedo et al. 2024, arXiv:2406.17557, section 3.6).

    Rules, order and strictness are those of datatrove 0.10.1, which differ from the published data set's
    in that blank lines and closing quotation marks no longer count. None switches a rule off; a text without
    a line is always dropped.
    """

    name = "fineweb_quality"
    reads = ("text",)

    min_line_punct_share: float | None = 0.12
    """Least share of lines that end with a sentence-ending mark. Source: FineWeb 3.6."""
    exclude_zero: bool = False
    """Keep texts in which no line at all ends so. Source: datatrove (FineWeb-2 uses it for some languages)."""
    max_short_line_share: float | None = 0.67
    """Largest share of lines of at most 30 characters. Source: FineWeb 3.6."""
    max_dup_line_char_share: float | None = 0.01
    """Largest share of characters in lines that occurred before. Source: FineWeb 3.6 (0.1 in the paper's text)."""
    max_newline_ratio: float | None = 0.3
    """Most newlines per token. Source: datatrove (FineWeb's list rule)."""

    def rules(self) -> tuple[Rule, ...]:
        punctuated = "fineweb_line_punct_share_or_one" if self.exclude_zero else "fineweb_line_punct_share"
        return (
            Rule("fineweb_line_count", "<", 1, "empty"),
            Rule(punctuated, "<", self.min_line_punct_share, "too_few_punctuated_lines"),
            Rule("fineweb_short_line_share", ">", self.max_short_line_share, "too_many_short_lines"),
            Rule("fineweb_dup_line_char_share", ">", self.max_dup_line_char_share, "duplicate_lines"),
            Rule("fineweb_newline_ratio", ">", self.max_newline_ratio, "too_many_newlines"),
        )
