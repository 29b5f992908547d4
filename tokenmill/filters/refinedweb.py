"""RefinedWeb's own steps: formatting of the extracted text, correction of lines, and what they decide.

Penedo et al. 2023, arXiv:2306.01116: section 3.1 (formatting), appendix G.2 (lines). Where the paper gives no number,
the one of DCLM's reproduction is used (arXiv:2406.11794; dclm_baseline_refinedweb.yaml of its repository). All rules
are made for English, or at least for languages with spaces between words. Every search is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter, Rewrite

_URL = re.compile(r"[ \t]?(?<![\w.@-])(?:https?://|ftp://|www\.)[^\s<>\"]+", re.IGNORECASE)
_CAPITAL = re.compile(r"[A-Z]")
_CLOSES_SENTENCE = ".,;:!?)]}'”’…"
_MAX_COUNTER = 60
"""Longest line that can be a counter. Characters."""
_COUNTED = (
    "like|share|comment|retweet|repost|quote|bookmark|upvote|downvote|download|view|follower|vote|reply|point|"
    "subscriber|favorite|rating|review"
)
_COUNTER = re.compile(rf"\W{{0,8}}\d[\d.,]{{0,15}} ?[kmb]?\+?\s{{1,3}}(?:{_COUNTED}|replie)s?\W{{0,8}}", re.IGNORECASE)


class RefinedWebFormat(Rewrite):
    """Removes addresses from the text and limits runs of newlines (arXiv:2306.01116, section 3.1).

    An address begins with `http://`, `https://`, `ftp://` or `www.` and ends at white space; marks that close the
    sentence stay. DCLM also removes host names without such a beginning.
    """

    name = "refinedweb_format"
    reads = ("text",)

    remove_urls: bool = True
    """Remove addresses. Source: RefinedWeb 3.1."""
    max_newlines: int | None = 2
    """Most newlines in a row; None keeps all. Source: RefinedWeb 3.1."""

    def rewrite(self, doc: Doc) -> Mapping[str, Any]:
        text = doc.text
        if self.remove_urls and ("://" in text or "www." in text.lower()):
            text = _URL.sub(_without_address, text)
        limit = self.max_newlines
        if limit is not None and "\n" * (limit + 1) in text:
            text = re.sub(rf"\n{{{limit + 1},}}", "\n" * limit, text)
        return {} if text == doc.text else {"text": text}


def _without_address(match: re.Match[str]) -> str:
    """The marks after an address, which are the sentence's."""
    found = match.group()
    return found[len(found.rstrip(_CLOSES_SENTENCE)) :]


def _capitals(line: str) -> int:
    """Upper-case letters of a line."""
    return len(_CAPITAL.findall(line)) if line.isascii() else sum(map(str.isupper, line))


@dataclass(slots=True)
class _Met:
    """What the lines of one document had. Words are pieces between white space."""

    kept: list[str] = field(default_factory=list)
    words: int = 0
    words_kept: int = 0
    removed: int = 0
    edited: int = 0


