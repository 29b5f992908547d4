"""Filters on the scores of a classifier: any `Scorer` that stands before them and adds the column."""

from __future__ import annotations

from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter


class ToxicityFilter(Filter):
    """Drops texts that a classifier finds toxic. The scorer must stand before; a null score drops nothing."""

    column: str = "toxicity_score"
    """Column with the score. The plan refuses a column that no earlier stage adds."""
    max_score: float | None = 0.4
    """Largest score of a text that is kept; None switches the filter off. Unit: the scorer's, here a probability.
    Source: Dolma (Soldaini et al. 2024, arXiv:2402.00159), for its own classifiers: measure again for yours."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule(self.column, ">", self.max_score, "toxic"),)


class NsfwClassifierFilter(Filter):
    """Drops texts that a classifier finds not safe for work. The scorer must stand before; null drops nothing."""

    column: str = "nsfw_score"
    """Column with the score. The plan refuses a column that no earlier stage adds."""
    max_score: float | None = 0.4
    """Largest score of a text that is kept; None switches the filter off. Unit: the scorer's, here a probability.
    Source: Dolma (Soldaini et al. 2024, arXiv:2402.00159), for its own classifiers: measure again for yours."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule(self.column, ">", self.max_score, "nsfw"),)
