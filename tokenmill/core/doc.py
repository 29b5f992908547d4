"""`Doc`: the read-only view of one row that filters see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tokenmill.core import segment
from tokenmill.core.signals import compute, is_signal


class Doc:
    """One document: `doc.text`, `doc.url`, `doc.words`, `doc.lines`, `doc.paragraphs`, `doc["column"]`.

    Words, lines and signals are computed on first use and shared by all filters that see the same text.
    A test builds one without an engine: `Doc(text="a b", url="http://e.org/")`.
    """

    __slots__ = ("_cache", "_fetch", "_measured", "_names", "_values")

    def __init__(
        self,
        text: str | None = None,
        *,
        _fetch: Callable[[str], Any] | None = None,
        _names: Collection[str] = (),
        _measured: Mapping[str, str] | None = None,
        **columns: Any,
    ) -> None:
        self._values: dict[str, Any] = columns
        if text is not None:
            columns["text"] = text
        self._fetch = _fetch
        self._names = _names
        self._measured = _measured
        self._cache: dict[str, Any] = {}

    def __getitem__(self, column: str) -> Any:
        """Value of a column of the row; KeyError when the row has no such column."""
        if column not in self._values:
            if self._fetch is None or column not in self._names:
                raise KeyError(column)
            self._values[column] = self._fetch(column)
        return self._values[column]

    def __contains__(self, column: str) -> bool:
        return column in self._values or column in self._names

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the row."""
        return list(dict.fromkeys([*self._names, *self._values]))

    @property
    def text(self) -> str:
        text: str = self["text"]
        return text

    @property
    def url(self) -> str:
        url: str = self["url"]
        return url

    @property
    def words(self) -> list[str]:
        """Tokens in order, punctuation included (see `tokenmill.core.segment.words`)."""
        words: list[str] = self.cached("words", lambda doc: segment.words(doc.text))
        return words

    @property
    def lines(self) -> list[str]:
        """Pieces between runs of newlines."""
        lines: list[str] = self.cached("lines", lambda doc: segment.lines(doc.text))
        return lines

    @property
    def paragraphs(self) -> list[str]:
        """Pieces between blank lines."""
        paragraphs: list[str] = self.cached("paragraphs", lambda doc: segment.paragraphs(doc.text))
        return paragraphs

    def cached(self, key: str, make: Callable[[Doc], Any]) -> Any:
        """`make(self)`, computed once for this text."""
        if key not in self._cache:
            self._cache[key] = make(self)
        return self._cache[key]

    def value(self, signal: str) -> Any:
        """A column of that name, or the registered signal of the text as it is now, measured once.

        A column with the name of a signal counts only while the text is the one on which it was measured.
        """
        if self._measured is not None and is_signal(signal):
            column = self._measured.get(signal)
            if column is not None and column in self:
                return self[column]
        elif signal in self:
            return self[signal]
        return self.cached(f"signal:{signal}", lambda doc: compute(signal, doc))

    def replaced(self, changes: Mapping[str, Any]) -> Doc:
        """A new view with other values; what was computed from the old text is forgotten."""
        new = Doc(_fetch=self._fetch, _names=self._names, _measured=self._measured)
        new._values = {**self._values, **changes}
        if "text" not in changes:
            new._cache = self._cache
        return new

    def renewed(self) -> Doc:
        """A view of the same row that knows nothing of the text."""
        new = Doc(_fetch=self._fetch, _names=self._names, _measured=self._measured)
        new._values = self._values
        return new

    def forget(self, columns: Collection[str]) -> None:
        """Read these columns from the batch again: a stage has set them for all documents."""
        for column in columns:
            self._values.pop(column, None)

    def __repr__(self) -> str:
        return f"Doc({', '.join(f'{k}={str(v)[:40]!r}' for k, v in self._values.items())})"
