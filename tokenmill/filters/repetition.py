"""Gopher's repetition rules."""

from __future__ import annotations

import tokenmill.text  # noqa: F401  (registers the signals)
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter


class GopherRepetition(Filter):
    """Drops texts that repeat lines, paragraphs or n-grams (Rae et al. 2021, arXiv:2112.11446, table A1).

    Rules and their order are those of FineWeb (datatrove 0.10.1); all thresholds are shares of the text's
    characters unless stated otherwise, and source of all is table A1. None switches a rule off; an empty
    text is always dropped.
    """

    reads = ("text",)

    max_dup_paragraph_share: float | None = 0.30
    """Largest share of paragraphs that occurred before. Unit: share of paragraphs."""
    max_dup_paragraph_char_share: float | None = 0.20
    """Largest share of characters in paragraphs that occurred before."""
    max_dup_line_share: float | None = 0.30
    """Largest share of lines that occurred before. Unit: share of lines."""
    max_dup_line_char_share: float | None = 0.20
    """Largest share of characters in lines that occurred before."""
    max_top_2gram_char_share: float | None = 0.20
    """Largest share of characters in the commonest pair of words."""
    max_top_3gram_char_share: float | None = 0.18
    """The same for three words."""
    max_top_4gram_char_share: float | None = 0.16
    """The same for four words."""
    max_dup_5gram_char_share: float | None = 0.15
    """Largest share of characters in runs of five words that occurred before."""
    max_dup_6gram_char_share: float | None = 0.14
    """The same for six words."""
    max_dup_7gram_char_share: float | None = 0.13
    """The same for seven words."""
    max_dup_8gram_char_share: float | None = 0.12
    """The same for eight words."""
    max_dup_9gram_char_share: float | None = 0.11
    """The same for nine words."""
    max_dup_10gram_char_share: float | None = 0.10
    """The same for ten words."""

    def rules(self) -> tuple[Rule, ...]:
        names = (
            "dup_paragraph_share",
            "dup_paragraph_char_share",
            "dup_line_share",
            "dup_line_char_share",
            *(f"top_{n}gram_char_share" for n in (2, 3, 4)),
            *(f"dup_{n}gram_char_share" for n in (5, 6, 7, 8, 9, 10)),
        )
        reasons = (name.removesuffix("_char_share") if "gram" in name else name for name in names)
        return (
            Rule("repetition_characters", "<", 1, "empty"),
            *(
                Rule(f"repetition_{name}", ">", getattr(self, f"max_{name}"), reason)
                for name, reason in zip(names, reasons, strict=True)
            ),
        )
