"""The token sets of a mixture, opened and compared, and the stage that counts what each stream has in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import InputShard, Reports, Source
from tokenmill.io.filesystem import open_input
from tokenmill.io.sources import local_version
from tokenmill.tokens.mix.select import Atom, Selector
from tokenmill.tokens.mix.spec import Mixture, parse_mixture
from tokenmill.tokens.tokenset import DOCUMENT_COLUMNS, MANIFEST_JSON, TOKENIZER_JSON, TokenSet, TokenShard

COUNTS: dict[str, pa.DataType] = {
    "stream": pa.string(),
    "set": pa.string(),
    "shard": pa.string(),
    "row_group": pa.int64(),
    "documents": pa.int64(),
    "token_total": pa.int64(),
}
"""What a stream has in a row group of a table of documents; `token_total` counts EOS."""


@dataclass(frozen=True)
class SourceSet:
    """A token set, with the sources of the mixture that are taken from it."""

    key: str
    """The first of these: how files of the mixture name the set."""
    tokens: TokenSet
    selector: Selector
    schema: pa.Schema
    """Of its tables of documents."""

    @property
    def sources(self) -> tuple[str, ...]:
        return self.selector.sources

    @property
    def eos(self) -> bool:
        """Whether EOS follows every document."""
        return self.tokens.eos_id is not None

    @property
    def atoms(self) -> tuple[Atom, ...]:
        return tuple(atom for source in self.sources for atom in self.selector.atoms[source])

    @cached_property
    def shards(self) -> Mapping[str, TokenShard]:
        return {shard.name: shard for shard in self.tokens.shards}

    def counts(self, table: pa.Table) -> dict[Atom, tuple[int, int]]:
        """(documents, tokens with EOS) of each stream in a table with the selector's columns."""
        lengths = table.column("token_count").to_numpy() + self.eos
        found: dict[Atom, tuple[int, int]] = {}
        for source, atoms in self.selector.atoms.items():
            numbers = self.selector.numbers(table, source, self.eos)
            for number, atom in enumerate(atoms):
                chosen = numbers == number
                found[atom] = (int(np.count_nonzero(chosen)), int(lengths[chosen].sum()))
        return found


def open_sets(mixture: Mixture) -> tuple[SourceSet, ...]:
    """The sets of a mixture in the order of its sources, checked against each other.

    ConfigError where one is missing, cannot be mapped, is not shuffled, has other tokens than the first, or lacks a
    tag that is asked for.
    """
    of_set: dict[Path, list[str]] = {}
    opened: dict[Path, TokenSet] = {}
    for name, source in mixture.sources.items():
        found = TokenSet.open(source.tokens)
        place = found.folder.resolve()
        opened.setdefault(place, found)
        of_set.setdefault(place, []).append(name)
        if source.order == "shuffled" and not found.manifest.order.get("shuffled"):
            raise ConfigError(
                f"the set of source {name} is not shuffled",
                where=str(found.folder),
                why="a mixture takes documents in the order of the set, and neighbours would be of one site",
                fix="tokenize it without --order source, or say order: as_is for this source",
            )
    sets = []
    for place, names in of_set.items():
        found = opened[place]
        schema = pq.read_schema(found.shards[0].documents_path) if found.shards else _empty_schema()
        selector = Selector(mixture, names, schema, f"{found.folder} (source {', '.join(names)})")
        sets.append(SourceSet(names[0], found, selector, schema))
    for other in sets[1:]:
        _check_same(sets[0], other)
    _check_tokenizer(sets[0])
    return tuple(sets)


def _empty_schema() -> pa.Schema:
    return pa.schema(list(DOCUMENT_COLUMNS.items()))


def _check_same(first: SourceSet, other: SourceSet) -> None:
    """Ids of two sets must mean the same."""
    one, two = first.tokens.manifest, other.tokens.manifest
    pairs = {
        "tokenizer": (one.tokenizer.sha256, two.tokenizer.sha256),
        "dtype": (one.dtype, two.dtype),
        "EOS": (one.tokenizer.eos_id, two.tokenizer.eos_id),
    }
    differ = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if differ:
        told = "; ".join(
            f"{name} {str(a)[:16]} in {first.key}, {str(b)[:16]} in {other.key}" for name, (a, b) in differ.items()
        )
        raise ConfigError(
            f"sources {first.key} and {other.key} were tokenized differently ({', '.join(differ)})",
            where=f"{first.tokens.folder} and {other.tokens.folder}",
            why=told,
            fix="tokenize one of them again, with the tokenizer and the EOS of the other",
        )


def _check_tokenizer(first: SourceSet) -> None:
    path = first.tokens.folder / TOKENIZER_JSON
    wanted = first.tokens.manifest.tokenizer.sha256
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise ConfigError(
            f"{path} is not the tokenizer of the set",
            why="it is gone" if not path.is_file() else "its digest is not the one in the manifest",
            fix="copy the set again",
        )


def inputs_of(sets: Sequence[SourceSet]) -> list[InputShard]:
    """One unit of input for each table of documents. ConfigError where one is gone."""
    found = []
    for one in sets:
        for shard in one.tokens.shards:
            path = shard.documents_path
            try:
                size, etag = local_version(os.stat(path))
            except OSError as error:
                raise ConfigError(f"{path} is gone", why=str(error), fix="copy the set again") from error
            found.append(InputShard(str(path.absolute()), f"{one.key}.{shard.name}.parquet", size, etag))
    return found


class ReadTokenDocuments(Source):
    """What each stream of a mixture has in each row group of a table of documents; one row of counts for each."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {DOC_ID: pa.string(), **COUNTS}

    mixture: dict[str, Any] = field(default_factory=dict)
    """The mixture, as plain values."""

    def digests(self) -> Mapping[str, str]:
        return set_digests(self._sets)

    @cached_property
    def _sets(self) -> tuple[SourceSet, ...]:
        return open_sets(parse_mixture(self.mixture))

    def inputs(self) -> list[InputShard]:
        """The units that it reads; the settings say them, so there is no folder to list."""
        return inputs_of(self._sets)

    def read(self, shard: InputShard, skip: Reports) -> Iterator[pa.RecordBatch]:
        key, _, rest = shard.name.partition(".")
        of_set = next(one for one in self._sets if one.key == key)
        with open_input(shard) as stream:
            file = pq.ParquetFile(stream)
            missing = set(of_set.selector.columns) - set(file.schema_arrow.names)
            if missing:
                raise ShardError(
                    f"{shard.path} has no column {', '.join(sorted(missing))}", why="other shards of its set have it"
                )
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=of_set.selector.columns)
                rows = [
                    {
                        DOC_ID: f"{shard.name}#{group}",
                        "stream": atom.name,
                        "set": key,
                        "shard": rest.removesuffix(".parquet"),
                        "row_group": group,
                        "documents": documents,
                        "token_total": tokens,
                    }
                    for atom, (documents, tokens) in of_set.counts(table).items()
                ]
                yield pa.RecordBatch.from_pylist(rows, schema=pa.schema(list(type(self).adds.items())))


def set_digests(sets: Sequence[SourceSet]) -> dict[str, str]:
    """The digest of each set's manifest, which holds those of all its files."""
    return {one.key: hashlib.sha256((one.tokens.folder / MANIFEST_JSON).read_bytes()).hexdigest()[:32] for one in sets}
