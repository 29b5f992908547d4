"""Bad words: drop texts in which words of a list are frequent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Filter
from tokenmill.filters.blocklist import DATATROVE, hard_words, lists_digest
from tokenmill.text.words import word_table


class NsfwWords(Filter):
    """Drops texts of which listed words are a large share, and occur several times.

    Words are compared whole, in lower case. Both thresholds must be passed: one quotation of a listed word in
    a short note, or a few in a long novel, do not drop a text.
    """

    reads = ("text",)

    lists: str = DATATROVE
    """`datatrove` (the hard words that its URL filter looks for), or a folder with `banned_words.txt`."""
    max_count: int = 2
    """Most listed words in a text of any length. Unit: words."""
    max_share: float | None = 0.005
    """Largest share of listed words among all tokens; None switches the filter off. Default: 1 in 200;
    the largest share among 6,000 English pages without adult content was 0.0013 (a play by Shakespeare), and
    10 of them have more than `max_count` listed words."""

    def setup(self) -> None:
        _ = self._listed

    def digests(self) -> Mapping[str, str]:
        return {"lists": lists_digest(self.lists)}

    def judge(self, doc: Doc) -> Drop | None:
        count = self._count(doc)
        if self.max_share is None or count <= self.max_count:
            return None
        share = count / len(doc.words)
        if share <= self.max_share:
            return None
        return Drop("nsfw_words", "nsfw_word_share", share, self.max_share)

    def _count(self, doc: Doc) -> int:
        table = word_table(doc)
        listed = self._listed
        return sum(int(table.counts[number]) for number, word in enumerate(table.vocabulary) if word.lower() in listed)

    @cached_property
    def _listed(self) -> frozenset[str]:
        return hard_words(self.lists)
