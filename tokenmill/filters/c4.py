"""C4's rules: `C4Lines` removes lines, `C4Quality` drops documents by what was met meanwhile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter, Rewrite
from tokenmill.text.sentences import count_sentences

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_TERMINAL = (".", "?", "!", '"', "'")
_POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


@dataclass(slots=True)
class _Met:
    """What the lines of one document had."""

    kept: list[str] = field(default_factory=list)
    sentences: int = 0
    lorem_ipsum: int = 0
    curly_bracket: int = 0
    bracket_first: int = 0


class C4Lines(Rewrite):
    """Removes lines as C4 does (Raffel et al. 2020, arXiv:1910.10683, section 2.2) and strips the others.

    Line rules and their order are those of datatrove 0.10.1. Lines of placeholder text and lines with curly
    brackets are counted if they survive the rules before them; `C4Quality` drops documents by these counts.
    Never drops a document itself: the text is empty when no line is left.
    """

    reads = ("text",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {
        "c4_sentences": pa.int64(),
        "c4_lorem_ipsum_lines": pa.int64(),
        "c4_curly_bracket_lines": pa.int64(),
        "c4_curly_bracket_first": pa.int64(),
    }

    max_word_length: int | None = 1000
    """Longest word of a line that is kept; None keeps all. Unit: characters. Source: C4's code."""
    remove_citations: bool = True
    """Delete `[1]`, `[]`, `[edit]` and `[citation needed]`. Source: C4's code."""
    terminal_punctuation: bool = True
    """Remove lines that do not end in `. ? ! " '`, or that end in three dots. Source: C4; FineWeb sets False."""
    min_words: int | None = 3
    """Fewest words of a line, counted between white space before citations are deleted. Source: C4's code
    (5 in the paper's text)."""
    remove_javascript: bool = True
    """Remove lines with "javascript". Source: C4."""
    remove_policies: bool = True
    """Remove lines that mention cookies, terms of use or privacy policies. Source: C4's code."""

    def rewrite(self, doc: Doc) -> Mapping[str, Any]:
        met = self._scan(doc.text)
        columns: dict[str, Any] = {
            "c4_sentences": met.sentences,
            "c4_lorem_ipsum_lines": met.lorem_ipsum,
            "c4_curly_bracket_lines": met.curly_bracket,
            "c4_curly_bracket_first": met.bracket_first,
        }
        text = "\n".join(met.kept).strip()
        # Without a new text, the words that are known of the document stay valid.
        return columns if text == doc.text else {"text": text, **columns}

    def _scan(self, text: str) -> _Met:
        met = _Met()
        lower = text.lower()
        # Phrases are looked for in the whole text first: most texts have none of them.
        phrases = "lorem ipsum" in lower or "javascript" in lower or any(p in lower for p in _POLICIES)
        for raw in text.splitlines():
            line = raw.strip()
            words = line.split()
            if self._too_long(line, words):
                continue
            cited = False
            if self.remove_citations and "[" in line:
                line, removed = _CITATION.subn("", line)
                cited = removed > 0
            if self.terminal_punctuation and (not line.endswith(_TERMINAL) or line.endswith("...")):
                continue
            if self.min_words is not None and len(words) < self.min_words:
                continue
            if self._phrases_keep(line, met, look=phrases or cited):
                met.sentences += count_sentences(line.split() if cited else words)
                met.kept.append(line)
        return met

    def _too_long(self, line: str, words: list[str]) -> bool:
        limit = self.max_word_length
        return limit is not None and len(line) > limit and any(len(word) > limit for word in words)

    def _phrases_keep(self, line: str, met: _Met, *, look: bool) -> bool:
        """Count lorem ipsum and curly brackets in `met`; False when a phrase removes the line."""
        lower = line.lower() if look else ""
        if look and "lorem ipsum" in lower:
            met.lorem_ipsum += 1
        if look and self.remove_javascript and "javascript" in lower:
            return False
        if "{" in line:
            met.curly_bracket += 1
            met.bracket_first |= met.lorem_ipsum == 0
        return not (look and self.remove_policies and any(policy in lower for policy in _POLICIES))


class C4Quality(Filter):
    """Drops documents by what `C4Lines` met (Raffel et al. 2020, arXiv:1910.10683, section 2.2).

    The reason is the first that was met in the text, as in datatrove 0.10.1. None switches a rule off.
    """

    reads = tuple(C4Lines.adds)

    max_lorem_ipsum_lines: int | None = 0
    """Most lines with "lorem ipsum". Source: C4."""
    max_curly_bracket_lines: int | None = 0
    """Most lines with "{". Source: C4."""
    min_sentences: int | None = 5
    """Fewest sentences in the lines that are left. Source: C4."""

    def rules(self) -> tuple[Rule, ...]:
        strict = self.max_lorem_ipsum_lines == self.max_curly_bracket_lines == 0
        return (
            # Decides nothing by itself: names the reason where both kinds of line occur.
            Rule("c4_curly_bracket_first", ">", 0 if strict else None, "curly_bracket"),
            Rule("c4_lorem_ipsum_lines", ">", self.max_lorem_ipsum_lines, "lorem_ipsum"),
            Rule("c4_curly_bracket_lines", ">", self.max_curly_bracket_lines, "curly_bracket"),
            Rule("c4_sentences", "<", self.min_sentences, "too_few_sentences"),
        )