class RefinedWebLines(Rewrite):
    """Removes and corrects lines as RefinedWeb does (Penedo et al. 2023, arXiv:2306.01116, appendix G.2).

    Removed: lines mainly in upper case, lines of digits only, counters ("3 likes"), lines of one word. Corrected: short
    lines with the phrases of menus and shops; a line of which nothing is left is removed. A line is corrected after it
    was found worth keeping, as in DCLM, so a correction may leave one word. Blank lines stay. Never drops a document
    itself: `RefinedWebQuality` does, by the columns added.
    """

    name = "refinedweb_lines"
    reads = ("text",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {
        "refinedweb_removed_lines": pa.int64(),
        "refinedweb_edited_lines": pa.int64(),
        "refinedweb_removed_word_share": pa.float64(),
    }

    max_uppercase_share: float | None = 0.5
    """Largest share of upper-case letters among all characters of a line; None switches the rule off. Source:
    RefinedWeb G.2 ("mainly composed of uppercase characters"), number of DCLM."""
    remove_numeric: bool = True
    """Remove lines of digits only, white space aside. Source: RefinedWeb G.2."""
    remove_counters: bool = True
    """Remove lines that are a number and what it counts, such as "3 likes" or "1.2K views". Source: RefinedWeb G.2;
    words of DCLM, and their like."""
    min_words: int | None = 2
    """Fewest words of a line. Unit: pieces between white space. Source: RefinedWeb G.2 (lines of one word)."""
    max_edited_words: int = 10
    """Most words of a line that is searched for the phrases below. Unit: words. Source: RefinedWeb G.2."""
    at_start: tuple[str, ...] = ("sign-in",)
    """Phrases deleted at the beginning of a short line, in any case. Source: RefinedWeb G.2."""
    at_end: tuple[str, ...] = ("read more...", "read more…")
    """Phrases deleted at the end of a short line, in any case. Source: RefinedWeb G.2."""
    anywhere: tuple[str, ...] = ("items in cart",)
    """Phrases deleted anywhere in a short line, in any case. Source: RefinedWeb G.2."""

    def rewrite(self, doc: Doc) -> Mapping[str, Any]:
        met = self._scan(doc.text)
        columns = {
            "refinedweb_removed_lines": met.removed,
            "refinedweb_edited_lines": met.edited,
            "refinedweb_removed_word_share": (met.words - met.words_kept) / met.words if met.words else 0.0,
        }
        if not met.removed and not met.edited:
            return columns  # without a new text, what is known of the old one stays valid
        return {"text": "\n".join(met.kept).strip(), **columns}

    def _scan(self, text: str) -> _Met:
        met = _Met()
        for line in text.split("\n"):
            words = len(line.split())
            met.words += words
            if words and self._removes(line.strip(), words):
                met.removed += 1
                continue
            if self._phrases and 0 < words <= self.max_edited_words:
                corrected = self._phrases.sub("", line)
                if corrected != line:
                    words = len(corrected.split())
                    if not words:
                        met.removed += 1
                        continue
                    met.edited += 1
                    line = corrected
            met.words_kept += words
            met.kept.append(line)
        return met

    def _removes(self, line: str, words: int) -> bool:
        """Whether a line without white space around it is removed as a whole."""
        if self.min_words is not None and words < self.min_words:
            return True
        if self.max_uppercase_share is not None and _capitals(line) > self.max_uppercase_share * len(line):
            return True
        if self.remove_numeric and line[0].isdigit() and "".join(line.split()).isdigit():
            return True
        return self.remove_counters and len(line) <= _MAX_COUNTER and _COUNTER.fullmatch(line) is not None

    @cached_property
    def _phrases(self) -> re.Pattern[str] | None:
        """All phrases in one alternation of literals."""

        def either(phrases: tuple[str, ...]) -> str:
            return "|".join(re.escape(phrase) for phrase in phrases if phrase)

        parts = [
            rf"\A\s{{0,20}}(?:{either(self.at_start)})(?!\w)\s?" if either(self.at_start) else "",
            rf"\s?(?<!\w)(?:{either(self.at_end)})(?=\s{{0,20}}\Z)" if either(self.at_end) else "",
            rf"\s?(?<!\w)(?:{either(self.anywhere)})(?!\w)" if either(self.anywhere) else "",
        ]
        found = "|".join(part for part in parts if part)
        return re.compile(found, re.IGNORECASE) if found else None


class RefinedWebQuality(Filter):
    """Drops documents of which the line corrections removed much (arXiv:2306.01116, appendix G.2)."""

    name = "refinedweb_quality"
    reads = ("refinedweb_removed_word_share",)

    max_removed_word_share: float | None = 0.05
    """Largest share of words that `RefinedWebLines` removed; None switches the rule off. Source: RefinedWeb G.2."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("refinedweb_removed_word_share", ">", self.max_removed_word_share, "too_many_removed_words"),)
