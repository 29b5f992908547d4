"""Windows: a stage is cut into pieces that fit into memory, each with the proportions of the stage, shuffled in itself.

A stage takes T tokens, T_s of them of stream s. The window [x0, x1) of its positions takes of each stream the documents
that begin at [T_s * x0 // T, T_s * x1 // T) of what the stage takes of it, and sorts them by a key. So the windows of a
stage have every document once, whoever makes which of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.tokens.mix.allocate import allocate, stage_tokens
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.source import SourceSet
from tokenmill.tokens.mix.spec import Mixture
from tokenmill.tokens.mix.stream import Documents, Positions, SetReader, Stream
from tokenmill.tokens.order import document_keys
from tokenmill.tokens.tokenset import DOCUMENT_COLUMNS

WINDOW_BYTES = 64 << 20
"""Ids of a window, about: what is shuffled together."""
WINDOW_DOCUMENTS = 100_000
"""Documents of a window, about: beside its ids each has a row and a key, which weigh more than ids of short texts."""
MIXTURE_COLUMNS: dict[str, pa.DataType] = {
    "source": pa.string(),
    "epoch": pa.int32(),
    "stage": pa.string(),
    "cut": pa.bool_(),
}
"""What tables of documents have behind their tags: the source, how often its stream had been seen, the stage, and
whether the end of the document is missing."""


@dataclass(frozen=True)
class Taking:
    """What a stage takes of a stream: the documents that begin at [start, start + tokens)."""

    atom: Atom
    start: int
    tokens: int
    end: int
    """Where the last of them ends; the next stage begins there. What lies behind `start + tokens` is cut off."""


@dataclass(frozen=True)
class StageSchedule:
    """A stage with what it takes."""

    name: str
    tokens: int
    takings: tuple[Taking, ...]
    documents: int = 0
    """About how many, as many of each stream as it has for so many tokens on average."""

    def to_json(self) -> dict[str, Any]:
        streams = [[t.atom.name, t.start, t.tokens, t.end] for t in self.takings]
        return {"name": self.name, "tokens": self.tokens, "documents": self.documents, "streams": streams}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], atoms: Mapping[str, Atom]) -> StageSchedule:
        takings = (Taking(atoms[name], start, tokens, end) for name, start, tokens, end in data["streams"])
        return cls(data["name"], data["tokens"], tuple(takings), data["documents"])


def schedule(
    mixture: Mixture, streams: Mapping[Atom, Stream], end_of: Callable[[Stream, int], int]
) -> tuple[StageSchedule, ...]:
    """What every stage takes: each goes on in every stream where the one before it stopped.

    end_of(stream, position): where the document at the position ends.
    """
    at = dict.fromkeys(streams, 0)
    unique = {atom: stream.unique for atom, stream in streams.items()}
    found = []
    for stage in mixture.stages:
        takings, documents = [], 0
        for atom, tokens in allocate(stage, unique).items():
            if tokens:
                start, stream = at[atom], streams[atom]
                at[atom] = max(start + tokens, end_of(stream, start + tokens - 1))
                takings.append(Taking(atom, start, tokens, at[atom]))
                documents += -(-tokens * stream.documents // stream.unique)
        found.append(StageSchedule(stage.name, stage_tokens(stage, unique), tuple(takings), documents))
    return tuple(found)


def parts_of(stage: StageSchedule, shard_tokens: int, width: int) -> tuple[int, int]:
    """(shards of the stage, windows of each shard). width: bytes of an id."""
    shards = max(1, -(-stage.tokens // shard_tokens))
    of_ids = -(-stage.tokens * width // (shards * WINDOW_BYTES))
    return shards, max(1, of_ids, -(-stage.documents // (shards * WINDOW_DOCUMENTS)))


def documents_schema(sets: Sequence[SourceSet]) -> pa.Schema:
    """Columns of the tables of documents: those of all sets, then `MIXTURE_COLUMNS`. ConfigError where types clash."""
    return common_schema([(one.key, one.schema) for one in sets])


def common_schema(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """The same of (name of the source, schema of its tables)."""
    known = {**DOCUMENT_COLUMNS, **MIXTURE_COLUMNS}
    tags: dict[str, tuple[pa.DataType, str]] = {}
    for key, schema in schemas:
        for field in schema:
            if field.name in known:
                continue
            before, other = tags.get(field.name, (field.type, key))
            tags[field.name] = (_common(field.name, before, other, field.type, key), key)
    fields = [
        *DOCUMENT_COLUMNS.items(),
        *((name, dtype) for name, (dtype, _) in tags.items()),
        *MIXTURE_COLUMNS.items(),
    ]
    return pa.schema(fields)


def _common(name: str, one: pa.DataType, of_one: str, two: pa.DataType, of_two: str) -> pa.DataType:
    try:
        schemas = [pa.schema([pa.field(name, dtype)]) for dtype in (one, two)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(name).type
    except pa.ArrowException as error:
        raise ConfigError(
            f"the tag {name} is {one} in {of_one} and {two} in {of_two}",
            why="one table of documents cannot hold both",
            fix="tokenize one of them again, with the column in the type of the other or without it (--tag)",
        ) from error


@dataclass(frozen=True)
class Window:
    """Documents in their final order."""

    ids: npt.NDArray[Any]
    lengths: Positions
    """Tokens of each document in it, EOS included."""
    rows: pa.Table
    """`documents_schema` without `token_start`."""


class WindowMaker:
    """Makes the windows of a mixture."""

    def __init__(
        self,
        mixture: Mixture,
        sets: Sequence[SourceSet],
        streams: Mapping[Atom, Stream],
        readers: Mapping[str, SetReader],
        schema: pa.Schema,
    ) -> None:
        """readers: of the set of each source. schema: `documents_schema`."""
        self._seed = mixture.seed
        self._streams, self._readers, self._schema = streams, readers, schema
        manifest = sets[0].tokens.manifest
        self._dtype = np.dtype(manifest.dtype)
        self._eos_id = manifest.tokenizer.eos_id

    def window(self, stage: StageSchedule, number: int, windows: int) -> Window:
        """Window `number` of `windows` equal ones of a stage."""
        x0, x1 = (stage.tokens * n // windows for n in (number, number + 1))
        found: list[tuple[Taking, Documents]] = []
        for taking in stage.takings:
            low, high = (taking.start + taking.tokens * x // stage.tokens for x in (x0, x1))
            reader, stream = self._readers[taking.atom.source], self._streams[taking.atom]
            for stretch in stream.stretches(low, high):
                found += [(taking, documents) for documents in reader.documents(taking.atom, stretch)]
        return self._shuffled(stage.name, found)

    def _shuffled(self, stage: str, found: Sequence[tuple[Taking, Documents]]) -> Window:
        if not found:
            empty = self._schema.remove(self._schema.get_field_index("token_start")).empty_table()
            return Window(np.empty(0, self._dtype), np.empty(0, np.int64), empty)
        tables, keys, kept = [], [], []
        for taking, documents in found:
            lengths, cut = _shortened(taking, documents)
            kept.append(lengths)
            tables.append(self._table(stage, taking, documents, lengths, cut))
            about = f"{stage} {taking.atom.source} {documents.epoch} "
            named = zip(documents.rows.column("doc_id").to_pylist(), documents.positions.tolist(), strict=True)
            # with the position, for a set may hold a document several times, and its copies must not stand together
            names = [f"{about}{name or ''} {position}" for name, position in named]
            keys.append(np.array(document_keys(self._seed, names), np.int64))
        order = np.argsort(np.concatenate(keys), kind="stable")
        lengths = np.concatenate(kept)
        rows = pa.concat_tables(tables).take(pa.array(order))
        return Window(self._gathered(found, lengths, order), lengths[order], rows)

    def _gathered(
        self, found: Sequence[tuple[Taking, Documents]], lengths: Positions, order: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """The ids in the new order. Files are read front to back, and documents written where they belong."""
        places = np.empty(len(order), np.int64)
        places[order] = np.cumsum(lengths[order]) - lengths[order]
        counts = lengths - (self._eos_id is not None)
        ids = np.full(int(lengths.sum()), self._eos_id or 0, self._dtype)
        first = 0
        for _, documents in found:
            stop = first + len(documents.starts)
            source = documents.ids
            if int((documents.starts + documents.lengths).max()) > len(source):
                raise ShardError("a table of documents says more than its shard holds", fix="copy the set again")
            ranges = zip(
                places[first:stop].tolist(), documents.starts.tolist(), counts[first:stop].tolist(), strict=True
            )
            for place, start, count in ranges:
                ids[place : place + count] = source[start : start + count]
            first = stop
        return ids

    def _table(
        self, stage: str, taking: Taking, documents: Documents, lengths: Positions, cut: npt.NDArray[np.bool_]
    ) -> pa.Table:
        """The rows of documents with the columns of the mixture."""
        count = len(lengths)
        before = documents.rows.schema.field("cut").type if "cut" in documents.rows.column_names else None
        if before == pa.bool_():  # the set is a mixture, which may have cut the document before
            cut = cut | documents.rows.column("cut").fill_null(False).to_numpy()
        given: dict[str, Any] = {
            "token_count": pa.array(lengths - (self._eos_id is not None), pa.int64()),
            "source": pa.repeat(pa.scalar(taking.atom.source), count),
            "epoch": pa.repeat(pa.scalar(documents.epoch, pa.int32()), count),
            "stage": pa.repeat(pa.scalar(stage), count),
            "cut": pa.array(cut),
        }
        rows, columns = documents.rows, []
        fields = [field for field in self._schema if field.name != "token_start"]
        for field in fields:
            if field.name in given:
                columns.append(given[field.name])
            elif field.name in rows.column_names:
                columns.append(rows.column(field.name).cast(field.type))
            else:
                columns.append(pa.nulls(count, field.type))
        return pa.table(columns, schema=pa.schema(fields))


def _shortened(taking: Taking, documents: Documents) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """(lengths, whether it is cut) where the stage ends within the last document."""
    left = np.minimum(documents.lengths, taking.start + taking.tokens - documents.positions)
    return left, left < documents.lengths
