"""Bad words: `NsfwSignals` counts those of the text's language, `NsfwWords` drops texts in which they are frequent.

A text is looked at in linear time: its words are looked up in sets, never matched against an alternation of hundreds
of entries. In scripts without spaces, the few entries whose characters all occur in the text are searched for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Rule
from tokenmill.core.segment import words
from tokenmill.core.stage import Annotate, Filter
from tokenmill.filters import language as _language  # noqa: F401 - registers what adds the column `language`
from tokenmill.filters.blocklist import DATATROVE, hard_words, lists_digest

BUILTIN = "builtin"
"""The bundled lists (LDNOOBW, CC-BY-4.0; see data/nsfw/NOTICE.md)."""
NONE = "none"
"""No lists: nothing is measured."""
UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo"})
"""Languages without spaces between words (ISO 639-1): entries are looked for anywhere in the text."""

_FOLDER = Path(__file__).with_name("data") / "nsfw"
# Runs of anything but white space and the punctuation of the common scripts; combining marks stay inside.
_WORD = re.compile(r"[^\s!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u205e\u3000-\u303f\uff01-\uff0f\uff1a-\uff20،؛؟।॥]+")


class SpacedLexicon:
    """Entries of one or more words, found as whole words in lower case. The longest entry at a place counts."""

    def __init__(self, entries: Iterable[str]) -> None:
        by_first: dict[str, set[tuple[str, ...]]] = {}
        for entry in entries:
            parts = tuple(_WORD.findall(entry.lower()))
            if parts:
                by_first.setdefault(parts[0], set()).add(parts)
        self._by_first = {first: sorted(found, key=lambda e: (-len(e), e)) for first, found in by_first.items()}

    def find(self, text: str) -> tuple[int, int]:
        """How many entries occur, and how many words they cover."""
        tokens = _WORD.findall(text.lower())
        count = covered = end = 0
        if self._by_first.keys().isdisjoint(tokens):
            return 0, 0
        for place, token in enumerate(tokens):
            if place < end or token not in self._by_first:
                continue
            for entry in self._by_first[token]:
                if len(entry) == 1 or tuple(tokens[place : place + len(entry)]) == entry:
                    count += 1
                    covered += len(entry)
                    end = place + len(entry)
                    break
        return count, covered

    @staticmethod
    def size(text: str) -> int:
        """Length of the text in the unit of what is covered: tokens, punctuation included."""
        return len(words(text))


class UnspacedLexicon:
    """Entries found anywhere in the text, longest first, no character counted twice.

    Entries of one character are left out, since most of them are parts of harmless words (milk, meat); so are
    those in ASCII only.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        found = {"".join(entry.lower().split()) for entry in entries}
        self._entries = sorted((e for e in found if len(e) > 1 and not e.isascii()), key=lambda e: (-len(e), e))

    def find(self, text: str) -> tuple[int, int]:
        """How many entries occur, and how many characters they cover."""
        rest = text.lower()
        present = set(rest)
        count = covered = 0
        for entry in self._entries:
            if not present.issuperset(entry):
                continue
            times = rest.count(entry)
            if times:
                count += times
                covered += times * len(entry)
                rest = rest.replace(entry, "\n")
        return count, covered

    @staticmethod
    def size(text: str) -> int:
        """Length of the text in the unit of what is covered: characters that are not white space."""
        return sum(map(len, text.split()))


Lexicon = SpacedLexicon | UnspacedLexicon


@cache
def load_lexicons(lists: str) -> dict[str, Lexicon]:
    """Language -> its entries, of the lists `builtin`, `datatrove`, `none` or a folder; see `NsfwSignals.lists`."""
    if lists == NONE:
        return {}
    if lists == DATATROVE:
        return {"en": SpacedLexicon(hard_words(DATATROVE))}
    return {path.stem: _lexicon(path) for path in _files(lists)}


def _lexicon(path: Path) -> Lexicon:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    entries = [line for line in lines if line and not line.startswith("#")]
    return UnspacedLexicon(entries) if path.stem in UNSPACED else SpacedLexicon(entries)


def _files(lists: str) -> list[Path]:
    folder = _FOLDER if lists == BUILTIN else Path(lists)
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ConfigError(
            f"no lists {lists!r}",
            where="nsfw_signals.lists",
            why="it is no folder" if not folder.is_dir() else "the folder has no file <language>.txt",
            fix=f"{BUILTIN!r}, {DATATROVE!r}, {NONE!r}, or a folder with files such as en.txt, one entry a line",
        )
    return files


def _digest(lists: str) -> str:
    if lists in (NONE, DATATROVE):
        return lists_digest(lists)
    digest = hashlib.sha256()
    for path in _files(lists):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


class NsfwSignals(Annotate):
    """Counts the words of a list of bad words for the text's language.

    Both columns are null where there is no list for the language, and no rule holds then. An entry of several words
    counts once and covers all of them.
    """

    on_demand: ClassVar[bool] = True
    reads = ("text", "language")
    adds: ClassVar[Mapping[str, pa.DataType]] = {"nsfw_word_count": pa.int64(), "nsfw_word_share": pa.float64()}

    lists: str = BUILTIN
    """`builtin` (24 languages; LDNOOBW, the lists of C4), `datatrove` (English, the hard words that the URL filter
    looks for), `none`, or a folder with files `<language>.txt`, one entry a line. Source: C4 (arXiv:1910.10683)."""
    min_count: int = 3
    """Fewest occurrences for which the share is not 0, so that a quotation in a short note is no reason to drop a text.
    Unit: occurrences; default: own choice. C4 dropped a page for a single one."""

    def setup(self) -> None:
        _ = self._lexicons

    def digests(self) -> Mapping[str, str]:
        return {"lists": _digest(self.lists)}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts, languages = (batch.column(name).to_pylist() for name in self.reads)
        found = [self.measure(text or "", language) for text, language in zip(texts, languages, strict=True)]
        return {
            "nsfw_word_count": pa.array([count for count, _ in found], pa.int64()),
            "nsfw_word_share": pa.array([share for _, share in found], pa.float64()),
        }

    def measure(self, text: str, language: str | None) -> tuple[int | None, float | None]:
        """Occurrences of listed entries and the share of the text that they cover."""
        lexicon = self._lexicons.get(language or "")
        if lexicon is None:
            return None, None
        count, covered = lexicon.find(text)
        if count < max(self.min_count, 1):
            return count, 0.0
        return count, min(covered / lexicon.size(text), 1.0)  # an address is one token, and may have several words

    @cached_property
    def _lexicons(self) -> dict[str, Lexicon]:
        return load_lexicons(self.lists)


class NsfwWords(Filter):
    """Drops texts of which words of a list of bad words are a large share, and occur several times.

    Words are compared whole, in lower case; in Chinese, Japanese and Thai, entries are looked for anywhere. How often
    they must occur is a setting of `NsfwSignals`, which the plan puts before this stage.
    """

    reads = ("nsfw_word_share",)

    max_share: float | None = 0.005
    """Largest share of listed words among all tokens (of their characters among all, in scripts without spaces); None
    switches the filter off. Default: 1 in 200, own choice; 16 of 20,369 English pages without adult content have more,
    mostly old plays, and none of 1,274 in 15 other languages."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("nsfw_word_share", ">", self.max_share, "nsfw_words"),)
