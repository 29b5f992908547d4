"""Which documents of a token set belong to which stream of a mixture, decided on the columns of its tables.

A stream is a source, or a part of one that some stage weighs on its own: where stages upweight `topic` software and
`language` de, a source falls into four streams, and each document belongs to one of them in all stages. So what one
stage has taken, the next one does not repeat.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.text.hosts import host_of, registered_domain
from tokenmill.tokens.mix.spec import DOMAIN, Mixture

_COMPARISONS = {
    ">=": pc.greater_equal,
    "<=": pc.less_equal,
    "!=": pc.not_equal,
    "==": pc.equal,
    ">": pc.greater,
    "<": pc.less,
}
_COMPARISON = re.compile(r"\s*(>=|<=|!=|==|>|<)\s*(.*\S)\s*")
_DATE = re.compile(r"\d{4}-\d\d(-\d\d.*)?")
"""Texts of this form, which `date` has, are ordered as what they mean."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Atom:
    """A stream of a mixture."""

    source: str
    values: tuple[tuple[str, str | None], ...] = ()
    """(tag, value); None: all values that no stage names, and null."""

    @property
    def name(self) -> str:
        """As plans show it: web, web[topic=software], web[rest]."""
        if not self.values:
            return self.source
        if all(value is None for _, value in self.values):
            return f"{self.source}[rest]"
        told = (f"{tag}={'(rest)' if value is None else value}" for tag, value in self.values)
        return f"{self.source}[{', '.join(told)}]"


def tags_of(mixture: Mixture, source: str) -> dict[str, tuple[str, ...]]:
    """Tag -> values that stages weigh on their own in a source."""
    found: dict[str, dict[str, None]] = {}
    for stage in mixture.stages:
        if source in stage.upweight:
            upweight = stage.upweight[source]
            found.setdefault(upweight.by, {}).update(dict.fromkeys(upweight.values))
    return {tag: tuple(values) for tag, values in found.items()}


def atoms_of(mixture: Mixture, source: str) -> tuple[Atom, ...]:
    """The streams of a source; the number of a document's stream is its place here."""
    tags = tags_of(mixture, source)
    choices = [[(tag, value) for value in (*values, None)] for tag, values in tags.items()]
    return tuple(Atom(source, combination) for combination in itertools.product(*choices))


