"""Gopher's quality rules."""

from __future__ import annotations

import tokenmill.text  # noqa: F401  (registers the signals)
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter


class GopherQuality(Filter):
    """Drops texts whose words and lines are unlike English prose (Rae et al. 2021, arXiv:2112.11446, A1).

    Rules and their order are those of FineWeb (datatrove 0.10.1). None switches a rule off.
    """

    reads = ("text",)

    min_words: int | None = 50
    """Fewest words; tokens of punctuation do not count. Unit: words. Source: Gopher A1."""
    max_words: int | None = 100_000
    """Most words. Source: Gopher A1."""
    min_mean_word_length: float | None = 3
    """Least mean length of the words. Unit: characters. Source: Gopher A1."""
    max_mean_word_length: float | None = 10
    """Greatest mean length of the words. Unit: characters. Source: Gopher A1."""
    max_hash_ratio: float | None = 0.1
    """Most hash signs per token. Source: Gopher A1."""
    max_ellipsis_ratio: float | None = 0.1
    """Most ellipses per token. Source: Gopher A1."""
    max_bullet_line_share: float | None = 0.9
    """Largest share of lines that start with a bullet or a hyphen. Source: Gopher A1."""
    max_ellipsis_line_share: float | None = 0.3
    """Largest share of lines that end with an ellipsis. Source: Gopher A1."""
    min_alpha_word_share: float | None = 0.8
    """Least share of tokens with a letter. Source: Gopher A1, over tokens with punctuation as in FineWeb."""
    min_stop_words: int | None = 2
    """Fewest distinct words of `the be to of and that have with` (lower case). Source: Gopher A1."""

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("gopher_word_count", "<", self.min_words, "too_few_words"),
            Rule("gopher_word_count", ">", self.max_words, "too_many_words"),
            Rule("gopher_mean_word_length", "<", self.min_mean_word_length, "short_mean_word_length"),
            Rule("gopher_mean_word_length", ">", self.max_mean_word_length, "long_mean_word_length"),
            Rule("gopher_hash_ratio", ">", self.max_hash_ratio, "too_many_hashes"),
            Rule("gopher_ellipsis_ratio", ">", self.max_ellipsis_ratio, "too_many_ellipses"),
            Rule("gopher_bullet_line_share", ">", self.max_bullet_line_share, "too_many_bullet_lines"),
            Rule("gopher_ellipsis_line_share", ">", self.max_ellipsis_line_share, "too_many_ellipsis_lines"),
            Rule("gopher_alpha_word_share", "<", self.min_alpha_word_share, "too_few_alpha_words"),
            Rule("gopher_stop_words", "<", self.min_stop_words, "too_few_stop_words"),
        )
