"""C4's rules: `C4Lines` removes lines, `C4Quality` drops documents by what was met meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.kernels import Kernel
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter, Rewrite
from tokenmill.text.measure import utf8


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

    def kernels(self) -> Sequence[Kernel]:
        return (Kernel("tokenmill.filters.c4:warm_up", 16),)

    def setup(self) -> None:
        self.rewrite(Doc(text="A first text."))

    def rewrite(self, doc: Doc) -> Mapping[str, Any]:
        changed = self._lines(pa.array([doc.text], pa.string()))
        values = {name: array[0].as_py() for name, array in changed.items()}
        if values["text"] == doc.text:
            del values["text"]  # without a new text, what is known of the old one stays valid
        return values

    def rewrite_batch(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return self._lines(batch.column("text"))

    def _lines(self, texts: pa.Array) -> dict[str, pa.Array]:
        from tokenmill.text.c4_kernel import CITATIONS, JAVASCRIPT, POLICIES, TERMINAL, lines_batch
        from tokenmill.text.tables import tables

        bits = (
            CITATIONS * self.remove_citations
            | TERMINAL * self.terminal_punctuation
            | JAVASCRIPT * self.remove_javascript
            | POLICIES * self.remove_policies
        )
        longest = -1 if self.max_word_length is None else self.max_word_length
        data, places, counts = lines_batch(*utf8(texts), bits, longest, self.min_words or 0, tables())
        text = pa.StringArray.from_buffers(len(texts), pa.py_buffer(places.astype("int32")), pa.py_buffer(data))
        columns = {"text": text}
        for number, name in enumerate(self.adds):
            columns[name] = pa.array(counts[:, number], pa.int64())
        return columns


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    C4Lines().setup()


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