class Selector:
    """Decides for the documents of one set, which sources of the mixture share."""

    def __init__(self, mixture: Mixture, sources: Sequence[str], schema: pa.Schema, where: str) -> None:
        """schema: that of the tables of documents. where: the set, for messages.

        ConfigError where a tag is no column, or a value cannot be compared with what the column holds.
        """
        self.sources = tuple(sources)
        self.atoms = {source: atoms_of(mixture, source) for source in sources}
        self._schema, self._where = schema, where
        self._conditions = {
            source: [self._condition(tag, wanted) for tag, wanted in mixture.sources[source].where.items()]
            for source in sources
        }
        self._listed = {
            source: [
                (tag, [self._value(tag, one) for one in _values(wanted)])
                for tag, wanted in mixture.sources[source].where.items()
                if not any(_is_comparison(one) for one in _values(wanted))
            ]
            for source in sources
        }
        self._tags = {
            source: [(tag, [self._value(tag, value) for value in values]) for tag, values in tags.items()]
            for source in sources
            for tags in [tags_of(mixture, source)]
        }

    @property
    def columns(self) -> list[str]:
        """The columns that decide, `token_count` first."""
        tags = {tag for found in self._conditions.values() for tag, _ in found}
        tags |= {tag for found in self._tags.values() for tag, _ in found}
        return ["token_count", *sorted({self._column(tag) for tag in tags} - {"token_count"})]

    @property
    def trivial(self) -> bool:
        """Whether every document with tokens belongs to the only stream of each source."""
        return not any(self._conditions.values()) and not any(self._tags.values())

    def numbers(self, table: pa.Table, source: str, eos: bool) -> npt.NDArray[np.int64]:
        """The number of each document's stream of the source; -1 where it belongs to none.

        table: with `columns`. eos: whether the set has EOS behind documents: without, empty ones take up no position.
        """
        chosen = np.ones(table.num_rows, np.bool_)
        if not eos:
            chosen &= table.column("token_count").to_numpy() > 0
        for tag, condition in self._conditions[source]:
            chosen &= _mask(condition(self._values(table, tag)))
        number = np.zeros(table.num_rows, np.int64)
        for tag, values in self._tags[source]:
            column = self._values(table, tag)
            digit = np.full(table.num_rows, len(values), np.int64)
            for place, value in enumerate(values):
                digit[_mask(pc.equal(column, value))] = place
            number = number * (len(values) + 1) + digit
        return np.where(chosen, number, -1)

    def listed(self, source: str) -> list[tuple[str, str]]:
        """(tag, value) of each value that a condition asks for."""
        return [(tag, str(value)) for tag, values in self._listed[source] for value in values]

    def present(self, table: pa.Table, source: str) -> set[tuple[str, str]]:
        """Those of `listed` that some document of a table has."""
        found: set[tuple[str, str]] = set()
        for tag, values in self._listed[source]:
            column = self._values(table, tag)
            found |= {(tag, str(value)) for value in values if _mask(pc.equal(column, value)).any()}
        return found

    def _column(self, tag: str) -> str:
        """The column that says a tag."""
        name = "url" if tag == DOMAIN and DOMAIN not in self._schema.names else tag
        if name not in self._schema.names:
            raise ConfigError(
                f"no tag {tag!r}",
                where=self._where,
                why=did_you_mean(tag, [*self._schema.names, DOMAIN]),
                fix="tokenize again with the column as --tag, or leave it out",
            )
        return name

    def _values(self, table: pa.Table, tag: str) -> pa.ChunkedArray:
        column = table.column(self._column(tag))
        if self._column(tag) == tag:
            return column
        return pa.chunked_array([pa.array([_domain(url) for url in column.to_pylist()], pa.string())])

    def _type(self, tag: str) -> pa.DataType:
        column = self._column(tag)
        return self._schema.field(column).type if column == tag else pa.string()

    def _value(self, tag: str, value: Any) -> pa.Scalar:
        """A value as the column of the tag has it."""
        dtype = self._type(tag)
        if isinstance(value, bool) and _is_text(dtype):
            raise ConfigError(
                f"the tag {tag} holds texts, and {str(value).lower()} is none",
                where=self._where,
                why="YAML reads no, off, yes and on as false and true, even where they are names of languages",
                fix=f'quote it, such as {tag}: "{"yes" if value else "no"}"; a column of true and false that went along'
                f' as text has "{value}"',
            )
        try:
            return pa.scalar(value).cast(dtype)
        except pa.ArrowException as error:
            raise ConfigError(
                f"{value!r} is no value of the tag {tag}",
                where=self._where,
                why=f"its column is of the type {dtype}: {error}",
                fix="write a value of that type",
            ) from error

    def _condition(self, tag: str, wanted: Any) -> tuple[str, Any]:
        """(tag, a function from its values to whether they are as asked for)."""
        listed = _values(wanted)
        found = [_COMPARISON.fullmatch(one) if isinstance(one, str) else None for one in listed]
        for match in found:
            if match is not None:
                self._check_order(tag, match[1], match[2])
        if all(found):
            pairs = [(_COMPARISONS[match[1]], self._value(tag, match[2])) for match in found if match]

            def compared(column: pa.ChunkedArray) -> pa.ChunkedArray:
                masks = [compare(column, value) for compare, value in pairs]
                return masks[0] if len(masks) == 1 else _all(masks)

            return tag, compared
        if any(found):
            raise ConfigError(
                f"{wanted!r} mixes values and comparisons",
                where=f"{self._where}: where.{tag}",
                fix="list values, of which one must hold, or comparisons, which must all hold",
            )
        values = pa.array([self._value(tag, one).as_py() for one in listed], self._type(tag))
        return tag, lambda column: pc.is_in(column, value_set=values)

    def _check_order(self, tag: str, comparison: str, value: str) -> None:
        """ConfigError where texts would be ordered as texts: "9" is above "10"."""
        if not _is_text(self._type(tag)) or comparison in ("==", "!=") or _DATE.fullmatch(value):
            return
        raise ConfigError(
            f"the tag {tag} holds texts, which {comparison} {value} would compare letter by letter",
            where=self._where,
            why=f'the type of its column is {self._type(tag)}; of texts, "9" is above "10"',
            fix=f"tokenize again so that {tag} is carried as a number (its values must be numbers in the input, not"
            " texts in quotes), or list the values that shall hold",
        )


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _values(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _is_comparison(value: Any) -> bool:
    return isinstance(value, str) and _COMPARISON.fullmatch(value) is not None


def _all(masks: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    found = masks[0]
    for mask in masks[1:]:
        found = pc.and_(found, mask)
    return found


def _mask(found: pa.ChunkedArray) -> Mask:
    """As numpy; what is null was not found to be as asked for."""
    return np.asarray(found.fill_null(False).to_numpy(), np.bool_)


def _domain(url: str | None) -> str | None:
    return (registered_domain(host_of(url)) or None) if url else None
