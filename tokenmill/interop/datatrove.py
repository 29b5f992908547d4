"""datatrove's steps as stages: filters that judge, and steps that change a text or add metadata.

    DatatroveFilter(step="datatrove.pipeline.filters:GopherQualityFilter", options={"min_doc_words": 40})
    DatatroveRewrite(step="datatrove.pipeline.filters:C4QualityFilter")
    DatatroveFilter(step="my.py:MyStep")
    from_datatrove(GopherQualityFilter(min_doc_words=40))

A step sees a `Document` with the text, the id and, as `metadata`, the columns of the row that have a value. Its reasons
are recorded as it gives them. Steps see one document at a time and must not remember documents: a batch may be run
again. Those that do, that write files, or that draw random numbers are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.rule import Drop
from tokenmill.core.schema import DOC_ID, INTERNAL
from tokenmill.core.stage import Filter, Rewrite, Stage
from tokenmill.interop import steps

NO_REASON = "dropped"
"""The reason of a step that gives none."""

_TYPES = ("string", "int64", "float64", "bool")
_HIDDEN = frozenset(INTERNAL) - {DOC_ID} | {"text"}
"""Columns that are not metadata: the page in its raw forms, and the text."""
_PROBE = """\
The ferry to the island leaves at seven in the morning, and those who miss it have to wait until the late afternoon.
Most of the people who live there have a garden behind the house. They grow beans, potatoes and a kind of small apple.
In winter the harbour is often closed because of ice, so letters and newspapers arrive with a week of delay.
Nobody minds that very much! The school has eleven pupils, of whom four are to be taught by their own aunt.
Would you be surprised to hear that the library is the largest building? It was given to the town by a captain.
He had read every book in it twice, or so he said, and wanted that others could argue with him about the endings.
"""
"""A text that passes the usual rules, so that a step gets as far as loading all it needs."""


class _Runner:
    """A made step, called with one document at a time."""

    def __init__(self, label: str, step: str, options: Mapping[str, Any]) -> None:
        self._label = label
        self.step = steps.make_step(label, step, options)
        self._judges = steps.is_filter(type(self.step))
        try:
            self(Doc(_PROBE, doc_id="probe", id="probe", url="https://example.org/"))
        except TokenmillError:
            raise
        except Exception:  # a step may want metadata that the probe lacks
            pass

    def __call__(self, doc: Doc) -> tuple[Any, str | None]:
        """The document afterwards, and the reason to drop it (None keeps it)."""
        document = self._document(doc)
        try:
            if self._judges:
                (verdict,) = self.step.filter_batch([document])
                keep, reason = verdict if isinstance(verdict, tuple) else (verdict, None)
                return document, None if keep else str(reason or NO_REASON)
            after = list(self.step.run(iter([document]), 0, 1))
        except ImportError as error:
            raise steps.missing(self._label, str(error)) from error
        if len(after) > 1:
            raise ConfigError(f"{self._label} made {len(after)} documents of one", fix="use steps that make one of one")
        return (after[0], None) if after else (document, NO_REASON)

    @staticmethod
    def _document(doc: Doc) -> Any:
        from datatrove.data import Document

        known = [doc[name] for name in ("id", DOC_ID) if name in doc]
        identity = next(filter(None, known), "")
        return Document(text=doc.text, id=str(identity), metadata=_metadata(doc))


def _metadata(doc: Doc) -> dict[str, Any]:
    """The columns of a row that have a value."""
    names = doc.columns
    return {name: doc[name] for name in names if name not in _HIDDEN and name != "id" and doc[name] is not None}


class DatatroveFilter(Filter):
    """Keeps or drops documents as a filter of datatrove does, or one that was written for it.

    A filter that changes the text, or whose metadata is to be published, is a `DatatroveRewrite`.
    """

    reads = ("text",)

    step: str
    """Class of the step: `package.module:Class`, or `my.py:Class` for a file (found from where tokenmill is run)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class, by name; plain values."""

    def __post_init__(self) -> None:
        steps.check_form(self.name, self.step)

    def setup(self) -> None:
        _ = self._runner

    def digests(self) -> Mapping[str, str]:
        found = steps.versions(self.name, self.step)
        cls = steps.load_class(self.name, self.step)
        steps.check_options(self.name, cls, self.options)
        if not steps.is_filter(cls) or steps.changes_text(cls):
            why = "it changes the text" if steps.is_filter(cls) else "it is no filter"
            raise ConfigError(
                f"{self.name}: {cls.__qualname__} does more than keep or drop documents",
                why=why,
                fix=f"DatatroveRewrite(step={self.step!r}, ...)",
            )
        return found

    def judge(self, doc: Doc) -> str | None:
        document, reason = self._runner(doc)
        if reason is None and document.text != doc.text:
            raise ConfigError(
                f"{self.name}: {self.step} has changed the text of a document",
                why="a filter keeps or drops documents and nothing else",
                fix=f"DatatroveRewrite(step={self.step!r}, ...)",
            )
        return reason

    @cached_property
    def _runner(self) -> _Runner:
        return _Runner(self.name, self.step, self.options)

    def files(self) -> tuple[str, ...]:
        return steps.files(self.step)


class DatatroveRewrite(Rewrite):
    """Runs a step of datatrove that changes the text or adds metadata; it may drop documents as well.

    Filters, formatters, and steps of users that make at most one document of each.
    """

    reads = ("text",)

    step: str
    """Class of the step: `package.module:Class`, or `my.py:Class` for a file (found from where tokenmill is run)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class, by name; plain values."""
    publish: dict[str, str] = field(default_factory=dict)
    """Metadata that become columns: name and type (`string`, `int64`, `float64` or `bool`); null where not set."""

    def __post_init__(self) -> None:
        steps.check_form(self.name, self.step)
        for column, dtype in self.publish.items():
            if dtype not in _TYPES or column in {*INTERNAL, "text", "id"}:
                raise ConfigError(
                    f"{self.name}.publish = {{{column!r}: {dtype!r}}} is no column with its type",
                    fix=f"name metadata of the step, with one of the types {', '.join(_TYPES)}",
                )

    def setup(self) -> None:
        _ = self._runner

    def digests(self) -> Mapping[str, str]:
        found = steps.versions(self.name, self.step)
        steps.check_options(self.name, steps.load_class(self.name, self.step), self.options)
        return found

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {column: pa.type_for_alias(dtype) for column, dtype in self.publish.items()}

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        document, reason = self._runner(doc)
        if reason is not None:
            return Drop(reason)
        changes = {column: _value(document.metadata.get(column)) for column in self.publish}
        # without a new text, what is known of the old one stays valid
        return changes if document.text == doc.text else {"text": document.text, **changes}

    def files(self) -> tuple[str, ...]:
        return steps.files(self.step)

    @cached_property
    def _runner(self) -> _Runner:
        return _Runner(self.name, self.step, self.options)


def _value(value: Any) -> Any:
    """A number of numpy as Python's own."""
    return value.item() if hasattr(value, "item") else value


def from_datatrove(step: Any, *, publish: Mapping[str, str] | None = None, rewrites: bool = False) -> Stage:
    """The stage that runs a step like this one.

    step: an instance that keeps its arguments under their names, as datatrove's filters do; ConfigError otherwise.
    publish: metadata that become columns. rewrites: the step changes the text (known for datatrove's own).
    """
    name, options = steps.describe(step)
    cls = type(step)
    if publish or rewrites or steps.changes_text(cls) or not steps.is_filter(cls):
        return DatatroveRewrite(step=name, options=options, publish=dict(publish or {}))
    return DatatroveFilter(step=name, options=options)
